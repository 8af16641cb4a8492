//! Whether a run that halts may be taken back with nobody asked (LAWS W5).

use super::Halted;
use crate::journal::{RunState, StepState};
use crate::plan::workloads::pod_key;
use crate::plan::{Gate, Plan, Step};

/// Why a run that halts is not taken back by itself though that is free: the way back would give up something that is better
/// than what the run found.
pub fn better_than_found(halted: &Plan, state: &RunState) -> Option<String> {
    let halted = Halted { plan: halted, state };
    let pods: Vec<(&Step, String)> = halted.plan.steps.iter().filter_map(pod_of).collect();
    let healthy: Vec<&String> = pods
        .iter()
        .filter(|(step, _)| halted.state.step(step.id) == Some(StepState::Passed))
        .map(|(_, pod)| pod)
        .collect();
    if !pods.is_empty() && healthy.len() == pods.len() {
        return Some("every pod runs the target and is healthy".to_owned());
    }
    let healed = healthy.into_iter().find(|pod| halted.plan.unready.contains(pod))?;
    Some(format!(
        "pod {healed} was not ready before the run, and is healthy at the target now"
    ))
}

/// The pod whose health the step waits for, `NAMESPACE/POD`.
fn pod_of(step: &Step) -> Option<(&Step, String)> {
    match &step.gate {
        Gate::PodHealthy { workload, pod, .. } => Some((step, pod_key(workload, pod))),
        _ => None,
    }
}
