//! Who may ask at all: whoever knows the server's secret, the first part of every path. Used by the API server, which
//! makes it, and by the kubelet, which it proves itself to.
//!
//! Commands can be run in pods, and a container is a process of whoever started the sandbox: without this, any user of
//! the machine and any page in a browser could run programs as them through a port on the loopback address. It is in
//! the path because `kubectl` sends tokens over TLS only, and paths always.

use http::{
    Request,
    uri::{PathAndQuery, Uri},
};
use std::fmt;

/// What an API server of the sandbox and those who may talk to it share: 160 random bits, not shown by its `Debug`.
#[derive(Clone)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    pub(crate) fn make() -> Self {
        let random = || ulid::Ulid::generate().random();
        Self(format!("{:020x}{:020x}", random(), random()))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The header by which the API server proves itself to a kubelet.
    pub(crate) fn proof(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Takes the secret off the path; `None` for a request that does not know it.
    pub(crate) fn take_off<B>(&self, mut request: Request<B>) -> Option<Request<B>> {
        let mut parts = request.uri().clone().into_parts();
        let asked = parts.path_and_query.as_ref()?.as_str();
        let rest = asked.strip_prefix('/')?.strip_prefix(&self.0)?;
        let rest = match rest.chars().next() {
            Some('/') => rest.to_owned(),
            None | Some('?') => format!("/{rest}"),
            Some(_) => return None,
        };
        parts.path_and_query = Some(rest.parse::<PathAndQuery>().ok()?);
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_secret_is_heard() {
        let heard = |path: &str| {
            let request = Request::get(path).body(()).unwrap();
            Secret("s3".into())
                .take_off(request)
                .map(|request| request.uri().to_string())
        };
        assert_eq!(heard("/s3/api/v1?watch=1").as_deref(), Some("/api/v1?watch=1"));
        assert_eq!(heard("/s3").as_deref(), Some("/"));
        assert_eq!(heard("/s3?x").as_deref(), Some("/?x"));
        for path in ["/", "/api/v1", "/s", "/s33/api", "/api/s3"] {
            assert_eq!(heard(path), None, "{path}");
        }
        let (one, other) = (Secret::make(), Secret::make());
        assert_ne!(one.text(), other.text());
        assert_eq!(one.text().len(), 40);
        assert!(!format!("{one:?}").contains(one.text()));
    }
}
