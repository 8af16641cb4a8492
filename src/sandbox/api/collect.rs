//! Garbage collection: dependents follow their owners, namespaces are emptied.
//!
//! The work of two controllers of the real control plane, done in the background by the server itself: `sweep` is one
//! pass over the store and says whether it changed anything. Not responsible for marking (`delete.rs`).

use super::{
    admit::IN_USE,
    delete::{self, Options},
    object,
    store::{Key, Store},
    write,
};
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Deletes what has lost its owners, and lets go what waited for dependents. Returns whether anything changed.
pub(super) fn sweep(store: &mut Store) -> bool {
    let before = store.version();
    let everything: Vec<(Key, Arc<Value>)> = store
        .everything()
        .map(|(key, object)| (key.clone(), object.clone()))
        .collect();
    let owners: HashMap<&str, &Value> = everything
        .iter()
        .map(|(_, object)| (object::uid(object), &**object))
        .collect();
    let mut dependents: HashMap<&str, Vec<(&Key, &Value)>> = HashMap::new();
    for (key, object) in &everything {
        for reference in object::list(object, "ownerReferences") {
            dependents
                .entry(reference["uid"].as_str().unwrap_or_default())
                .or_default()
                .push((key, object));
        }
    }
    for (key, object) in &everything {
        if !object::list(object, "ownerReferences").is_empty() {
            follow_owners(store, key, object, &owners, &dependents);
        }
        if object::is_terminating(object) && store.find(key).is_some_and(|now| Arc::ptr_eq(&now, object)) {
            let own = dependents.get(object::uid(object)).map_or(&[][..], Vec::as_slice);
            release_owner(store, key, object, own);
        }
    }
    empty_namespaces(store, &everything);
    store.version() != before
}

/// A dependent goes when every owner is gone, or when an owner that waits for it goes and no other stays.
fn follow_owners(
    store: &mut Store,
    key: &Key,
    object: &Value,
    owners: &HashMap<&str, &Value>,
    dependents: &HashMap<&str, Vec<(&Key, &Value)>>,
) {
    let references = object::list(object, "ownerReferences");
    let (mut solid, mut waiting, mut gone) = (0, false, HashSet::new());
    for reference in references {
        let uid = reference["uid"].as_str().unwrap_or_default();
        match owners.get(uid) {
            Some(owner) if object::is_terminating(owner) && object::has_finalizer(owner, "foregroundDeletion") => {
                waiting = true;
            }
            Some(_) => solid += 1,
            None if is_served(store, reference) => {
                gone.insert(uid.to_owned());
            }
            // The real collector cannot tell either, and leaves the object alone.
            None => solid += 1,
        }
    }
    if solid == 0 {
        if object::is_terminating(object) {
            return;
        }
        let has_own = dependents.contains_key(object::uid(object));
        let policy = if waiting && has_own { "Foreground" } else { "Background" };
        // It may be gone since the pass began, which is just as well.
        drop(delete::delete(store, key, &Options::propagating(policy)));
    } else if !gone.is_empty() {
        drop_references(store, key, &gone);
    }
}

fn is_served(store: &Store, reference: &Value) -> bool {
    let group = reference["apiVersion"]
        .as_str()
        .and_then(|version| version.split_once('/'))
        .map_or("", |(group, _)| group);
    store
        .kind_named(group, reference["kind"].as_str().unwrap_or_default())
        .is_some()
}

/// Lets a terminating owner go when what it waits for is done.
fn release_owner(store: &mut Store, key: &Key, object: &Arc<Value>, dependents: &[(&Key, &Value)]) {
    let uid = object::uid(object);
    if object::has_finalizer(object, "orphan") {
        for (dependent, _) in dependents {
            drop_references(store, dependent, &HashSet::from([uid.to_owned()]));
        }
        drop_finalizer(store, key, object, "orphan");
        return;
    }
    if object::has_finalizer(object, IN_USE) && !is_in_use(store, object) {
        drop_finalizer(store, key, object, IN_USE);
        return;
    }
    let blocks = |(key, dependent): &(&Key, &Value)| {
        let blocking = |reference: &Value| reference["uid"] == uid && reference["blockOwnerDeletion"] == true;
        object::list(dependent, "ownerReferences").iter().any(blocking) && store.find(key).is_some()
    };
    if object::has_finalizer(object, "foregroundDeletion") && !dependents.iter().any(blocks) {
        drop_finalizer(store, key, object, "foregroundDeletion");
    }
}

/// Whether a pod that is not done uses the claim.
fn is_in_use(store: &Store, claim: &Value) -> bool {
    let Some(row) = store.kind_named("", "Pod") else {
        return false;
    };
    let uses = |pod: &Value| {
        let done = ["Failed", "Succeeded"].contains(&pod["status"]["phase"].as_str().unwrap_or_default());
        let volumes = pod["spec"]["volumes"].as_array().map_or(&[][..], Vec::as_slice);
        !done
            && volumes
                .iter()
                .any(|volume| volume["persistentVolumeClaim"]["claimName"] == object::name(claim))
    };
    store.list(row, object::namespace(claim)).iter().any(|pod| uses(pod))
}

fn drop_finalizer(store: &mut Store, key: &Key, object: &Value, finalizer: &str) {
    write::amend(store, key, object, |object| {
        let mut left = object::list(object, "finalizers").to_vec();
        left.retain(|entry| entry != finalizer);
        set_list(object, "finalizers", left);
    });
}

fn drop_references(store: &mut Store, key: &Key, owners: &HashSet<String>) {
    let Some(object) = store.find(key) else { return };
    let mut left = object::list(&object, "ownerReferences").to_vec();
    let before = left.len();
    left.retain(|reference| !owners.contains(reference["uid"].as_str().unwrap_or_default()));
    if left.len() != before {
        write::amend(store, key, &object, |object| set_list(object, "ownerReferences", left));
    }
}

fn set_list(object: &mut Value, field: &str, list: Vec<Value>) {
    let metadata = object::metadata(object);
    if list.is_empty() {
        metadata.remove(field);
    } else {
        metadata.insert(field.to_owned(), Value::Array(list));
    }
}

/// A terminating namespace takes everything in it along, and goes when it is empty.
fn empty_namespaces(store: &mut Store, everything: &[(Key, Arc<Value>)]) {
    let Some(row) = store.kind_named("", "Namespace") else {
        return;
    };
    for namespace in store
        .list(row, "")
        .into_iter()
        .filter(|namespace| object::is_terminating(namespace))
    {
        let name = object::name(&namespace);
        let mut left = false;
        for (key, _) in everything.iter().filter(|(key, _)| key.namespace == name) {
            let Some(object) = store.find(key) else { continue };
            if !object::is_terminating(&object) {
                drop(delete::delete(store, key, &Options::propagating("Background")));
            }
            left |= store.find(key).is_some();
        }
        if !left {
            write::amend(store, &Key::new(row, "", name), &namespace, |namespace| {
                object::map_at(namespace, "spec").remove("finalizers");
            });
        }
    }
}
