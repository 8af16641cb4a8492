//! Pods' own subresources: binding to a node, eviction.

use super::{
    call::Call,
    delete::{self, Options},
    failure::Failure,
    store::{Key, Store},
    write,
};
use serde_json::{Value, json};

/// Binds a pod to a node, once.
pub(super) fn bind(store: &mut Store, call: &Call, binding: &Value) -> Result<Value, Failure> {
    let key = Key::new(call.kind, &call.address.namespace, &call.address.name);
    let pod = store.get(&key)?;
    if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
        return Err(Failure::already_bound(&key.name, node));
    }
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(Failure::bad_request("a binding must name its target node"));
    }
    if !call.is_dry()? {
        write::amend(store, &key, &pod, |pod| {
            pod["spec"]["nodeName"] = Value::from(node);
            let scheduled = json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": call.now,
            });
            let conditions = super::object::map_at(pod, "status")
                .entry("conditions")
                .or_insert_with(|| json!([]));
            if let Some(conditions) = conditions.as_array_mut() {
                conditions.retain(|condition| condition["type"] != "PodScheduled");
                conditions.push(scheduled);
            }
        });
    }
    Ok(success())
}

/// Evicts a pod: deletes it with the options of the eviction. Disruption budgets are not consulted.
pub(super) fn evict(store: &mut Store, call: &Call, eviction: &Value) -> Result<Value, Failure> {
    let key = Key::new(call.kind, &call.address.namespace, &call.address.name);
    let options = Options::of(&eviction["deleteOptions"]).dry(call.is_dry()?);
    delete::delete(store, &key, &options)?;
    Ok(success())
}

fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}
