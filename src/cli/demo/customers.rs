//! Customers: requests that are sent to the shop's pods all the time, and the outage as they see it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// One request every so often.
const EVERY: Duration = Duration::from_millis(25);

/// Sends one HTTP request to a pod.
pub(super) async fn send(address: &str, method: &str, path: &str, body: String) -> anyhow::Result<(u16, String)> {
    let stream = tokio::net::TcpStream::connect((address, 8080)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shop")
        .header("content-type", "application/json")
        .header("connection", "close")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    driving.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[derive(Debug, Default)]
struct Seen {
    answered: u32,
    failed: u32,
    last_answer: Option<Instant>,
    outage: Duration,
}

/// What the customers saw.
pub(super) struct Visit {
    answered: u32,
    failed: u32,
    outage: Duration,
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests answered, {} not; the longest time without an answer was {:.1} s",
            self.answered,
            self.failed,
            self.outage.as_secs_f32()
        )
    }
}

/// Customers that keep coming until they are told to leave. A request goes to the first ready pod that answers.
pub(super) struct Customers {
    seen: Arc<Mutex<Seen>>,
    release: watch::Receiver<Option<String>>,
    tasks: JoinSet<()>,
}

impl Customers {
    pub(super) fn come(client: Client, namespace: &str) -> Self {
        let (store, writer) = reflector::store();
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let mut tasks = JoinSet::new();
        let changes = watcher(pods, watcher::Config::default())
            .reflect(writer)
            .touched_objects();
        tasks.spawn(changes.for_each(|_| std::future::ready(())));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (tell, release) = watch::channel(None);
        tasks.spawn(keep_asking(store, Arc::clone(&seen), tell));
        Self { seen, release, tasks }
    }

    /// Waits until the shop's answers come from this release.
    pub(super) async fn served_by(&self, release: &str) -> anyhow::Result<()> {
        let mut answering = self.release.clone();
        let wanted = answering.wait_for(|answering| answering.as_deref() == Some(release));
        tokio::time::timeout(Duration::from_secs(30), wanted)
            .await
            .map_err(|_| anyhow::anyhow!("no customer was served by release {release} within 30 s"))??;
        Ok(())
    }

    pub(super) async fn leave(mut self) -> Visit {
        self.tasks.shutdown().await;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Visit {
            answered: seen.answered,
            failed: seen.failed,
            outage: seen.outage,
        }
    }
}

async fn keep_asking(pods: reflector::Store<Pod>, seen: Arc<Mutex<Seen>>, tell: watch::Sender<Option<String>>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let answered = ask_any(&pods).await;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(release) = answered else {
            seen.failed += 1;
            continue;
        };
        seen.answered += 1;
        let now = Instant::now();
        let gap = seen.last_answer.map_or(Duration::ZERO, |last| now - last);
        seen.outage = seen.outage.max(gap);
        seen.last_answer = Some(now);
        tell.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&release);
            *known = Some(release);
            changed
        });
    }
}

/// The release that answered with 200, asked as through a Service: ready pods only, one after the other.
async fn ask_any(pods: &reflector::Store<Pod>) -> Option<String> {
    for pod in pods.state() {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready = conditions
            .into_iter()
            .any(|one| one.type_ == "Ready" && one.status == "True");
        if !ready || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let Some(address) = pod.status.as_ref().and_then(|status| status.pod_ip.clone()) else {
            continue;
        };
        let asked = tokio::time::timeout(Duration::from_secs(1), send(&address, "GET", "/orders", String::new())).await;
        if let Ok(Ok((200, _))) = asked {
            let image = pod
                .spec
                .as_ref()
                .and_then(|spec| spec.containers.first()?.image.clone())?;
            return Some(image.rsplit(':').next().unwrap_or_default().to_owned());
        }
    }
    None
}
