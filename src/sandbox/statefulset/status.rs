//! The status of a set: counted from its pods, completed when an update is done, written when it differs.

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetStatus},
    core::v1::Pod,
};
use kube::{Api, ResourceExt, api::PostParams};

use super::{
    SyncError,
    pod::{is_available, is_created, is_running_and_ready, is_terminating, replicas, revision},
    revision::Revisions,
};

/// How often a status is written again after somebody else's write came between.
const CONFLICTS: usize = 5;

/// The status of a round before anything was done in it.
pub(super) fn begin(set: &StatefulSet, revisions: &Revisions) -> StatefulSetStatus {
    StatefulSetStatus {
        observed_generation: set.metadata.generation,
        current_revision: revisions.current.metadata.name.clone(),
        update_revision: revisions.update.metadata.name.clone(),
        collision_count: Some(revisions.collisions),
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
        ..StatefulSetStatus::default()
    }
}

/// Counts `pods` into the status; pods that the server does not keep yet count for nothing.
pub(super) fn count<'a>(
    status: &mut StatefulSetStatus,
    min_ready: i32,
    now: Timestamp,
    pods: impl Iterator<Item = &'a Pod>,
) {
    let (mut all, mut ready, mut available, mut current, mut updated) = (0, 0, 0, 0, 0);
    for pod in pods.filter(|pod| is_created(pod)) {
        all += 1;
        if is_running_and_ready(pod) {
            ready += 1;
            available += i32::from(is_available(pod, min_ready, now));
        }
        if !is_terminating(pod) {
            current += i32::from(status.current_revision.as_deref() == Some(revision(pod)));
            updated += i32::from(status.update_revision.as_deref() == Some(revision(pod)));
        }
    }
    status.replicas = all;
    status.ready_replicas = Some(ready);
    status.available_replicas = Some(available);
    status.current_replicas = Some(current);
    status.updated_replicas = Some(updated);
}

/// When every replica is ready on the update revision, that revision is the current one. At no replicas it always is.
fn complete(set: &StatefulSet, status: &mut StatefulSetStatus) {
    let wanted = replicas(set);
    if status.updated_replicas == Some(wanted) && status.ready_replicas == Some(wanted) && status.replicas == wanted {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
}

fn differs(set: &StatefulSet, status: &StatefulSetStatus) -> bool {
    let before = set.status.clone().unwrap_or_default();
    status.observed_generation > before.observed_generation
        || status.replicas != before.replicas
        || status.current_replicas.unwrap_or(0) != before.current_replicas.unwrap_or(0)
        || status.ready_replicas.unwrap_or(0) != before.ready_replicas.unwrap_or(0)
        || status.updated_replicas.unwrap_or(0) != before.updated_replicas.unwrap_or(0)
        || status.available_replicas.unwrap_or(0) != before.available_replicas.unwrap_or(0)
        || status.current_revision != before.current_revision
        || status.update_revision != before.update_revision
        || status.conditions != before.conditions
}

/// Completes the status and writes it if it says anything new.
pub(super) async fn write(
    api: &Api<StatefulSet>,
    set: &StatefulSet,
    mut status: StatefulSetStatus,
) -> Result<(), SyncError> {
    complete(set, &mut status);
    if !differs(set, &status) {
        return Ok(());
    }
    let mut next = set.clone();
    for _ in 0..CONFLICTS {
        next.status = Some(status.clone());
        match api.replace_status(&set.name_any(), &PostParams::default(), &next).await {
            Err(kube::Error::Api(refused)) if refused.is_conflict() => {
                next = match api.get_opt(&set.name_any()).await? {
                    Some(found) if found.metadata.uid == set.metadata.uid => found,
                    _ => return Ok(()),
                };
            }
            Err(kube::Error::Api(refused)) if refused.is_not_found() => return Ok(()),
            written => return written.map(drop).map_err(SyncError::from),
        }
    }
    Err(SyncError::Contended(set.name_any()))
}
