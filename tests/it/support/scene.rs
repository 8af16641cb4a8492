//! A namespace with a StatefulSet in it, and eyes on its pods. Everything is waited for by watching.

use std::{collections::BTreeMap, fmt::Debug, pin::pin, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus},
    core::v1::{Event, PersistentVolumeClaim, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::watcher::{self, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json};
use tokio::time::timeout;

use super::{
    cluster::{Cluster, Kind, LentNamespace},
    runner::{NotPassed, fail},
};

/// How long anything may take that is to happen.
const LIMIT: Duration = Duration::from_secs(40);
/// How long nothing must happen, where something wrong would happen at once.
const STILL: Duration = Duration::from_millis(1500);

pub struct Scene {
    pub cluster: &'static Cluster,
    pub namespace: String,
    pub client: Client,
    pub sets: Api<StatefulSet>,
    pub pods: Api<Pod>,
    pub claims: Api<PersistentVolumeClaim>,
    pub revisions: Api<ControllerRevision>,
    _lent: LentNamespace,
}

/// The pods of a namespace by name.
pub type Pods = BTreeMap<String, Pod>;

impl Scene {
    /// An empty namespace in a cluster of this kind.
    pub async fn open(kind: Kind, hint: &str) -> Result<Scene, NotPassed> {
        let cluster = Cluster::shared(kind).await?;
        let lent = cluster
            .fresh_namespace(hint.rsplit("::").next().unwrap_or(hint))
            .await?;
        let client = cluster.client().await?;
        let namespace = lent.to_owned();
        Ok(Scene {
            sets: Api::namespaced(client.clone(), &namespace),
            pods: Api::namespaced(client.clone(), &namespace),
            claims: Api::namespaced(client.clone(), &namespace),
            revisions: Api::namespaced(client.clone(), &namespace),
            cluster,
            namespace,
            client,
            _lent: lent,
        })
    }

    /// Creates the set `web`: `image`, ready once it listens, and `more` merged into it.
    pub async fn create(&self, image: &str, replicas: i32, more: Value) -> Result<StatefulSet, NotPassed> {
        let mut set = json!({
            "metadata": { "name": "web" },
            "spec": {
                "serviceName": "web",
                "replicas": replicas,
                "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": {
                        "terminationGracePeriodSeconds": 5,
                        "containers": [{
                            "name": "shop",
                            "image": image,
                            "env": [{ "name": "DATABASE_URL", "value": "sqlite:///nowhere/shop.db" }],
                            "readinessProbe": { "tcpSocket": { "port": 8080 }, "periodSeconds": 1 },
                        }],
                    },
                },
            },
        });
        merge(&mut set, more);
        let set = from_value(set)?;
        Ok(self.sets.create(&PostParams::default(), &set).await?)
    }

    /// Sends a merge patch of the set and returns what it is then.
    pub async fn patch(&self, patch: Value) -> Result<StatefulSet, NotPassed> {
        Ok(self
            .sets
            .patch("web", &PatchParams::default(), &Patch::Merge(patch))
            .await?)
    }

    /// Gives the set's container another image.
    pub async fn set_image(&self, image: &str) -> Result<StatefulSet, NotPassed> {
        let patch =
            json!({ "spec": { "template": { "spec": { "containers": [{ "name": "shop", "image": image }] } } } });
        Ok(self
            .sets
            .patch("web", &PatchParams::default(), &Patch::Strategic(patch))
            .await?)
    }

    pub async fn scale(&self, replicas: i32) -> Result<StatefulSet, NotPassed> {
        self.patch(json!({ "spec": { "replicas": replicas } })).await
    }

    /// Waits until the controller has seen the set as it is and `met` holds of its status.
    pub async fn until_set(
        &self,
        what: &str,
        met: impl Fn(&StatefulSetStatus) -> bool,
    ) -> Result<StatefulSetStatus, NotPassed> {
        self.until(&self.sets, what, |sets| {
            let set = sets.get("web")?;
            let status = set.status.clone()?;
            (status.observed_generation >= set.metadata.generation && met(&status)).then_some(status)
        })
        .await
    }

    /// Waits until all replicas are ready on the update revision and the controller says so.
    pub async fn until_settled(&self, replicas: i32) -> Result<StatefulSetStatus, NotPassed> {
        self.until_set(&format!("{replicas} replicas are ready and updated"), |status| {
            status.replicas == replicas
                && status.ready_replicas.unwrap_or(0) == replicas
                && status.available_replicas.unwrap_or(0) == replicas
                && status.updated_replicas.unwrap_or(0) == replicas
                && status.current_revision == status.update_revision
        })
        .await
    }

    /// Waits until `met` holds of the pods.
    pub async fn until_pods(&self, what: &str, met: impl Fn(&Pods) -> bool) -> Result<Pods, NotPassed> {
        self.until(&self.pods, what, |pods| met(pods).then(|| pods.clone()))
            .await
    }

    /// Waits until `met` returns something of the objects of one kind in the namespace.
    pub async fn until<K, T>(
        &self,
        api: &Api<K>,
        what: &str,
        met: impl Fn(&BTreeMap<String, K>) -> Option<T>,
    ) -> Result<T, NotPassed>
    where
        K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        K::DynamicType: Default,
    {
        let mut objects = BTreeMap::new();
        let watched = async {
            let mut events = pin!(watcher(api.clone(), watcher::Config::default()));
            let mut listing = false;
            while let Some(event) = events.next().await {
                match event? {
                    watcher::Event::Init => {
                        listing = true;
                        objects.clear();
                    }
                    watcher::Event::InitDone => listing = false,
                    watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                        objects.insert(object.name_any(), object);
                    }
                    watcher::Event::Delete(object) => drop(objects.remove(&object.name_any())),
                }
                if let Some(met) = (!listing).then(|| met(&objects)).flatten() {
                    return Ok(met);
                }
            }
            fail("the watch ended")
        };
        let outcome = timeout(LIMIT, watched).await;
        match outcome {
            Ok(met) => met,
            Err(_) => fail(format_args!("not within {LIMIT:?}: {what}; last seen {objects:#?}")),
        }
    }

    /// Checks that no pod begins to end, comes or goes for a while: what is there is stuck or at rest.
    pub async fn stays_as_it_is(&self) -> Result<(), NotPassed> {
        let identity = |pods: &Pods| -> Vec<_> {
            pods.values()
                .map(|pod| (pod.uid(), pod.metadata.deletion_timestamp.is_some()))
                .collect()
        };
        let before = identity(&self.pods_now().await?);
        let change = self.until(&self.pods, "a change", |pods| {
            (identity(pods) != before).then(|| pods.clone())
        });
        match timeout(STILL, change).await {
            Err(_) => Ok(()),
            Ok(changed) => fail(format_args!("pods were to stay as they were, but: {:#?}", changed?)),
        }
    }

    /// Watches until `last` happens, and returns what happened to pods, in order: `+name` came, `!name` became ready,
    /// `~name` began to end, `-name` went.
    pub async fn history(&self, last: &str) -> Result<Vec<String>, NotPassed> {
        let mut seen = Pods::new();
        let mut history = Vec::new();
        let is_ending = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
        let watched = async {
            let mut events = pin!(watcher(self.pods.clone(), watcher::Config::default()));
            while let Some(event) = events.next().await {
                match event? {
                    watcher::Event::InitApply(pod) | watcher::Event::Apply(pod) => {
                        let name = pod.name_any();
                        let before = seen.insert(name.clone(), pod.clone());
                        if before.is_none() {
                            history.push(format!("+{name}"));
                        }
                        if is_ready(&pod) && !before.as_ref().is_some_and(is_ready) {
                            history.push(format!("!{name}"));
                        }
                        if is_ending(&pod) && !before.as_ref().is_some_and(is_ending) {
                            history.push(format!("~{name}"));
                        }
                    }
                    watcher::Event::Delete(pod) => {
                        seen.remove(&pod.name_any());
                        history.push(format!("-{}", pod.name_any()));
                    }
                    watcher::Event::Init | watcher::Event::InitDone => {}
                }
                if history.iter().any(|entry| entry == last) {
                    return Ok(());
                }
            }
            fail("the watch ended")
        };
        match timeout(LIMIT, watched).await {
            Ok(watched) => watched.map(|()| history),
            Err(_) => fail(format_args!("not within {LIMIT:?}: {last}; there was {history:?}")),
        }
    }

    pub async fn pods_now(&self) -> Result<Pods, NotPassed> {
        let listed = self.pods.list(&ListParams::default()).await?;
        Ok(listed.into_iter().map(|pod| (pod.name_any(), pod)).collect())
    }

    pub async fn delete_pod(&self, name: &str) -> Result<(), NotPassed> {
        self.pods.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// The set's revisions, oldest number first: number and name.
    pub async fn revisions_now(&self) -> Result<Vec<(i64, String)>, NotPassed> {
        let listed = self.revisions.list(&ListParams::default()).await?;
        let mut revisions: Vec<_> = listed
            .into_iter()
            .map(|revision| (revision.revision.unwrap_or(0), revision.name_any()))
            .collect();
        revisions.sort();
        Ok(revisions)
    }

    /// Waits until an event with this reason and with `text` in its message was recorded on an object of this name.
    pub async fn until_event(&self, object: &str, reason: &str, text: &str) -> Result<(), NotPassed> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let what = format!("an event {reason} ({text}) on {object}");
        self.until(&events, &what, |events| {
            let mut found = events.values().filter(|event| {
                event.involved_object.name.as_deref() == Some(object) && event.reason.as_deref() == Some(reason)
            });
            found
                .any(|event| event.message.as_ref().is_some_and(|message| message.contains(text)))
                .then_some(())
        })
        .await
    }
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub fn revision(pod: &Pod) -> &str {
    pod.labels().get("controller-revision-hash").map_or("", String::as_str)
}

/// Why the pod's first container waits, if it does.
pub fn waiting_reason(pod: &Pod) -> Option<&str> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

/// RFC 7386, for what it is worth in a fixture.
fn merge(base: &mut Value, patch: Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, patch) => *base = patch,
    }
}
