//! Refusals as the real server words them: a code, a reason, a message, details.
//!
//! Messages are copied from answers of a Kubernetes 1.37.2 API server. Used by every verb.

use super::kinds::Kind;
use serde_json::{Value, json};

/// A refusal, before it becomes a `Status` object.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

/// One field that makes an object invalid.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    field: String,
    reason: &'static str,
    message: String,
}

impl Cause {
    pub(super) fn forbidden(field: &str, why: &str) -> Self {
        Self {
            field: field.to_owned(),
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {why}"),
        }
    }

    pub(super) fn required(field: &str, why: &str) -> Self {
        let message = if why.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {why}")
        };
        Self {
            field: field.to_owned(),
            reason: "FieldValueRequired",
            message,
        }
    }

    /// `shown` is the value as JSON: strings keep their quotes, as the real messages do.
    pub(super) fn invalid(field: &str, shown: &Value, why: &str) -> Self {
        Self {
            field: field.to_owned(),
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {shown}: {why}"),
        }
    }

    /// A parameter with a value outside of its short list.
    pub(super) fn unsupported(field: &str, value: &str, supported: &str) -> Self {
        let message = format!("Unsupported value: [\"{value}\"]: supported values: \"{supported}\"");
        Self {
            field: field.to_owned(),
            reason: "FieldValueNotSupported",
            message,
        }
    }

    pub(super) fn too_long(field: &str, bytes: usize) -> Self {
        let message = format!("Too long: may not be more than {bytes} bytes");
        Self {
            field: field.to_owned(),
            reason: "FieldValueTooLong",
            message,
        }
    }
}

impl Failure {
    fn about(
        code: u16,
        reason: &'static str,
        message: String,
        kind: &str,
        group: &str,
        name: &str,
        causes: Option<Value>,
    ) -> Self {
        let mut details = serde_json::Map::new();
        for (key, text) in [("name", name), ("group", group), ("kind", kind)] {
            if !text.is_empty() {
                details.insert(key.to_owned(), Value::from(text));
            }
        }
        if let Some(causes) = causes {
            details.insert("causes".to_owned(), causes);
        }
        Self {
            code,
            reason,
            message,
            details: Some(Value::Object(details)),
        }
    }

    fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.resource());
        Self::about(404, "NotFound", message, kind.plural, kind.group, name, None)
    }

    pub(super) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.resource());
        Self::about(409, "AlreadyExists", message, kind.plural, kind.group, name, None)
    }

    /// The conflict of optimistic concurrency.
    pub(super) fn modified(kind: &Kind, name: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply your changes \
             to the latest version and try again",
            kind.resource()
        );
        Self::about(409, "Conflict", message, kind.plural, kind.group, name, None)
    }

    /// A precondition of a delete that does not hold; the real server names the kind here, not the resource.
    pub(super) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            kind.qualified()
        );
        Self::about(409, "Conflict", message, kind.kind, kind.group, name, None)
    }

    /// A PUT that names another incarnation of the object.
    pub(super) fn uid_mismatch(kind: &Kind, name: &str, asked: &str, is: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": StorageError: invalid object, Code: 4, Key: {name}, \
             ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {asked}, UID in object \
             meta: {is}",
            kind.resource()
        );
        Self::about(409, "Conflict", message, kind.plural, kind.group, name, None)
    }

    pub(super) fn already_bound(pod: &str, node: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on pods/binding \"{pod}\": pod {pod} is already assigned to node \"{node}\""
        );
        Self::about(409, "Conflict", message, "pods/binding", "", pod, None)
    }

    /// Server-side apply met fields of other managers.
    pub(super) fn apply_conflict(message: String, causes: Vec<(String, String)>) -> Self {
        let causes = causes
            .into_iter()
            .map(|(field, message)| json!({"reason": "FieldManagerConflict", "message": message, "field": field}))
            .collect();
        Self::about(409, "Conflict", message, "", "", "", Some(Value::Array(causes)))
    }

    pub(super) fn invalid(kind: &Kind, name: &str, causes: Vec<Cause>) -> Self {
        Self::invalid_named(&kind.qualified(), kind.kind, kind.group, name, causes)
    }

    /// The missing `resourceVersion` of kinds that insist on one; here the real server names the resource.
    pub(super) fn unconditional(kind: &Kind, name: &str) -> Self {
        let cause = Cause::invalid(
            "metadata.resourceVersion",
            &Value::from(0),
            "must be specified for an update",
        );
        Self::invalid_named(&kind.resource(), kind.plural, kind.group, name, vec![cause])
    }

    /// Parameters of a request that are not valid: `options` is `ListOptions`, `PatchOptions` or the like.
    pub(super) fn invalid_options(options: &str, cause: Cause) -> Self {
        Self::invalid_named(
            &format!("{options}.meta.k8s.io"),
            options,
            "meta.k8s.io",
            "",
            vec![cause],
        )
    }

    fn invalid_named(shown: &str, kind: &str, group: &str, name: &str, causes: Vec<Cause>) -> Self {
        let lines: Vec<String> = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        let lines = if lines.len() == 1 {
            lines.concat()
        } else {
            format!("[{}]", lines.join(", "))
        };
        let causes = causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect();
        let message = format!("{shown} \"{name}\" is invalid: {lines}");
        Self::about(422, "Invalid", message, kind, group, name, Some(Value::Array(causes)))
    }

    /// An object that admission refuses.
    pub(super) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.resource());
        Self::about(403, "Forbidden", message, kind.plural, kind.group, name, None)
    }

    /// A verb that the user may not use.
    pub(super) fn not_allowed(kind: &Kind, verb: &str, plural: &str, namespace: &str, name: &str) -> Self {
        let place = if kind.namespaced && !namespace.is_empty() {
            format!(" in the namespace \"{namespace}\"")
        } else {
            " at the cluster scope".to_owned()
        };
        let subject = if name.is_empty() {
            kind.resource()
        } else {
            format!("{} \"{name}\"", kind.resource())
        };
        let message = format!(
            "{subject} is forbidden: User \"admin\" cannot {verb} resource \"{plural}\" in API group \
             \"{}\"{place}",
            kind.group
        );
        Self::about(403, "Forbidden", message, kind.plural, kind.group, name, None)
    }

    /// For whoever does not say who they are.
    pub(super) fn unauthorized() -> Self {
        Self::plain(401, "Unauthorized", "Unauthorized")
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::plain(400, "BadRequest", message)
    }

    /// A JSON patch that does not fit its document: the real server says no more than this.
    pub(super) fn patch_rejected() -> Self {
        let message = "the server rejected our request due to an error in our request".to_owned();
        Self::about(422, "Invalid", message, "", "", "", None)
    }

    pub(super) fn no_such_resource() -> Self {
        Self::about(
            404,
            "NotFound",
            "the server could not find the requested resource".to_owned(),
            "",
            "",
            "",
            None,
        )
    }

    pub(super) fn method() -> Self {
        let message = "the server does not allow this method on the requested resource".to_owned();
        Self::about(405, "MethodNotAllowed", message, "", "", "", None)
    }

    pub(super) fn media_type() -> Self {
        Self::about(
            415,
            "UnsupportedMediaType",
            "415: Unsupported Media Type".to_owned(),
            "",
            "",
            "",
            None,
        )
    }

    /// A body in protobuf, of a kind that is read from JSON alone.
    pub(super) fn only_json(kind: &str) -> Self {
        let message = format!("the sandbox reads a {kind} in JSON only: `kubectl apply -f FILE` sends that");
        Self::plain(415, "UnsupportedMediaType", message)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::plain(413, "RequestEntityTooLarge", message)
    }

    /// The version asked for is older than the watch window.
    pub(super) fn too_old(asked: u64, oldest: u64) -> Self {
        Self::plain(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// A continued list whose snapshot is gone.
    pub(super) fn continue_expired() -> Self {
        Self::plain(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result.",
        )
    }

    /// The version asked for has not happened yet.
    pub(super) fn too_new(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let causes = json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
        let mut failure = Self::about(504, "Timeout", message, "", "", "", Some(causes));
        if let Some(details) = &mut failure.details {
            details["retryAfterSeconds"] = json!(1);
        }
        failure
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::plain(500, "InternalError", message)
    }

    /// The `Status` object of this refusal.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}
