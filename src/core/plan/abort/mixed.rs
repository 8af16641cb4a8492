//! Two revisions were alive when the run was planned: each pod comes back on the one that it ran.
//!
//! Under `OnDelete` a pod is made from whatever the set points at, and those that stand are left alone: the abort points the
//! set at each revision in its turn, and at the end at the template from before. What it has pointed elsewhere for must be
//! there by then, so from the first pod on that nobody waits for, all come from the template.

use std::collections::BTreeMap;

use super::super::rewritten::{Rewriting, rewritten};
use super::super::template::present_template;
use super::super::workloads::{Taken, pod_key};
use super::super::{Action, Gate, Plan};
use super::Steps;
use crate::model::{Finding, Removal, TemplateRef, revision_images};
use crate::workload::revision_of;

/// The pods of a workload that ran another revision than its template's, and which.
fn outdated<'a>(halted: &'a Plan, taken: &Taken<'_>, pod: &str) -> Option<&'a String> {
    halted.outdated.get(&pod_key(&taken.seen.workload, pod))
}

/// Whether a pod stands that ran another revision before the run: it cannot stay.
pub(super) fn is_mixed_up(halted: &Plan, taken: &Taken<'_>) -> bool {
    taken.seen.pods.iter().any(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        outdated(halted, taken, name).is_some_and(|ran| revision_of(pod) != Some(ran))
    })
}

/// The template of the revision that a pod ran, where it is kept.
fn template_of(halted: &Plan, taken: &Taken<'_>, pod: &str) -> Option<TemplateRef> {
    let ran = outdated(halted, taken, pod)?;
    let mut kept = taken.seen.revisions.iter();
    let kept = kept.find(|kept| kept.metadata.name.as_ref() == Some(ran))?;
    Some(TemplateRef {
        revision: Some(ran.clone()),
        images: revision_images(kept)?,
    })
}

/// The pod that a step has made or waits for.
fn pod_of(taken: &Taken<'_>, action: &Action) -> Option<String> {
    match action {
        Action::RemovePod {
            pod,
            removal: Removal::Outdated(_),
            ..
        }
        | Action::CheckPod { pod, .. } => Some(pod.clone()),
        Action::Scale { from, to, .. } if to - from == 1 => Some(taken.seen.pod_name(*from)),
        _ => None,
    }
}

/// The steps that bring pods back, with the workload pointed at each one's own revision before it is made. `is_held` says
/// that its update strategy is `OnDelete` by then.
pub(super) fn in_turn(
    halted: &Plan,
    taken: &Taken<'_>,
    known: &Rewriting,
    is_held: bool,
    starts: Steps,
    findings: &mut Vec<Finding>,
) -> Steps {
    let makes = |(action, _): &(Action, Gate)| pod_of(taken, action);
    if !starts
        .iter()
        .filter_map(makes)
        .any(|pod| outdated(halted, taken, &pod).is_some())
    {
        return starts;
    }
    let mut turns = Turns {
        taken,
        steps: Steps::new(),
        points_at: present_template(taken.seen),
    };
    let gives_back = |action: &Action| matches!(action, Action::UpdateStrategy { to, original, .. } if to == original);
    let borrowed = match is_held || starts.iter().any(|(action, _)| borrows(action)) {
        true => None,
        false => taken.borrow_strategy(),
    };
    let is_borrowed = borrowed.is_some() && !starts.iter().any(|(action, _)| gives_back(action));
    turns.steps.extend(borrowed);
    let (mut is_forgiven, mut left) = (false, BTreeMap::new());
    for (mut action, mut gate) in starts {
        if matches!(action, Action::Repoint { .. }) {
            continue;
        }
        if let Some(pod) = pod_of(taken, &action) {
            is_forgiven |= gate == Gate::None;
            // Those that start together have been made by the step before, all from one template.
            let is_together = matches!(action, Action::CheckPod { .. });
            let own = template_of(halted, taken, &pod).filter(|_| !is_forgiven && !is_together);
            if let (None, Some(ran)) = (&own, outdated(halted, taken, &pod)) {
                left.insert(pod, ran.clone());
            }
            let template = own.unwrap_or_else(|| taken.target.clone());
            come_from(taken, &mut action, &mut gate, &template, known);
            turns.point_at(&template);
        } else if gives_back(&action) || matches!(action, Action::Scale { .. }) {
            turns.point_at(&taken.target);
        }
        turns.steps.push((action, gate));
    }
    turns.point_at(&taken.target);
    turns.steps.extend(taken.give_strategy_back().filter(|_| is_borrowed));
    findings.extend((!left.is_empty()).then(|| not_restored(taken, &left)));
    turns.steps
}

/// Whether the step sets the update strategy to `OnDelete`.
pub(super) fn borrows(action: &Action) -> bool {
    matches!(action, Action::UpdateStrategy { to, .. } if to.is_on_delete())
}

/// The step makes its pod from this template.
fn come_from(taken: &Taken<'_>, action: &mut Action, gate: &mut Gate, from: &TemplateRef, known: &Rewriting) {
    if let Action::RemovePod {
        pod,
        removal: Removal::Outdated(template),
        stays,
        ..
    } = action
    {
        template.clone_from(from);
        let found = taken.seen.pod(pod).and_then(revision_of);
        *stays = found.is_some() && found == from.revision.as_deref();
    }
    if let Gate::PodHealthy {
        template,
        rewritten: to,
        ..
    } = gate
    {
        template.clone_from(from);
        *to = rewritten(from, known);
    }
}

/// The steps so far, and what the workload points at after them.
struct Turns<'a> {
    taken: &'a Taken<'a>,
    steps: Steps,
    points_at: TemplateRef,
}

impl Turns<'_> {
    fn point_at(&mut self, to: &TemplateRef) {
        let is_there = match (&self.points_at.revision, &to.revision) {
            (Some(at), Some(to)) => at == to,
            _ => self.points_at == *to,
        };
        if is_there {
            return;
        }
        let workload = self.taken.seen.workload.clone();
        let gate = Gate::Repointed {
            workload: workload.clone(),
            to: to.clone(),
        };
        let action = Action::Repoint {
            workload,
            uid: self.taken.uid.clone(),
            from: std::mem::replace(&mut self.points_at, to.clone()),
            to: to.clone(),
        };
        self.steps.push((action, gate));
    }
}

fn not_restored(taken: &Taken<'_>, left: &BTreeMap<String, String>) -> Finding {
    let left: Vec<String> = left.iter().map(|(pod, ran)| format!("{pod} ({ran})")).collect();
    Finding::warning(
        "abort-mixed",
        taken.seen.workload.to_string(),
        format!(
            "pods that ran another revision than the template's before the run come back on the template's, because \
             theirs is not kept, they start together, or a pod before them is not waited for: {}",
            left.join(", ")
        ),
        "where they should run the older revision again: kubectl rollout undo",
    )
}
