//! A StatefulSet controller that talks through `kube::Client` alone: ordered and parallel, with ControllerRevisions,
//! partition, `OnDelete`, claims and their retention. Where Kubernetes gets stuck, it gets stuck in the same way.
//!
//! It watches, and each round asks the server anew, so that it acts on nothing stale. It does not run pods (that is
//! the kubelet), nor delete what lost its owner (that is the API server's garbage collection).
//!
//! Left out: the alpha update strategy `Recreate`.

mod act;
mod claim;
mod pod;
mod revision;
mod round;
mod status;

use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::Selector,
    runtime::{Controller, controller::Action, reflector::ObjectRef, watcher},
};
use serde_json::json;
use thiserror::Error;

use self::{act::Actor, round::Round};
use crate::record::Recorder;

/// The shortest and the longest pause before a round that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(10));

/// Why a round ended early. The next one begins anew from what the server says.
#[derive(Debug, Error)]
enum SyncError {
    #[error("{0}")]
    Api(#[from] Box<kube::Error>),
    #[error("a template could not be encoded")]
    Encode(#[source] serde_json::Error),
    #[error("the revision {0} holds no template")]
    Revision(String),
    #[error("the selector of the set cannot be used")]
    Selector,
    #[error("pvc {0} is being deleted")]
    ClaimEnding(String),
    #[error("the status of {0} could not be written: others kept writing")]
    Contended(String),
}

impl From<kube::Error> for SyncError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

struct Context {
    client: Client,
    recorder: Recorder,
    /// How often in a row each set's round has failed.
    failures: Mutex<HashMap<ObjectRef<StatefulSet>, u32>>,
}

/// Runs the controller over all namespaces until `shutdown` resolves. It may be stopped at any moment, and started
/// anew on what it left.
pub async fn run(client: Client, shutdown: impl Future<Output = ()> + Send) {
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), "statefulset-controller"),
        client: client.clone(),
        failures: Mutex::default(),
    });
    let config = watcher::Config::default;
    let rounds = Controller::new(Api::<StatefulSet>::all(client.clone()), config())
        .watches(Api::<Pod>::all(client.clone()), config(), |pod| set_of(&pod))
        .watches(Api::<PersistentVolumeClaim>::all(client), config(), |claim| {
            sets_of_claim(&claim)
        })
        .run(reconcile, pause, context)
        .for_each(|round| async move {
            if let Err(error) = round {
                tracing::debug!(%error, "a round over a StatefulSet failed");
            }
        });
    let (rounds, shutdown) = (pin!(rounds), pin!(shutdown));
    futures::future::select(rounds, shutdown).await;
}

/// The set that a pod belongs to: by its controller, else by its name, so that orphans are adopted.
fn set_of(pod: &Pod) -> Option<ObjectRef<StatefulSet>> {
    let controller = pod
        .owner_references()
        .iter()
        .find(|reference| reference.controller == Some(true));
    let name = match controller {
        Some(controller) if controller.kind == "StatefulSet" => controller.name.clone(),
        Some(_) => return None,
        None => pod::parent_and_ordinal(pod.meta().name.as_deref()?)?.0.to_owned(),
    };
    Some(ObjectRef::new(&name).within(&pod.namespace()?))
}

/// The sets that may wait for a claim to change or to go: those its owners belong to.
fn sets_of_claim(claim: &PersistentVolumeClaim) -> Vec<ObjectRef<StatefulSet>> {
    let namespace = claim.namespace().unwrap_or_default();
    let name = |reference: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| match &*reference.kind {
        "StatefulSet" => Some(reference.name.clone()),
        "Pod" => pod::parent_and_ordinal(&reference.name).map(|(parent, _)| parent.to_owned()),
        _ => None,
    };
    claim
        .owner_references()
        .iter()
        .filter_map(name)
        .map(|name| ObjectRef::new(&name).within(&namespace))
        .collect()
}

async fn reconcile(set: Arc<StatefulSet>, context: Arc<Context>) -> Result<Action, SyncError> {
    let wait = sync(&set, &context).await?;
    let mut failures = context.failures.lock().unwrap_or_else(PoisonError::into_inner);
    failures.remove(&ObjectRef::from_obj(&*set));
    Ok(wait.map_or_else(Action::await_change, Action::requeue))
}

fn pause(set: Arc<StatefulSet>, error: &SyncError, context: Arc<Context>) -> Action {
    let mut failures = context.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let count = failures.entry(ObjectRef::from_obj(&*set)).or_default();
    *count += 1;
    tracing::debug!(set = set.name_any(), %error, attempt = *count, "a round over a StatefulSet is tried again");
    Action::requeue(RETRY.0.saturating_mul(2_u32.saturating_pow(*count - 1)).min(RETRY.1))
}

fn selector(set: &StatefulSet) -> Result<Selector, SyncError> {
    set.spec.selector.clone().try_into().map_err(|_| SyncError::Selector)
}

/// One round: what is there is read, what is missing is done, what is true is written into the status. Returns when to
/// look again although nothing changes: when a pod that is Ready becomes available.
async fn sync(cached: &StatefulSet, context: &Context) -> Result<Option<Duration>, SyncError> {
    let namespace = cached.namespace().unwrap_or_default();
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &namespace);
    let revisions: Api<ControllerRevision> = Api::namespaced(context.client.clone(), &namespace);
    let Some(set) = sets.get_opt(&cached.name_any()).await? else {
        return Ok(None);
    };
    let actor = Actor::new(&context.client, &set, &context.recorder);
    let existing = revision::list(&revisions, &set).await?;
    let pods = pods(&actor).await?;
    let chosen = revision::choose(&revisions, &set, &existing).await?;
    let now = Timestamp::now();
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let wait = pods
        .iter()
        .filter_map(|pod| pod::until_available(pod, min_ready, now))
        .min();
    let used: Vec<_> = pods.iter().map(|pod| pod::revision(pod).to_owned()).collect();
    let (status, done) = Round::new(&actor, &chosen, pods, now)?.run().await;
    let written = status::write(&sets, &set, status).await;
    let is_live = |name: &str| {
        let chosen = [&chosen.current, &chosen.update];
        chosen.iter().any(|revision| revision.name_any() == name) || used.iter().any(|revision| revision == name)
    };
    let truncated = revision::truncate(&revisions, &set, &existing, is_live).await;
    done.and(written).and(truncated)?;
    Ok(wait.map(|wait| wait.unsigned_abs()))
}

/// The pods of the set; orphans that its selector and their names make its own are adopted.
async fn pods(actor: &Actor<'_>) -> Result<Vec<Pod>, SyncError> {
    let set = actor.set;
    let listed = actor
        .pods
        .list(&ListParams::default().labels_from(&selector(set)?))
        .await?;
    let mut owned = Vec::new();
    for pod in listed.items.into_iter().filter(|pod| pod::is_member(set, pod)) {
        match pod
            .owner_references()
            .iter()
            .find(|reference| reference.controller == Some(true))
        {
            Some(controller) if Some(&controller.uid) == set.uid().as_ref() => owned.push(pod),
            Some(_) => {}
            None if set.metadata.deletion_timestamp.is_some() || pod::is_terminating(&pod) => {}
            None => {
                let mut references = pod.owner_references().to_vec();
                references.extend(set.controller_owner_ref(&()));
                let patch = json!({ "metadata": { "uid": pod.uid(), "ownerReferences": references } });
                owned.push(
                    actor
                        .pods
                        .patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch))
                        .await?,
                );
            }
        }
    }
    Ok(owned)
}
