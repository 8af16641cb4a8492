//! Server-side apply: merging what a manager declares, and refusing where another manager owns the field.
//!
//! The model of `structured-merge-diff` over the shapes of `schema.rs`: a conflict is a field that would change and
//! that another manager owns; what the manager declared before and no longer does goes, unless another owns it.

use super::{
    call::Call,
    failure::{Cause, Failure},
    fields::{Fields, compare, steps},
    kinds::Kind,
    managed::{self, Entry},
    object,
    schema::{ListShape, is_atomic_map, list_shape},
    store::{Key, Store},
    write::{self, Owners},
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Applies a declared object: creates it, or merges it into what is there.
pub(super) fn apply(store: &mut Store, call: &Call, mut declared: Value) -> Result<(u16, Arc<Value>), Failure> {
    let kinds = store.kinds.clone();
    let kind = &kinds[call.kind];
    if call.query.get("fieldManager").is_empty() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(Failure::invalid_options("PatchOptions", cause));
    }
    write::check_body(kind, &declared)?;
    if !object::list(&declared, "managedFields").is_empty() {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    let subresource = call.address.subresource.as_str();
    if kind.status {
        let ignored = if subresource == "status" { "spec" } else { "status" };
        object::as_map(&mut declared).remove(ignored);
    }
    object::drop_nulls(&mut declared);
    let owned = Fields::declared(&managed::bare(&declared));
    let writer = call.writer(kind, "Apply");
    let key = Key::new(call.kind, &call.address.namespace, &call.address.name);
    let live = match store.find(&key) {
        Some(live) => live,
        None if subresource.is_empty() => {
            object::set_text(&mut declared, "name", &key.name);
            let owners = Owners::Decided(vec![Entry::new(&writer, owned)]);
            return write::create(store, call, declared, owners).map(|made| (201, made));
        }
        None => return Err(Failure::not_found(kind, &key.name)),
    };
    let mut entries = managed::read(&live);
    if entries.is_empty() {
        entries.push(before_first_apply(kind, &live, &writer));
    }
    let mut merged = (*live).clone();
    merge(&mut merged, &declared, "");
    let difference = compare(&managed::bare(&live), &managed::bare(&merged));
    let mut changed = difference.modified;
    changed.unite(&difference.added);
    let (mut own, mut others): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|entry| entry.is_of(&writer));
    settle_conflicts(&mut others, &changed, call.query.is_true("force"))?;

    let mut kept = owned.clone();
    others.iter().for_each(|entry| kept.unite(&entry.fields));
    let before = own.pop().map(|entry| entry.fields);
    let mut lost = before.unwrap_or_default();
    lost.subtract(&kept);
    prune(&mut merged, &lost, &kept, "");
    others.push(Entry::new(&writer, owned));
    write::change(store, call, &live, merged, Owners::Decided(others)).map(|changed| (200, changed))
}

/// What an object without owners is said to be owned by, once somebody applies.
fn before_first_apply(kind: &Kind, live: &Value, writer: &managed::Writer) -> Entry {
    let mut bare = managed::bare(live);
    if kind.status {
        object::as_map(&mut bare).remove("status");
    }
    let mut writer = writer.clone();
    writer.manager = "before-first-apply".to_owned();
    writer.operation = "Update";
    writer.subresource.clear();
    Entry::new(&writer, Fields::of(&bare))
}

/// Refuses where others own what would change, or with force takes it from them.
fn settle_conflicts(others: &mut [Entry], changed: &Fields, force: bool) -> Result<(), Failure> {
    let mut conflicts: Vec<(String, String)> = Vec::new();
    for entry in others.iter_mut() {
        let contested = entry.fields.common(changed);
        if force {
            entry.fields.subtract(&contested);
            continue;
        }
        let shown = shown(entry);
        conflicts.extend(contested.paths().into_iter().map(|path| (shown.clone(), path)));
    }
    let message = match &conflicts[..] {
        [] => return Ok(()),
        [(manager, path)] => format!("Apply failed with 1 conflict: conflict with {manager}: {path}"),
        many => {
            let mut lines: Vec<String> = Vec::new();
            for (place, (manager, path)) in many.iter().enumerate() {
                if place == 0 || many[place - 1].0 != *manager {
                    lines.push(format!("conflicts with {manager}:"));
                }
                lines.push(format!("- {path}"));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let causes = conflicts
        .into_iter()
        .map(|(manager, path)| (path, format!("conflict with {manager}")))
        .collect();
    Err(Failure::apply_conflict(message, causes))
}

fn shown(entry: &Entry) -> String {
    let through = if entry.subresource.is_empty() {
        String::new()
    } else {
        format!(" with subresource \"{}\"", entry.subresource)
    };
    let using = if entry.operation == "Update" {
        format!(" using {}", entry.api_version)
    } else {
        String::new()
    };
    format!("\"{}\"{through}{using}", entry.manager)
}

/// Merges a declared value into a live one.
fn merge(live: &mut Value, declared: &Value, field: &str) {
    match declared {
        Value::Object(declared) if !is_atomic_map(field, declared) => {
            let map = object::as_map(live);
            for (name, value) in declared {
                merge(map.entry(name.clone()).or_insert(Value::Null), value, name);
            }
        }
        Value::Array(entries) if list_shape(field, entries) != ListShape::Atomic => {
            let mut merged = live.as_array().cloned().unwrap_or_default();
            let present: Vec<String> = steps(field, &merged).into_iter().map(|(step, _)| step).collect();
            for (step, entry) in steps(field, entries) {
                match present.iter().position(|present| *present == step) {
                    Some(place) => merge(&mut merged[place], entry, ""),
                    None => merged.push(entry.clone()),
                }
            }
            *live = Value::Array(merged);
        }
        other => *live = other.clone(),
    }
}

/// Takes away what the manager gave up. `kept` is what it still declares and what others own.
fn prune(value: &mut Value, lost: &Fields, kept: &Fields, field: &str) {
    let nothing = Fields::default();
    match value {
        Value::Object(map) => {
            for (step, lost) in &lost.below {
                let Some(name) = step.strip_prefix("f:") else { continue };
                let kept = kept.below.get(step).unwrap_or(&nothing);
                if lost.here && kept.is_empty() {
                    map.remove(name);
                } else if let Some(child) = map.get_mut(name) {
                    prune(child, lost, kept, name);
                    if kept.is_empty() && is_empty(child) {
                        map.remove(name);
                    }
                }
            }
        }
        Value::Array(entries) => {
            let named: Map<String, Value> = steps(field, entries)
                .into_iter()
                .map(|(step, entry)| (step, entry.clone()))
                .collect();
            let order: Vec<String> = steps(field, entries).into_iter().map(|(step, _)| step).collect();
            let mut named = named;
            for (step, lost) in &lost.below {
                let kept = kept.below.get(step).unwrap_or(&nothing);
                if lost.here && kept.is_empty() {
                    named.remove(step);
                } else if let Some(child) = named.get_mut(step) {
                    prune(child, lost, kept, "");
                }
            }
            if !order.is_empty() {
                *entries = order.iter().filter_map(|step| named.remove(step)).collect();
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}
