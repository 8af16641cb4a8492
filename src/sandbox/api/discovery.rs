//! What the server says about itself: versions, groups, resources.
//!
//! The unaggregated documents that every client understands. Pure over the table of kinds.

use super::kinds::Kind;
use serde_json::{Value, json};

/// The version the sandbox answers for; the facts it follows were seen on this one.
pub(super) fn version() -> Value {
    json!({
        "major": "1", "minor": "37", "gitVersion": "v1.37.2+stepback-sandbox", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`
pub(super) fn core(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`
pub(super) fn groups(kinds: &[Kind]) -> Value {
    let mut names: Vec<&str> = Vec::new();
    for kind in kinds.iter().filter(|kind| !kind.group.is_empty()) {
        if !names.contains(&kind.group) {
            names.push(kind.group);
        }
    }
    let groups: Vec<Value> = names.iter().filter_map(|name| describe(kinds, name)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`
pub(super) fn group(kinds: &[Kind], name: &str) -> Option<Value> {
    let mut group = describe(kinds, name)?;
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    Some(group)
}

fn describe(kinds: &[Kind], name: &str) -> Option<Value> {
    let mut versions: Vec<Value> = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.group == name) {
        let version = json!({"groupVersion": kind.api_version(), "version": kind.version});
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let preferred = versions.first()?.clone();
    Some(json!({"name": name, "versions": versions, "preferredVersion": preferred}))
}

/// `/api/v1` and `/apis/GROUP/VERSION`
pub(super) fn resources(kinds: &[Kind], group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for kind in kinds
        .iter()
        .filter(|kind| kind.group == group && kind.version == version)
    {
        let verbs: &[&str] = if kind.review { &["create"] } else { VERBS };
        let mut row = resource(kind.plural, kind, kind.kind, verbs);
        row["singularName"] = json!(kind.kind.to_lowercase());
        if !kind.short.is_empty() {
            row["shortNames"] = json!(kind.short);
        }
        if ALL.contains(&(kind.group, kind.plural)) {
            row["categories"] = json!(["all"]);
        }
        resources.push(row);
        if kind.status {
            resources.push(resource(
                &format!("{}/status", kind.plural),
                kind,
                kind.kind,
                SUBRESOURCE_VERBS,
            ));
        }
        if kind.scale {
            let mut row = resource(&format!("{}/scale", kind.plural), kind, "Scale", SUBRESOURCE_VERBS);
            row["group"] = json!("autoscaling");
            row["version"] = json!("v1");
            resources.push(row);
        }
        if kind.is_pod() {
            resources.push(resource("pods/binding", kind, "Binding", &["create"]));
            let mut row = resource("pods/eviction", kind, "Eviction", &["create"]);
            row["group"] = json!("policy");
            row["version"] = json!("v1");
            resources.push(row);
        }
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let list =
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources});
    (!resources.is_empty()).then_some(list)
}

fn resource(name: &str, kind: &Kind, shown: &str, verbs: &[&str]) -> Value {
    json!({"name": name, "singularName": "", "namespaced": kind.namespaced, "kind": shown, "verbs": verbs})
}

/// What `kubectl get all` shows.
const ALL: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "services"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
];

const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const SUBRESOURCE_VERBS: &[&str] = &["get", "patch", "update"];
