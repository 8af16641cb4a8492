//! Creating and changing objects.
//!
//! Responsible for the order in which the real server does things: identity, what each endpoint may touch, defaults,
//! validation, generation, owners of fields, and only then the store. Runs under the store's lock, so every write is
//! one step. Patches are computed in `patch.rs`, deletions in `delete.rs`.

use super::{
    admit,
    call::Call,
    defaults,
    failure::Failure,
    kinds::Kind,
    managed, object,
    store::{Key, Store},
    validate,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Creates an object from a request's body.
pub(super) fn create(store: &mut Store, call: &Call, mut object: Value, owners: Owners) -> Result<Arc<Value>, Failure> {
    let kinds = store.kinds.clone();
    let kind = &kinds[call.kind];
    let namespace = &call.address.namespace;
    check_body(kind, &object)?;
    place(kind, namespace, &mut object)?;
    if !object::version(&object).is_empty() {
        return Err(Failure::internal(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if kind.namespaced {
        check_namespace(store, kind, namespace, object::name(&object))?;
    }
    // Admission comes before the name is made.
    let mut asked = object::name(&object).to_owned();
    if asked.is_empty() && !object::text(&object, "generateName").is_empty() {
        object::text(&object, "generateName").clone_into(&mut asked);
        let base: String = asked.chars().take(58).collect();
        object::set_text(&mut object, "name", &format!("{base}{}", suffix()));
    }
    object::drop_nulls(&mut object);
    drop_empty(kind, &mut object);
    let metadata = object::metadata(&mut object);
    for field in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "selfLink",
        "managedFields",
    ] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), Value::from(new_uid()));
    metadata.insert("creationTimestamp".to_owned(), Value::from(call.now.clone()));
    if kind.generation {
        metadata.insert("generation".to_owned(), json!(1));
    }
    let keeps_status = ["Node", "Namespace", "PersistentVolume"].contains(&kind.kind);
    if kind.status && !keeps_status {
        object::as_map(&mut object).remove("status");
    }
    decode_secret(kind, &mut object);
    defaults::fill(kind, &mut object);
    admit::mutate(store, kind, &mut object);
    match owners {
        Owners::Update => managed::record_update(&Value::Null, &mut object, &call.writer(kind, "Update")),
        Owners::Decided(entries) => managed::write(&mut object, entries),
    }
    if kind.status && !keeps_status && !defaults::first_status(kind).is_null() {
        object::as_map(&mut object).insert("status".to_owned(), defaults::first_status(kind));
    }
    validate::check_new(kind, &object)?;
    admit::admit(store, kind, &asked, &mut object)?;
    let key = Key::new(call.kind, namespace, object::name(&object));
    if store.find(&key).is_some() {
        return Err(Failure::already_exists(kind, &key.name));
    }
    if call.is_dry()? {
        return Ok(Arc::new(object));
    }
    let stored = store.put(key, object);
    if kind.is_namespace() {
        admit::add_default_account(store, object::name(&stored), &call.now);
    }
    Ok(stored)
}

/// Replaces an object, or a subresource of it, by a request's body.
pub(super) fn replace(store: &mut Store, call: &Call, new: Value) -> Result<(u16, Arc<Value>), Failure> {
    let kinds = store.kinds.clone();
    let kind = &kinds[call.kind];
    let key = Key::new(call.kind, &call.address.namespace, &call.address.name);
    check_body(kind, &new)?;
    let Some(old) = store.find(&key) else {
        let creates = kind.put_creates && call.address.subresource.is_empty() && object::version(&new).is_empty();
        if creates {
            return create(store, call, new, Owners::Update).map(|made| (201, made));
        }
        return Err(Failure::not_found(kind, &key.name));
    };
    if object::version(&new).is_empty() && kind.conditional {
        return Err(Failure::unconditional(kind, &key.name));
    }
    if !object::uid(&new).is_empty() && object::uid(&new) != object::uid(&old) {
        let (asked, is) = (object::uid(&new), object::uid(&old));
        return Err(Failure::uid_mismatch(kind, &key.name, asked, is));
    }
    change(store, call, &old, new, Owners::Update).map(|changed| (200, changed))
}

/// How the owners of fields are brought up to date.
pub(super) enum Owners {
    /// The writer owns what it changed.
    Update,
    /// Server-side apply has already decided.
    Decided(Vec<managed::Entry>),
}

/// Carries out a change from `old` to `new`, as far as the endpoint of the call may change it.
pub(super) fn change(
    store: &mut Store,
    call: &Call,
    old: &Arc<Value>,
    mut new: Value,
    owners: Owners,
) -> Result<Arc<Value>, Failure> {
    let kinds = store.kinds.clone();
    let kind = &kinds[call.kind];
    let (namespace, name) = (call.address.namespace.as_str(), call.address.name.as_str());
    place(kind, namespace, &mut new)?;
    if object::name(&new).is_empty() {
        object::set_text(&mut new, "name", name);
    }
    if object::name(&new) != name {
        let sent = object::name(&new);
        let message = format!("the name of the object ({sent}) does not match the name on the URL ({name})");
        return Err(Failure::bad_request(message));
    }
    let version = object::version(&new);
    if !["", "0", object::version(old)].contains(&version) {
        return Err(Failure::modified(kind, name));
    }
    if !["", object::uid(old)].contains(&object::uid(&new)) {
        let cause = super::failure::Cause::invalid("metadata.uid", &new["metadata"]["uid"], "field is immutable");
        return Err(Failure::invalid(kind, name, vec![cause]));
    }
    object::drop_nulls(&mut new);
    keep(old, &mut new, &call.address.subresource, kind);
    drop_empty(kind, &mut new);
    if call.address.subresource.is_empty() {
        decode_secret(kind, &mut new);
        defaults::fill(kind, &mut new);
    }
    validate::check_change(kind, old, &new)?;
    count_generation(kind, old, &mut new);
    match owners {
        Owners::Update => managed::record_update(old, &mut new, &call.writer(kind, "Update")),
        Owners::Decided(entries) => managed::write(&mut new, entries),
    }
    if is_same(old, &new) {
        return Ok(old.clone());
    }
    if call.is_dry()? {
        return Ok(Arc::new(new));
    }
    let key = Key::new(call.kind, namespace, name);
    Ok(settle(store, key, new))
}

/// Stores an object, or takes it away when nothing holds it any more.
pub(super) fn settle(store: &mut Store, key: Key, object: Value) -> Arc<Value> {
    let grace = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let held = object::has_finalizers(&object) || grace > 0 || has_namespace_finalizers(&object);
    if object::is_terminating(&object) && !held {
        store.remove(&key, object.clone());
        return Arc::new(object);
    }
    store.put(key, object)
}

/// A namespace is held by the finalizers of its specification.
fn has_namespace_finalizers(object: &Value) -> bool {
    object["kind"] == "Namespace"
        && object["spec"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
}

/// Changes an object by the server's own hand, for garbage collection and bindings: no manager owns the change and no
/// generation counts it.
pub(super) fn amend(store: &mut Store, key: &Key, old: &Value, amend: impl FnOnce(&mut Value)) -> Arc<Value> {
    let mut new = old.clone();
    amend(&mut new);
    settle(store, key.clone(), new)
}

/// Restores what the endpoint must not touch, and what only the server writes.
fn keep(old: &Value, new: &mut Value, subresource: &str, kind: &Kind) {
    match subresource {
        "status" => {
            let mut kept = old.clone();
            let owners = old["metadata"]["ownerReferences"].clone();
            kept["metadata"] = new["metadata"].clone();
            if kind.is_pod() && !owners.is_null() {
                kept["metadata"]["ownerReferences"] = owners;
            }
            match new.get("status") {
                Some(status) => kept["status"] = status.clone(),
                None => {
                    object::as_map(&mut kept).remove("status");
                }
            }
            *new = kept;
        }
        _ if kind.status => match old.get("status") {
            Some(status) => new["status"] = status.clone(),
            None => {
                object::as_map(new).remove("status");
            }
        },
        _ => {}
    }
    for field in ["apiVersion", "kind"] {
        new[field] = old[field].clone();
    }
    let metadata = object::metadata(new);
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
    ] {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
    metadata.remove("selfLink");
}

/// Takes away maps and lists that are as good as none, as encoding typed objects does.
fn drop_empty(kind: &Kind, object: &mut Value) {
    let empty = |value: &Value| match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    let metadata = object::metadata(object);
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        if metadata.get(field).is_some_and(empty) {
            metadata.remove(field);
        }
    }
    if kind.is("", "ConfigMap") || kind.is("", "Secret") {
        let map = object::as_map(object);
        for field in ["data", "binaryData"] {
            if map.get(field).is_some_and(empty) {
                map.remove(field);
            }
        }
    }
}

fn count_generation(kind: &Kind, old: &Value, new: &mut Value) {
    let specified = |object: &Value| {
        let mut object = object.clone();
        let map = object::as_map(&mut object);
        map.remove("metadata");
        map.remove("status");
        object
    };
    if kind.generation && specified(old) != specified(new) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        new["metadata"]["generation"] = json!(generation);
    }
}

