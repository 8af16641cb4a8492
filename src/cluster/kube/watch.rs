//! A workload and everything about it as one stream of snapshots.

use std::collections::BTreeMap;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::core::{Resource, Selector};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use stepback_core::model::{SeenWorkload, WorkloadRef};

use super::{failure, limit, look};
use crate::cluster::{ClusterError, Follow};

type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

/// The present state once everything is listed, then a snapshot after every change that shows.
pub(super) fn changes(
    client: Client,
    workload: WorkloadRef,
    follow: Follow<'_>,
) -> BoxStream<'static, Result<SeenWorkload, ClusterError>> {
    let watch = Watch::start(client, workload, follow);
    // After an error nothing follows: what is missed cannot be told from what did not happen.
    stream::try_unfold(watch, |mut watch| async move {
        let seen = watch.next().await?;
        Ok(Some((seen, watch)))
    })
    .into_stream()
    .boxed()
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(limit::WATCH_SECONDS)
}

struct Watch {
    client: Client,
    workload: WorkloadRef,
    set: Followed<StatefulSet>,
    with_pods: bool,
    /// Pods are found by the set's selector, so they are watched once it is known.
    pods: Option<(Selector, Followed<Pod>)>,
    /// The revision that is to be shown, and what is known of it. Not watched: its data never change, and a list of
    /// revisions waits for the API server's cache.
    revision: Option<(String, Option<ControllerRevision>)>,
    begun: bool,
    last: Option<SeenWorkload>,
}

impl Watch {
    fn start(client: Client, workload: WorkloadRef, follow: Follow<'_>) -> Self {
        let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &workload.namespace);
        let only = config().fields(&format!("metadata.name={}", workload.name));
        let set = Followed::new(sets, only);
        Self {
            client,
            workload,
            set,
            pods: None,
            with_pods: follow.pods,
            revision: follow.revision.map(|name| (name.to_owned(), None)),
            begun: false,
            last: None,
        }
    }

    /// Reads by what its pods are found, so that they are listed while the set is: a list waits for the API server's cache,
    /// one object does not.
    async fn begin(&mut self) -> Result<(), ClusterError> {
        if self.with_pods
            && !std::mem::replace(&mut self.begun, true)
            && let Some(set) = look::get_set(&self.client, &self.workload).await?
        {
            self.watch_pods(&set)?;
        }
        Ok(())
    }

    /// Watches the set's pods, unless that is being done.
    fn watch_pods(&mut self, set: &StatefulSet) -> Result<(), ClusterError> {
        let wanted = look::selector(set, &self.workload.to_string())?;
        if self.pods.as_ref().is_none_or(|(selector, _)| *selector != wanted) {
            let api = Api::namespaced(self.client.clone(), &self.workload.namespace);
            let pods = Followed::new(api, config().labels_from(&wanted));
            self.pods = Some((wanted, pods));
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<SeenWorkload, ClusterError> {
        self.begin().await?;
        loop {
            self.step().await?;
            if !self.is_complete() {
                continue;
            }
            self.read_revision().await?;
            let seen = self.snapshot();
            if self.last.as_ref() != Some(&seen) {
                self.last = Some(seen.clone());
                return Ok(seen);
            }
        }
    }

    /// Takes in one event, whoever has one first.
    async fn step(&mut self) -> Result<(), ClusterError> {
        let object = self.workload.to_string();
        let stepped = match &mut self.pods {
            None => self.set.step().await,
            Some((_, pods)) => tokio::select! {
                stepped = self.set.step() => stepped,
                stepped = pods.step() => stepped,
            },
        };
        stepped.map_err(|error| match error {
            Some(error) => failure::of_watch(error, &object),
            None => ClusterError::Unreachable(format!("the watch of {object} ended")),
        })?;
        match self.set.known.values().next().cloned() {
            Some(set) if self.with_pods => self.watch_pods(&set),
            Some(_) => Ok(()),
            // Until it is listed, it is known by what was read of it.
            None if !self.set.complete => Ok(()),
            // Without the set nothing is owned; a set made anew may select something else.
            None => {
                self.pods = None;
                Ok(())
            }
        }
    }

    /// Whether everything is known.
    fn is_complete(&self) -> bool {
        let has_pods = !self.with_pods || self.set.known.is_empty();
        self.set.complete && (has_pods || self.pods.as_ref().is_some_and(|(_, pods)| pods.complete))
    }

    /// Reads the revision, until it is there.
    async fn read_revision(&mut self) -> Result<(), ClusterError> {
        if let Some((name, found @ None)) = &mut self.revision {
            let mut read = look::get_revisions(&self.client, &self.workload, &[name.as_str()]).await?;
            *found = read.pop();
        }
        Ok(())
    }

    fn snapshot(&self) -> SeenWorkload {
        let set = self.set.known.values().next().cloned();
        let pods = self.pods.iter().flat_map(|(_, pods)| pods.known.values().cloned());
        let revision = self.revision.iter().filter_map(|(_, found)| found.clone());
        look::assemble(&self.workload, set, pods, revision)
    }
}

/// The objects of one kind, by name, as a watch tells of them.
struct Followed<K> {
    events: Events<K>,
    known: BTreeMap<String, K>,
    /// What a new list has shown so far; it replaces what was known once it is complete.
    listed: BTreeMap<String, K>,
    complete: bool,
}

impl<K> Followed<K>
where
    K: Resource + Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + 'static,
{
    fn new(api: Api<K>, config: watcher::Config) -> Self {
        Self {
            events: watcher::watcher(api, config).boxed(),
            known: BTreeMap::new(),
            listed: BTreeMap::new(),
            complete: false,
        }
    }

    /// Takes in one event. Dropping this future loses nothing: an event is taken in as soon as it is received.
    async fn step(&mut self) -> Result<(), Option<watcher::Error>> {
        let event = self.events.try_next().await.map_err(Some)?.ok_or(None)?;
        self.take(event);
        Ok(())
    }

    fn take(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                self.listed.insert(name(&object), object);
            }
            Event::InitDone => {
                self.known = std::mem::take(&mut self.listed);
                self.complete = true;
            }
            Event::Apply(object) => {
                self.known.insert(name(&object), object);
            }
            Event::Delete(object) => {
                self.known.remove(&name(&object));
            }
        }
    }
}

