//! Pods that are lost, not gone: nobody knows whether they still run (LAWS W14).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use crate::model::{Finding, NodeState, SeenAround, SeenWorkload};
use crate::workload::is_ready;

/// The nodes that the workload's pods are on.
pub(super) fn nodes_of(seen: &SeenWorkload) -> BTreeSet<String> {
    seen.pods.iter().filter_map(node_of).map(str::to_owned).collect()
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
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
                format!(
                    "bring the node back; or make sure that it is off, and say so: kubectl taint node {node} \
                     node.kubernetes.io/out-of-service=nodeshutdown:NoExecute (or kubectl delete node {node})"
                ),
            )),
            Some(Ok(NodeState::Gone)) => findings.push(Finding::warning(
                "pod-lost",
                &subject,
                format!("pod {name} is on node {node}, which does not exist any more"),
                "the cluster takes the pod away within a minute or two; where it does not, delete it by force",
            )),
            // A pod that is ready is in touch with its node.
            Some(Err(why)) if !is_ready(pod) => unknown.push((name, node, why)),
            Some(Err(_)) => {}
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
