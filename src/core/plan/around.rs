//! What is looked at around the workloads before a plan is made of them, and what was found there.
//!
//! Responsible for: the questions, from the target's template; and handing the answers to the checks (`autoscaler`,
//! `budget`, `named`, `start`, `lost`). Not for: asking (`cluster`). What comes and goes here is no part of the world that a plan
//! is made for.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Finding, LookAround, SeenAround, SeenWorkload, TemplateRef};

use super::Strategy;
use super::autoscaler::check_autoscalers;
use super::budget::check_budgets;
use super::lost::{check_lost, nodes_of};
use super::named::{check_named, named_objects, newer_since};
use super::owner::owners_of;
use super::request::{Goal, Request};
use super::rewritten::check_rewritten;
use super::start::{check_start, first_pod};
use super::template::{Wanted, target_template};

/// What to look at for this request, a question for each workload that exists. Where its target is not known, because
/// something forbids it, there is no pod to ask about.
pub fn look_around(request: &Request<'_>, workloads: &[SeenWorkload]) -> Vec<LookAround> {
    let (Goal::Release(release), Some(app)) = (&request.goal, request.app) else {
        return Vec::new();
    };
    let question = |seen: &SeenWorkload| {
        seen.set.as_ref()?;
        let wanted = Wanted::of(app, release, None, seen);
        let target = target_template(seen, &wanted, &mut Vec::new());
        let objects = target.as_ref().map(|target| named_objects(seen, target));
        Some(LookAround {
            workload: seen.workload.clone(),
            objects: objects.unwrap_or_default().into_keys().collect(),
            nodes: nodes_of(seen),
            owners: owners_of(seen),
            labels: labels_of(seen),
            pod: target.and_then(|target| first_pod(seen, &target)),
        })
    };
    workloads.iter().filter_map(question).collect()
}

/// The labels of its pods: of those that are there, and of those that its template makes.
fn labels_of(seen: &SeenWorkload) -> BTreeSet<BTreeMap<String, String>> {
    let template = seen.set.iter().map(|set| set.spec.template.metadata.as_ref());
    let pods = seen.pods.iter().map(|pod| Some(&pod.metadata));
    let labels = template.chain(pods).map(|metadata| metadata?.labels.clone());
    labels.map(Option::unwrap_or_default).collect()
}

/// Hands what was found around a workload that takes part to the checks.
pub(super) fn check_around(
    seen: &SeenWorkload,
    strategy: Strategy,
    target: Option<&TemplateRef>,
    around: &[SeenAround],
    dead: &BTreeSet<String>,
    findings: &mut Vec<Finding>,
) {
    let Some(around) = around.iter().find(|around| around.workload == seen.workload) else {
        return;
    };
    let subject = seen.workload.to_string();
    check_autoscalers(seen, around, findings);
    check_budgets(seen, strategy, around, findings);
    check_lost(seen, around, dead, findings);
    if let Some(target) = target {
        check_named(
            &subject,
            &named_objects(seen, target),
            newer_since(seen, target),
            around,
            findings,
        );
        check_rewritten(seen, target, around, findings);
    }
    check_start(seen, around, findings);
}
