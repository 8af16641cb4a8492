//! A workload that is stopped whole, pointed at the target's template, and started again.

use super::workloads::Taken;
use super::{Action, Gate};
use crate::model::{Removal, SeenWorkload};
use crate::workload::{beyond_count, revision_of};

type Steps = Vec<(Action, Gate)>;

/// Highest ordinal first, each pod gone before the next. What an interrupted scale-down left standing goes first.
pub(super) fn stop(taken: &Taken<'_>) -> Steps {
    let workload = &taken.seen.workload;
    let held = is_rolling(taken.seen).then(|| taken.borrow_strategy()).flatten();
    let left_over = beyond_count(taken.seen).into_iter().filter_map(|pod| {
        let pod = pod.metadata.name.clone()?;
        let action = Action::RemovePod {
            workload: workload.clone(),
            uid: taken.uid.clone(),
            pod: pod.clone(),
            removal: Removal::BeyondCount,
            stays: false,
        };
        let gate = Gate::PodGone {
            workload: workload.clone(),
            pod,
        };
        Some((action, gate))
    });
    let counted = (0..taken.seen.replicas()).rev().map(|count| {
        let gate = if count == 0 {
            Gate::AllGone {
                workload: workload.clone(),
            }
        } else {
            Gate::PodGone {
                workload: workload.clone(),
                pod: taken.seen.pod_name(count),
            }
        };
        (taken.scale(count + 1, count), gate)
    });
    // Somebody has scaled it to 0 already: its last pods may be on their way out still, and nothing shows that it is ours.
    let stopped = (taken.seen.replicas() == 0).then(|| {
        let gate = Gate::AllGone {
            workload: workload.clone(),
        };
        (taken.scale(0, 0), gate)
    });
    held.into_iter()
        .chain(left_over)
        .chain(counted)
        .chain(stopped)
        .collect()
}

/// Whether the controller is in the middle of an update. One that is stuck goes on as soon as the broken pod is gone,
/// and replaces sound pods while they are being stopped, by those of the newer template.
fn is_rolling(seen: &SeenWorkload) -> bool {
    let Some(set) = &seen.set else { return false };
    let status = set.status.as_ref();
    let update = status.and_then(|status| status.update_revision.as_deref());
    let is_unseen = status.and_then(|status| status.observed_generation) < set.metadata.generation;
    is_unseen || seen.pods.iter().any(|pod| revision_of(pod) != update)
}

/// Template first, then one pod at a time whatever the pod management policy; but those that must start together do.
pub(super) fn start(taken: &Taken<'_>) -> Steps {
    start_from(taken, 0)
}

/// As [`start`], where so many pods are standing and may go on.
pub(super) fn start_from(taken: &Taken<'_>, standing: i32) -> Steps {
    let mut steps: Steps = taken.repoint().into_iter().collect();
    let original = taken.seen.original_replicas();
    let together = taken.start_together.clamp(1, original.max(1));
    let mut alone = standing;
    if together > 1 && standing < together {
        steps.push((taken.scale(standing, together), Gate::None));
        for index in 0..together {
            let pod = taken.seen.pod_name(index);
            let action = Action::CheckPod {
                workload: taken.seen.workload.clone(),
                uid: taken.uid.clone(),
                pod: pod.clone(),
            };
            steps.push((action, taken.healthy(pod)));
        }
        alone = together;
    }
    for count in alone..original {
        steps.push((taken.scale(count, count + 1), taken.healthy(taken.seen.pod_name(count))));
    }
    if is_rolling(taken.seen) || taken.seen.update_strategy() != taken.seen.original_update_strategy() {
        steps.extend(taken.give_strategy_back());
    }
    steps
}
