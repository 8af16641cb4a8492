//! The `scale` subresource: `spec.replicas` seen as an autoscaling/v1 Scale.
//!
//! Used by the dispatcher and `patch.rs`.

use super::{
    call::Call,
    failure::Failure,
    fields::Fields,
    managed, object,
    store::{Key, Store},
    write::{self, Owners},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The object as a Scale. A number of 0 is left out, as the real server leaves it out.
pub(super) fn view(object: &Value) -> Value {
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {}, "spec": {},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        object::set_text(&mut scale, field, object::text(object, field));
    }
    if let Some(replicas) = object["spec"]["replicas"].as_i64().filter(|replicas| *replicas != 0) {
        scale["spec"]["replicas"] = json!(replicas);
    }
    if let Some(labels) = object["spec"]["selector"]["matchLabels"].as_object() {
        let terms: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
            .collect();
        scale["status"]["selector"] = Value::from(terms.join(","));
    }
    scale
}

/// Sets the number of replicas to a Scale's, under its `resourceVersion` if it has one.
pub(super) fn replace(store: &mut Store, call: &Call, scale: &Value) -> Result<Arc<Value>, Failure> {
    let key = Key::new(call.kind, &call.address.namespace, &call.address.name);
    let old = store.get(&key)?;
    let mut new = (*old).clone();
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        object::set_text(&mut new, field, object::text(scale, field));
    }
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    new["spec"]["replicas"] = json!(replicas);
    let changed = if replicas == 0 && !managed::read(&old).is_empty() {
        // A Scale of 0 has no `replicas`, so nobody owns it any more, neither its writer nor whoever did before.
        let replicas = Fields::from_json(&json!({"f:spec": {"f:replicas": {}}}));
        let mut entries = managed::read(&old);
        entries.iter_mut().for_each(|entry| entry.fields.subtract(&replicas));
        write::change(store, call, &old, new, Owners::Decided(entries))?
    } else {
        write::change(store, call, &old, new, Owners::Update)?
    };
    Ok(Arc::new(view(&changed)))
}
