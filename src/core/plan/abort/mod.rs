//! Going back to where a run started, while that is free (LAWS W5).
//!
//! Made from the halted run's plan, what its journal says has begun, and the world as it is now: not by turning its steps
//! round, because any of them may have happened in part. Responsible for: the order of the halves, and whether it is
//! still free. `schema` plans what is applied again, `workloads` what the pods go back to, `mixed` how they do where that
//! is not one revision.

mod by_itself;
mod mixed;
mod schema;
mod workloads;

pub use by_itself::better_than_found;

use std::collections::BTreeMap;

use super::make::number;
use super::{Accepted, Action, FORMAT, Gate, Plan, Refusals, Seen, Step, Strategy};
use crate::journal::{RunState, StepState};
use crate::model::{Digest, Finding, MigrationSet, PlanId, ScriptRef, StepId, Target};

type Steps = Vec<(Action, Gate)>;

/// A run that is to be taken back: its plan, and how far it came.
struct Halted<'a> {
    plan: &'a Plan,
    state: &'a RunState,
}

impl Halted<'_> {
    /// Whether the step may have effects.
    fn has_begun(&self, step: StepId) -> bool {
        !matches!(self.state.step(step), None | Some(StepState::Pending))
    }

    fn strategy(&self) -> Strategy {
        strategy_of(self.plan)
    }
}

fn strategy_of(plan: &Plan) -> Strategy {
    let chosen = plan.strategy.as_ref();
    chosen.map_or(Strategy::Offline, |chosen| chosen.strategy)
}

/// The step after which the target release may have written data, when it has begun: the first target pod's start
/// (offline), the first down that is committed otherwise.
pub fn point_of_no_easy_return(halted: &Plan, state: &RunState, ledger: &MigrationSet) -> Option<StepId> {
    let halted = Halted { plan: halted, state };
    let is_undone = |step: &Step| match &step.action {
        Action::Revert { scripts, .. } => {
            let undone = |script: &ScriptRef| !ledger.contains(&script.migration.version);
            scripts.iter().any(undone)
        }
        _ => true,
    };
    let step = costly_steps(halted.plan).find(|step| is_undone(step) && halted.has_begun(step.id));
    step.map(|step| step.id)
}

/// The step from which going back is not free any more, in words; `None` where it always is.
pub(crate) fn free_until(plan: &Plan) -> Option<String> {
    let step = costly_steps(plan).next()?;
    let what = match &step.action {
        Action::Scale { .. } => "starts the first pod of the target",
        _ => "undoes the first migration",
    };
    Some(format!("step {} {what}", step.id))
}

/// The steps after each of which data may have been written that the way back does not know.
fn costly_steps(plan: &Plan) -> impl Iterator<Item = &Step> {
    let chosen = plan.strategy.as_ref();
    let is_offline = chosen.is_none_or(|chosen| chosen.strategy == Strategy::Offline);
    plan.steps.iter().filter(move |step| match &step.action {
        Action::Scale { from, to, .. } => is_offline && from < to,
        Action::Revert { .. } => !is_offline,
        _ => false,
    })
}

/// What aborting a run costs that has come past the point of no easy return, in a sentence for whoever has to choose.
pub fn cost_of_abort(halted: &Plan, past: StepId) -> String {
    let to = name_of_target(halted);
    let stops = if strategy_of(halted) == Strategy::Offline {
        "stops every pod again, "
    } else {
        ""
    };
    format!(
        "{to} may have written data since step {past}: look at it first; an abort {stops}leaves that data as it is, and \
         does not bring back what a down has destroyed"
    )
}

fn name_of_target(halted: &Plan) -> String {
    let release = halted.to.release.as_ref();
    release.map_or_else(|| "the target".to_owned(), |release| format!("release {release}"))
}

/// Makes the plan that takes everything back to where the halted run started: what it undid is applied again from the
/// archive; template, replica count and update strategy are as they were; nothing of ours is left on a workload.
///
/// # Errors
/// All findings, when one of them forbids it; that it is not free any more is one, unless the writes are accepted.
pub fn plan_abort(halted: &Plan, state: &RunState, seen: &Seen, accept_writes: bool) -> Result<Plan, Refusals> {
    let halted = Halted { plan: halted, state };
    let plan = halted.plan;
    let mut findings = Vec::new();
    let applied = seen.database.applied();
    if let Some(step) = point_of_no_easy_return(plan, state, &applied) {
        check_writes(plan, step, accept_writes, &mut findings);
    }
    let ups = schema::plan_ups(&halted, seen, &mut findings);
    let pods = workloads::plan_workloads(&halted, seen, !ups.is_empty(), &mut findings);
    let mut all = pods.stops;
    if halted.strategy() == Strategy::SchemaFirst {
        // The present pods are the target's, and only the ones before them accept both schemas.
        all.extend(pods.starts);
        all.extend(ups);
    } else {
        all.extend(ups);
        all.extend(pods.starts);
    }
    all.extend(pods.give_back);
    // Nothing that is found here can be known better by whoever accepts it.
    let findings = Refusals::judge(findings, &Accepted::default())?;
    let mut aborting = Plan {
        format: FORMAT,
        id: PlanId(Digest::of(b"")),
        title: format!("abort of {}", plan.title),
        app: plan.app.clone(),
        from: Target {
            release: None,
            schema: applied,
        },
        to: plan.from.clone(),
        strategy: None,
        database: seen.database.database.clone(),
        cluster: plan.cluster.clone(),
        journal: plan.journal.clone(),
        world: BTreeMap::new(),
        steps: number(all, &plan.limits),
        unready: plan.unready.clone(),
        outdated: plan.outdated.clone(),
        rewritten: plan.rewritten.clone(),
        turns_back: false,
        findings,
        limits: plan.limits,
    };
    aborting.id = aborting
        .compute_id()
        .expect("a plan has only string keys and finite numbers");
    Ok(aborting)
}

fn check_writes(halted: &Plan, step: StepId, accept_writes: bool, findings: &mut Vec<Finding>) {
    let what = halted.step(step).map(|step| step.action.describe()).unwrap_or_default();
    let to = name_of_target(halted);
    let message = format!(
        "the run came to step {step} ({what}): {to} may have written data since, which the way back does not know"
    );
    findings.push(if accept_writes {
        Finding::warning("abort-not-free", "writes", message, "look at that data afterwards")
    } else {
        Finding::refusal(
            "abort-not-free",
            "writes",
            message,
            "continue it with `stepback resume`; or, having looked at that data, abort it all the same with \
             --accept-writes-since",
        )
    });
}
