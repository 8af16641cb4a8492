//! What a step waits for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Probe;
use crate::model::{TemplateRef, WorkloadRef};

/// What must hold after a step, before the next one starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "gate")]
pub enum Gate {
    /// What was observed is enough.
    None,
    /// The pod is gone: no pod of that name is left, whatever its UID. Once the controller has seen the count it makes no
    /// other; one that is there all the same runs, and is waited for too.
    PodGone {
        /// Which workload.
        workload: WorkloadRef,
        /// The pod's name.
        pod: String,
    },
    /// No pod of the workload is left, terminating ones included.
    AllGone {
        /// Which workload.
        workload: WorkloadRef,
    },
    /// The controller has seen the template and will make pods from it.
    Repointed {
        /// Which workload.
        workload: WorkloadRef,
        /// The template it must have.
        to: TemplateRef,
    },
    /// The controller has seen the workload as it is, and no update of it is under way.
    Settled {
        /// Which workload.
        workload: WorkloadRef,
        /// Whether an update may be under way all the same, because one was before the run that is taken back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        mid_update: bool,
    },
    /// The pod runs the target, is ready for long enough, and passes every probe.
    PodHealthy {
        /// Which workload.
        workload: WorkloadRef,
        /// The pod's name.
        pod: String,
        /// The template it must run.
        template: TemplateRef,
        /// Containers of the template whose images the cluster rewrites, and to what: the pod may run that too.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        rewritten: BTreeMap<String, String>,
        /// Seconds that it must have been ready.
        min_ready_seconds: i32,
        /// Probes that must hold.
        probes: Vec<Probe>,
    },
}

impl Gate {
    /// The workload that it is judged of.
    pub fn workload(&self) -> Option<&WorkloadRef> {
        match self {
            Self::None => None,
            Self::PodGone { workload, .. }
            | Self::AllGone { workload }
            | Self::Repointed { workload, .. }
            | Self::Settled { workload, .. }
            | Self::PodHealthy { workload, .. } => Some(workload),
        }
    }

    /// Whether it is judged of pods; else the workload's own object tells everything.
    pub fn asks_pods(&self) -> bool {
        match self {
            Self::None | Self::Repointed { .. } | Self::Settled { .. } => false,
            Self::PodGone { .. } | Self::AllGone { .. } | Self::PodHealthy { .. } => true,
        }
    }

    /// The revision that it compares with, by its name.
    pub fn revision(&self) -> Option<&str> {
        match self {
            Self::Repointed { to: template, .. } | Self::PodHealthy { template, .. } => template.revision.as_deref(),
            Self::None | Self::PodGone { .. } | Self::AllGone { .. } | Self::Settled { .. } => None,
        }
    }
}
