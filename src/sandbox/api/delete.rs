//! Deleting objects: preconditions, grace, finalizers, propagation.
//!
//! An object with finalizers, or a pod that a kubelet must stop first, is only marked; `write::settle` takes it away
//! when nothing holds it. What its owner references drag along is in `collect.rs`.

use super::{
    call::Call,
    failure::Failure,
    kinds::Kind,
    object,
    selector::Selector,
    store::{Key, Store},
    write,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Namespaces that stay, whoever asks.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

/// What a delete asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    grace: Option<i64>,
    uid: String,
    version: String,
    propagation: String,
    dry: bool,
}

impl Options {
    /// Reads the body, and for what it leaves out the query.
    pub(super) fn read(call: &Call, body: &[u8]) -> Result<Self, Failure> {
        let body: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body)
                .map_err(|error| Failure::bad_request(format!("error decoding delete options: {error}")))?
        };
        let query = |name: &str| Some(call.query.get(name)).filter(|value| !value.is_empty());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut options = Self::of(&body);
        options.grace = options.grace.or_else(|| query("gracePeriodSeconds")?.parse().ok());
        if let Some(policy) = query("propagationPolicy").filter(|_| options.propagation.is_empty()) {
            options.propagation = policy.to_owned();
        }
        if options.propagation.is_empty() {
            let orphan = body["orphanDependents"]
                .as_bool()
                .or_else(|| query("orphanDependents")?.parse().ok());
            options.propagation = orphan
                .map_or("", |orphan| if orphan { "Orphan" } else { "Background" })
                .to_owned();
        }
        options.dry = call.is_dry()?
            || body["dryRun"]
                .as_array()
                .is_some_and(|runs| runs.iter().any(|run| text(run) == "All"));
        Ok(options)
    }

    /// Reads `DeleteOptions` as an eviction carries them.
    pub(super) fn of(body: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            grace: body["gracePeriodSeconds"].as_i64(),
            uid: text(&body["preconditions"]["uid"]),
            version: text(&body["preconditions"]["resourceVersion"]),
            propagation: text(&body["propagationPolicy"]),
            dry: false,
        }
    }

    /// The same, storing nothing if `dry`.
    pub(super) fn dry(self, dry: bool) -> Self {
        Self { dry, ..self }
    }

    /// What garbage collection asks for.
    pub(super) fn propagating(policy: &str) -> Self {
        Self {
            propagation: policy.to_owned(),
            ..Self::default()
        }
    }
}

/// Deletes one object; answers as the real server does: with the object while it stays or where its kind is answered
/// that way, else with a `Status`.
pub(super) fn delete(store: &mut Store, key: &Key, options: &Options) -> Result<Value, Failure> {
    let kinds = store.kinds.clone();
    let kind = &kinds[key.kind];
    let old = store.get(key)?;
    check_preconditions(kind, &old, options)?;
    let mut new = (*old).clone();
    if kind.is_namespace() {
        if IMMORTAL.contains(&object::name(&old)) {
            return Err(Failure::forbidden(
                kind,
                object::name(&old),
                "this namespace may not be deleted",
            ));
        }
        if object::is_terminating(&old) {
            return Ok(new);
        }
        mark(&mut new, None);
        new["status"]["phase"] = json!("Terminating");
    } else {
        match next_grace(kind, &old, options) {
            Grace::Pending => return Ok(new),
            Grace::Wait(seconds) => mark(&mut new, Some(seconds)),
        }
        hold(&mut new, &options.propagation);
    }
    let stays = object::has_finalizers(&new) || new["metadata"]["deletionGracePeriodSeconds"] != json!(0);
    if !stays && !kind.is_pod() {
        // It goes without ever having been marked.
        new = (*old).clone();
    }
    let answer = if stays || kind.returns_deleted {
        new.clone()
    } else {
        success(kind, &old)
    };
    if options.dry {
        return Ok(answer);
    }
    if stays {
        return Ok((*write::settle(store, key.clone(), new)).clone());
    }
    store.remove(key, new);
    Ok(answer)
}

