//! Watches: the changes of a kind as a stream of lines.
//!
//! Responsible for where a watch begins, which changes it shows under its selector, bookmarks, and its end. Reads the
//! store, never writes.

use super::{
    call::Call,
    failure::{Cause, Failure},
    kinds::Kind,
    object,
    selector::Selector,
    server::Core,
    show::Shape,
    store::{Change, EventKind, ResourceVersion, Store},
};
use hyper::body::Bytes;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch::Receiver, time::Instant};

/// A watch that has begun.
pub(super) struct Watch {
    core: Arc<Core>,
    kind: usize,
    namespace: String,
    selector: Selector,
    shape: Shape,
    kinds: Arc<[Kind]>,
    bookmarks: bool,
    told: Receiver<ResourceVersion>,
    seen: ResourceVersion,
    /// Lines that wait to be sent.
    ready: Vec<u8>,
    deadline: Option<Instant>,
    next_bookmark: Instant,
    ended: bool,
}

impl Watch {
    /// Begins a watch; a version that is too old is told in the stream, as the real server tells it.
    pub(super) fn begin(core: &Arc<Core>, store: &Store, call: &Call, selector: Selector) -> Result<Self, Failure> {
        let query = &call.query;
        let initial = query.is_true("sendInitialEvents");
        if initial && query.get("resourceVersionMatch") != "NotOlderThan" {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(Failure::invalid_options(
                "ListOptions",
                Cause::forbidden("resourceVersionMatch", why),
            ));
        }
        let now = Instant::now();
        let seconds: Option<u64> = query.get("timeoutSeconds").parse().ok();
        let mut watch = Self {
            core: core.clone(),
            kind: call.kind,
            namespace: call.address.namespace.clone(),
            selector,
            shape: Shape::asked_for(call),
            kinds: store.kinds.clone(),
            bookmarks: query.is_true("allowWatchBookmarks"),
            told: store.subscribe(),
            seen: store.version(),
            ready: Vec::new(),
            deadline: seconds.map(|seconds| now + Duration::from_secs(seconds)),
            next_bookmark: now + core.bookmark_every,
            ended: false,
        };
        let asked = query.get("resourceVersion");
        if initial || ["", "0"].contains(&asked) {
            let mut present = store.list(watch.kind, &watch.namespace);
            present.retain(|object| watch.selector.selects(object));
            present.iter().for_each(|object| watch.push("ADDED", object));
            if initial && watch.bookmarks {
                watch.bookmark(store, true);
            }
        } else {
            watch.seen = asked.parse().map_err(|_| {
                let why = "must be a valid resource version";
                Failure::invalid_options(
                    "ListOptions",
                    Cause::invalid("resourceVersion", &Value::from(asked), why),
                )
            })?;
        }
        Ok(watch)
    }

    /// The next lines; `None` at the end of the watch.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.ready.is_empty() {
                return Some(Bytes::from(std::mem::take(&mut self.ready)));
            }
            if self.ended {
                return None;
            }
            self.told.mark_unchanged();
            self.read_changes();
            if !self.ready.is_empty() {
                continue;
            }
            let deadline = self
                .deadline
                .unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
            tokio::select! {
                told = self.told.changed() => self.ended |= told.is_err(),
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => self.bookmark_now(),
                () = tokio::time::sleep_until(deadline) => {
                    if self.bookmarks {
                        self.bookmark_now();
                    }
                    self.ended = true;
                }
            }
        }
    }

    fn read_changes(&mut self) {
        let core = self.core.clone();
        let store = core.store();
        match store.changes_since(self.seen) {
            Ok(changes) => {
                changes.iter().for_each(|change| self.show(change));
                self.seen = self.seen.max(store.version());
            }
            Err(failure) => {
                self.line("ERROR", &failure.status());
                self.ended = true;
            }
        }
    }

    fn show(&mut self, change: &Change) {
        let here = self.namespace.is_empty() || object::namespace(&change.object) == self.namespace;
        if change.kind != self.kind || !here {
            return;
        }
        let before = change
            .before
            .as_ref()
            .is_some_and(|before| self.selector.selects(before));
        let after = change.event != EventKind::Deleted && self.selector.selects(&change.object);
        match (before, after) {
            (false, false) => {}
            (false, true) => self.push("ADDED", &change.object),
            (true, true) => self.push("MODIFIED", &change.object),
            (true, false) if change.event == EventKind::Deleted => self.push("DELETED", &change.object),
            (true, false) => {
                // It left the selection: its last state in it, under the version at which it left.
                let mut last = change.before.as_deref().cloned().unwrap_or_default();
                object::set_text(&mut last, "resourceVersion", &change.version.to_string());
                self.push("DELETED", &last);
            }
        }
    }

    fn push(&mut self, event: &str, object: &Value) {
        let shown = self.shape.show(&self.kinds[self.kind], object);
        self.line(event, &shown);
    }

    fn line(&mut self, event: &str, object: &Value) {
        let line = json!({"type": event, "object": object});
        self.ready.extend_from_slice(line.to_string().as_bytes());
        self.ready.push(b'\n');
    }

    fn bookmark_now(&mut self) {
        let core = self.core.clone();
        let store = core.store();
        // A change may have come in meanwhile; it must be shown before a version that includes it is named.
        self.next_bookmark = Instant::now() + core.bookmark_every;
        if store.version() == self.seen {
            self.bookmark(&store, false);
        }
    }

    fn bookmark(&mut self, store: &Store, initial_end: bool) {
        let kind = store.kind(self.kind);
        let mut mark = json!({
            "kind": kind.kind, "apiVersion": kind.api_version(),
            "metadata": {"resourceVersion": self.seen.to_string()},
        });
        if initial_end {
            mark["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        self.line("BOOKMARK", &mark);
    }
}
