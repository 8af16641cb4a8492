//! What the real server refuses to store.
//!
//! Only the rules that the road of a rollback can meet: names, immutable fields, sizes, selectors. Messages are those of
//! Kubernetes 1.37.2. Not responsible for conflicts (`write.rs`).

use super::{
    failure::{Cause, Failure},
    kinds::Kind,
    object,
};
use serde_json::Value;

/// The size at which ConfigMaps and Secrets are refused, in bytes of keys and values together.
const MAX_DATA: usize = 1024 * 1024;

/// Refuses a new object that is not valid.
pub(super) fn check_new(kind: &Kind, object: &Value) -> Result<(), Failure> {
    let mut causes = Vec::new();
    check_name(kind, object, &mut causes);
    check_both(kind, object, &mut causes);
    finish(kind, object, causes)
}

/// Refuses a change that is not allowed.
pub(super) fn check_change(kind: &Kind, old: &Value, new: &Value) -> Result<(), Failure> {
    let mut causes = Vec::new();
    check_finalizers(old, new, &mut causes);
    check_both(kind, new, &mut causes);
    match (kind.group, kind.kind) {
        ("apps", "StatefulSet") => check_statefulset(old, new, &mut causes),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") | ("batch", "Job") => {
            immutable(old, new, "spec.selector", &mut causes);
            if kind.kind == "Job" {
                immutable(old, new, "spec.template", &mut causes);
                immutable(old, new, "spec.completions", &mut causes);
            }
        }
        ("", "ConfigMap" | "Secret") => check_frozen(old, new, &mut causes),
        ("", "Pod") => check_pod(old, new, &mut causes),
        ("apps", "ControllerRevision") => immutable(old, new, "data", &mut causes),
        _ => {}
    }
    finish(kind, new, causes)
}

fn finish(kind: &Kind, object: &Value, causes: Vec<Cause>) -> Result<(), Failure> {
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid(kind, object::name(object), causes))
    }
}

fn check_name(kind: &Kind, object: &Value, causes: &mut Vec<Cause>) {
    let name = object::name(object);
    // Roles may be called `system:node`; everything else is a DNS name.
    let legal = if kind.group == "rbac.authorization.k8s.io" {
        !name.contains('/') && !name.contains('%')
    } else {
        name.len() <= 253 && name.split('.').all(is_label)
    };
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if !legal {
        let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                   must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                   '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        causes.push(Cause::invalid("metadata.name", &Value::from(name), why));
    }
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if inner(first) && inner(last))
        && bytes.iter().all(|&byte| inner(byte) || byte == b'-')
}

fn check_both(kind: &Kind, object: &Value, causes: &mut Vec<Cause>) {
    match (kind.group, kind.kind) {
        ("", "ConfigMap") if data_size(object, &["data", "binaryData"]) > MAX_DATA => {
            causes.push(Cause::too_long("[]", MAX_DATA));
        }
        ("", "Secret") if data_size(object, &["data"]) > MAX_DATA => causes.push(Cause::too_long("data", MAX_DATA)),
        ("apps", "StatefulSet" | "Deployment" | "ReplicaSet" | "DaemonSet") => check_selector(object, causes),
        ("", "Pod") if object["spec"]["containers"].as_array().is_none_or(Vec::is_empty) => {
            causes.push(Cause::required("spec.containers", ""));
        }
        _ => {}
    }
    if let Some(replicas) = object["spec"]["replicas"].as_i64().filter(|replicas| *replicas < 0) {
        let why = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.replicas", &Value::from(replicas), why));
    }
}

/// Bytes of keys and decoded values.
fn data_size(object: &Value, fields: &[&str]) -> usize {
    let maps = fields
        .iter()
        .filter_map(|field| Some((*field, object[*field].as_object()?)));
    let size = |field: &str, value: &Value, secret: bool| {
        let text = value.as_str().unwrap_or_default();
        if field == "binaryData" || secret {
            text.trim_end_matches('=').len() * 3 / 4
        } else {
            text.len()
        }
    };
    let secret = object["kind"] == "Secret";
    maps.flat_map(|(field, map)| {
        map.iter()
            .map(move |(key, value)| key.len() + size(field, value, secret))
    })
    .sum()
}

fn check_selector(object: &Value, causes: &mut Vec<Cause>) {
    let labels = &object["spec"]["template"]["metadata"]["labels"];
    match object["spec"]["selector"]["matchLabels"].as_object() {
        Some(wanted) if !wanted.is_empty() => {
            if wanted.iter().any(|(name, value)| labels.get(name) != Some(value)) {
                let why = "`selector` does not match template `labels`";
                causes.push(Cause::invalid("spec.template.metadata.labels", labels, why));
            }
        }
        _ if object["spec"]["selector"]["matchExpressions"].is_array() => {}
        _ => causes.push(Cause::required("spec.selector", "")),
    }
}

fn check_finalizers(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if !object::is_terminating(old) {
        return;
    }
    let before = object::list(old, "finalizers");
    let fresh: Vec<String> = object::list(new, "finalizers")
        .iter()
        .filter(|finalizer| !before.contains(finalizer))
        .map(Value::to_string)
        .collect();
    if !fresh.is_empty() {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            fresh.join(", ")
        );
        causes.push(Cause::forbidden("metadata.finalizers", &why));
    }
}

fn immutable(old: &Value, new: &Value, path: &str, causes: &mut Vec<Cause>) {
    let value = object::at(new, path);
    if object::at(old, path) != value {
        causes.push(Cause::invalid(path, value, "field is immutable"));
    }
}

const STATEFULSET_MUTABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

const STATEFULSET_FIXED: &[&str] = &["serviceName", "podManagementPolicy", "selector", "volumeClaimTemplates"];

fn check_statefulset(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    // Fields that the real server checks one by one are named one by one.
    for field in STATEFULSET_FIXED {
        immutable(old, new, &format!("spec.{field}"), causes);
    }
    let rest = |object: &Value| {
        let mut spec = object["spec"].clone();
        let map = object::as_map(&mut spec);
        map.retain(|name, _| {
            !STATEFULSET_MUTABLE.contains(&name.as_str()) && !STATEFULSET_FIXED.contains(&name.as_str())
        });
        spec
    };
    if rest(old) != rest(new) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                   'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                   'minReadySeconds' are forbidden";
        causes.push(Cause::forbidden("spec", why));
    }
}

fn check_frozen(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if old["immutable"] != true {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if new["immutable"] != true {
        causes.push(Cause::forbidden("immutable", why));
    }
    for field in ["data", "binaryData"] {
        if old[field] != new[field] {
            causes.push(Cause::forbidden(field, why));
        }
    }
}

fn check_pod(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let fixed = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for list in ["containers", "initContainers"] {
            if let Some(containers) = spec[list].as_array_mut() {
                containers.iter_mut().for_each(|container| {
                    object::as_map(container).remove("image");
                });
            }
        }
        let map = object::as_map(&mut spec);
        for field in ["activeDeadlineSeconds", "tolerations"] {
            map.remove(field);
        }
        spec
    };
    if fixed(old) != fixed(new) {
        let why = "pod updates may not change fields other than `spec.containers[*].image`,\
                   `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                   existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                   previously negative)";
        causes.push(Cause::forbidden("spec", why));
    }
}
