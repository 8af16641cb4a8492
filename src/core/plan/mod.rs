//! The plan: complete data, nothing left to decide later.
//!
//! Responsible for: what a plan, a step, an action and a gate are, the plan's id, and (in the submodules) making one.
//! Not for: carrying it out (`run`), the checks (`assess`). Same inputs, same plan, same id: no clock, no connection.

mod changed;
mod make;
mod probes;
mod refusal;
mod request;
mod saved;
mod schema;
mod scripts;
mod undone;
mod workloads;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{
    DatabaseRef, Digest, Finding, JournalPlace, MigrationSet, PlanId, ScriptRef, Scripts, StepId, Target, TemplateRef,
    WorkloadRef,
};

pub use changed::{Change, changes, other_steps};
pub use make::plan;
pub use probes::{Ask, Probe, Tls, Tried, TriedProbe, probes_of};
pub use refusal::Refusals;
pub use request::{Goal, Order, Request, Seen};
pub use saved::{Asked, Origin, SAVED_FORMAT, SavedPlan, SavedPlanError};
pub use undone::undone;
pub use workloads::workloads_of;

/// The version of the plan's form. Raised when an older program must not carry a plan out.
pub const FORMAT: u32 = 1;

/// A complete plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The version of this form.
    pub format: u32,
    /// SHA-256 of everything else in the plan.
    pub id: PlanId,
    /// What it does, for people: `rollback 1.3.0 -> 1.2.0`.
    pub title: String,
    /// The app, when there is an app file.
    pub app: Option<String>,
    /// Where it starts: its set is what the ledger showed when the plan was made.
    pub from: Target,
    /// Where it goes.
    pub to: Target,
    /// Which way back, and why; `None` where no workload takes part.
    pub strategy: Option<ChosenStrategy>,
    /// The database.
    pub database: DatabaseRef,
    /// The cluster, when workloads take part.
    pub cluster: Option<ClusterRef>,
    /// Where the journal of its run is kept.
    pub journal: JournalPlace,
    /// What the plan was made for, by part, so that a change can be named.
    pub world: BTreeMap<String, Digest>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Findings that do not forbid the plan.
    pub findings: Vec<Finding>,
    /// Time limits.
    pub limits: RunLimits,
}

/// A strategy with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChosenStrategy {
    /// Which.
    pub strategy: Strategy,
    /// Why, in a sentence.
    pub reason: String,
}

/// The order of schema and workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Stop all workloads, migrate down, start them again.
    Offline,
}

/// The cluster that a plan was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// UID of the namespace `kube-system`.
    pub uid: String,
    /// Namespace of the first workload, where journal and cluster Lease lie.
    pub namespace: String,
}

/// Limits that hold for the whole run, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunLimits {
    /// One migration.
    pub step_ms: u64,
    /// One pod, its gate included.
    pub pod_ms: u64,
    /// One statement.
    pub statement_ms: u64,
    /// Waiting for a lock inside the engine.
    pub lock_wait_ms: u64,
    /// Waiting for the lease when another holds it.
    pub lock_ms: u64,
    /// The lease's life without a heartbeat.
    pub lease_ms: u64,
}

impl Default for RunLimits {
    /// The defaults of the app file.
    fn default() -> Self {
        Self {
            step_ms: 600_000,
            pod_ms: 300_000,
            statement_ms: 600_000,
            lock_wait_ms: 5_000,
            lock_ms: 30_000,
            lease_ms: 15_000,
        }
    }
}

/// One recorded step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its position, from 1.
    pub id: StepId,
    /// What is done.
    pub action: Action,
    /// What must hold afterwards.
    pub gate: Gate,
    /// Milliseconds for trying and for its gate, each.
    pub limit_ms: u64,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
pub enum Action {
    /// Runs down scripts in this order, each with its ledger row in one transaction.
    Revert {
        /// The scripts.
        scripts: Scripts,
        /// Whether what they destroy was accepted.
        accept_loss: bool,
    },
    /// Runs up scripts in this order, each with its ledger row in one transaction.
    Apply {
        /// The scripts.
        scripts: Scripts,
    },
    /// Compares the schema with the fingerprint that was recorded when `schema` was last current.
    Verify {
        /// The set that must be applied.
        schema: MigrationSet,
        /// The digest of the recorded fingerprint.
        expected: Digest,
        /// Objects that already differed before the run: drift that this run did not make (LAWS D12).
        drifted: Vec<String>,
        /// Where it is not known how the schema was recorded before the run, every object as it was then, by the digest
        /// of its definition: what the run leaves as it was is nothing that this run made (LAWS D12).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<BTreeMap<String, Digest>>,
    },
    /// Records the schema's fingerprint for the set of migrations that is now applied.
    TakeFingerprint {
        /// The set.
        schema: MigrationSet,
    },
    /// Sets a workload's replica count; the original count is written on it in the same patch.
    Scale {
        /// Which workload.
        workload: WorkloadRef,
        /// Its UID.
        uid: String,
        /// From this many pods.
        from: i32,
        /// To this many.
        to: i32,
        /// The count before the run.
        original: i32,
    },
    /// Sets a workload's pod template.
    Repoint {
        /// Which workload.
        workload: WorkloadRef,
        /// Its UID.
        uid: String,
        /// The template it has.
        from: TemplateRef,
        /// The template it gets.
        to: TemplateRef,
    },
    /// Removes our annotations and field ownership from a workload (LAWS W9).
    GiveBack {
        /// Which workload.
        workload: WorkloadRef,
        /// Its UID.
        uid: String,
    },
    /// Records which migrations the release is paired with.
    RecordRelease {
        /// The release.
        release: semver::Version,
        /// The migrations.
        schema: MigrationSet,
    },
}

