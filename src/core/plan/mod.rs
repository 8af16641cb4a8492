//! The plan: complete data, nothing left to decide later.
//!
//! Responsible for: what a plan, a step, an action and a gate are, the plan's id, and (in the submodules) making one.
//! Not for: carrying it out (`run`), the checks (`assess`). Same inputs, same plan, same id: no clock, no connection.

mod abort;
mod accept;
mod action;
mod around;
mod autoscaler;
mod bound;
mod budget;
mod capture;
mod changed;
mod drift;
mod gate;
mod ledger;
mod lost;
mod make;
mod named;
mod offline;
mod owner;
mod probes;
mod reconcile;
mod refusal;
mod request;
mod rewritten;
mod rights;
mod saved;
mod schema;
mod scripts;
mod server;
mod start;
mod stored;
mod strategy;
mod template;
mod undone;
mod ups;
mod walk;
mod workloads;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{
    ClusterPlace, DatabaseRef, Digest, Finding, JournalPlace, PlanId, ScriptRef, StepId, Target, TemplateRef,
    WorkloadRef,
};

pub(crate) use abort::free_until;
pub use abort::{better_than_found, cost_of_abort, plan_abort, point_of_no_easy_return};
pub use accept::{ACCEPTABLE, Accepted, NotAcceptable, parse_code};
pub use action::Action;
pub use around::look_around;
pub use bound::is_other_cluster;
pub use capture::{Becomes, CaptureRequest, Captured, ToCapture, plan_capture};
pub use changed::{Change, changes, other_steps};
pub use drift::compared_schema;
pub use gate::Gate;
pub use lost::{find_dead, without_dead};
pub use make::plan;
pub use probes::{Ask, Probe, Tls, Tried, TriedProbe, probes_of};
pub use reconcile::{goal_of, is_at};
pub use refusal::Refusals;
pub use request::{Goal, Order, Request, Seen};
pub use rights::refuse_rights;
pub use saved::{Asked, Origin, SAVED_FORMAT, SavedPlan, SavedPlanError};
pub use undone::undone;
pub use workloads::workloads_of;

/// The version of the plan's form. Raised when an older program must not carry a plan out.
pub const FORMAT: u32 = 1;

/// How many workloads a line names.
const NAMED: usize = 3;

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
    /// The pods that were not ready when the plan was made, `NAMESPACE/POD`: nobody waits for them when the run is aborted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unready: Vec<String>,
    /// The pods that ran another revision than their workload's template when the plan was made, `NAMESPACE/POD`, and
    /// which: they are not replaced for nothing when the run is aborted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outdated: BTreeMap<String, String>,
    /// What the cluster was seen to make of images when the plan was made, by workload (`NAMESPACE/NAME`) and image: the
    /// pods of an abort run what it makes of theirs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rewritten: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether it goes back by itself when it halts, while that is free (LAWS W5).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub turns_back: bool,
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
    /// What outage is to be expected, in a sentence.
    #[serde(default)]
    pub outage: String,
}

/// The order of schema and workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Stop all workloads, migrate down, start them again.
    Offline,
    /// Walk pods back, then migrate down.
    AppFirst,
    /// Migrate down, then walk pods back.
    SchemaFirst,
    /// Walk pods back and leave the schema as it is.
    AppOnly,
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Offline => "offline",
            Self::AppFirst => "app-first",
            Self::SchemaFirst => "schema-first",
            Self::AppOnly => "app-only",
        })
    }
}

/// The cluster that a plan was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// UID of the namespace `kube-system`.
    pub uid: String,
    /// Namespace of the first workload, where journal and cluster Lease lie.
    pub namespace: String,
    /// How it was reached when the plan was made, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<ClusterPlace>,
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
    /// Milliseconds for all of it and for its gate, each; [`Plan::trying_ms`] says how long it is tried in vain.
    pub limit_ms: u64,
}