fn is_same(old: &Value, new: &Value) -> bool {
    let compared = |object: &Value| {
        let mut object = object.clone();
        object::metadata(&mut object).remove("managedFields");
        object
    };
    compared(old) == compared(new) && managed::same_owners(old, new)
}

/// Sets type and namespace of a body, refusing what contradicts the path.
fn place(kind: &Kind, namespace: &str, object: &mut Value) -> Result<(), Failure> {
    let sent = object::namespace(object);
    if !["", namespace].contains(&sent) {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Failure::bad_request(why));
    }
    object::set_text(object, "namespace", namespace);
    let map = object::as_map(object);
    map.insert("apiVersion".to_owned(), Value::from(kind.api_version()));
    map.insert("kind".to_owned(), Value::from(kind.kind));
    Ok(())
}

/// Refuses a body that is not of the kind, or names another.
pub(super) fn check_body(kind: &Kind, object: &Value) -> Result<(), Failure> {
    if !object.is_object() {
        let message = format!("the object provided is unrecognized (must be of type {})", kind.kind);
        return Err(Failure::bad_request(message));
    }
    let sent = object["kind"].as_str().unwrap_or(kind.kind);
    let version = object["apiVersion"]
        .as_str()
        .map_or_else(|| kind.api_version(), str::to_owned);
    if sent != kind.kind || version != kind.api_version() {
        let message = format!("{sent} in version \"{version}\" cannot be handled as a {}", kind.kind);
        return Err(Failure::bad_request(message));
    }
    Ok(())
}

