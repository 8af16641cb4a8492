//! The objects, their versions, and everything that ever happened to them.
//!
//! Responsible for one order of changes: every write takes the next version, keeps its change, and tells whoever
//! watches. Not for what a write may do (`write.rs`, `delete.rs`). Used by the verbs under the server's one lock.

use super::{failure::Failure, kinds::Kind, object};
use jiff::Timestamp;
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tokio::sync::watch;

/// A version of the whole store; every change takes the next one.
pub type ResourceVersion = u64;

/// What a change did to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The object came into being.
    Added,
    /// The object was written, marked for deletion included.
    Modified,
    /// The object is gone.
    Deleted,
}

/// One change of one object, as it was committed.
#[derive(Debug, Clone)]
pub struct Change {
    /// The version the change took.
    pub version: ResourceVersion,
    /// When it was committed, by this machine's clock.
    pub time: Timestamp,
    /// What it did.
    pub event: EventKind,
    /// The object after the change; of a deletion, the last state under the deletion's version.
    pub object: Arc<Value>,
    /// The object before the change; of an addition, nothing.
    pub before: Option<Arc<Value>>,
    pub(super) kind: usize,
}

/// Where an object is kept: kind (by its place in the table), namespace (empty outside of namespaces), name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: usize,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(kind: usize, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// The state of the cluster.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) kinds: Arc<[Kind]>,
    /// See [`Options::pod_mutations`](super::Options::pod_mutations).
    pub(super) pod_mutations: Vec<fn(&mut Value)>,
    objects: BTreeMap<Key, Arc<Value>>,
    version: ResourceVersion,
    changes: VecDeque<Arc<Change>>,
    /// Changes up to this version can no longer be watched.
    forgotten: ResourceVersion,
    window: usize,
    kept: usize,
    told: watch::Sender<ResourceVersion>,
}

impl Store {
    /// `window`: how many changes a watch may reach back; `kept`: how many the history keeps.
    pub(super) fn new(kinds: Vec<Kind>, window: usize, kept: usize) -> Self {
        Self {
            kinds: kinds.into(),
            pod_mutations: Vec::new(),
            objects: BTreeMap::new(),
            version: 0,
            changes: VecDeque::new(),
            forgotten: 0,
            window,
            kept: kept.max(window),
            told: watch::Sender::new(0),
        }
    }

    pub(super) fn kind(&self, kind: usize) -> &Kind {
        &self.kinds[kind]
    }

    pub(super) fn kind_named(&self, group: &str, kind: &str) -> Option<usize> {
        self.kinds.iter().position(|row| row.is(group, kind))
    }

    pub(super) fn version(&self) -> ResourceVersion {
        self.version
    }

    /// Tells the version of each change as it is committed.
    pub(super) fn subscribe(&self) -> watch::Receiver<ResourceVersion> {
        self.told.subscribe()
    }

    pub(super) fn find(&self, key: &Key) -> Option<Arc<Value>> {
        self.objects.get(key).cloned()
    }

    pub(super) fn get(&self, key: &Key) -> Result<Arc<Value>, Failure> {
        self.find(key)
            .ok_or_else(|| Failure::not_found(self.kind(key.kind), &key.name))
    }

    /// The objects of a kind in name order; of one namespace, or of all when it is empty.
    pub(super) fn list(&self, kind: usize, namespace: &str) -> Vec<Arc<Value>> {
        self.objects
            .range(Key::new(kind, namespace, "")..)
            .take_while(|(key, _)| key.kind == kind && (namespace.is_empty() || key.namespace == namespace))
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub(super) fn everything(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Stores the object under the next version and answers with what was stored.
    pub(super) fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object::set_text(&mut object, "resourceVersion", &self.version.to_string());
        let object = Arc::new(object);
        let kind = key.kind;
        let before = self.objects.insert(key, object.clone());
        let event = if before.is_some() {
            EventKind::Modified
        } else {
            EventKind::Added
        };
        self.commit(kind, event, object.clone(), before);
        object
    }

    /// Takes the object away under the next version; `last` is its final state.
    pub(super) fn remove(&mut self, key: &Key, mut last: Value) {
        let Some(before) = self.objects.remove(key) else { return };
        self.version += 1;
        object::set_text(&mut last, "resourceVersion", &self.version.to_string());
        self.commit(key.kind, EventKind::Deleted, Arc::new(last), Some(before));
    }

    fn commit(&mut self, kind: usize, event: EventKind, object: Arc<Value>, before: Option<Arc<Value>>) {
        let change = Change {
            version: self.version,
            time: Timestamp::now(),
            event,
            object,
            before,
            kind,
        };
        self.changes.push_back(Arc::new(change));
        while self.changes.len() > self.kept {
            self.changes.pop_front();
        }
        if let Some(index) = self.changes.len().checked_sub(self.window + 1) {
            self.forgotten = self.forgotten.max(self.changes[index].version);
        }
        self.told.send_replace(self.version);
    }

    /// Ends the watch window here: a watch from before now is answered with 410.
    pub(super) fn forget(&mut self) {
        self.forgotten = self.version;
    }

    /// The changes after a version; 410 when some of them are out of the watch window.
    pub(super) fn changes_since(&self, version: ResourceVersion) -> Result<Vec<Arc<Change>>, Failure> {
        if version < self.forgotten {
            return Err(Failure::too_old(version, self.forgotten));
        }
        let first = self.changes.partition_point(|change| change.version <= version);
        Ok(self.changes.range(first..).cloned().collect())
    }

    pub(super) fn history(&self) -> Vec<Arc<Change>> {
        self.changes.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn store(window: usize) -> Store {
        Store::new(super::super::kinds::builtin(), window, 100)
    }

    #[test]
    fn changes_out_of_the_window_are_gone_but_stay_in_the_history() {
        let mut store = store(2);
        for name in ["a", "b", "c", "d"] {
            store.put(Key::new(0, "", name), json!({"metadata": {"name": name}}));
        }
        assert_eq!(store.changes_since(1).unwrap_err().code, 410);
        let names: Vec<_> = store
            .changes_since(2)
            .unwrap()
            .iter()
            .map(|change| object::name(&change.object).to_owned())
            .collect();
        assert_eq!(names, ["c", "d"]);
        assert_eq!(store.history().len(), 4);
        store.forget();
        assert_eq!(store.changes_since(3).unwrap_err().code, 410);
        assert!(store.changes_since(4).unwrap().is_empty());
    }

    #[test]
    fn a_deletion_takes_a_version_of_its_own() {
        let mut store = store(10);
        let key = Key::new(0, "", "a");
        let made = store.put(key.clone(), json!({"metadata": {"name": "a"}}));
        store.remove(&key, (*made).clone());
        let change = store.history().pop().unwrap();
        assert_eq!((change.version, change.event), (2, EventKind::Deleted));
        assert_eq!(object::version(&change.object), "2");
        assert!(store.find(&key).is_none());
    }
}
