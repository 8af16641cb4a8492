//! Stamped writes to a workload (LAWS W6, W7, W9).
//!
//! Each reads the object, refuses when it is another one or a higher token is written on it, and then sends one patch
//! with the effect, the stamp and the `resourceVersion` that was read: whoever wrote in between makes it fail.
//!
//! Between that look and the patch the cluster Lease is seen to carry our token still. A rival who has finished leaves no
//! stamp, and the workload may look to a sleeper as it did before; one who takes over later stamps the workload first,
//! and so changes the version that our patch names.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Patch;
use kube::{Api, Client};
use serde_json::{Map, Value, json};
use stepback_core::model::{Stamp, TemplateRef, UpdateStrategy, WorkloadRef, annotation, images_of, revision_images};

use super::lease::Held;
use super::{as_us, failure};
use crate::cluster::{ClusterError, Counts, MANAGER};

/// Update strategies of one move.
#[derive(Clone, Copy)]
pub(super) struct Strategies<'a> {
    pub from: &'a UpdateStrategy,
    pub to: &'a UpdateStrategy,
    pub original: &'a UpdateStrategy,
}

/// Whoever writes: with which client and Lease, to which workload, under which stamp.
pub(super) struct Writer<'a> {
    pub client: &'a Client,
    pub lease: Option<&'a Held>,
    pub workload: &'a WorkloadRef,
    /// The workload's UID; another one refuses.
    pub uid: &'a str,
    pub stamp: &'a Stamp,
}