impl Plan {
    /// Milliseconds for which a step is tried again without coming any further. A step of many migrations has as much time
    /// as all of them may take, but where the next one does not get done within its own, trying goes on no longer
    /// (LAWS D17).
    pub fn trying_ms(&self, step: &Step) -> u64 {
        match step.action {
            Action::Revert { .. } | Action::Apply { .. } => step.limit_ms.min(self.limits.step_ms),
            _ => step.limit_ms,
        }
    }

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
        let targets = self.steps.iter().filter_map(|step| step.action.target());
        targets
            .map(|(workload, uid)| (workload.clone(), uid.to_owned()))
            .collect()
    }

    /// The cluster and the workloads that it acts on, in one line: `context prod (https://10.0.0.1:6443), shop/web`;
    /// `None` where it acts on none.
    pub fn acts_on(&self) -> Option<String> {
        let cluster = self.cluster.as_ref()?;
        let named = self.workloads().into_iter();
        let mut all: Vec<String> = named.map(|of| format!("{}/{}", of.namespace, of.name)).collect();
        let more = all.len().saturating_sub(NAMED);
        all.truncate(NAMED);
        let place = cluster.place.iter().map(ToString::to_string);
        let text = place.chain(all).collect::<Vec<_>>().join(", ");
        Some(match more {
            0 => text,
            more => format!("{text} and {more} more"),
        })
    }

    /// The workloads that take part, each once.
    pub fn workloads(&self) -> Vec<WorkloadRef> {
        self.workload_uids().into_keys().collect()
    }

    /// The workloads of which no pod may be left while this step is carried out: those that a step before it has stopped
    /// and none has started again, and those that were at 0 when the plan was made.
    pub fn stopped_at(&self, id: StepId) -> Vec<WorkloadRef> {
        let mut stopped: Vec<WorkloadRef> = Vec::new();
        for step in self.steps.iter().take_while(|step| step.id != id) {
            match (&step.gate, step.action.workload()) {
                (Gate::AllGone { workload }, _) => stopped.push(workload.clone()),
                (Gate::PodHealthy { .. }, Some(started)) => stopped.retain(|workload| workload != started),
                // An abort waits for no pod that was not ready before: it is started all the same.
                _ if let Action::Scale {
                    workload: started,
                    from,
                    to,
                    ..
                } = &step.action
                    && to > from =>
                {
                    stopped.retain(|workload| workload != started);
                }
                _ => {}
            }
        }
        let mut scaled: Vec<&WorkloadRef> = Vec::new();
        for step in &self.steps {
            let Action::Scale { workload, from, .. } = &step.action else {
                continue;
            };
            // The first step that scales it starts it, and comes later.
            if !scaled.contains(&workload) && *from == 0 && step.id > id {
                stopped.push(workload.clone());
            }
            scaled.push(workload);
        }
        stopped
    }

    /// The template that a workload must have while this step is carried out: the one that it was last pointed at, or the
    /// one that this step starts pods from. `None` before it is pointed anywhere.
    pub fn template_at(&self, step: &Step, workload: &WorkloadRef) -> Option<&TemplateRef> {
        let started = self.steps.iter().filter(|other| other.id >= step.id);
        let own = started.take_while(|other| other.id == step.id || matches!(other.action, Action::CheckPod { .. }));
        let own = own.filter(|other| other.action.workload() == Some(workload));
        let started = own.filter_map(|other| match &other.gate {
            Gate::PodHealthy { template, .. } => Some(template),
            _ => None,
        });
        let before = self.steps.iter().rev().skip_while(|other| other.id >= step.id);
        let pointed = before.filter_map(|other| match &other.action {
            Action::Repoint { workload: of, to, .. } if of == workload => Some(to),
            _ => None,
        });
        started.chain(pointed).next()
    }

    /// The template that a workload has from before the run, as long as this one has not pointed it anywhere: the one that a
    /// later step points it away from; where none does, because it has the target's already, the one that its pods are
    /// waited for with, by the last step before this one or the first after it.
    pub fn template_found(&self, step: &Step, workload: &WorkloadRef) -> Option<&TemplateRef> {
        let of = |other: &&Step| other.action.workload() == Some(workload);
        let before = || self.steps.iter().filter(of).filter(|other| other.id < step.id);
        let after = || self.steps.iter().filter(of).filter(|other| other.id > step.id);
        if before().any(|other| matches!(other.action, Action::Repoint { .. })) {
            return None;
        }
        let left = after().find_map(|other| match &other.action {
            Action::Repoint { from, .. } => Some(from),
            _ => None,
        });
        let mut waited = before().rev().chain(after()).filter_map(|other| match &other.gate {
            Gate::PodHealthy { template, .. } => Some(template),
            _ => None,
        });
        left.or_else(|| waited.next())
    }

    /// Whether a workload takes part.
    pub fn has_workload_steps(&self) -> bool {
        self.steps.iter().any(|step| step.action.workload().is_some())
    }
}

#[cfg(test)]
mod tests;
