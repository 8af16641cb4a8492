//! Pods go back to what they ran, and workloads to what they were.

use std::collections::BTreeSet;

use super::super::rewritten::{rewriting_since, rewritten};
use super::super::template::present_template;
use super::super::workloads::{Taken, key, pod_key};
use super::super::{Action, Gate, Plan, Seen, Strategy, offline, walk};
use super::mixed::{borrows, in_turn, is_mixed_up};
use super::{Halted, Steps};
use crate::model::{Finding, SeenWorkload, TemplateRef, WorkloadRef, annotation};
use crate::workload::{is_terminating, revision_of};

/// The workloads' half.
#[derive(Default)]
pub(super) struct Pods {
    /// Where the schema must not move under them.
    pub(super) stops: Steps,
    pub(super) starts: Steps,
    pub(super) give_back: Steps,
}

pub(super) fn plan_workloads(halted: &Halted<'_>, seen: &Seen, moves: bool, findings: &mut Vec<Finding>) -> Pods {
    let mut pods = Pods::default();
    for (workload, uid) in in_order(halted.plan) {
        let Some(found) = find(seen, &workload, &uid, findings) else {
            continue;
        };
        let found = written_down(halted.plan, found);
        let target = template_before(halted.plan, &found);
        check_revision(&found, target.revision.as_deref(), findings);
        let known = rewriting_since(&found, halted.plan.rewritten.get(&key(&workload)));
        let taken = Taken {
            seen: &found,
            uid: uid.clone(),
            rewritten: rewritten(&target, &known),
            target,
            start_together: start_together(halted.plan, &workload),
            // Its gate is the health from before, and probes ask for the target's.
            probes: Vec::new(),
        };
        let mut starts = Steps::new();
        let is_offline = halted.strategy() == Strategy::Offline;
        let mut is_held = found.update_strategy().is_on_delete();
        if is_offline {
            let from = if moves || taken.changes_template() || is_mixed_up(halted.plan, &taken) {
                let stops = offline::stop(&taken);
                is_held |= stops.iter().any(|(action, _)| borrows(action));
                pods.stops.splice(0..0, stops);
                0
            } else {
                found.replicas()
            };
            starts.extend(offline::start_from(&taken, from));
        } else {
            starts.extend(walk_back(halted.plan, &taken));
        }
        forgive(halted.plan, &found, is_offline, &mut starts, findings);
        await_what_was(halted.plan, &workload, &mut starts);
        pods.starts
            .extend(in_turn(halted.plan, &taken, &known, is_held, starts, findings));
        pods.give_back.push((Action::GiveBack { workload, uid }, Gate::None));
    }
    pods
}

/// The workloads in the order in which the run starts them.
fn in_order(halted: &Plan) -> Vec<(WorkloadRef, String)> {
    let given_back = halted.steps.iter().filter_map(|step| match &step.action {
        Action::GiveBack { workload, uid } => Some((workload.clone(), uid.clone())),
        _ => None,
    });
    given_back.collect()
}

fn find<'a>(
    seen: &'a Seen,
    workload: &WorkloadRef,
    uid: &str,
    findings: &mut Vec<Finding>,
) -> Option<&'a SeenWorkload> {
    let mut workloads = seen.cluster.iter().flat_map(|cluster| &cluster.workloads);
    let found = workloads.find(|seen| seen.workload == *workload);
    let found = found.filter(|seen| seen.uid() == Some(uid));
    if found.is_none() {
        findings.push(Finding::refusal(
            "workload-replaced",
            workload.to_string(),
            "it is gone, or another object of the same name: what it was before the run cannot be given back to it",
            "start its pods yourself at the release that fits the schema (`stepback status`), and close the run as it is: \
             stepback abort --journal-lost RUN",
        ));
    }
    found
}

/// The workload with what it was before written on it, even where somebody has wiped our annotations off: the plan
/// knows it too (LAWS W7).
fn written_down(halted: &Plan, found: &SeenWorkload) -> SeenWorkload {
    let mut found = found.clone();
    let mut write = |name: &str, value: String| {
        if let Some(set) = &mut found.set {
            let annotations = set.metadata.annotations.get_or_insert_default();
            annotations.entry(name.to_owned()).or_insert(value);
        }
    };
    for step in &halted.steps {
        match &step.action {
            Action::Scale { workload, original, .. } if *workload == found.workload => {
                write(annotation::ORIGINAL_REPLICAS, original.to_string());
            }
            Action::UpdateStrategy { workload, original, .. } if *workload == found.workload => {
                write(annotation::ORIGINAL_UPDATE_STRATEGY, original.0.to_string());
            }
            _ => {}
        }
    }
    found
}

/// The template that the run found.
fn template_before(halted: &Plan, found: &SeenWorkload) -> TemplateRef {
    let repointed = halted.steps.iter().find_map(|step| match &step.action {
        Action::Repoint { workload, from, .. } if *workload == found.workload => Some(from.clone()),
        _ => None,
    });
    repointed.unwrap_or_else(|| present_template(found))
}

