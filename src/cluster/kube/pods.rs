//! Removing pods (LAWS W6): each delete carries the UID and the `resourceVersion` with which the pod was seen to be one
//! that is to go, and is sent only while nothing on the workload or on the pod bears a higher token.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, Preconditions};
use serde_json::json;
use stepback_core::model::{Removal, annotation};
use stepback_core::workload::is_to_go;

use super::write::Writer;
use super::{as_us, failure};
use crate::cluster::{ClusterError, MANAGER};

/// A pod that was seen to be one that is to go, and that we may write to.
struct Found {
    api: Api<Pod>,
    object: String,
    pod: Pod,
}

impl Writer<'_> {
    /// Deletes a pod of the workload that is to go. One that has gone, or that is to stay by now, is left alone.
    pub(super) async fn remove_pod(&self, pod: &str, removal: &Removal) -> Result<(), ClusterError> {
        let Some(found) = self.find(pod, removal).await? else {
            return Ok(());
        };
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: found.pod.metadata.uid,
                resource_version: found.pod.metadata.resource_version,
            }),
            // Without grace the API server forgets it at once, and waits for no kubelet.
            grace_period_seconds: matches!(removal, Removal::Dead(_)).then_some(0),
            ..DeleteParams::default()
        };
        unless_gone(found.api.delete(pod, &params).await, &found.object)
    }

    /// Writes the stamp on such a pod and takes it off again, so that a removal in flight meets another version of it. Whoever
    /// looks again meets the stamp on the workload, and a pod that stays after all bears nothing of ours (LAWS W9).
    pub(super) async fn stamp_pod(&self, pod: &str, removal: &Removal) -> Result<(), ClusterError> {
        let Some(found) = self.find(pod, removal).await? else {
            return Ok(());
        };
        let patch = json!({ "metadata": {
            "uid": found.pod.metadata.uid,
            "resourceVersion": found.pod.metadata.resource_version,
            "annotations": { annotation::STAMP: self.stamp.to_string() },
        } });
        let params = as_us();
        let stamped = match found.api.patch(pod, &params, &Patch::Merge(patch)).await {
            Ok(stamped) => stamped.metadata,
            gone => return unless_gone(gone, &found.object),
        };
        let entries = stamped.managed_fields.unwrap_or_default();
        let of_others = entries.iter().filter(|entry| entry.manager.as_deref() != Some(MANAGER));
        let of_others: Vec<_> = of_others.collect();
        let patch = json!({ "metadata": {
            "uid": stamped.uid,
            "resourceVersion": stamped.resource_version,
            "annotations": { annotation::STAMP: null },
            // The server takes an empty list for "as it was"; a list of one empty entry clears it.
            "managedFields": if of_others.is_empty() { json!([{}]) } else { json!(of_others) },
        } });
        unless_gone(found.api.patch(pod, &params, &Patch::Merge(patch)).await, &found.object)
    }

    /// The pod, where it is there and one that is to go, and we may write.
    async fn find(&self, pod: &str, removal: &Removal) -> Result<Option<Found>, ClusterError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.workload.namespace);
        let object = format!("Pod {}/{pod}", self.workload.namespace);
        // The pod first: whatever makes it one that stays is written on the set before the pod is made.
        let found = api.get_opt(pod).await.map_err(|error| failure::of(error, &object))?;
        let target = self.target().await?;
        let Some(pod) = found else { return Ok(None) };
        self.check_stamp(&pod.metadata, &object)?;
        let owners = pod.metadata.owner_references.iter().flatten();
        let is_owned = owners
            .into_iter()
            .any(|owner| owner.controller == Some(true) && owner.uid == self.uid);
        if !is_owned {
            return Err(ClusterError::Changed {
                object,
                message: format!("it does not belong to {}", self.workload),
            });
        }
        let is_going = pod.metadata.deletion_timestamp.is_some() && !matches!(removal, Removal::Dead(_));
        let stays = is_going || !is_to_go(&target.set, &pod, removal);
        Ok((!stays).then_some(Found { api, object, pod }))
    }
}

/// What a write to a pod came to. A pod that has gone by itself in between needs none.
fn unless_gone<T>(written: kube::Result<T>, object: &str) -> Result<(), ClusterError> {
    match written {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(failure::of(error, object)),
    }
}
