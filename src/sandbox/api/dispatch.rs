//! From a request to the verb that answers it.
//!
//! Responsible for routing, authorization and the shape of answers; the verbs themselves are elsewhere. Runs each verb
//! under the store's lock, so that requests have one order.

use super::{
    access, bind,
    call::{Address, Call},
    delete::{self, Options},
    discovery,
    failure::Failure,
    kinds::Kind,
    openapi, patch, protobuf, read, scale,
    selector::Selector,
    server::Core,
    show::Shape,
    store::Key,
    watch::Watch,
    write::{self, Owners},
};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use std::sync::Arc;

/// An answer, before it becomes HTTP.
pub(super) enum Reply {
    Json(u16, Value),
    Text(u16, &'static str),
    Watch(Box<Watch>),
}

impl Reply {
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::Json(code, _) | Self::Text(code, _) => *code,
            Self::Watch(_) => 200,
        }
    }
}

/// What no part of the API answers, as the real server says it.
const NO_PAGE: Reply = Reply::Text(404, "404 page not found\n");

/// A request, read whole.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Answers a request, refusals included.
pub(super) fn answer(core: &Arc<Core>, request: &Request) -> Reply {
    let answered = protobuf::read(request).and_then(|read| route(core, read.as_ref().unwrap_or(request)));
    match answered {
        Ok(reply) => reply,
        Err(failure) => Reply::Json(failure.code, failure.status()),
    }
}

fn route(core: &Arc<Core>, request: &Request) -> Result<Reply, Failure> {
    let kinds = core.store().kinds.clone();
    let parts: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
    let found = |document: Option<Value>| Ok(document.map_or(NO_PAGE, |document| Reply::Json(200, document)));
    match (&request.method, &parts[..]) {
        (&Method::GET, ["healthz" | "livez" | "readyz", ..]) => return Ok(Reply::Text(200, "ok")),
        (&Method::GET, ["version"]) => return Ok(Reply::Json(200, discovery::version())),
        (&Method::GET, ["api"]) => return Ok(Reply::Json(200, discovery::core(&core.address.to_string()))),
        (&Method::GET, ["apis"]) => return Ok(Reply::Json(200, discovery::groups(&kinds))),
        (&Method::GET, ["openapi", "v3"]) => return Ok(Reply::Json(200, openapi::index(&kinds))),
        (&Method::GET, ["openapi", "v3", root @ ..]) => return found(openapi::group_version(&kinds, &root.join("/"))),
        (&Method::GET, ["apis", group]) => return found(discovery::group(&kinds, group)),
        _ => {}
    }
    let Some((row, address)) = locate(&kinds, &request.path) else {
        let served = Address::parse(&request.path)
            .and_then(|address| Some((discovery::resources(&kinds, &address.group, &address.version)?, address)));
        return match served {
            Some((resources, address)) if address.plural.is_empty() => Ok(Reply::Json(200, resources)),
            Some(_) => Err(Failure::no_such_resource()),
            None => Ok(NO_PAGE),
        };
    };
    let kind = &kinds[row];
    let call = Call::new(row, address, &request.query, &request.headers);
    check_scope(kind, &call, &request.method)?;
    access::check(&core.forbidden, kind, &call, &request.method)?;
    if kind.review {
        let review = access::review(&core.forbidden, &body(request, kind)?);
        return if request.method == Method::POST {
            Ok(Reply::Json(201, review))
        } else {
            Err(Failure::method())
        };
    }
    match (call.address.name.is_empty(), call.address.subresource.as_str()) {
        (true, _) => collection(core, kind, &call, request),
        (false, "") => object(core, kind, &call, request),
        (false, "status") if kind.status => status(core, kind, &call, request),
        (false, "scale") if kind.scale => scaling(core, &call, request),
        (false, "binding") if kind.is_pod() => {
            posted(request, || bind::bind(&mut core.store(), &call, &body(request, kind)?))
        }
        (false, "eviction") if kind.is_pod() => {
            posted(request, || bind::evict(&mut core.store(), &call, &body(request, kind)?))
        }
        _ => Err(Failure::no_such_resource()),
    }
}

/// The kind that a path addresses, if it is served.
pub(super) fn locate(kinds: &[Kind], path: &str) -> Option<(usize, Address)> {
    let address = Address::parse(path)?;
    let row = kinds.iter().position(|kind| {
        kind.group == address.group && kind.version == address.version && kind.plural == address.plural
    })?;
    Some((row, address))
}

