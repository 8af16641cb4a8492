//! What lies around a workload and decides whether its pods can stop and start: as it is asked for, and as it was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::Pod;

use super::{OwnerRef, OwnerState, WorkloadRef};

/// What is looked at around a workload before anything is changed.
#[derive(Clone, Debug, PartialEq)]
pub struct LookAround {
    /// Which workload.
    pub workload: WorkloadRef,
    /// Objects of its namespace of which it is asked whether they exist.
    pub objects: BTreeSet<NamedObject>,
    /// The nodes that its pods are on.
    pub nodes: BTreeSet<String>,
    /// Who manages it from outside.
    pub owners: BTreeSet<OwnerRef>,
    /// The labels of its pods, which budgets select by.
    pub labels: BTreeSet<BTreeMap<String, String>>,
    /// A pod as it is to start: whether the API server would take it.
    pub pod: Option<Pod>,
}

/// An object of a workload's namespace, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedObject {
    /// Its kind.
    pub kind: NamedKind,
    /// Its name.
    pub name: String,
}

/// The kinds of object that a pod template names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamedKind {
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Secret. Only its metadata is ever read.
    Secret,
    /// `v1` ServiceAccount.
    ServiceAccount,
    /// `v1` PersistentVolumeClaim.
    Claim,
}

impl fmt::Display for NamedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            NamedKind::ConfigMap => "ConfigMap",
            NamedKind::Secret => "Secret",
            NamedKind::ServiceAccount => "ServiceAccount",
            NamedKind::Claim => "PersistentVolumeClaim",
        };
        write!(f, "{kind} {}", self.name)
    }
}

/// What was seen around a workload. Where something is not known, the sentence says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenAround {
    /// Which workload.
    pub workload: WorkloadRef,
    /// The autoscalers of the workload.
    pub autoscalers: Result<Vec<Autoscaler>, String>,
    /// The PodDisruptionBudgets that select pods of the workload.
    pub budgets: Result<Vec<Budget>, String>,
    /// Each object that was asked for; `None` where there is none.
    pub objects: BTreeMap<NamedObject, Result<Option<FoundObject>, String>>,
    /// Each node that was asked for.
    pub nodes: BTreeMap<String, Result<NodeState, String>>,
    /// Each owner that was asked for.
    pub owners: BTreeMap<OwnerRef, Result<OwnerState, String>>,
    /// What came of trying to make the pod.
    pub pod: Option<TriedPod>,
}

/// What its metadata says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundObject {
    /// When somebody last changed it, as far as the API server keeps that.
    pub changed: Option<jiff::Timestamp>,
}

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autoscaler {
    /// Its name.
    pub name: String,
    /// The fewest replicas that it keeps.
    pub min: i32,
    /// The most that it makes.
    pub max: i32,
    /// The ScaledObject of KEDA that makes it, where one does.
    pub keda: Option<String>,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its name.
    pub name: String,
    /// What it asks for.
    pub keeps: Keeps,
    /// How many pods it counts on, of this workload and others, where its controller has said so.
    pub expected: Option<i32>,
}

/// How many pods a PodDisruptionBudget keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// So many stay available.
    Available(Amount),
    /// All but so many do.
    AllBut(Amount),
}

/// A number of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Count(i32),
    /// So many of a hundred, rounded up.
    Percent(i32),
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Its kubelet says that it is ready.
    Ready,
    /// It is not ready, or nobody has heard of it. The sentence says what its condition says.
    NotReady(String),
    /// Somebody has said that it is off: its pods are taken away by force.
    OutOfService,
    /// There is no such node any more.
    Gone,
}

/// What came of asking the API server for a pod without making it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriedPod {
    /// It would be made.
    Made {
        /// Its images by container, as it would run them: what admission makes of those that were asked for.
        images: BTreeMap<String, String>,
    },
    /// It would be refused, and this is what the API server says.
    Refused(String),
    /// It could not be asked, and this is why.
    Untried(String),
}
