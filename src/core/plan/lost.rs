//! Pods that are lost, not gone: nobody knows whether they still run (LAWS W14).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use crate::model::{Finding, NodeState, SeenAround, SeenWorkload};
use crate::workload::{is_ready, is_terminating};

/// The nodes that the workload's pods are on.
pub(super) fn nodes_of(seen: &SeenWorkload) -> BTreeSet<String> {
    seen.pods.iter().filter_map(node_of).map(str::to_owned).collect()
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

/// What to do about a node that is lost.
fn way_out(node: &str) -> String {
    format!(
        "bring the node back; or make sure that it is off, and say so: kubectl taint node {node} \
         node.kubernetes.io/out-of-service=nodeshutdown:NoExecute (or kubectl delete node {node})"
    )
}

/// What the cluster does to the pods of a node that it has lost touch with. Its controller sets them not ready, while the
/// kubelet's word that their containers are stays; and after some minutes it evicts them, which never ends without a
/// kubelet. Sources: `k8s.io/kubernetes/pkg/controller/nodelifecycle` (`MarkPodsNotReady`), `pkg/controller/tainteviction`.
fn sign_of_loss(pod: &Pod) -> Option<&'static str> {
    let conditions = pod.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    let condition = |name: &str| conditions.iter().find(|condition| condition.type_ == name);
    let has = |name: &str, status: &str| condition(name).is_some_and(|condition| condition.status == status);
    let evicted = condition("DisruptionTarget")
        .is_some_and(|condition| condition.reason.as_deref() == Some("DeletionByTaintManager"));
    if evicted && is_terminating(pod) {
        return Some("it was told to go because of its node, and has not gone");
    }
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref());
    let is_gated = gates.is_some_and(|gates| !gates.is_empty());
    (!is_gated && has("Ready", "False") && has("ContainersReady", "True") && !is_terminating(pod))
        .then_some("all its containers are ready, and the pod was set not ready over its kubelet's head")
}

/// Finds pods on nodes that are not ready. A StatefulSet does not replace such a pod, because two of one name could
/// write the same volume; and a deleted one stays until its node says that it has ended.
pub(super) fn check_lost(seen: &SeenWorkload, around: &SeenAround, findings: &mut Vec<Finding>) {
    let subject = seen.workload.to_string();
    let mut unknown: Vec<(&str, &str, &str)> = Vec::new();
    for pod in &seen.pods {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let Some(node) = node_of(pod) else { continue };
        match around.nodes.get(node) {
            Some(Ok(NodeState::Ready | NodeState::OutOfService)) | None => {}
            Some(Ok(NodeState::NotReady(why))) => findings.push(Finding::refusal(
                "pod-lost",
                &subject,
                format!(
                    "pod {name} is on node {node}, which is not ready ({why}): nobody knows whether it still runs, so it \
                     is not replaced, and stopping it would be waited for in vain"
                ),
                way_out(node),
            )),
            Some(Ok(NodeState::Gone)) => findings.push(Finding::warning(
                "pod-lost",
                &subject,
                format!("pod {name} is on node {node}, which does not exist any more"),
                "the cluster takes the pod away within a minute or two; where it does not, delete it by force",
            )),
            // The node may not be read, but what the cluster has done to the pod tells.
            Some(Err(why)) => match sign_of_loss(pod) {
                Some(sign) => findings.push(Finding::refusal(
                    "pod-lost",
                    &subject,
                    format!(
                        "pod {name} is on node {node}, which the cluster has lost touch with ({sign}): nobody knows whether \
                         it still runs, so it is not replaced, and stopping it would be waited for in vain"
                    ),
                    way_out(node),
                )),
                // A pod that is ready is in touch with its node.
                None if !is_ready(pod) => unknown.push((name, node, why)),
                None => {}
            },
        }
    }
    if let Some((_, _, why)) = unknown.first() {
        let pods: Vec<String> = unknown
            .iter()
            .map(|(pod, node, _)| format!("{pod} on {node}"))
            .collect();
        findings.push(Finding::warning(
            "pod-lost",
            &subject,
            format!(
                "these pods are not ready, and whether their nodes are is not known: {} ({why})",
                pods.join(", ")
            ),
            "look yourself: kubectl get nodes; a pod on a node that is off is neither stopped nor replaced",
        ));
    }
}