fn check_scope(kind: &Kind, call: &Call, method: &Method) -> Result<(), Failure> {
    let everywhere = call.address.namespace.is_empty();
    let looks = *method == Method::GET && call.address.name.is_empty();
    if kind.namespaced && everywhere && !looks {
        return Err(Failure::method());
    }
    if !kind.namespaced && !everywhere {
        return Err(Failure::no_such_resource());
    }
    Ok(())
}

fn selector(kind: &Kind, call: &Call) -> Result<Selector, Failure> {
    Selector::parse(kind, call.query.get("labelSelector"), call.query.get("fieldSelector"))
}

fn collection(core: &Arc<Core>, kind: &Kind, call: &Call, request: &Request) -> Result<Reply, Failure> {
    match request.method {
        Method::GET if call.is_watch() => {
            let watch = Watch::begin(core, &core.store(), call, selector(kind, call)?)?;
            Ok(Reply::Watch(Box::new(watch)))
        }
        Method::GET => Ok(Reply::Json(
            200,
            read::list(&core.store(), call, &selector(kind, call)?)?,
        )),
        Method::POST => {
            let made = write::create(&mut core.store(), call, body(request, kind)?, Owners::Update)?;
            Ok(shown(kind, call, 201, &made))
        }
        Method::DELETE => {
            let options = Options::read(call, &request.body)?;
            let selector = selector(kind, call)?;
            let mut store = core.store();
            let items = delete::delete_all(&mut store, call.kind, &call.address.namespace, &selector, &options)?;
            let items: Vec<&Value> = items.iter().collect();
            let metadata = json!({"resourceVersion": store.version().to_string()});
            Ok(Reply::Json(200, Shape::Whole.list(kind, &items, &metadata)))
        }
        _ => Err(Failure::method()),
    }
}

fn object(core: &Arc<Core>, kind: &Kind, call: &Call, request: &Request) -> Result<Reply, Failure> {
    let key = Key::new(call.kind, &call.address.namespace, &call.address.name);
    match request.method {
        Method::GET => Ok(shown(kind, call, 200, &*core.store().get(&key)?)),
        Method::PUT => {
            let (code, stored) = write::replace(&mut core.store(), call, body(request, kind)?)?;
            Ok(shown(kind, call, code, &stored))
        }
        Method::PATCH => {
            let (code, stored) = patch::patch(&mut core.store(), call, &request.body)?;
            Ok(shown(kind, call, code, &stored))
        }
        Method::DELETE => {
            let options = Options::read(call, &request.body)?;
            Ok(Reply::Json(200, delete::delete(&mut core.store(), &key, &options)?))
        }
        _ => Err(Failure::method()),
    }
}

fn status(core: &Arc<Core>, kind: &Kind, call: &Call, request: &Request) -> Result<Reply, Failure> {
    match request.method {
        Method::GET | Method::PUT | Method::PATCH => object(core, kind, call, request),
        _ => Err(Failure::method()),
    }
}

fn scaling(core: &Arc<Core>, call: &Call, request: &Request) -> Result<Reply, Failure> {
    let key = Key::new(call.kind, &call.address.namespace, &call.address.name);
    let mut store = core.store();
    match request.method {
        Method::GET => Ok(Reply::Json(200, scale::view(&*store.get(&key)?))),
        Method::PUT => {
            let sent: Value = serde_json::from_slice(&request.body)
                .map_err(|error| Failure::bad_request(format!("error decoding Scale: {error}")))?;
            Ok(Reply::Json(200, (*scale::replace(&mut store, call, &sent)?).clone()))
        }
        Method::PATCH => {
            let (code, scaled) = patch::patch(&mut store, call, &request.body)?;
            Ok(Reply::Json(code, (*scaled).clone()))
        }
        _ => Err(Failure::method()),
    }
}

fn posted(request: &Request, act: impl FnOnce() -> Result<Value, Failure>) -> Result<Reply, Failure> {
    if request.method == Method::POST {
        Ok(Reply::Json(201, act()?))
    } else {
        Err(Failure::method())
    }
}

fn shown(kind: &Kind, call: &Call, code: u16, object: &Value) -> Reply {
    Reply::Json(code, Shape::asked_for(call).show(kind, object))
}

/// The body of a write as JSON.
fn body(request: &Request, kind: &Kind) -> Result<Value, Failure> {
    let sent = request
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !["", "application/json"].contains(&sent.split(';').next().unwrap_or_default().trim()) {
        return Err(Failure::media_type());
    }
    serde_json::from_slice(&request.body).map_err(|error| {
        let message = format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {error}",
            kind.kind
        );
        Failure::bad_request(message)
    })
}