impl Writer<'_> {
    pub(super) async fn scale(&self, counts: Counts<'_>) -> Result<(), ClusterError> {
        let target = self.target().await?;
        let present = target.set.spec.replicas.unwrap_or(1);
        if present != counts.from && present != counts.to {
            return Err(ClusterError::Changed {
                object: target.object,
                message: format!(
                    "spec.replicas is {present}, where {} or {} was expected",
                    counts.from, counts.to
                ),
            });
        }
        // Somebody may have applied another release's manifest since the pods were stopped.
        if let Some(template) = counts.template
            && target
                .set
                .spec
                .template
                .spec
                .as_ref()
                .map(images_of)
                .unwrap_or_default()
                != template.images
        {
            return Err(ClusterError::Changed {
                object: target.object,
                message: "its template is not the one that its pods are to be started from".to_owned(),
            });
        }
        let mut annotations = marks(self.stamp, &state_line(self.stamp));
        // What was recorded first is the original; whatever is counted later may be a count of ours. But none of ours is
        // above it: then it was left over when somebody scaled the workload.
        let recorded = target.annotation(annotation::ORIGINAL_REPLICAS);
        let recorded = recorded.and_then(|text| text.parse::<i32>().ok());
        if recorded.is_none_or(|recorded| present > recorded) {
            annotations.insert(
                annotation::ORIGINAL_REPLICAS.to_owned(),
                counts.original.to_string().into(),
            );
        }
        let patch = json!({ "metadata": target.metadata(annotations), "spec": { "replicas": counts.to } });
        target.send(Patch::Strategic(patch)).await
    }

    pub(super) async fn update_strategy(&self, strategies: Strategies<'_>) -> Result<(), ClusterError> {
        let target = self.target().await?;
        let present = target.set.spec.update_strategy.as_ref().map(serde_json::to_value);
        let present = present
            .and_then(Result::ok)
            .map_or_else(UpdateStrategy::rolling, UpdateStrategy);
        if present != *strategies.from && present != *strategies.to {
            return Err(ClusterError::Changed {
                object: target.object,
                message: format!(
                    "spec.updateStrategy is {}, where {} or {} was expected",
                    present.0, strategies.from.0, strategies.to.0
                ),
            });
        }
        let mut annotations = marks(self.stamp, &state_line(self.stamp));
        // What is not ours is the original; what is ours may have been recorded before.
        let recorded = target.annotation(annotation::ORIGINAL_UPDATE_STRATEGY).is_some();
        if !recorded || !present.is_on_delete() {
            let original = strategies.original.0.to_string();
            annotations.insert(annotation::ORIGINAL_UPDATE_STRATEGY.to_owned(), original.into());
        }
        let strategy = replacing(&present.0, &strategies.to.0);
        let patch = json!({ "metadata": target.metadata(annotations), "spec": { "updateStrategy": strategy } });
        target.send(Patch::Strategic(patch)).await
    }

    pub(super) async fn repoint(&self, to: &TemplateRef) -> Result<(), ClusterError> {
        let target = self.target().await?;
        let mut patch = match &to.revision {
            Some(revision) => revision_patch(self.client, &target, self.workload, revision, to).await?,
            None => images_patch(&target, to)?,
        };
        patch.insert(
            "metadata".to_owned(),
            target.metadata(marks(self.stamp, &state_line(self.stamp))),
        );
        target.send(Patch::Strategic(Value::Object(patch))).await
    }

    pub(super) async fn stamp(&self, state: &str) -> Result<(), ClusterError> {
        let target = self.target().await?;
        let patch = json!({ "metadata": target.metadata(marks(self.stamp, state)) });
        target.send(Patch::Strategic(patch)).await
    }

    /// Takes everything of ours off the object, stamp and ownership together: whoever applies their manifest next finds
    /// nobody to conflict with (LAWS W9).
    pub(super) async fn give_back(&self) -> Result<(), ClusterError> {
        let target = self.target().await?;
        let present: Map<String, Value> = annotation::ALL
            .iter()
            .filter(|name| target.annotation(name).is_some())
            .map(|name| ((*name).to_owned(), Value::Null))
            .collect();
        let entries = target.set.metadata.managed_fields.clone().unwrap_or_default();
        let of_others: Vec<_> = entries
            .iter()
            .filter(|entry| entry.manager.as_deref() != Some(MANAGER))
            .collect();
        if present.is_empty() && of_others.len() == entries.len() {
            return Ok(());
        }
        let mut metadata = target.metadata(present);
        metadata["managedFields"] = if of_others.is_empty() {
            // The server takes an empty list for "as it was"; a list of one empty entry clears it.
            json!([{}])
        } else {
            json!(of_others)
        };
        // A merge patch: strategic merge knows no key for the entries of this list and would keep ours.
        target.send(Patch::Merge(json!({ "metadata": metadata }))).await
    }

    /// The workload, where we may write to it.
    pub(super) async fn target(&self) -> Result<Target, ClusterError> {
        let object = self.workload.to_string();
        let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.workload.namespace);
        let set = api
            .get(&self.workload.name)
            .await
            .map_err(|error| failure::of(error, &object))?;
        let found = set.metadata.uid.as_deref().unwrap_or_default();
        if found != self.uid {
            return Err(ClusterError::Gone {
                message: format!("it was deleted and made again (uid {found}, planned for {})", self.uid),
                object,
            });
        }
        self.check_stamp(&set.metadata, &object)?;
        if let Some(lease) = self.lease {
            lease.check().await?;
        }
        Ok(Target { api, object, set })
    }

    /// Refuses where a higher token is written on the object.
    pub(super) fn check_stamp(&self, metadata: &ObjectMeta, object: &str) -> Result<(), ClusterError> {
        let text = metadata.annotations.as_ref().and_then(|all| all.get(annotation::STAMP));
        let Some(text) = text else { return Ok(()) };
        let theirs: Stamp = text.parse().map_err(|_| ClusterError::Changed {
            object: object.to_owned(),
            message: format!("its annotation {} is {text:?}, which is no stamp", annotation::STAMP),
        })?;
        if theirs.token > self.stamp.token {
            return Err(ClusterError::Fenced {
                object: object.to_owned(),
                token: theirs.token,
            });
        }
        Ok(())
    }
}

/// The merge patch that makes `to` of `present`: a merge alone would leave fields that `to` does not have.
fn replacing(present: &Value, to: &Value) -> Value {
    let (Value::Object(present), Value::Object(to)) = (present, to) else {
        return to.clone();
    };
    let gone = present.keys().filter(|key| !to.contains_key(*key));
    let mut patch: Map<String, Value> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in to {
        patch.insert(key.clone(), replacing(present.get(key).unwrap_or(&Value::Null), value));
    }
    Value::Object(patch)
}

/// A workload that we may write to, as it was when we found that out.
pub(super) struct Target {
    api: Api<StatefulSet>,
    object: String,
    pub(super) set: StatefulSet,
}

impl Target {
    fn annotation(&self, name: &str) -> Option<&str> {
        Some(self.set.metadata.annotations.as_ref()?.get(name)?.as_str())
    }

    /// The metadata of a patch: the annotations, on exactly the version of the object that was read.
    fn metadata(&self, annotations: Map<String, Value>) -> Value {
        json!({
            "uid": self.set.metadata.uid,
            "resourceVersion": self.set.metadata.resource_version,
            "annotations": annotations,
        })
    }