fn check_namespace(store: &Store, kind: &Kind, namespace: &str, name: &str) -> Result<(), Failure> {
    if namespace.is_empty() {
        return Err(Failure::bad_request(
            "an empty namespace may not be set during creation",
        ));
    }
    let Some(row) = store.kind_named("", "Namespace") else {
        return Ok(());
    };
    let found = store.get(&Key::new(row, "", namespace))?;
    if object::is_terminating(&found) {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(Failure::forbidden(kind, name, &why));
    }
    Ok(())
}

/// Moves a Secret's `stringData` into `data`, encoded.
fn decode_secret(kind: &Kind, object: &mut Value) {
    if !kind.is("", "Secret") {
        return;
    }
    if let Some(Value::Object(plain)) = object::as_map(object).remove("stringData") {
        let data = object::map_at(object, "data");
        for (key, value) in plain {
            let bytes = k8s_openapi::ByteString(value.as_str().unwrap_or_default().as_bytes().to_vec());
            data.insert(key, serde_json::to_value(bytes).unwrap_or_default());
        }
    }
}

/// A random UID in the form of a UUID of version 4.
pub(super) fn new_uid() -> String {
    // Two draws: a ULID begins with the time.
    let random = (ulid::Ulid::generate().random() << 64) ^ ulid::Ulid::generate().random();
    let hex = format!("{random:032x}");
    let variant = ["8", "9", "a", "b"][usize::from(hex.as_bytes()[16]) % 4];
    format!(
        "{}-{}-4{}-{variant}{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

/// Five random characters, from the alphabet that cannot form words.
fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = ulid::Ulid::generate().random();
    let mut next = || {
        let place = usize::try_from(random % ALPHABET.len() as u128).unwrap_or(0);
        random /= ALPHABET.len() as u128;
        char::from(ALPHABET[place])
    };
    (0..5).map(|_| next()).collect()
}
