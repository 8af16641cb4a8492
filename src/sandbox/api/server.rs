//! The HTTP side: listening, connections, bodies, and the end of it all.
//!
//! Responsible for turning bytes into requests and replies into bytes, for the gate in front of the verbs, and for a
//! shutdown that leaves no task behind. Not for what requests mean (`dispatch.rs`).

use super::{
    access::Forbidden,
    collect,
    dispatch::{self, Reply, Request},
    failure::Failure,
    gate::{Asked, Decision, Gate},
    store::Store,
    watch::Watch,
};
use futures::stream;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

/// The largest body that is read, in bytes: the real server's limit.
const MAX_BODY: usize = 3 * 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Core {
    store: Mutex<Store>,
    pub(super) gate: Gate,
    pub(super) forbidden: Vec<Forbidden>,
    pub(super) bookmark_every: Duration,
    pub(super) address: SocketAddr,
}

impl Core {
    pub(super) fn new(store: Store, forbidden: Vec<Forbidden>, bookmark_every: Duration, address: SocketAddr) -> Self {
        Self {
            store: Mutex::new(store),
            gate: Gate::default(),
            forbidden,
            bookmark_every,
            address,
        }
    }

    /// The store, locked. Never held across an await.
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        // A write is put into the store as its last act, so a verb that panicked has changed nothing.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection is cut instead of answered.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut on a test's behalf")]
struct Cut;

/// Accepts connections until the task is aborted, which also ends every connection.
pub(super) async fn serve(core: Arc<Core>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection to the sandbox API will be slow");
                    }
                    connections.spawn(converse(core.clone(), stream));
                }
                Err(error) => {
                    tracing::debug!(%error, "the sandbox API could not accept a connection");
                    tokio::task::yield_now().await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(core: Arc<Core>, stream: tokio::net::TcpStream) {
    let service = service_fn(move |request| respond(core.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.with_upgrades().await {
        tracing::debug!(%error, "a connection to the sandbox API ended early");
    }
}

async fn respond(core: Arc<Core>, request: http::Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(refused(&Failure::too_large(MAX_BODY))),
        Err(_) => return Err(Cut),
    };
    let request = Request {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
    };
    // In a task of its own, so that what was accepted is carried out although its client is gone.
    tokio::spawn(async move { perform(&core, request).await })
        .await
        .unwrap_or_else(|error| {
            tracing::error!(%error, "a request to the sandbox API failed");
            Ok(refused(&Failure::internal(error.to_string())))
        })
}

async fn perform(core: &Arc<Core>, request: Request) -> Result<Response<Body>, Cut> {
    let asked = Asked {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        body: request.body.clone(),
    };
    let decision = core.gate.pass(&asked).await;
    match decision {
        Some(Decision::Cut) => return Err(Cut),
        Some(Decision::Refuse) => return Ok(refused(&Failure::internal("the sandbox refused this request"))),
        _ => {}
    }
    let reply = dispatch::answer(core, &request);
    tracing::debug!(method = %request.method, path = request.path, code = reply.code(), "sandbox API");
    match decision {
        Some(Decision::Swallow(done)) => {
            report(done, &reply);
            return Err(Cut);
        }
        Some(Decision::Answer(done)) => report(done, &reply),
        _ => {}
    }
    Ok(match reply {
        Reply::Json(code, document) => response(
            code,
            "application/json",
            Full::from(document.to_string()).boxed_unsync(),
        ),
        Reply::Text(code, text) => response(code, "text/plain; charset=utf-8", Full::from(text).boxed_unsync()),
        Reply::Watch(watch) => response(200, "application/json", stream(watch)),
    })
}

/// Tells the test that the effect is there; a test that is no longer interested is no error.
fn report(done: oneshot::Sender<u16>, reply: &Reply) {
    if done.send(reply.code()).is_err() {
        tracing::trace!("nobody waited for the end of a held request");
    }
}

fn refused(failure: &Failure) -> Response<Body> {
    response(
        failure.code,
        "application/json",
        Full::from(failure.status().to_string()).boxed_unsync(),
    )
}

fn response(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-cache, private"),
    );
    response
}

fn stream(watch: Box<Watch>) -> Body {
    let lines = stream::unfold(watch, |mut watch| async move {
        let lines = watch.next().await?;
        Some((Ok(Frame::data(lines)), watch))
    });
    StreamBody::new(lines).boxed_unsync()
}

/// Collects garbage after every change, until the task is aborted.
pub(super) async fn collect_garbage(core: Arc<Core>) {
    let mut told = core.store().subscribe();
    loop {
        while collect::sweep(&mut core.store()) {}
        if told.changed().await.is_err() {
            return;
        }
    }
}
