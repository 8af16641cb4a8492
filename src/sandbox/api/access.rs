//! Who may do what: everybody may do everything, except what a test forbids.
//!
//! The same rules answer a `SelfSubjectAccessReview` and refuse the request itself.

use super::{call::Call, failure::Failure, kinds::Kind};
use http::Method;
use serde_json::{Value, json};

/// A verb on a resource that is forbidden. `*` stands for any value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural resource, with its subresource if the rule is about one: `statefulsets/scale`.
    pub resource: String,
}

impl Forbidden {
    fn covers(&self, verb: &str, group: &str, resource: &str) -> bool {
        let same = |rule: &str, asked: &str| rule == "*" || rule == asked;
        same(&self.verb, verb) && same(&self.group, group) && same(&self.resource, resource)
    }
}

/// Refuses a request that a rule covers.
pub(super) fn check(rules: &[Forbidden], kind: &Kind, call: &Call, method: &Method) -> Result<(), Failure> {
    let verb = call.verb(method);
    let resource = joined(kind.plural, &call.address.subresource);
    if rules.iter().any(|rule| rule.covers(verb, kind.group, &resource)) {
        return Err(Failure::not_allowed(
            kind,
            verb,
            &resource,
            &call.address.namespace,
            &call.address.name,
        ));
    }
    Ok(())
}

/// Answers a `SelfSubjectAccessReview`.
pub(super) fn review(rules: &[Forbidden], review: &Value) -> Value {
    let asked = &review["spec"]["resourceAttributes"];
    let text = |field: &str| asked[field].as_str().unwrap_or_default();
    let resource = joined(text("resource"), text("subresource"));
    let allowed = !rules
        .iter()
        .any(|rule| rule.covers(text("verb"), text("group"), &resource));
    json!({
        "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
        "spec": review["spec"], "status": {"allowed": allowed},
    })
}

fn joined(resource: &str, subresource: &str) -> String {
    if subresource.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}/{subresource}")
    }
}