    async fn send(&self, patch: Patch<Value>) -> Result<(), ClusterError> {
        let name = self.set.metadata.name.as_deref().unwrap_or_default();
        let params = as_us();
        match self.api.patch(name, &params, &patch).await {
            Ok(_) => Ok(()),
            Err(error) => Err(failure::of(error, &self.object)),
        }
    }
}

fn marks(stamp: &Stamp, state: &str) -> Map<String, Value> {
    let mut annotations = Map::new();
    annotations.insert(annotation::STAMP.to_owned(), stamp.to_string().into());
    annotations.insert(annotation::STATE.to_owned(), state.into());
    annotations
}

/// What whoever finds the workload in the middle of a run reads on it.
fn state_line(stamp: &Stamp) -> String {
    format!(
        "run {} is at step {}; if nobody carries it on: stepback resume {}",
        stamp.run, stamp.step, stamp.run
    )
}

/// A revision of the workload that has these images.
pub(super) async fn revision_of(
    client: &Client,
    workload: &WorkloadRef,
    uid: Option<&str>,
    name: &str,
    images: &BTreeMap<String, String>,
) -> Result<ControllerRevision, ClusterError> {
    let object = revision_name(workload, name);
    let api: Api<ControllerRevision> = Api::namespaced(client.clone(), &workload.namespace);
    let revision = api.get(name).await.map_err(|error| failure::of(error, &object))?;
    let changed = |message: &str| ClusterError::Changed {
        object: object.clone(),
        message: message.to_owned(),
    };
    let mut owners = revision.metadata.owner_references.iter().flatten();
    if !owners.any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid) {
        return Err(changed("it does not belong to the workload"));
    }
    if revision_images(&revision).as_ref() != Some(images) {
        return Err(changed("its images are not those that were planned for"));
    }
    Ok(revision)
}

/// A revision, for messages.
pub(super) fn revision_name(workload: &WorkloadRef, name: &str) -> String {
    format!("ControllerRevision {}/{name}", workload.namespace)
}

/// The revision's own data, as the controller wrote it: a strategic merge patch that replaces the template.
async fn revision_patch(
    client: &Client,
    target: &Target,
    workload: &WorkloadRef,
    name: &str,
    to: &TemplateRef,
) -> Result<Map<String, Value>, ClusterError> {
    let revision = revision_of(client, workload, target.set.metadata.uid.as_deref(), name, &to.images).await?;
    let changed = |message: &str| ClusterError::Changed {
        object: revision_name(workload, name),
        message: message.to_owned(),
    };
    let Value::Object(data) = revision.data.0 else {
        return Err(changed("it holds no pod template"));
    };
    // Anything beside the template would be set along with it, without being in the plan.
    let only_template = data.keys().all(|key| key == "spec")
        && data["spec"]
            .as_object()
            .is_some_and(|spec| spec.keys().all(|key| key == "template"));
    if only_template {
        Ok(data)
    } else {
        Err(changed("it holds more than a pod template"))
    }
}

/// The images on the present template, by container name.
fn images_patch(target: &Target, to: &TemplateRef) -> Result<Map<String, Value>, ClusterError> {
    let pod = target.set.spec.template.spec.as_ref();
    let names = |containers: Option<&Vec<k8s_openapi::api::core::v1::Container>>| -> Vec<String> {
        containers
            .into_iter()
            .flatten()
            .map(|container| container.name.clone())
            .collect()
    };
    let containers = names(pod.map(|pod| &pod.containers));
    let init_containers = names(pod.and_then(|pod| pod.init_containers.as_ref()));
    // A merge by name would add a container that is not there.
    let unknown: Vec<&str> = to
        .images
        .keys()
        .filter(|name| !containers.contains(name) && !init_containers.contains(name))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        return Err(ClusterError::Changed {
            object: target.object.clone(),
            message: format!("its template has no container {}", unknown.join(", ")),
        });
    }
    let images = |names: Vec<String>| -> Vec<Value> {
        names
            .iter()
            .filter_map(|name| Some(json!({ "name": name, "image": to.images.get(name)? })))
            .collect()
    };
    let mut spec = Map::new();
    for (field, names) in [("containers", containers), ("initContainers", init_containers)] {
        let images = images(names);
        if !images.is_empty() {
            spec.insert(field.to_owned(), images.into());
        }
    }
    let mut patch = Map::new();
    patch.insert("spec".to_owned(), json!({ "template": { "spec": spec } }));
    Ok(patch)
}
