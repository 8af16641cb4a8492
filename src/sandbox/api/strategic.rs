//! Strategic merge patch.
//!
//! The rules of Kubernetes' `strategicpatch`: maps merge, null removes, lists with a merge key merge by it, other lists
//! are replaced; `$patch`, `$retainKeys` and `$deleteFromPrimitiveList` direct, `$setElementOrder` orders. Pure.

use super::schema::{merge_key, merges_as_set};
use serde_json::{Map, Value};

/// Merges `patch` into `target`; an error says what of the patch makes no sense.
pub(super) fn merge(target: &mut Value, patch: &Value) -> Result<(), String> {
    let Value::Object(patch) = patch else {
        return Err("a strategic merge patch must be a map".to_owned());
    };
    merge_map(target, patch)
}

fn merge_map(target: &mut Value, patch: &Map<String, Value>) -> Result<(), String> {
    match patch.get("$patch").map(Value::as_str) {
        None => {}
        Some(Some("replace")) => {
            let fresh = patch.iter().filter(|(name, _)| *name != "$patch");
            *target = Value::Object(fresh.map(|(name, value)| (name.clone(), value.clone())).collect());
            return Ok(());
        }
        Some(Some("delete")) => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some(Some("merge")) => {}
        Some(other) => return Err(format!("unknown directive $patch: {}", other.unwrap_or("?"))),
    }
    let map = super::object::as_map(target);
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|name, _| kept.iter().any(|kept| kept == name));
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            remove_values(map.get_mut(list), value);
        }
    }
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        match value {
            Value::Null => {
                map.remove(name);
            }
            Value::Object(patch) => {
                let deletes = patch.get("$patch").is_some_and(|directive| directive == "delete");
                if deletes {
                    map.remove(name);
                } else {
                    merge_map(map.entry(name.clone()).or_insert(Value::Null), patch)?;
                }
            }
            Value::Array(list) => {
                let order = patch.get(&format!("$setElementOrder/{name}")).and_then(Value::as_array);
                merge_list(map.entry(name.clone()).or_insert(Value::Null), name, list, order)?;
            }
            plain => {
                map.insert(name.clone(), plain.clone());
            }
        }
    }
    Ok(())
}

fn merge_list(target: &mut Value, field: &str, patch: &[Value], order: Option<&Vec<Value>>) -> Result<(), String> {
    if merges_as_set(field) {
        let mut entries = target.as_array().cloned().unwrap_or_default();
        entries.extend(patch.iter().filter(|entry| !target_has(target, entry)).cloned());
        *target = Value::Array(entries);
        return Ok(());
    }
    let present = target.as_array().cloned().unwrap_or_default();
    let key = merge_key(field, patch).or_else(|| merge_key(field, &present));
    let replaces = patch
        .iter()
        .any(|entry| entry.get("$patch").is_some_and(|directive| directive == "replace"));
    let Some(key) = key.filter(|_| !replaces) else {
        let fresh = patch.iter().filter(|entry| entry.get("$patch").is_none());
        *target = Value::Array(fresh.cloned().collect());
        return Ok(());
    };
    let mut entries = present;
    for entry in patch {
        let Value::Object(change) = entry else {
            return Err(format!("{field}: an entry of a list merged by {key} must be a map"));
        };
        let Some(wanted) = change.get(key) else {
            return Err(format!("map: {entry} does not contain declared merge key: {key}"));
        };
        let place = entries.iter().position(|entry| entry.get(key) == Some(wanted));
        if change.get("$patch").is_some_and(|directive| directive == "delete") {
            entries.retain(|entry| entry.get(key) != Some(wanted));
        } else if let Some(place) = place {
            merge_map(&mut entries[place], change)?;
        } else {
            let mut fresh = Value::Object(Map::new());
            merge_map(&mut fresh, change)?;
            entries.push(fresh);
        }
    }
    let before = target.as_array().cloned().unwrap_or_default();
    *target = Value::Array(in_order(entries, order.map_or(patch, Vec::as_slice), &before, key));
    Ok(())
}