fn check_revision(seen: &SeenWorkload, revision: Option<&str>, findings: &mut Vec<Finding>) {
    let Some(revision) = revision else { return };
    let mut kept = seen.revisions.iter();
    if !kept.any(|kept| kept.metadata.name.as_deref() == Some(revision)) {
        findings.push(Finding::refusal(
            "revision-gone",
            seen.workload.to_string(),
            format!("its revision {revision}, which it had before the run, is not kept any more"),
            "continue the run with `stepback resume`; where it cannot pass either, close it as it is with `stepback abort \
             --as-it-stands`, and go on with `stepback rollback` to a release whose revision or images are known",
        ));
    }
}

fn start_together(halted: &Plan, of: &WorkloadRef) -> i32 {
    let together = halted.steps.iter().find_map(|step| match &step.action {
        Action::Scale {
            workload, from: 0, to, ..
        } if workload == of && *to > 0 => Some(*to),
        _ => None,
    });
    together.unwrap_or(1)
}

/// Walks back the pods that the run has replaced, and no other: one that ran something else than its template before
/// the run, and still does, is as it was.
fn walk_back(halted: &Plan, taken: &Taken<'_>) -> Steps {
    let present = present_template(taken.seen);
    let as_before = taken.seen.pods.iter().filter(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let outdated = halted.outdated.get(&pod_key(&taken.seen.workload, name));
        let before = outdated
            .or(taken.target.revision.as_ref())
            .or(present.revision.as_ref());
        !is_terminating(pod) && revision_of(pod) == before.map(String::as_str)
    });
    let as_before: BTreeSet<String> = as_before.filter_map(|pod| pod.metadata.name.clone()).collect();
    let all_there = (0..taken.seen.replicas()).all(|index| as_before.contains(&taken.seen.pod_name(index)));
    if !all_there || taken.changes_template() {
        walk::walk_but(taken, &as_before, &once_unready(halted, taken.seen))
    } else if taken.seen.update_strategy() != taken.seen.original_update_strategy() {
        taken.give_strategy_back().into_iter().collect()
    } else {
        Steps::new()
    }
}

fn gated(gate: &Gate) -> Option<&str> {
    match gate {
        Gate::PodHealthy { pod, .. } => Some(pod),
        _ => None,
    }
}

/// The pods of the workload that were not ready when the run was planned.
fn once_unready(halted: &Plan, seen: &SeenWorkload) -> BTreeSet<String> {
    let names = (0..seen.original_replicas()).map(|index| seen.pod_name(index));
    names
        .filter(|pod| halted.unready.contains(&pod_key(&seen.workload, pod)))
        .collect()
}

/// A pod that was not ready when the run was planned need not be ready now: the gate is the health of then. Where pods
/// are made in order, none above it can be waited for either; but those that a walk replaces stand and answer, so each of
/// them is waited for before the next one goes.
fn forgive(halted: &Plan, seen: &SeenWorkload, is_offline: bool, starts: &mut Steps, findings: &mut Vec<Finding>) {
    let policy = seen
        .set
        .as_ref()
        .and_then(|set| set.spec.pod_management_policy.as_deref());
    let in_order = is_offline && policy != Some("Parallel");
    let unready = once_unready(halted, seen);
    let is_unready = |index: &i32| unready.contains(&seen.pod_name(*index));
    let behind: BTreeSet<String> = (0..seen.original_replicas())
        .skip_while(|index| !is_unready(index))
        .map(|index| seen.pod_name(index))
        .filter(|_| in_order)
        .collect();
    let mut forgiven = BTreeSet::new();
    for (_, gate) in starts {
        let Some(pod) = gated(gate) else { continue };
        if unready.contains(pod) || behind.contains(pod) {
            forgiven.insert(pod.to_owned());
            *gate = Gate::None;
        }
    }
    if !forgiven.is_empty() {
        findings.push(Finding::warning(
            "abort-unready",
            seen.workload.to_string(),
            format!(
                "nobody waits for {}: not ready before the run{}",
                forgiven.into_iter().collect::<Vec<_>>().join(", "),
                if in_order {
                    ", or made only after one that was not"
                } else {
                    ""
                }
            ),
            "look at these pods afterwards",
        ));
    }
}

/// An update that was under way before the run, stuck or held by a partition, is under way again after its abort: that it
/// comes to an end cannot be waited for. It cannot come to one while a pod is not ready either.
fn await_what_was(halted: &Plan, workload: &WorkloadRef, starts: &mut Steps) {
    let is_of = |pod: &String| {
        let pod = pod.strip_prefix(&format!("{}/", workload.namespace));
        pod.and_then(|pod| pod.rsplit_once('-')).map(|(set, _)| set) == Some(&workload.name)
    };
    let was_under_way = halted.outdated.keys().chain(&halted.unready).any(is_of);
    for (_, gate) in starts {
        if let Gate::Settled { mid_update, .. } = gate {
            *mid_update = was_under_way;
        }
    }
}