impl Action {
    /// Whether it acts on the database. Such steps are looked at again by every resume (LAWS D13).
    pub fn touches_database(&self) -> bool {
        self.workload().is_none()
    }

    /// The workload it acts on.
    pub fn workload(&self) -> Option<&WorkloadRef> {
        match self {
            Self::Scale { workload, .. } | Self::Repoint { workload, .. } | Self::GiveBack { workload, .. } => {
                Some(workload)
            }
            _ => None,
        }
    }

    /// What it does, in a few words of the imperative.
    pub fn describe(&self) -> String {
        match self {
            Self::Revert { scripts, .. } => many("revert", scripts),
            Self::Apply { scripts } => many("apply", scripts),
            Self::Verify { .. } => "compare the schema with its recorded fingerprint".to_owned(),
            Self::TakeFingerprint { .. } => "record the schema's fingerprint".to_owned(),
            Self::Scale { workload, from, to, .. } if to < from => {
                format!("stop a pod of {workload}: {from} -> {to}")
            }
            Self::Scale { workload, from, to, .. } => format!("start a pod of {workload}: {from} -> {to}"),
            Self::Repoint { workload, to, .. } => match &to.revision {
                Some(revision) => format!("point {workload} at revision {revision}"),
                None => format!("set the images of {workload}"),
            },
            Self::GiveBack { workload, .. } => format!("give {workload} back"),
            Self::RecordRelease { release, .. } => format!("record the pairing of release {release}"),
        }
    }
}

fn many(verb: &str, scripts: &Scripts) -> String {
    match scripts.as_slice() {
        [one] => format!("{verb} {}", one.migration),
        [first, .., last] => {
            format!(
                "{verb} {} migrations, {} to {}",
                scripts.len(),
                first.migration.version,
                last.migration.version
            )
        }
        [] => format!("{verb} nothing"),
    }
}

/// What must hold after a step, before the next one starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "gate")]
pub enum Gate {
    /// What was observed is enough.
    None,
    /// The pod is gone: no pod of that name with a UID that was seen before the step is left.
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
    /// The pod runs the target, is ready for long enough, and passes every probe.
    PodHealthy {
        /// Which workload.
        workload: WorkloadRef,
        /// The pod's name.
        pod: String,
        /// The template it must run.
        template: TemplateRef,
        /// Seconds that it must have been ready.
        min_ready_seconds: i32,
        /// Probes that must hold.
        probes: Vec<Probe>,
    },
}

impl Plan {
    /// The plan as canonical JSON: the form that is stored and that the id is made of.
    ///
    /// # Errors
    /// When serde_json cannot write it, which no value of this type makes it do.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// The id that the plan's contents have. A plan whose `id` is another one was changed by somebody.
    ///
    /// # Errors
    /// As [`Plan::to_json`].
    pub fn compute_id(&self) -> serde_json::Result<PlanId> {
        let mut bare = self.clone();
        bare.id = PlanId(Digest::of(b""));
        Ok(PlanId(Digest::of(bare.to_json()?)))
    }

    /// The step with this id.
    pub fn step(&self, id: StepId) -> Option<&Step> {
        self.steps.get(usize::try_from(id.0).ok()?.checked_sub(1)?)
    }

    /// Every script that it runs, in order.
    pub fn scripts(&self) -> Vec<&ScriptRef> {
        let of = |step| match step {
            &Step {
                action: Action::Revert { ref scripts, .. } | Action::Apply { ref scripts },
                ..
            } => scripts.iter(),
            _ => [].iter(),
        };
        self.steps.iter().flat_map(of).collect()
    }

    /// The workloads that take part, each once, with the UIDs that the plan was made for.
    pub fn workload_uids(&self) -> BTreeMap<WorkloadRef, String> {
        let of = |step: &Step| match &step.action {
            Action::Scale { workload, uid, .. }
            | Action::Repoint { workload, uid, .. }
            | Action::GiveBack { workload, uid } => Some((workload.clone(), uid.clone())),
            _ => None,
        };
        self.steps.iter().filter_map(of).collect()
    }

    /// The workloads that take part, each once.
    pub fn workloads(&self) -> Vec<WorkloadRef> {
        self.workload_uids().into_keys().collect()
    }

    /// Whether a workload takes part.
    pub fn has_workload_steps(&self) -> bool {
        self.steps.iter().any(|step| step.action.workload().is_some())
    }
}

#[cfg(test)]
mod tests;
