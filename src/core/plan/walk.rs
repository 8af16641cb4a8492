//! A workload that is walked back pod by pod while the others go on answering (LAWS W4).
//!
//! Under `OnDelete` each pod that is removed comes back from the template that is set, whatever partition was left over
//! and whichever pod is broken; under `RollingUpdate` a removed low pod would come back on the old current revision.

use std::collections::BTreeSet;

use super::workloads::Taken;
use super::{Action, Gate};
use crate::model::Removal;
use crate::workload::{beyond_count, is_ready};

/// Update strategy, template, one step a pod, update strategy as it was.
pub(super) fn walk(taken: &Taken<'_>) -> Vec<(Action, Gate)> {
    walk_but(taken, &BTreeSet::new(), &BTreeSet::new())
}

/// As [`walk`], sparing these pods, and those that nobody waits for at the end: none that is waited for can be made above
/// one that stays broken.
pub(super) fn walk_but(taken: &Taken<'_>, spared: &BTreeSet<String>, last: &BTreeSet<String>) -> Vec<(Action, Gate)> {
    let seen = taken.seen;
    let mut steps = Vec::new();
    if seen.replicas() > 0 {
        steps.extend(taken.borrow_strategy());
    }
    steps.extend(taken.repoint());
    for pod in beyond_count(seen) {
        let pod = pod.metadata.name.clone().unwrap_or_default();
        let gate = Gate::PodGone {
            workload: seen.workload.clone(),
            pod: pod.clone(),
        };
        steps.push((remove(taken, pod, Removal::BeyondCount, false), gate));
    }
    for pod in order(taken, last).into_iter().filter(|pod| !spared.contains(pod)) {
        let gate = taken.healthy(pod.clone());
        let stays = taken.runs_target(&pod);
        let removal = Removal::Outdated(taken.target.clone());
        steps.push((remove(taken, pod, removal, stays), gate));
    }
    if seen.replicas() > 0 || seen.update_strategy() != seen.original_update_strategy() {
        steps.extend(taken.give_strategy_back());
    }
    steps
}

fn remove(taken: &Taken<'_>, pod: String, removal: Removal, stays: bool) -> Action {
    Action::RemovePod {
        workload: taken.seen.workload.clone(),
        uid: taken.uid.clone(),
        pod,
        removal,
        stays,
    }
}

/// Broken pods first, because an ordered set makes no pod while one below it is not ready, and among them the lowest
/// first, for the same reason; then from the highest ordinal down, and so with those that are to go last.
fn order(taken: &Taken<'_>, last: &BTreeSet<String>) -> Vec<String> {
    let names = (0..taken.seen.replicas()).map(|index| taken.seen.pod_name(index));
    let (last, others): (Vec<String>, Vec<String>) = names.partition(|name| last.contains(name));
    let (sound, mut broken): (Vec<String>, Vec<String>) = others
        .into_iter()
        .partition(|name| taken.seen.pod(name).is_some_and(is_ready));
    broken.extend(sound.into_iter().rev());
    broken.extend(last.into_iter().rev());
    broken
}
