//! One request, taken apart: what it addresses and how.
//!
//! Responsible for paths, query parameters and the names of verbs. Used by the dispatcher and the verbs.

use super::{
    failure::{Cause, Failure},
    kinds::Kind,
    managed::Writer,
};
use crate::percent::decode;
use http::{HeaderMap, Method, header};
use std::collections::BTreeMap;

/// The query parameters of a request; of a repeated one, the last.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name, true), decode(value, true)))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        ["1", "true"].contains(&self.get(name))
    }
}

/// What a path under `/api` or `/apis` addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) group: String,
    pub(super) version: String,
    /// Empty: the group version itself is asked for.
    pub(super) plural: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) subresource: String,
    /// What follows the subresource; only proxies have it.
    pub(super) rest: String,
}

impl Address {
    /// Reads a path such as `/apis/apps/v1/namespaces/shop/statefulsets/web/scale`.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| decode(part, false))
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, tail) = match parts[..] {
            ["api", version, ref tail @ ..] => ("", version, tail),
            ["apis", group, version, ref tail @ ..] => (group, version, tail),
            _ => return None,
        };
        let (namespace, tail) = match tail {
            // `namespaces/NAME/status` is a subresource of the namespace, anything else lies in it.
            ["namespaces", name, sub, rest @ ..] if !["status", "finalize"].contains(sub) => {
                (*name, [&[*sub], rest].concat())
            }
            other => ("", other.to_vec()),
        };
        let part = |index: usize| tail.get(index).copied().unwrap_or_default().to_owned();
        Some(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: part(0),
            namespace: namespace.to_owned(),
            name: part(1),
            subresource: part(2),
            rest: tail.get(3..).unwrap_or_default().join("/"),
        })
    }
}

/// A request to one kind.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) kind: usize,
    pub(super) address: Address,
    pub(super) query: Query,
    pub(super) user_agent: String,
    pub(super) content_type: String,
    pub(super) accept: String,
    pub(super) now: String,
}

impl Call {
    pub(super) fn new(kind: usize, address: Address, query: &str, headers: &HeaderMap) -> Self {
        let header = |name: header::HeaderName| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let content_type = header(header::CONTENT_TYPE);
        let content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
        Self {
            kind,
            address,
            query: Query::parse(query),
            user_agent: header(header::USER_AGENT),
            content_type,
            accept: header(header::ACCEPT),
            now: now(),
        }
    }

    /// Whether nothing may be stored.
    pub(super) fn is_dry(&self) -> Result<bool, Failure> {
        match self.query.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(Failure::invalid_options(
                "CreateOptions",
                Cause::unsupported("dryRun", other, "All"),
            )),
        }
    }

    pub(super) fn is_watch(&self) -> bool {
        self.query.is_true("watch")
    }

    /// Who writes: `fieldManager`, else the program's name from the user agent.
    pub(super) fn writer(&self, kind: &Kind, operation: &'static str) -> Writer {
        let agent = self.user_agent.split('/').next().unwrap_or_default();
        let manager = [self.query.get("fieldManager"), agent, "unknown"]
            .into_iter()
            .find(|name| !name.is_empty());
        Writer {
            manager: manager.unwrap_or_default().to_owned(),
            operation,
            subresource: self.address.subresource.clone(),
            api_version: kind.api_version(),
            time: self.now.clone(),
        }
    }

    /// The verb as authorization names it.
    pub(super) fn verb(&self, method: &Method) -> &'static str {
        let one = !self.address.name.is_empty();
        match *method {
            Method::GET if self.is_watch() => "watch",
            Method::GET if one => "get",
            Method::GET => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if one => "delete",
            Method::DELETE => "deletecollection",
            _ => "",
        }
    }
}

/// The time as objects carry it: whole seconds, UTC.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str) -> [String; 6] {
        let a = Address::parse(path).unwrap();
        [a.group, a.version, a.plural, a.namespace, a.name, a.subresource]
    }

    #[test]
    fn paths_are_taken_apart() {
        for (path, expected) in [
            ("/api/v1", ["", "v1", "", "", "", ""]),
            ("/api/v1/pods", ["", "v1", "pods", "", "", ""]),
            ("/api/v1/namespaces", ["", "v1", "namespaces", "", "", ""]),
            ("/api/v1/namespaces/shop", ["", "v1", "namespaces", "", "shop", ""]),
            (
                "/api/v1/namespaces/shop/status",
                ["", "v1", "namespaces", "", "shop", "status"],
            ),
            (
                "/api/v1/namespaces/shop/pods/web-0/log",
                ["", "v1", "pods", "shop", "web-0", "log"],
            ),
            (
                "/apis/apps/v1/namespaces/shop/statefulsets",
                ["apps", "v1", "statefulsets", "shop", "", ""],
            ),
            (
                "/apis/a.b/v1/clusterroles/system%3Anode",
                ["a.b", "v1", "clusterroles", "", "system:node", ""],
            ),
        ] {
            assert_eq!(parsed(path), expected, "{path}");
        }
        assert_eq!(Address::parse("/version"), None);
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc+in+%28d%29&watch=true&empty&bad=%zz");
        assert_eq!(query.get("labelSelector"), "a=b,c in (d)");
        assert!(query.is_true("watch"));
        assert_eq!(
            (query.get("empty"), query.get("bad"), query.get("none")),
            ("", "%zz", "")
        );
    }
}