/// Orders merged entries as the real server does: those of the patch in the patch's order, and each of the others before
/// the first that came after it on the server.
fn in_order(entries: Vec<Value>, patch: &[Value], server: &[Value], key: &str) -> Vec<Value> {
    let place = |list: &[Value], entry: &Value| list.iter().position(|other| other.get(key) == entry.get(key));
    let (mut ours, others): (Vec<Value>, Vec<Value>) =
        entries.into_iter().partition(|entry| place(patch, entry).is_some());
    ours.sort_by_key(|entry| place(patch, entry));
    let mut ours = ours.into_iter().peekable();
    let mut others = others.into_iter().peekable();
    let mut ordered = Vec::new();
    loop {
        let take_other = match (others.peek(), ours.peek()) {
            (Some(other), Some(our)) => {
                place(server, our).is_some_and(|our| place(server, other).is_some_and(|other| other < our))
            }
            (other, _) => other.is_some(),
        };
        match if take_other { others.next() } else { ours.next() } {
            Some(entry) => ordered.push(entry),
            None => return ordered,
        }
    }
}

fn target_has(target: &Value, wanted: &Value) -> bool {
    target.as_array().is_some_and(|entries| entries.contains(wanted))
}

fn remove_values(target: Option<&mut Value>, unwanted: &Value) {
    if let (Some(Value::Array(entries)), Some(unwanted)) = (target, unwanted.as_array()) {
        entries.retain(|entry| !unwanted.contains(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(mut target: Value, patch: Value) -> Value {
        merge(&mut target, &patch).unwrap();
        target
    }

    #[test]
    fn containers_merge_by_name_and_env_inside_them_too() {
        let target = json!({"spec": {"containers": [
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
            {"name": "b", "image": "b:1"},
        ]}});
        let patch = json!({"spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [
                {"name": "a", "env": [{"name": "Y", "value": "3"}, {"name": "X", "$patch": "delete"}]},
                {"name": "c", "image": "c:1"},
            ],
        }});
        assert_eq!(
            merged(target, patch),
            json!({"spec": {"containers": [
                {"name": "b", "image": "b:1"},
                {"name": "a", "image": "a:1", "env": [{"name": "Y", "value": "3"}]},
                {"name": "c", "image": "c:1"},
            ]}})
        );
    }

    #[test]
    fn entries_of_the_patch_come_in_its_order() {
        let conditions =
            |types: &[&str]| json!({"conditions": types.iter().map(|it| json!({"type": it})).collect::<Vec<_>>()});
        let target = conditions(&["A", "B", "C"]);
        assert_eq!(
            merged(target.clone(), conditions(&["N"])),
            conditions(&["N", "A", "B", "C"])
        );
        assert_eq!(
            merged(target.clone(), conditions(&["C", "N"])),
            conditions(&["A", "B", "C", "N"])
        );
        assert_eq!(merged(target, conditions(&["C", "A"])), conditions(&["B", "C", "A"]));
    }

    #[test]
    fn a_revision_replaces_the_whole_template() {
        let target =
            json!({"spec": {"replicas": 3, "template": {"metadata": {"labels": {"new": "1"}}, "spec": {"x": 1}}}});
        let patch = json!({"spec": {"template": {"$patch": "replace", "spec": {"y": 2}}}});
        assert_eq!(
            merged(target, patch),
            json!({"spec": {"replicas": 3, "template": {"spec": {"y": 2}}}})
        );
    }

    #[test]
    fn keys_not_retained_go_and_null_removes() {
        let target = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, "gone": 1});
        let patch = json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}, "gone": null});
        assert_eq!(merged(target, patch), json!({"strategy": {"type": "Recreate"}}));
    }

    #[test]
    fn finalizers_unite_commands_are_replaced() {
        let target = json!({"metadata": {"finalizers": ["a"]}, "command": ["x", "y"]});
        let patch = json!({"metadata": {"finalizers": ["a", "b"]}, "command": ["z"]});
        assert_eq!(
            merged(target.clone(), patch),
            json!({"metadata": {"finalizers": ["a", "b"]}, "command": ["z"]})
        );
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}});
        assert_eq!(
            merged(target, patch),
            json!({"metadata": {"finalizers": []}, "command": ["x", "y"]})
        );
    }

    #[test]
    fn an_entry_without_its_merge_key_is_refused() {
        let mut target = json!({"env": [{"name": "X"}]});
        assert!(merge(&mut target, &json!({"env": [{"value": "1"}]})).is_err());
    }
}
