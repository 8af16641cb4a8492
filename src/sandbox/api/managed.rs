//! `metadata.managedFields`: who wrote which field.
//!
//! Follows the real server: a writer owns what it added or changed, everyone loses what was changed or removed by
//! another; a list sent by the writer is taken as it is, so that a manager can give its entries up; an empty list and
//! `[{}]` clear all, and no list, or null, changes nothing. Not responsible for the conflicts of server-side apply
//! (`apply.rs`).

use super::{
    fields::{Fields, compare},
    object,
};
use serde_json::{Value, json};

/// Who writes, and through which door.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) manager: String,
    /// `Update` or `Apply`.
    pub(super) operation: &'static str,
    /// `status`, `scale` or empty.
    pub(super) subresource: String,
    pub(super) api_version: String,
    pub(super) time: String,
}

/// One manager's entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: String,
    pub(super) subresource: String,
    pub(super) api_version: String,
    time: String,
    pub(super) fields: Fields,
}

impl Entry {
    pub(super) fn is_of(&self, writer: &Writer) -> bool {
        self.manager == writer.manager
            && self.operation == writer.operation
            && self.subresource == writer.subresource
            && self.api_version == writer.api_version
    }

    pub(super) fn new(writer: &Writer, fields: Fields) -> Self {
        Self {
            manager: writer.manager.clone(),
            operation: writer.operation.to_owned(),
            subresource: writer.subresource.clone(),
            api_version: writer.api_version.clone(),
            time: writer.time.clone(),
            fields,
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let entry = Self {
            manager: text("manager"),
            operation: text("operation"),
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            time: text("time"),
            fields: Fields::from_json(&value["fieldsV1"]),
        };
        let readable = ["Apply", "Update"].contains(&entry.operation.as_str()) && !entry.api_version.is_empty();
        readable.then_some(entry)
    }

    fn to_json(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": self.api_version,
            "time": self.time, "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_json(),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = Value::from(self.subresource.clone());
        }
        entry
    }
}

/// The entries of an object; none when they cannot be read, as the real server forgets such lists.
pub(super) fn read(object: &Value) -> Vec<Entry> {
    try_read(object).unwrap_or_default()
}

fn try_read(object: &Value) -> Option<Vec<Entry>> {
    object::list(object, "managedFields")
        .iter()
        .map(Entry::from_json)
        .collect()
}

/// Writes the entries into the object, in the real server's order: applies first, then by time.
pub(super) fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| (&a.operation, &a.time, &a.manager).cmp(&(&b.operation, &b.time, &b.manager)));
    let metadata = object::metadata(object);
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), entries.iter().map(Entry::to_json).collect());
    }
}

/// Whether the writer sent `[]` or `[{}]`, which clear the list.
fn is_reset(object: &Value) -> bool {
    match object["metadata"]["managedFields"].as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    }
}

/// Brings the entries of `new` up to date after an update from `old` (`Null`: a create).
pub(super) fn record_update(old: &Value, new: &mut Value, writer: &Writer) {
    let of_old = || read(old);
    let mut entries = if !writer.subresource.is_empty() {
        of_old()
    } else if is_reset(new) {
        Vec::new()
    } else {
        try_read(new)
            .filter(|entries| !entries.is_empty())
            .unwrap_or_else(of_old)
    };
    if entries.is_empty() && !old.is_null() {
        // An object that nobody is recorded for stays so until somebody applies.
        object::metadata(new).remove("managedFields");
        return;
    }
    let mut difference = compare(&bare(old), &bare(new));
    difference.added.unite(&difference.modified);
    let changed = difference.added;
    let mut lost = changed.clone();
    lost.unite(&difference.removed);
    let mut recorded = false;
    for entry in &mut entries {
        if entry.is_of(writer) {
            let before = entry.fields.clone();
            entry.fields.unite(&changed);
            entry.fields.subtract(&difference.removed);
            if entry.fields != before {
                entry.time.clone_from(&writer.time);
            }
            recorded = true;
        } else {
            entry.fields.subtract(&lost);
        }
    }
    if !recorded && !changed.is_empty() {
        entries.push(Entry::new(writer, changed));
    }
    write(new, entries);
}

/// Whether two objects have the same entries, times aside.
pub(super) fn same_owners(a: &Value, b: &Value) -> bool {
    let without_times = |object: &Value| {
        let mut entries = read(object);
        entries.iter_mut().for_each(|entry| entry.time.clear());
        entries
    };
    without_times(a) == without_times(b)
}

/// The object without what nobody owns: its identity and what the server keeps.
pub(super) fn bare(object: &Value) -> Value {
    let mut bare = object.clone();
    let map = object::as_map(&mut bare);
    map.remove("apiVersion");
    map.remove("kind");
    let metadata = object::metadata(&mut bare);
    for field in SERVER_OWNED {
        metadata.remove(*field);
    }
    if metadata.is_empty() {
        object::as_map(&mut bare).remove("metadata");
    }
    bare
}

const SERVER_OWNED: &[&str] = &[
    "name",
    "namespace",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
];
