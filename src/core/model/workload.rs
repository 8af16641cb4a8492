//! Workloads as they were seen, and what of them goes into a plan.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use super::ClusterPlace;

/// The kinds of workload that can be stepped back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// `apps/v1` StatefulSet.
    StatefulSet,
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StatefulSet => "StatefulSet",
        })
    }
}

/// A workload by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The pod template that a workload is pointed at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRef {
    /// The ControllerRevision, by name and never by number (LAWS W1); `None`: the images on the present template.
    pub revision: Option<String>,
    /// Container to image: what pods of this template run.
    pub images: BTreeMap<String, String>,
}

/// What makes a pod one that is to be removed. It is asked again of the pod that the removal meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Removal {
    /// It is beyond the replica count: the controller is to remove it too, and may be waiting for another pod first.
    BeyondCount,
    /// It does not run this template.
    Outdated(TemplateRef),
    /// Somebody has said of the pod with this UID that it is dead (LAWS W14). It is removed without waiting for its node's
    /// word, also where it is on its way out.
    Dead(String),
}

/// A pod of which somebody has said that it is dead (LAWS W14): its machine is off, and will not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadPod {
    /// Whose pod it is.
    pub workload: WorkloadRef,
    /// Its name.
    pub pod: String,
    /// Its UID: one that comes in its place is not meant.
    pub uid: String,
}

/// A `spec.updateStrategy`, whole and as the API writes it, so that nothing of it is lost on the way back (LAWS W4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpdateStrategy(pub serde_json::Value);

impl UpdateStrategy {
    /// `OnDelete`: pods are replaced when somebody deletes them, and by the template that is set then.
    pub fn on_delete() -> Self {
        Self(serde_json::json!({ "type": "OnDelete" }))
    }

    /// What the API takes where nothing is said.
    pub fn rolling() -> Self {
        Self(serde_json::json!({ "type": "RollingUpdate" }))
    }

    /// Its type: `RollingUpdate` or `OnDelete`.
    pub fn type_name(&self) -> &str {
        self.0
            .get("type")
            .and_then(serde_json::Value::as_str)
            .unwrap_or("RollingUpdate")
    }

    /// Whether pods are replaced only when somebody deletes them.
    pub fn is_on_delete(&self) -> bool {
        self.type_name() == "OnDelete"
    }
}

/// A workload, its pods and its history, read at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenWorkload {
    /// Which workload.
    pub workload: WorkloadRef,
    /// The object; `None` where it does not exist.
    pub set: Option<StatefulSet>,
    /// The pods that the set owns, by ordinal.
    pub pods: Vec<Pod>,
    /// Its ControllerRevisions, oldest revision number first.
    pub revisions: Vec<ControllerRevision>,
}

/// What was read of a cluster for one decision.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenCluster {
    /// The UID of the namespace `kube-system`, which tells clusters apart (LAWS D13).
    pub uid: String,
    /// How it was reached, where that is known.
    pub place: Option<ClusterPlace>,
    /// The workloads of the app file, in its order.
    pub workloads: Vec<SeenWorkload>,
}

/// Something that a controller or a kubelet has recorded of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// When it happened last.
    pub at: Option<jiff::Timestamp>,
    /// Whether it is a warning.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// How often it happened.
    pub count: i32,
}

/// Annotations of ours. All start with `stepback.dev/`; none but the pairings stays after a run (LAWS W9).
pub mod annotation {
    /// The stamp of the last write: `RUN/STEP/TOKEN`.
    pub const STAMP: &str = "stepback.dev/stamp";
    /// The state line: run, step, and what to type next.
    pub const STATE: &str = "stepback.dev/state";
    /// The replica count before the run (LAWS W7).
    pub const ORIGINAL_REPLICAS: &str = "stepback.dev/original-replicas";
    /// The whole `spec.updateStrategy` before the run, as JSON (LAWS W4, W7).
    pub const ORIGINAL_UPDATE_STRATEGY: &str = "stepback.dev/original-update-strategy";
    /// On a ControllerRevision, never on a workload: the releases that it is ([`Pairing`](crate::model::Pairing), LAWS
    /// W1), as a JSON list.
    pub const PAIRINGS: &str = "stepback.dev/pairings";
    /// All that are written on workloads and pods.
    pub const ALL: [&str; 4] = [STAMP, STATE, ORIGINAL_REPLICAS, ORIGINAL_UPDATE_STRATEGY];
}

