//! The shop's three endpoints over a store.

use std::convert::Infallible;

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
};
use serde_json::{Value, json};

use super::{
    release::Release,
    store::{NewOrder, Store},
};

/// The longest order that is read.
const BODY: usize = 64 * 1024;

/// Answers one request. A query that fails is a 500 with its reason: nothing is answered from memory.
pub(super) async fn answer(
    store: Store,
    release: Release,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => healthz(&store, release).await,
        (&Method::GET, "/orders") => orders(&store, release).await,
        (&Method::POST, "/orders") => place(&store, release, request.into_body()).await,
        (_, "/healthz" | "/orders") => (
            StatusCode::METHOD_NOT_ALLOWED,
            json!({ "reason": "method not allowed" }),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            json!({ "reason": "there is only /healthz and /orders" }),
        ),
    };
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .header("x-shop-release", release.version())
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a status and two constant headers always make a response");
    Ok(response)
}

async fn healthz(store: &Store, release: Release) -> (StatusCode, Value) {
    match store.check(release).await {
        Ok(()) => (
            StatusCode::OK,
            json!({ "release": release.version(), "schema": "accepted" }),
        ),
        Err(reason) => failed(&reason),
    }
}

async fn orders(store: &Store, release: Release) -> (StatusCode, Value) {
    match store.orders(release).await {
        Ok(orders) => {
            let orders: Vec<Value> = orders
                .iter()
                .map(|order| {
                    let mut shown = json!({ "id": order.id, release.item(): order.item, "quantity": order.quantity });
                    if release != Release::V1_1 {
                        shown["customer"] = json!(order.customer);
                    }
                    if release == Release::V1_3 {
                        shown["paid"] = json!(order.paid);
                    }
                    shown
                })
                .collect();
            (StatusCode::OK, Value::Array(orders))
        }
        Err(error) => failed(&error.to_string()),
    }
}

async fn place(store: &Store, release: Release, body: Incoming) -> (StatusCode, Value) {
    let refused = |reason: String| (StatusCode::BAD_REQUEST, json!({ "reason": reason }));
    let bytes = match Limited::new(body, BODY).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return refused(error.to_string()),
    };
    let order: NewOrder = match serde_json::from_slice(&bytes) {
        Ok(order) => order,
        Err(error) => return refused(error.to_string()),
    };
    match store.place(release, &order).await {
        Ok(id) => (StatusCode::CREATED, json!({ "id": id })),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(reason: &str) -> (StatusCode, Value) {
    (StatusCode::INTERNAL_SERVER_ERROR, json!({ "reason": reason }))
}
