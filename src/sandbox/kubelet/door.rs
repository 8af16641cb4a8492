//! Where an API server asks the kubelet: the logs of containers, over plain HTTP on loopback.
//!
//! The path and its parameters are those of Kubernetes' kubelet (`/containerLogs/NAMESPACE/POD/CONTAINER`, `tailLines`,
//! `follow`). The sandbox's API server asks here; a real one insists on TLS, so there `kubectl logs` fails and
//! [`Logs`](super::Logs) is the way. Exec, attach and port-forward are not there.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
};

use futures::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use super::logs::Logs;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Opens the door; the address's port is told to the API server by the Node.
pub(super) async fn open() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Answers whoever asks. Never ends; dropping it ends every connection.
pub(super) async fn serve(listener: TcpListener, logs: Logs) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // A connection that breaks before it is accepted concerns its client alone.
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let logs = logs.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = answer(&logs, &request);
                        async { Ok::<_, Infallible>(answer) }
                    });
                    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    if let Err(error) = served {
                        tracing::debug!(%error, "a connection to the kubelet ended early");
                    }
                });
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn answer(logs: &Logs, request: &Request<Incoming>) -> Response<Body> {
    let parts: Vec<_> = request.uri().path().split('/').collect();
    let ["", "containerLogs", namespace, pod, container] = parts[..] else {
        return whole(StatusCode::NOT_FOUND, "the sandbox's kubelet only tells logs\n");
    };
    let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
    let parameter = |name: &str| {
        let pairs = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let lines = parameter("tailLines").and_then(|lines| lines.parse().ok());
    if parameter("follow").is_some_and(|value| value == "true" || value == "1") {
        let frames = logs
            .follow(key, lines)
            .map(|line| Ok(Frame::data(Bytes::from(line + "\n"))));
        return Response::new(StreamBody::new(frames).boxed_unsync());
    }
    // A container that has not written anything has an empty log.
    let text: String = logs
        .tail(&key, lines)
        .unwrap_or_default()
        .into_iter()
        .map(|line| line + "\n")
        .collect();
    whole(StatusCode::OK, &text)
}

fn whole(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())).boxed_unsync());
    *response.status_mut() = status;
    response
}