impl SeenWorkload {
    /// The annotation of the set, when it has it.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.set
            .as_ref()?
            .metadata
            .annotations
            .as_ref()?
            .get(name)
            .map(String::as_str)
    }

    /// `spec.replicas`, with the API's default of 1.
    pub fn replicas(&self) -> i32 {
        self.set.as_ref().and_then(|set| set.spec.replicas).unwrap_or(1)
    }

    /// The UID of the object, where it exists: one that was deleted and made again is another.
    pub fn uid(&self) -> Option<&str> {
        self.set.as_ref()?.metadata.uid.as_deref()
    }

    /// The replica count that the workload has when nobody is rolling it back: the borrowed original, when one is
    /// written on the object (LAWS W7), else the present one. A run never sets more than the original: where the present
    /// count is above it, somebody has scaled the workload since, and theirs counts.
    pub fn original_replicas(&self) -> i32 {
        let present = self.replicas();
        self.annotation(annotation::ORIGINAL_REPLICAS)
            .and_then(|text| text.parse().ok())
            .filter(|original| present <= *original)
            .unwrap_or(present)
    }

    /// `spec.updateStrategy`, with the API's default.
    pub fn update_strategy(&self) -> UpdateStrategy {
        let present = self.set.as_ref().and_then(|set| set.spec.update_strategy.as_ref());
        let json = present.and_then(|present| serde_json::to_value(present).ok());
        json.map_or_else(UpdateStrategy::rolling, UpdateStrategy)
    }

    /// The update strategy that the workload has when nobody is rolling it back: the borrowed original, when one is
    /// written on the object and the present one is still what a run sets (LAWS W7), else the present one.
    pub fn original_update_strategy(&self) -> UpdateStrategy {
        let present = self.update_strategy();
        self.annotation(annotation::ORIGINAL_UPDATE_STRATEGY)
            .filter(|_| present.is_on_delete())
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(present)
    }

    /// The pod of this name, when there is one.
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name))
    }

    /// The number of the first pod: `spec.ordinals.start`.
    pub fn first_ordinal(&self) -> i32 {
        self.set
            .as_ref()
            .and_then(|set| set.spec.ordinals.as_ref()?.start)
            .unwrap_or(0)
    }

    /// The name of the pod with this index, counted from 0 whatever `ordinals.start` is.
    pub fn pod_name(&self, index: i32) -> String {
        format!("{}-{}", self.workload.name, self.first_ordinal() + index)
    }

    /// The images of the present template, init containers included (LAWS W16).
    pub fn template_images(&self) -> BTreeMap<String, String> {
        let pod = self.set.as_ref().and_then(|set| set.spec.template.spec.as_ref());
        pod.map(images_of).unwrap_or_default()
    }
}

/// Container to image of a pod, init containers included.
pub fn images_of(pod: &k8s_openapi::api::core::v1::PodSpec) -> BTreeMap<String, String> {
    pod.init_containers
        .iter()
        .flatten()
        .chain(&pod.containers)
        .map(|container| (container.name.clone(), container.image.clone().unwrap_or_default()))
        .collect()
}

/// The images of a ControllerRevision's template; `None` where its data is not a pod template.
pub fn revision_images(revision: &ControllerRevision) -> Option<BTreeMap<String, String>> {
    let spec = revision.data.0.get("spec")?.get("template")?.get("spec")?;
    serde_json::from_value(spec.clone()).ok().map(|spec| images_of(&spec))
}
