//! Autoscalers that set the replica count while a rollback does.

use crate::model::{Finding, SeenAround, SeenWorkload};

/// Finds the autoscalers at work. At 0 replicas they rest; at 1 they go on, and scale to their own minimum at once
/// (seen on Kubernetes 1.37). One that must not be looked for is among the rights that are missing.
pub(super) fn check_autoscalers(seen: &SeenWorkload, around: &SeenAround, findings: &mut Vec<Finding>) {
    let (namespace, name) = (&seen.workload.namespace, &seen.workload.name);
    for scaler in around.autoscalers.iter().flatten() {
        let range = format!("{} to {}", scaler.min, scaler.max);
        let (who, remedy) = match &scaler.keda {
            Some(object) => (
                format!(
                    "ScaledObject {object} of KEDA, by HorizontalPodAutoscaler {},",
                    scaler.name
                ),
                format!(
                    "pause it: kubectl -n {namespace} annotate scaledobject {object} autoscaling.keda.sh/paused=true; \
                     afterwards the same with autoscaling.keda.sh/paused-"
                ),
            ),
            None => (
                format!("HorizontalPodAutoscaler {}", scaler.name),
                format!(
                    "save it and take it away: kubectl -n {namespace} get hpa {0} -o yaml > {0}.yaml; kubectl -n \
                     {namespace} delete hpa {0}; afterwards kubectl apply -f {0}.yaml",
                    scaler.name
                ),
            ),
        };
        findings.push(Finding::refusal(
            "autoscaler-active",
            seen.workload.to_string(),
            format!(
                "{who} keeps {name} at {range} replicas: it starts pods before those below are healthy, or stops pods \
                 that are waited for"
            ),
            remedy,
        ));
    }
}
