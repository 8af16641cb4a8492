//! How long the API server may be silent.
//!
//! Responsible for: a limit on each request, so that a network that drops packets, or a server that dies after it has
//! accepted a request, is an error like any other lost connection: whether a write took effect is then not known, and
//! the world is asked. Not for: trying again.
//!
//! Streams have no end to wait for: a watch and a stream to a pod are limited until they begin, a log that is followed
//! not at all. How long a watch may be silent is its own affair: [`WATCH_SECONDS`].

use std::time::Duration;

use http::header::UPGRADE;
use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;

/// How long a request may take, its answer read to the end.
pub(super) const REQUEST: Duration = Duration::from_secs(30);

/// For how many seconds the server is asked to serve a watch. The client takes one that is silent for five more for
/// dead and begins it anew, long before a healthy pod that nobody sees is given up. The default, 290 s, is as long as a
/// pod's limit.
pub(super) const WATCH_SECONDS: u32 = 30;

/// No answer came.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs_f32())]
struct Silent(Duration);

/// What must be there within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// The whole answer.
    Answer,
    /// The head of an answer that goes on for as long as it likes; all of it where it is a refusal.
    Beginning,
    /// Nothing: a container that writes no line has no log to begin with.
    Nothing,
}

impl Awaited {
    fn of(request: &Request<Body>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let asks_for = |wanted: &str| query.split('&').any(|pair| pair == wanted);
        if asks_for("follow=true") {
            Self::Nothing
        } else if asks_for("watch=true") || request.headers().contains_key(UPGRADE) {
            Self::Beginning
        } else {
            Self::Answer
        }
    }
}

/// The same client, but for what is silent for longer than the limit. A request that is given up may still be carried
/// out, now or later.
pub(super) fn limited(client: Client, limit: Duration) -> Client {
    let namespace = client.default_namespace().to_owned();
    let valid_until = *client.valid_until();
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            let awaited = Awaited::of(&request);
            let answered = answer(&client, request, awaited);
            if awaited == Awaited::Nothing {
                return answered.await;
            }
            match tokio::time::timeout(limit, answered).await {
                Ok(answered) => answered,
                Err(_) => Err(Silent(limit).into()),
            }
        }
    });
    Client::new(service, namespace).with_valid_until(valid_until)
}

async fn answer(
    client: &Client,
    request: Request<Body>,
    awaited: Awaited,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let response = client.send(request).await?;
    let refused = response.status().is_client_error() || response.status().is_server_error();
    if awaited != Awaited::Answer && !refused {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, Body::from(body.collect().await?.to_bytes())))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt, stream};
    use http_body_util::StreamBody;
    use hyper::body::{Bytes, Frame};
    use k8s_openapi::api::core::v1::{ConfigMap, Pod};
    use kube::Api;
    use kube::api::{LogParams, PostParams, WatchParams};
    use tokio::time::{Instant, timeout};

    use super::super::failure;
    use super::*;
    use crate::cluster::ClusterError;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A server that takes every request, and answers none.
    fn deaf() -> Client {
        let service = tower::service_fn(|_: Request<Body>| async {
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        limited(Client::new(service, "default"), REQUEST)
    }

    /// A server that begins an answer, and dies.
    fn dying() -> Client {
        let service = tower::service_fn(|_: Request<Body>| async {
            let begun = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{")))]);
            Ok::<_, Infallible>(Response::new(StreamBody::new(begun.chain(stream::pending()))))
        });
        limited(Client::new(service, "default"), REQUEST)
    }

    fn maps(client: Client) -> Api<ConfigMap> {
        Api::namespaced(client, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_a_whole_answer_is_given_up_and_nothing_is_known() {
        for client in [deaf(), dying()] {
            let begun = Instant::now();
            let got = maps(client.clone()).get("a").await.expect_err("nobody answers");
            assert_eq!(begun.elapsed(), REQUEST);
            let why = failure::of(got, "ConfigMap default/a");
            let ClusterError::Unreachable(why) = why else {
                panic!("{why:?}");
            };
            assert_eq!(why, "no answer within 30 s");
            let written = maps(client).create(&PostParams::default(), &ConfigMap::default()).await;
            let why = failure::of(written.expect_err("nobody answers"), "ConfigMap default/a");
            assert!(matches!(why, ClusterError::Unreachable(_)), "{why:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_is_limited_until_it_begins_and_a_followed_log_never() {
        let begun = Instant::now();
        let watched = maps(deaf()).watch(&WatchParams::default(), "0").await;
        assert!(watched.is_err());
        let pods: Api<Pod> = Api::namespaced(deaf(), "default");
        assert!(pods.portforward("web-0", &[8080]).await.is_err());
        assert_eq!(begun.elapsed(), 2 * REQUEST);

        let watch = maps(dying()).watch(&WatchParams::default(), "0").await.unwrap();
        assert!(
            timeout(HOUR, watch.boxed().next()).await.is_err(),
            "the watch was ended"
        );
        let follow = LogParams {
            follow: true,
            ..LogParams::default()
        };
        let pods: Api<Pod> = Api::namespaced(deaf(), "default");
        assert!(timeout(HOUR, pods.log_stream("web-0", &follow)).await.is_err());
    }
}
