//! The HTTP side: listening, connections, bodies, and the end of it all.
//!
//! Responsible for turning bytes into requests and replies into bytes, for the gate in front of the verbs, and for a
//! shutdown that leaves no task behind. Not for what requests mean (`dispatch.rs`).

use super::{
    access::Forbidden,
    call::Query,
    collect,
    dispatch::{self, Reply, Request},
    failure::Failure,
    gate::{Asked, Decision, Gate},
    node, openapi,
    store::Store,
    watch::Watch,
};
use crate::secret::Secret;
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
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

/// The largest body that is read, in bytes: the real server's limit.
const MAX_BODY: usize = 3 * 1024 * 1024;

pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Core {
    store: Mutex<Store>,
    pub(super) gate: Gate,
    pub(super) forbidden: Vec<Forbidden>,
    pub(super) bookmark_every: Duration,
    pub(super) address: SocketAddr,
    /// What every client must know.
    pub(super) secret: Secret,
    /// What runs beside the connections, and ends with the server.
    beside: Mutex<JoinSet<()>>,
}

impl Core {
    pub(super) fn new(
        store: Store,
        forbidden: Vec<Forbidden>,
        bookmark_every: Duration,
        address: SocketAddr,
        secret: Secret,
    ) -> Self {
        Self {
            store: Mutex::new(store),
            gate: Gate::default(),
            forbidden,
            bookmark_every,
            address,
            secret,
            beside: Mutex::default(),
        }
    }

    /// Runs a task until it is done or the server ends.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        while beside.try_join_next().is_some() {}
        beside.spawn(task);
    }

    /// Ends what runs beside the connections, and whatever waits at the gate.
    pub(super) fn end(&self) {
        self.gate.close();
        self.beside.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
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
    let Some(request) = core.secret.take_off(request) else {
        return Ok(refused(&Failure::unauthorized()));
    };
    if node::is_proxied(request.uri().path()) {
        return pass_on(&core, request).await;
    }
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
        Some(Decision::Refuse) => return Ok(refused(&refusal())),
        _ => {}
    }
    let reply = dispatch::answer(core, &request);
    tracing::debug!(method = %request.method, path = request.path, code = reply.code(), "sandbox API");
    match decision {
        Some(Decision::Swallow(done)) => {
            report(done, reply.code());
            return Err(Cut);
        }
        Some(Decision::Answer(done)) => report(done, reply.code()),
        _ => {}
    }
    let unchecked = ["Strict", "Warn"].contains(&Query::parse(&request.query).get("fieldValidation"));
    let mut answer = match reply {
        Reply::Json(code, document) => response(code, "application/json", whole(document.to_string())),
        Reply::Text(code, text) => response(code, "text/plain; charset=utf-8", whole(text)),
        Reply::Watch(watch) => response(200, "application/json", stream(watch)),
    };
    if unchecked {
        let warning = header::HeaderValue::from_static(openapi::UNCHECKED);
        answer.headers_mut().insert(header::WARNING, warning);
    }
    Ok(answer)
}

/// Tells the test that the effect is there; a test that is no longer interested is no error.
fn report(done: oneshot::Sender<u16>, code: u16) {
    if done.send(code).is_err() {
        tracing::trace!("nobody waited for the end of a held request");
    }
}

fn refusal() -> Failure {
    Failure::internal("the sandbox refused this request")
}

/// Passes a request on to a kubelet, by way of the gate.
async fn pass_on(core: &Arc<Core>, request: http::Request<Incoming>) -> Result<Response<Body>, Cut> {
    let asked = Asked {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        body: Vec::new(),
    };
    let (done, cut) = match core.gate.pass(&asked).await {
        Some(Decision::Cut) => return Err(Cut),
        Some(Decision::Refuse) => return Ok(refused(&refusal())),
        Some(Decision::Answer(done)) => (Some(done), false),
        Some(Decision::Swallow(done)) => (Some(done), true),
        None => (None, false),
    };
    let answer = node::pass_on(core, request).await;
    if let Some(done) = done {
        report(done, answer.status().as_u16());
    }
    if cut { Err(Cut) } else { Ok(answer) }
}

pub(super) fn refused(failure: &Failure) -> Response<Body> {
    response(failure.code, "application/json", whole(failure.status().to_string()))
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

fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
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
