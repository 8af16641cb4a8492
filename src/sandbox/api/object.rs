//! Reading and writing the metadata of objects that are plain JSON.
//!
//! Small functions over `serde_json::Value`, used by every part of the API; no rules live here.

use serde_json::{Map, Value};

/// A text of the metadata; `""` where it is absent.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub(super) fn name(object: &Value) -> &str {
    text(object, "name")
}

pub(super) fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

pub(super) fn uid(object: &Value) -> &str {
    text(object, "uid")
}

pub(super) fn version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

/// The value at a dotted path of plain field names; `Null` where it is absent.
pub(super) fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, field| &value[field])
}

pub(super) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    map_at(object, "metadata")
}

/// The map at `field`, made where it is absent or not a map.
pub(super) fn map_at<'a>(value: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    as_map(as_map(value).entry(field).or_insert(Value::Null))
}

/// The value as a map; anything else becomes an empty one.
pub(super) fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made a map just above")
}

/// The entries of a list of the metadata, such as `finalizers` or `ownerReferences`.
pub(super) fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object["metadata"][field].as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn has_finalizers(object: &Value) -> bool {
    !list(object, "finalizers").is_empty()
}

pub(super) fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    list(object, "finalizers").iter().any(|entry| entry == finalizer)
}

/// Whether the object is on its way out.
pub(super) fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Sets a text of the metadata, or takes it away when it is empty.
pub(super) fn set_text(object: &mut Value, field: &str, value: &str) {
    let metadata = metadata(object);
    if value.is_empty() {
        metadata.remove(field);
    } else {
        metadata.insert(field.to_owned(), Value::from(value));
    }
}

/// Takes nulls out of maps, as decoding into typed objects does.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, entry| !entry.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(entries) => entries.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
