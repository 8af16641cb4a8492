//! How lists and maps of the served kinds merge, by the names of their fields.
//!
//! The real server reads this from each type's schema (`x-kubernetes-list-type`, `x-kubernetes-map-type`,
//! `patchMergeKey`). Here it is one table over field names, which the served kinds use without contradiction; where the
//! same name means two things (`ports`), the entries decide. Used by strategic merge, server-side apply and managed
//! fields.

use serde_json::{Map, Value};

/// How the entries of a list are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListShape {
    /// The list is one value.
    Atomic,
    /// Entries are maps, each known by these fields.
    Keyed(&'static [&'static str]),
    /// Entries are plain values, each at most once.
    Set,
}

/// The shape of list `field` for server-side apply and managed fields.
pub(super) fn list_shape(field: &str, entries: &[Value]) -> ListShape {
    use ListShape::{Keyed, Set};
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets"
        | "claims"
        | "schedulingGates"
        | "resourceClaims"
            if maps_with(entries, "name") =>
        {
            Keyed(&["name"])
        }
        "volumeMounts" => Keyed(&["mountPath"]),
        "volumeDevices" => Keyed(&["devicePath"]),
        "ports" if maps_with(entries, "containerPort") => Keyed(&["containerPort", "protocol"]),
        "ports" if maps_with(entries, "targetPort") => Keyed(&["port", "protocol"]),
        "ownerReferences" => Keyed(&["uid"]),
        "conditions" | "addresses" if maps_with(entries, "type") => Keyed(&["type"]),
        "hostAliases" | "podIPs" | "hostIPs" => Keyed(&["ip"]),
        "topologySpreadConstraints" => Keyed(&["topologyKey", "whenUnsatisfiable"]),
        "finalizers" => Set,
        _ => ListShape::Atomic,
    }
}

/// The field by which strategic merge matches the entries of list `field`; none: the list is replaced.
pub(super) fn merge_key(field: &str, entries: &[Value]) -> Option<&'static str> {
    match field {
        "taints" => Some("key"),
        "topologySpreadConstraints" => Some("topologyKey"),
        "ports" if maps_with(entries, "containerPort") => Some("containerPort"),
        "ports" if maps_with(entries, "port") => Some("port"),
        _ => match list_shape(field, entries) {
            ListShape::Keyed(keys) => Some(keys[0]),
            ListShape::Atomic | ListShape::Set => None,
        },
    }
}

/// Whether strategic merge unites list `field` as a set of plain values.
pub(super) fn merges_as_set(field: &str) -> bool {
    field == "finalizers"
}

/// Whether the map `field` is one value to server-side apply. The `data` of a ControllerRevision is, that of a ConfigMap is
/// not.
pub(super) fn is_atomic_map(field: &str, map: &Map<String, Value>) -> bool {
    let raw = field == "data" && map.values().any(|value| !value.is_string());
    raw || matches!(
        field,
        "selector"
            | "labelSelector"
            | "namespaceSelector"
            | "nodeSelector"
            | "configMapKeyRef"
            | "secretKeyRef"
            | "fieldRef"
            | "resourceFieldRef"
            | "secretRef"
            | "configMapRef"
            | "involvedObject"
            | "targetRef"
    )
}

/// Whether entries of list `field` are owned as wholes although the list is keyed.
pub(super) fn has_atomic_entries(field: &str) -> bool {
    matches!(field, "ownerReferences" | "imagePullSecrets")
}

/// Whether the field is part of its parent even when empty, so that nobody can own its presence.
pub(super) fn is_always_there(field: &str) -> bool {
    matches!(
        field,
        "metadata"
            | "spec"
            | "status"
            | "template"
            | "updateStrategy"
            | "strategy"
            | "containers"
            | "jobTemplate"
            | "resources"
            | "scaleTargetRef"
    )
}

/// Whether the entries are maps with this field. An empty list may be anything, and is.
fn maps_with(entries: &[Value], field: &str) -> bool {
    let mut plain = entries.iter().filter(|entry| !is_directive(entry)).peekable();
    entries.is_empty() || plain.peek().is_none() || plain.any(|entry| entry.get(field).is_some())
}

/// A strategic merge directive among the entries, such as `{"$patch": "replace"}`.
fn is_directive(entry: &Value) -> bool {
    entry.get("$patch").is_some()
}
