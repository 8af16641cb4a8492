//! The way to a pod's kubelet: logs, exec, attach and port-forward are passed on to the pod's node.
//!
//! As on a real cluster, a kubelet is found by its Node: `status.addresses` (InternalIP) and
//! `status.daemonEndpoints.kubeletEndpoint.Port`; here it is asked over plain HTTP, with the kubelet API's own paths
//! (`/containerLogs/NAMESPACE/POD/CONTAINER`, `/exec/…`, `/attach/…`, `/portForward/NAMESPACE/POD`) and parameters. An
//! upgraded connection is passed through byte by byte, so WebSocket and SPDY are between client and kubelet. Not
//! responsible for what a kubelet answers.

use super::{
    access,
    call::Call,
    dispatch,
    failure::Failure,
    kinds::Kind,
    object,
    server::{Body, Core, refused},
    store::{Key, Store},
};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::sync::Arc;
use tokio::{io::copy_bidirectional, net::TcpStream};

/// The most that is read of a kubelet's refusal, in bytes.
const REFUSAL: usize = 16 * 1024;

/// Where a request is passed on to.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// Host and port.
    authority: String,
    path: String,
}

/// Whether a path is answered by a kubelet.
pub(super) fn is_proxied(path: &str) -> bool {
    super::call::Address::parse(path).is_some_and(|address| {
        address.plural == "pods" && ["log", "exec", "attach", "portforward"].contains(&address.subresource.as_str())
    })
}

/// Passes a request on to the kubelet of its pod.
pub(super) async fn pass_on(core: &Arc<Core>, request: Request<Incoming>) -> Response<Body> {
    let answer = match find(core, &request) {
        Ok(Some(target)) => ask(core, request, &target).await,
        Ok(None) => return nothing(),
        Err(failure) => Err(failure),
    };
    answer.unwrap_or_else(|failure| refused(&failure))
}

/// The answer where there are no logs yet.
fn nothing() -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Where to pass the request on to; nowhere for the logs of a pod that has no node yet.
fn find(core: &Core, request: &Request<Incoming>) -> Result<Option<Target>, Failure> {
    let store = core.store();
    let query = request.uri().query().unwrap_or_default();
    let (row, address) = dispatch::locate(&store.kinds, request.uri().path()).ok_or_else(Failure::no_such_resource)?;
    let call = Call::new(row, address, query, request.headers());
    let kind = store.kind(row);
    let allowed = [Method::GET, Method::POST].contains(request.method());
    if !kind.is_pod() || !allowed || (call.address.subresource == "log" && request.method() != Method::GET) {
        return Err(Failure::method());
    }
    access::check(&core.forbidden, kind, &call, request.method())?;
    target(&store, kind, &call, query)
}

fn target(store: &Store, pods: &Kind, call: &Call, query: &str) -> Result<Option<Target>, Failure> {
    let (namespace, name) = (&call.address.namespace, &call.address.name);
    let pod = store.get(&Key::new(call.kind, namespace, name))?;
    let container = if call.address.subresource == "portforward" {
        String::new()
    } else {
        format!("/{}", container(&pod, call.query.get("container"))?)
    };
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() && call.address.subresource == "log" {
        return Ok(None);
    }
    if node.is_empty() {
        return Err(Failure::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    let nodes = store
        .kind_named("", "Node")
        .ok_or_else(|| Failure::not_found(pods, node))?;
    let authority = authority(&*store.get(&Key::new(nodes, "", node))?)?;
    let door = match call.address.subresource.as_str() {
        "log" => "containerLogs",
        "portforward" => "portForward",
        other => other,
    };
    let query = kubelet_query(query);
    let path = format!("/{door}/{namespace}/{name}{container}?{query}");
    Ok(Some(Target { authority, path }))
}

/// The container that is meant: the one named, or the only one.
fn container(pod: &Value, asked: &str) -> Result<String, Failure> {
    let names: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .filter_map(|list| pod["spec"][*list].as_array())
        .flatten()
        .filter_map(|container| container["name"].as_str())
        .collect();
    let pod = object::name(pod);
    match (asked, &names[..]) {
        ("", [only]) => Ok((*only).to_owned()),
        ("", many) => {
            let choice = many.join(" ");
            let message = format!("a container name must be specified for pod {pod}, choose one of: [{choice}]");
            Err(Failure::bad_request(message))
        }
        (asked, names) if names.contains(&asked) => Ok(asked.to_owned()),
        (asked, _) => Err(Failure::bad_request(format!(
            "container {asked} is not valid for pod {pod}"
        ))),
    }
}

fn authority(node: &Value) -> Result<String, Failure> {
    let addresses = node["status"]["addresses"].as_array().map_or(&[][..], Vec::as_slice);
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP");
    let host = internal.and_then(|address| address["address"].as_str());
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        .as_u64()
        .filter(|port| *port > 0);
    match (host, port) {
        (Some(host), Some(port)) => Ok(format!("{host}:{port}")),
        _ => Err(Failure::internal(format!(
            "no preferred addresses found; known addresses: {}",
            Value::from(addresses)
        ))),
    }
}

/// The parameters as a kubelet calls them; the container is in its path.
fn kubelet_query(query: &str) -> String {
    let renamed = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, value) {
            ("" | "container", _) => None,
            ("stdin" | "stdout" | "stderr" | "tty", value) => {
                let called = [
                    ("stdin", "input"),
                    ("stdout", "output"),
                    ("stderr", "error"),
                    ("tty", "tty"),
                ];
                let called = called
                    .iter()
                    .find(|(ours, _)| *ours == name)
                    .map_or(name, |(_, theirs)| theirs);
                (value == "true" || value == "1").then(|| format!("{called}=1"))
            }
            ("ports", value) => Some(format!("port={value}")),
            _ => Some(pair.to_owned()),
        }
    });
    renamed.collect::<Vec<_>>().join("&")
}

