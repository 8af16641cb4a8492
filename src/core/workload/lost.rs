//! A pod that the cluster has lost touch with, as far as the pod itself tells (LAWS W14).

use k8s_openapi::api::core::v1::Pod;

use super::pods::{condition, is_terminating};

/// What the cluster does to the pods of a node that it has lost touch with. Its controller sets them not ready, while the
/// kubelet's word that their containers are stays; and after some minutes it evicts them, which never ends without a
/// kubelet. Sources: `k8s.io/kubernetes/pkg/controller/nodelifecycle` (`MarkPodsNotReady`), `pkg/controller/tainteviction`.
pub(crate) fn sign_of_loss(pod: &Pod) -> Option<&'static str> {
    let has = |name: &str, status: &str| condition(pod, name).is_some_and(|condition| condition.status == status);
    let evicted = condition(pod, "DisruptionTarget")
        .is_some_and(|condition| condition.reason.as_deref() == Some("DeletionByTaintManager"));
    if evicted && is_terminating(pod) {
        return Some("it was told to go because of its node, and has not gone");
    }
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref());
    let is_gated = gates.is_some_and(|gates| !gates.is_empty());
    (!is_gated && has("Ready", "False") && has("ContainersReady", "True") && !is_terminating(pod))
        .then_some("all its containers are ready, and the pod was set not ready over its kubelet's head")
}
