//! Sets of fields of a document, as `managedFields` write them (`FieldsV1`).
//!
//! A set is a tree: `f:NAME` is a field, `k:{…}` an entry of a keyed list, `v:…` an entry of a set; `.` is the place
//! itself. Pure; used by `managed.rs` and `apply.rs`.

use super::schema::{ListShape, has_atomic_entries, is_always_there, is_atomic_map, list_shape};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A set of fields: this place, and places below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) here: bool,
    pub(super) below: BTreeMap<String, Fields>,
}

/// What differs between two documents.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) added: Fields,
    pub(super) modified: Fields,
    pub(super) removed: Fields,
}

impl Fields {
    pub(super) fn is_empty(&self) -> bool {
        !self.here && self.below.values().all(Fields::is_empty)
    }

    pub(super) fn from_json(value: &Value) -> Self {
        let Some(map) = value.as_object() else {
            return Self::default();
        };
        let mut fields = Self {
            here: map.is_empty() || map.contains_key("."),
            below: BTreeMap::new(),
        };
        for (step, below) in map.iter().filter(|(step, _)| *step != ".") {
            fields.below.insert(step.clone(), Self::from_json(below));
        }
        fields
    }

    pub(super) fn to_json(&self) -> Value {
        let mut map = Map::new();
        let below: Vec<_> = self.below.iter().filter(|(_, fields)| !fields.is_empty()).collect();
        if self.here && !below.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, fields) in below {
            map.insert(step.clone(), fields.to_json());
        }
        Value::Object(map)
    }

    pub(super) fn unite(&mut self, other: &Fields) {
        self.here |= other.here;
        for (step, fields) in &other.below {
            self.below.entry(step.clone()).or_default().unite(fields);
        }
    }

    pub(super) fn subtract(&mut self, other: &Fields) {
        self.here &= !other.here;
        for (step, fields) in &mut self.below {
            if let Some(other) = other.below.get(step) {
                fields.subtract(other);
            }
        }
        self.below.retain(|_, fields| !fields.is_empty());
    }

    pub(super) fn common(&self, other: &Fields) -> Fields {
        let below = self.below.iter().filter_map(|(step, fields)| {
            let both = fields.common(other.below.get(step)?);
            (!both.is_empty()).then(|| (step.clone(), both))
        });
        Fields {
            here: self.here && other.here,
            below: below.collect(),
        }
    }

    /// Every member as a path, as conflict messages write them: `.spec.replicas`,
    /// `.spec.template.spec.containers[name="app"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.walk(String::new(), &mut paths);
        paths
    }

    fn walk(&self, path: String, paths: &mut Vec<String>) {
        if self.here {
            paths.push(path.clone());
        }
        for (step, fields) in &self.below {
            fields.walk(path.clone() + &shown(step), paths);
        }
    }

    /// Every field that an applied document declares: its leaves and the entries of its lists, but not the maps and lists
    /// around them.
    pub(super) fn declared(document: &Value) -> Fields {
        let mut fields = Self::of(document);
        fields.forget_containers();
        fields
    }

    fn forget_containers(&mut self) {
        for (step, fields) in &mut self.below {
            fields.here &= fields.below.is_empty() || step.starts_with("k:");
            fields.forget_containers();
        }
    }

    /// Every field of a document.
    pub(super) fn of(document: &Value) -> Fields {
        Self::below_of(document, "")
    }

    fn all(value: &Value, field: &str) -> Fields {
        let mut fields = Self::below_of(value, field);
        fields.here = fields.below.is_empty() || !is_always_there(field);
        fields
    }

    fn below_of(value: &Value, field: &str) -> Fields {
        let mut fields = Fields::default();
        match value {
            Value::Object(map) if !is_atomic_map(field, map) => {
                for (name, value) in map {
                    fields.below.insert(format!("f:{name}"), Self::all(value, name));
                }
            }
            Value::Array(entries) => {
                for (step, entry) in steps(field, entries) {
                    let mut below = if has_atomic_entries(field) {
                        Fields::default()
                    } else {
                        Self::below_of(entry, "")
                    };
                    below.here = true;
                    fields.below.insert(step, below);
                }
            }
            _ => {}
        }
        fields
    }
}

/// The entries of a list with the step that names each; empty for an atomic list.
pub(super) fn steps<'a>(field: &str, entries: &'a [Value]) -> Vec<(String, &'a Value)> {
    match list_shape(field, entries) {
        ListShape::Atomic => Vec::new(),
        ListShape::Set => entries.iter().map(|entry| (format!("v:{entry}"), entry)).collect(),
        ListShape::Keyed(keys) => entries
            .iter()
            .map(|entry| {
                let key: Map<String, Value> = keys
                    .iter()
                    .filter_map(|key| Some(((*key).to_owned(), entry.get(key)?.clone())))
                    .collect();
                (format!("k:{}", Value::Object(key)), entry)
            })
            .collect(),
    }
}

