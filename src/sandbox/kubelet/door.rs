//! Where an API server asks the kubelet: the logs of containers and commands in them, over plain HTTP on loopback.
//!
//! Paths and parameters are those of Kubernetes' kubelet (`/containerLogs/NAMESPACE/POD/CONTAINER`,
//! `/exec/NAMESPACE/POD/CONTAINER`). Only the API server that the kubelet was told of is answered, which shows that it
//! is the one by a secret: a command is a program of this machine. A real API server insists on TLS, so there
//! `kubectl logs` fails and [`Logs`](super::Logs) is the way. Attach and port-forward are not there.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use futures::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{
    Shared, exec,
    logs::{Key, Wanted},
    place::Place,
};
use crate::percent::decode;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Opens the door; the address's port is told to the API server by the Node.
pub(super) async fn open() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Answers whoever asks. Never ends; `guests` are those who are being answered, and end with it.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, guests: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            // A connection that breaks before it is accepted concerns its client alone.
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                guests.spawn(converse(stream, Arc::clone(&shared)));
            },
            Some(_) = guests.join_next() => {}
        }
    }
}

/// A command that was granted, to be run once the connection is upgraded.
struct Granted {
    upgrade: OnUpgrade,
    asked: exec::Asked,
    place: Place,
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let (grant, mut granted) = mpsc::unbounded_channel();
    let service = service_fn(move |request| {
        let answer = answer(&shared, request, &grant).unwrap_or_else(|Refusal(status, why)| whole(status, &why));
        async { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.with_upgrades().await {
        tracing::debug!(%error, "a connection to the kubelet ended early");
    }
    // In this task, so that a command ends with those who are answered.
    while let Some(Granted { upgrade, asked, place }) = granted.recv().await {
        match upgrade.await {
            Ok(upgraded) => exec::attend(TokioIo::new(upgraded), asked, place).await,
            Err(error) => tracing::debug!(%error, "a client of exec went before it began"),
        }
    }
}

/// What is answered instead, in plain text.
struct Refusal(StatusCode, String);

type Answer = Result<Response<Body>, Refusal>;

fn answer(shared: &Shared, request: Request<Incoming>, grant: &mpsc::UnboundedSender<Granted>) -> Answer {
    let shown = request.headers().get(header::AUTHORIZATION);
    let secret = shared.options.server_secret.as_ref();
    let proof = secret.map(|secret| secret.proof().into_bytes());
    if proof.is_none() || proof.as_deref() != shown.map(|shown| shown.as_bytes()) {
        return Err(Refusal(StatusCode::UNAUTHORIZED, "Unauthorized\n".to_owned()));
    }
    let path = request.uri().path().to_owned();
    let parts: Vec<_> = path.split('/').collect();
    let key = |[namespace, pod, container]: [&str; 3]| (namespace.to_owned(), pod.to_owned(), container.to_owned());
    match parts[..] {
        ["", "containerLogs", namespace, pod, container] => tell(shared, &request, key([namespace, pod, container])),
        ["", "exec", namespace, pod, container] => begin(shared, request, &key([namespace, pod, container]), grant),
        _ => {
            let why = "the sandbox's kubelet tells logs and runs commands\n";
            Err(Refusal(StatusCode::NOT_FOUND, why.to_owned()))
        }
    }
}

fn tell(shared: &Shared, request: &Request<Incoming>, key: Key) -> Answer {
    let wanted = Wanted::read(&parameters(request.uri().query().unwrap_or_default()));
    if wanted.follow && !wanted.previous {
        let frames = shared.logs.follow(key, &wanted);
        let frames = frames.map(|line| Ok(Frame::data(Bytes::from(line + "\n"))));
        return Ok(Response::new(StreamBody::new(frames).boxed_unsync()));
    }
    match shared.logs.tell(&key, &wanted) {
        Some(text) => Ok(whole(StatusCode::OK, &text)),
        None => {
            let (_, pod, container) = key;
            let why = format!("previous terminated container {container:?} in pod {pod:?} not found");
            Err(Refusal(StatusCode::BAD_REQUEST, why))
        }
    }
}

fn begin(shared: &Shared, mut request: Request<Incoming>, key: &Key, grant: &mpsc::UnboundedSender<Granted>) -> Answer {
    let Some(place) = shared.places.find(key) else {
        let why = format!("container not found ({:?})", key.2);
        return Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, why));
    };
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let offered = header("sec-websocket-protocol").unwrap_or_default();
    let protocol = exec::PROTOCOLS
        .into_iter()
        .find(|known| offered.split(',').any(|one| one.trim() == *known));
    let (Some(key), Some(protocol)) = (header("sec-websocket-key"), protocol) else {
        let why = "the sandbox's kubelet runs commands over WebSocket alone, by v5.channel.k8s.io or v4.channel.k8s.io";
        return Err(Refusal(StatusCode::BAD_REQUEST, why.to_owned()));
    };
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header("sec-websocket-accept", derive_accept_key(key.as_bytes()))
        .header("sec-websocket-protocol", protocol)
        .body(Full::default().boxed_unsync());
    let asked = asked(&parameters(request.uri().query().unwrap_or_default()));
    let upgrade = hyper::upgrade::on(&mut request);
    if grant.send(Granted { upgrade, asked, place }).is_err() {
        return Err(Refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the kubelet stops".to_owned(),
        ));
    }
    answer.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// The parameters of a request in their order, decoded.
fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decode(name, true), decode(value, true)))
        .collect()
}

fn asked(parameters: &[(String, String)]) -> exec::Asked {
    let is = |wanted: &str| {
        let mut named = parameters.iter().filter(|(name, _)| name == wanted);
        named.any(|(_, value)| value == "1" || value == "true")
    };
    let command = parameters.iter().filter(|(name, _)| name == "command");
    exec::Asked {
        command: command.map(|(_, word)| word.clone()).collect(),
        stdin: is("input"),
        stdout: is("output"),
        stderr: is("error"),
        terminal: is("tty"),
    }
}

fn whole(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())).boxed_unsync());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_word_by_word() {
        let read = asked(&parameters(
            "command=sh&command=-c&command=echo+%24A%26b&output=1&error=true&input=0",
        ));
        assert_eq!(read.command, ["sh", "-c", "echo $A&b"]);
        assert_eq!((read.stdin, read.stdout, read.stderr), (false, true, true));
    }
}