async fn ask(core: &Arc<Core>, mut request: Request<Incoming>, target: &Target) -> Result<Response<Body>, Failure> {
    let lost = |error: &dyn std::error::Error| {
        Failure::internal(format!("error dialing the kubelet at {}: {error}", target.authority))
    };
    let stream = TcpStream::connect(&target.authority)
        .await
        .map_err(|error| lost(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| lost(&error))?;
    core.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a kubelet ended early");
        }
    });
    let client = request
        .headers()
        .contains_key(header::UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    let mut asked = Request::new(Empty::<Bytes>::new());
    *asked.method_mut() = request.method().clone();
    *asked.headers_mut() = request.headers().clone();
    asked.headers_mut().insert(header::AUTHORIZATION, proof(core)?);
    asked.headers_mut().remove(header::CONTENT_LENGTH);
    *asked.uri_mut() = target
        .path
        .parse::<Uri>()
        .map_err(|error| Failure::bad_request(error.to_string()))?;
    let mut answer = sender.send_request(asked).await.map_err(|error| lost(&error))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = client
    {
        let kubelet = hyper::upgrade::on(&mut answer);
        core.spawn(async move {
            if let (Ok(client), Ok(kubelet)) = tokio::join!(client, kubelet) {
                let passed = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(kubelet)).await;
                tracing::trace!(?passed, "a stream between a client and a kubelet ended");
            }
        });
    }
    if answer.status().is_client_error() || answer.status().is_server_error() {
        return Err(told(answer).await);
    }
    Ok(answer.map(BodyExt::boxed_unsync))
}

/// What shows the kubelet that it is asked by its API server.
fn proof(core: &Core) -> Result<HeaderValue, Failure> {
    let mut proof =
        HeaderValue::from_str(&core.secret.proof()).map_err(|error| Failure::internal(error.to_string()))?;
    proof.set_sensitive(true);
    Ok(proof)
}

/// A kubelet's refusal, which is plain text, as the server tells it.
async fn told(answer: Response<Incoming>) -> Failure {
    let code = answer.status();
    let text = match Limited::new(answer.into_body(), REFUSAL).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(_) => format!("the kubelet answered {code}"),
    };
    match code {
        StatusCode::BAD_REQUEST => Failure::bad_request(text),
        StatusCode::NOT_FOUND => Failure::no_such_resource(),
        _ => Failure::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_take_the_names_that_kubelets_know() {
        for (asked, passed) in [
            (
                "container=app&command=sh&command=-c&stdin=false&stdout=true&tty=1",
                "command=sh&command=-c&output=1&tty=1",
            ),
            ("follow=true&tailLines=3", "follow=true&tailLines=3"),
            ("ports=80%2C81", "port=80%2C81"),
            ("", ""),
        ] {
            assert_eq!(kubelet_query(asked), passed);
        }
    }
}
