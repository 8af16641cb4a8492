//! The little of OpenAPI that `kubectl apply` asks for before it sends anything: which parameters a PATCH takes.
//!
//! No schemas: the sandbox does not know the fields of a kind, and says so in a warning where a client wants unknown
//! fields refused. Pure over the table of kinds.

use super::kinds::Kind;
use serde_json::{Map, Value, json};

/// Sent with the answer to a write that asked for unknown fields to be looked for.
pub(super) const UNCHECKED: &str = "299 - \"the sandbox does not look for unknown fields\"";

/// `/openapi/v3`
pub(super) fn index(kinds: &[Kind]) -> Value {
    let paths: Map<String, Value> = kinds
        .iter()
        .map(|kind| {
            (
                root(kind),
                json!({"serverRelativeURL": format!("/openapi/v3/{}", root(kind))}),
            )
        })
        .collect();
    json!({"paths": paths})
}

/// `/openapi/v3/ROOT`, where a root is `api/v1` or `apis/GROUP/VERSION`.
pub(super) fn group_version(kinds: &[Kind], wanted: &str) -> Option<Value> {
    let paths: Map<String, Value> = kinds
        .iter()
        .filter(|kind| root(kind) == wanted)
        .map(|kind| (path(kind), describe(kind)))
        .collect();
    let document = json!({
        "openapi": "3.0.0", "info": {"title": "stepback sandbox", "version": "v1"}, "paths": paths,
        "components": {"schemas": {}},
    });
    (!paths.is_empty()).then_some(document)
}

fn root(kind: &Kind) -> String {
    if kind.group.is_empty() {
        "api/v1".to_owned()
    } else {
        format!("apis/{}", kind.api_version())
    }
}

fn path(kind: &Kind) -> String {
    let place = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    format!("/{}{place}/{}/{{name}}", root(kind), kind.plural)
}

fn describe(kind: &Kind) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let parameters = ["dryRun", "fieldManager", "fieldValidation"].map(parameter);
    json!({"patch": {
        "parameters": parameters,
        "responses": {},
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    }})
}
