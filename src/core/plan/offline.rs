//! A workload that is stopped whole, pointed at the target's template, and started again.

use super::workloads::Taken;
use super::{Action, Gate};
use crate::model::Removal;
use crate::workload::beyond_count;

type Steps = Vec<(Action, Gate)>;

/// Highest ordinal first, each pod gone before the next. What an interrupted scale-down left standing goes first.
pub(super) fn stop(taken: &Taken<'_>) -> Steps {
    let workload = &taken.seen.workload;
    let left_over = beyond_count(taken.seen).into_iter().filter_map(|pod| {
        let pod = pod.metadata.name.clone()?;
        let action = Action::RemovePod {
            workload: workload.clone(),
            uid: taken.uid.clone(),
            pod: pod.clone(),
            removal: Removal::BeyondCount,
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
    left_over.chain(counted).collect()
}

/// Template first, then one pod at a time whatever the pod management policy; but those that must start together do.
pub(super) fn start(taken: &Taken<'_>) -> Steps {
    let mut steps: Steps = taken.repoint().into_iter().collect();
    let original = taken.seen.original_replicas();
    let together = taken.start_together.clamp(1, original.max(1));
    let mut alone = 0;
    if together > 1 {
        steps.push((taken.scale(0, together), Gate::None));
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
    if taken.seen.update_strategy() != taken.seen.original_update_strategy() {
        steps.push(taken.give_strategy_back());
    }
    steps
}