fn name<K: Resource>(object: &K) -> String {
    object.meta().name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use http::{Request, Response};
    use http_body_util::StreamBody;
    use hyper::body::{Bytes, Frame};
    use kube::client::Body;
    use serde_json::{Value, json};
    use stepback_core::model::WorkloadKind;
    use tokio::time::{Instant, timeout};

    use super::*;

    fn set(replicas: i32) -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": { "name": "shop", "namespace": "a", "uid": "1", "resourceVersion": format!("1{replicas}") },
            "spec": { "replicas": replicas, "serviceName": "shop", "selector": { "matchLabels": { "app": "shop" } },
                "template": { "metadata": { "labels": { "app": "shop" } } } },
        })
    }

    /// An API server whose watches fall silent, each without a word; the second watch of the set knows of a change.
    fn falls_silent() -> Client {
        static WATCHES: AtomicUsize = AtomicUsize::new(0);
        let answer = |request: &Request<Body>| {
            let query = request.uri().query().unwrap_or_default();
            let of_set = request.uri().path().ends_with("/statefulsets");
            if query.contains("watch=true") {
                assert!(query.contains("timeoutSeconds=30"), "{query}");
                let again = of_set && WATCHES.fetch_add(1, Ordering::SeqCst) == 1;
                return (again.then(|| json!({ "type": "MODIFIED", "object": set(2) })), true);
            }
            let items = if of_set { vec![set(3)] } else { vec![] };
            (
                Some(json!({ "metadata": { "resourceVersion": "9" }, "items": items })),
                false,
            )
        };
        let service = tower::service_fn(move |request: Request<Body>| {
            let (first, goes_on) = answer(&request);
            let first = first.map(|json| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{json}\n")))));
            let rest = if goes_on {
                stream::pending().boxed()
            } else {
                stream::empty().boxed()
            };
            let body = StreamBody::new(stream::iter(first).chain(rest));
            async { Ok::<_, Infallible>(Response::new(body)) }
        });
        limit::limited(Client::new(service, "a"), limit::REQUEST)
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_falls_silent_is_begun_anew_within_a_minute() {
        let workload = WorkloadRef {
            kind: WorkloadKind::StatefulSet,
            namespace: "a".to_owned(),
            name: "shop".to_owned(),
        };
        let everything = Follow {
            pods: true,
            revision: None,
        };
        let mut changes = changes(falls_silent(), workload, everything);
        assert_eq!(changes.next().await.unwrap().unwrap().replicas(), 3);
        let begun = Instant::now();
        let changed = timeout(Duration::from_secs(60), changes.next()).await;
        let changed = changed.expect("the change was not seen within a minute");
        assert_eq!(changed.unwrap().unwrap().replicas(), 2);
        assert_eq!(begun.elapsed(), Duration::from_secs(35));
    }
}