/// Deletes all objects that a selector selects; answers with the list of them.
pub(super) fn delete_all(
    store: &mut Store,
    kind: usize,
    namespace: &str,
    selector: &Selector,
    options: &Options,
) -> Result<Vec<Value>, Failure> {
    let mut deleted = Vec::new();
    for object in store
        .list(kind, namespace)
        .into_iter()
        .filter(|object| selector.selects(object))
    {
        delete(
            store,
            &Key::new(kind, object::namespace(&object), object::name(&object)),
            options,
        )?;
        deleted.push((*object).clone());
    }
    Ok(deleted)
}

fn check_preconditions(kind: &Kind, old: &Value, options: &Options) -> Result<(), Failure> {
    let checks = [
        ("UID", &options.uid, object::uid(old)),
        ("ResourceVersion", &options.version, object::version(old)),
    ];
    for (what, asked, is) in checks {
        if !asked.is_empty() && asked != is {
            let hint = if what == "UID" {
                "deleted and then recreated"
            } else {
                "modified"
            };
            let why = format!(
                "the {what} in the precondition ({asked}) does not match the {what} in record ({is}). The object might \
                 have been {hint}"
            );
            return Err(Failure::precondition(kind, object::name(old), &why));
        }
    }
    Ok(())
}

enum Grace {
    /// It is on its way out already, and not to be hurried.
    Pending,
    /// It goes after so many seconds; 0 is at once.
    Wait(i64),
}

fn next_grace(kind: &Kind, old: &Value, options: &Options) -> Grace {
    if object::is_terminating(old) {
        let running = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        return match options.grace {
            Some(asked) if asked < running => Grace::Wait(asked.max(0)),
            _ => Grace::Pending,
        };
    }
    if !kind.is_pod() {
        return Grace::Wait(0);
    }
    let phase = old["status"]["phase"].as_str().unwrap_or_default();
    let bound = old["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    if !bound || ["Failed", "Succeeded"].contains(&phase) {
        return Grace::Wait(0);
    }
    let own = old["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    let grace = options.grace.unwrap_or(own);
    Grace::Wait(if grace < 0 { 1 } else { grace })
}

/// Marks the object for deletion. A mark that is there already is only brought forward.
fn mark(object: &mut Value, grace: Option<i64>) {
    let running = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let due = object["metadata"]["deletionTimestamp"]
        .as_str()
        .and_then(|due| due.parse::<Timestamp>().ok());
    let first = due.is_none();
    let begun = match (due, running) {
        (Some(due), Some(running)) => due - SignedDuration::from_secs(running),
        _ => Timestamp::now(),
    };
    let due = begun + SignedDuration::from_secs(grace.unwrap_or(0));
    let metadata = object::metadata(object);
    metadata.insert(
        "deletionTimestamp".to_owned(),
        Value::from(due.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    );
    if let Some(grace) = grace {
        metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    }
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|_| first) {
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
}

/// Sets the finalizers of the propagation policy.
fn hold(object: &mut Value, propagation: &str) {
    let wanted = match propagation {
        "Foreground" => Some("foregroundDeletion"),
        "Orphan" => Some("orphan"),
        "Background" => None,
        _ => return,
    };
    let mut finalizers = object::list(object, "finalizers").to_vec();
    finalizers.retain(|finalizer| finalizer != "foregroundDeletion" && finalizer != "orphan");
    finalizers.extend(wanted.map(Value::from));
    let metadata = object::metadata(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), Value::Array(finalizers));
    }
}

fn success(kind: &Kind, object: &Value) -> Value {
    let mut details = json!({"name": object::name(object), "kind": kind.plural, "uid": object::uid(object)});
    if !kind.group.is_empty() {
        details["group"] = Value::from(kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
