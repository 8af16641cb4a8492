//! Removing pods (LAWS W6): each delete carries the UID and the `resourceVersion` with which the pod was seen to be one
//! that is to go, and is sent only while nothing on the workload or on the pod bears a higher token.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;
use stepback_core::model::{Removal, Stamp, WorkloadRef, annotation};
use stepback_core::workload::is_to_go;

use super::failure;
use super::lease::Held;
use super::write::{Target, check_stamp};
use crate::cluster::{ClusterError, MANAGER};

pub(super) async fn remove(
    client: &Client,
    lease: Option<&Held>,
    workload: &WorkloadRef,
    uid: &str,
    pod: &str,
    removal: &Removal,
    stamp: &Stamp,
) -> Result<(), ClusterError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &workload.namespace);
    let object = format!("Pod {}/{pod}", workload.namespace);
    let Some(found) = find(client, lease, workload, uid, &api, pod, removal, stamp).await? else {
        return Ok(());
    };
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: found.metadata.uid,
            resource_version: found.metadata.resource_version,
        }),
        ..DeleteParams::default()
    };
    match api.delete(pod, &params).await {
        Ok(_) => Ok(()),
        // It has gone by itself in between.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(failure::of(error, &object)),
    }
}

pub(super) async fn stamp(
    client: &Client,
    lease: Option<&Held>,
    workload: &WorkloadRef,
    uid: &str,
    pod: &str,
    removal: &Removal,
    stamp: &Stamp,
) -> Result<(), ClusterError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &workload.namespace);
    let object = format!("Pod {}/{pod}", workload.namespace);
    let Some(found) = find(client, lease, workload, uid, &api, pod, removal, stamp).await? else {
        return Ok(());
    };
    let patch = json!({ "metadata": {
        "uid": found.metadata.uid,
        "resourceVersion": found.metadata.resource_version,
        "annotations": { annotation::STAMP: stamp.to_string() },
    } });
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(pod, &params, &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(failure::of(error, &object)),
    }
}

/// The pod, where it is there and one that is to go, and we may write.
#[expect(clippy::too_many_arguments, reason = "what both writes are handed, handed on once")]
async fn find(
    client: &Client,
    lease: Option<&Held>,
    workload: &WorkloadRef,
    uid: &str,
    api: &Api<Pod>,
    pod: &str,
    removal: &Removal,
    stamp: &Stamp,
) -> Result<Option<Pod>, ClusterError> {
    let object = format!("Pod {}/{pod}", workload.namespace);
    // The pod first: whatever makes it one that stays is written on the set before the pod is made.
    let found = api.get_opt(pod).await.map_err(|error| failure::of(error, &object))?;
    let target = Target::read(client, lease, workload, uid, stamp).await?;
    let Some(found) = found else { return Ok(None) };
    check_stamp(&found.metadata, &object, stamp)?;
    let owners = found.metadata.owner_references.iter().flatten();
    let is_owned = owners
        .into_iter()
        .any(|owner| owner.controller == Some(true) && owner.uid == uid);
    if !is_owned {
        return Err(ClusterError::Changed {
            object,
            message: format!("it does not belong to {workload}"),
        });
    }
    let stays = found.metadata.deletion_timestamp.is_some() || !is_to_go(&target.set, &found, removal);
    Ok((!stays).then_some(found))
}