/// Compares two documents field by field.
pub(super) fn compare(old: &Value, new: &Value) -> Difference {
    let mut difference = Difference::default();
    compare_at(
        old,
        new,
        "",
        &mut difference.added,
        &mut difference.modified,
        &mut difference.removed,
    );
    difference
}

fn compare_at(old: &Value, new: &Value, field: &str, added: &mut Fields, modified: &mut Fields, removed: &mut Fields) {
    if old == new {
        return;
    }
    let (old_parts, new_parts) = match (old, new) {
        (Value::Object(_), Value::Object(map)) if !is_atomic_map(field, map) => (parts(old, field), parts(new, field)),
        (Value::Array(a), Value::Array(b))
            if list_shape(field, a) != ListShape::Atomic || list_shape(field, b) != ListShape::Atomic =>
        {
            (parts(old, field), parts(new, field))
        }
        _ => {
            modified.here = true;
            return;
        }
    };
    for (step, (name, value)) in &new_parts {
        match old_parts.get(step) {
            None => {
                let mut fields = Fields::all(value, name);
                if step.starts_with("k:") && has_atomic_entries(field) {
                    fields = Fields {
                        here: true,
                        below: BTreeMap::new(),
                    };
                }
                added.below.insert(step.clone(), fields);
            }
            Some((_, old)) if step.starts_with("k:") && has_atomic_entries(field) => {
                if old != value {
                    modified.below.entry(step.clone()).or_default().here = true;
                }
            }
            Some((_, old)) => {
                let mut below = Difference::default();
                compare_at(
                    old,
                    value,
                    name,
                    &mut below.added,
                    &mut below.modified,
                    &mut below.removed,
                );
                for (into, from) in [
                    (&mut *added, below.added),
                    (&mut *modified, below.modified),
                    (&mut *removed, below.removed),
                ] {
                    if !from.is_empty() {
                        into.below.insert(step.clone(), from);
                    }
                }
            }
        }
    }
    for (step, (name, value)) in &old_parts {
        if !new_parts.contains_key(step) {
            removed.below.insert(step.clone(), Fields::all(value, name));
        }
    }
}

/// The parts of a map or keyed list by step, with the field name that each part's shape depends on.
fn parts<'a>(value: &'a Value, field: &str) -> BTreeMap<String, (&'a str, &'a Value)> {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| (format!("f:{name}"), (name.as_str(), value)))
            .collect(),
        Value::Array(entries) => steps(field, entries)
            .into_iter()
            .map(|(step, entry)| (step, ("", entry)))
            .collect(),
        _ => BTreeMap::new(),
    }
}

fn shown(step: &str) -> String {
    if let Some(name) = step.strip_prefix("f:") {
        return format!(".{name}");
    }
    if let Some(value) = step.strip_prefix("v:") {
        return format!("[={value}]");
    }
    let key: Map<String, Value> = step
        .strip_prefix("k:")
        .and_then(|key| serde_json::from_str(key).ok())
        .unwrap_or_default();
    let keys: Vec<String> = key.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("[{}]", keys.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_written_as_the_real_server_writes_them() {
        let document = json!({
            "metadata": {"labels": {"app": "web"}, "finalizers": ["a.b/c"]},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {
                "containers": [{"name": "app", "image": "shop:1", "ports": [{"containerPort": 8080, "protocol": "TCP"}]}],
                "securityContext": {},
            }}},
        });
        assert_eq!(
            Fields::of(&document).to_json(),
            json!({
                "f:metadata": {
                    "f:labels": {".": {}, "f:app": {}},
                    "f:finalizers": {".": {}, "v:\"a.b/c\"": {}},
                },
                "f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {"f:spec": {
                    "f:containers": {"k:{\"name\":\"app\"}": {
                        ".": {}, "f:name": {}, "f:image": {},
                        "f:ports": {".": {}, "k:{\"containerPort\":8080,\"protocol\":\"TCP\"}": {
                            ".": {}, "f:containerPort": {}, "f:protocol": {},
                        }},
                    }},
                    "f:securityContext": {},
                }}},
            })
        );
    }

    #[test]
    fn fields_read_back_what_they_wrote() {
        let written = json!({"f:a": {".": {}, "f:b": {}}, "f:c": {"k:{\"name\":\"x\"}": {".": {}, "f:d": {}}}});
        assert_eq!(Fields::from_json(&written).to_json(), written);
    }

    #[test]
    fn a_comparison_tells_added_modified_and_removed_apart() {
        let old = json!({"spec": {"a": 1, "b": 1, "containers": [{"name": "x", "image": "1"}, {"name": "y"}]}});
        let new = json!({"spec": {"a": 2, "c": 1, "containers": [{"name": "x", "image": "2"}]}});
        let difference = compare(&old, &new);
        assert_eq!(difference.added.paths(), [".spec.c"]);
        assert_eq!(
            difference.modified.paths(),
            [".spec.a", ".spec.containers[name=\"x\"].image"]
        );
        assert_eq!(
            difference.removed.paths(),
            [
                ".spec.b",
                ".spec.containers[name=\"y\"]",
                ".spec.containers[name=\"y\"].name"
            ]
        );
    }
}
