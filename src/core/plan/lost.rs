//! Pods that are lost, not gone: nobody knows whether they still run (LAWS W14).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::make::number;
use super::{Accepted, Action, Gate, Plan, Refusals};
use crate::model::{DeadPod, Finding, NodeState, Removal, SeenAround, SeenWorkload};
use crate::workload::{is_ready, sign_of_loss};

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

/// What is known of the node of a pod.
enum Touch<'a> {
    /// The node, or the pod itself, tells that they are in touch.
    In(&'a str),
    /// Nobody knows whether the pod still runs; why, in a sentence.
    Lost(&'a str, String),
    /// The node does not exist any more.
    Gone(&'a str),
    /// Nothing tells that they are in touch, or are not, and this is why nobody could look.
    Unknown(&'a str, &'a str),
    /// It has no node, nobody has asked about it, or the cluster sees to its pods already.
    NoMatter,
}

fn touch<'a>(pod: &'a Pod, around: &'a SeenAround) -> Touch<'a> {
    let Some(node) = node_of(pod) else {
        return Touch::NoMatter;
    };
    match around.nodes.get(node) {
        Some(Ok(NodeState::Ready)) => Touch::In(node),
        Some(Ok(NodeState::NotReady(why))) => Touch::Lost(node, format!("which is not ready ({why})")),
        Some(Ok(NodeState::Gone)) => Touch::Gone(node),
        Some(Ok(NodeState::OutOfService)) | None => Touch::NoMatter,
        // The node may not be read, but what the cluster has done to the pod tells.
        Some(Err(why)) => match sign_of_loss(pod) {
            Some(sign) => Touch::Lost(node, format!("which the cluster has lost touch with ({sign})")),
            // A pod that is ready is in touch with its node.
            None if is_ready(pod) => Touch::In(node),
            None => Touch::Unknown(node, why),
        },
    }
}

/// Finds pods on nodes that are not ready. A StatefulSet does not replace such a pod, because two of one name could
/// write the same volume; and a deleted one stays until its node says that it has ended. `dead` are the UIDs of those of
/// which somebody has said that they are dead.
pub(super) fn check_lost(
    seen: &SeenWorkload,
    around: &SeenAround,
    dead: &BTreeSet<String>,
    findings: &mut Vec<Finding>,
) {
    let subject = seen.workload.to_string();
    let mut unknown: Vec<(&str, &str, &str)> = Vec::new();
    for pod in &seen.pods {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let touch = touch(pod, around);
        if dead.contains(uid) {
            findings.push(said_dead(&subject, name, &touch));
            continue;
        }
        match touch {
            Touch::In(_) | Touch::NoMatter => {}
            Touch::Lost(node, why) => findings.push(Finding::refusal(
                "pod-lost",
                &subject,
                format!(
                    "pod {name} is on node {node}, {why}: nobody knows whether it still runs, so it is not replaced, and \
                     stopping it would be waited for in vain"
                ),
                format!("{}; or, for this pod alone: --pod-dead {uid}", way_out(node)),
            )),
            Touch::Gone(node) => findings.push(Finding::warning(
                "pod-lost",
                &subject,
                format!("pod {name} is on node {node}, which does not exist any more"),
                "the cluster takes the pod away within a minute or two; where it does not, delete it by force",
            )),
            Touch::Unknown(node, why) => unknown.push((name, node, why)),
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

/// What comes of somebody's word that a pod is dead. Of one whose node is in touch it is a mistake.
fn said_dead(subject: &str, pod: &str, touch: &Touch<'_>) -> Finding {
    let on = match touch {
        Touch::In(node) => {
            return Finding::refusal(
                "pod-alive",
                subject,
                format!("pod {pod} is said to be dead (--pod-dead), but its node {node} is in touch with the cluster"),
                "leave --pod-dead out for it: what runs on a node in touch is stopped like any other pod",
            );
        }
        Touch::Lost(node, _) | Touch::Gone(node) | Touch::Unknown(node, _) => format!(" on node {node}"),
        Touch::NoMatter => String::new(),
    };
    Finding {
        accepted: true,
        ..Finding::warning(
            "pod-lost",
            subject,
            format!(
                "pod {pod}{on} is said to be dead (--pod-dead): it is removed by force, and its node is not waited for"
            ),
            "see to it that its machine stays off: a pod that still runs there could write the same volume as the next one",
        )
    }
}

/// Finds UIDs of which no pod is seen: it is gone, or its UID was mistyped.
pub(super) fn check_named_dead(seen: &[SeenWorkload], dead: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    let is_seen = |uid: &String| {
        let mut pods = seen.iter().flat_map(|seen| &seen.pods);
        pods.any(|pod| pod.metadata.uid.as_ref() == Some(uid))
    };
    findings.extend(dead.iter().filter(|uid| !is_seen(uid)).map(|uid| {
        Finding::warning(
            "pod-lost",
            uid,
            "no pod of the workloads has the UID that --pod-dead names: it is gone already, or it is another one",
            "look: kubectl get pods -o custom-columns=NAME:.metadata.name,UID:.metadata.uid,NODE:.spec.nodeName",
        )
    }));
}

/// Finds the pods that are said to be dead by their UIDs, for a run that is to go on or back without them; with what is to
/// be said of it.
///
/// # Errors
/// Everything that was found, where the node of one of them is in touch with the cluster.
pub fn find_dead(
    seen: &[SeenWorkload],
    around: &[SeenAround],
    dead: &BTreeSet<String>,
) -> Result<(Vec<DeadPod>, Vec<Finding>), Refusals> {
    let (mut found, mut findings) = (Vec::new(), Vec::new());
    for seen in seen {
        let subject = seen.workload.to_string();
        let around = around.iter().find(|around| around.workload == seen.workload);
        for one in dead_of(seen, dead) {
            let touch = match (seen.pod(&one.pod), around) {
                (Some(pod), Some(around)) => touch(pod, around),
                _ => Touch::NoMatter,
            };
            findings.push(said_dead(&subject, &one.pod, &touch));
            found.push(one);
        }
    }
    check_named_dead(seen, dead, &mut findings);
    Ok((found, Refusals::judge(findings, &Accepted::default())?))
}

/// The pods of the workload that are said to be dead.
pub(super) fn dead_of(seen: &SeenWorkload, dead: &BTreeSet<String>) -> Vec<DeadPod> {
    let found = seen.pods.iter().filter_map(|pod| {
        let uid = pod.metadata.uid.clone().filter(|uid| dead.contains(uid))?;
        Some(DeadPod {
            workload: seen.workload.clone(),
            pod: pod.metadata.name.clone()?,
            uid,
        })
    });
    found.collect()
}

/// The steps of a workload with this UID, with those that remove its dead pods before anything would wait for their
/// nodes: first, or where the update strategy is borrowed behind that, for an update that was stuck at such a pod would go
/// on. That they are gone is seen at once, or never.
pub(super) fn remove_dead(dead: Vec<DeadPod>, uid: &str, mut steps: Vec<(Action, Gate)>) -> Vec<(Action, Gate)> {
    let borrows = matches!(steps.first(), Some((Action::UpdateStrategy { to, .. }, _)) if to.is_on_delete());
    let at = usize::from(borrows);
    let removals = dead.into_iter().map(|dead| (removal_of(dead, uid), Gate::None));
    steps.splice(at..at, removals);
    steps
}

fn removal_of(dead: DeadPod, uid: &str) -> Action {
    Action::RemovePod {
        workload: dead.workload,
        uid: uid.to_owned(),
        pod: dead.pod,
        removal: Removal::Dead(dead.uid),
        stays: false,
    }
}

/// The same plan, with steps that remove these pods before the steps of their workloads.
#[must_use]
pub fn without_dead(mut plan: Plan, dead: &[DeadPod]) -> Plan {
    let uids = plan.workload_uids();
    let mut all: Vec<(Action, Gate)> = plan.steps.into_iter().map(|step| (step.action, step.gate)).collect();
    for (workload, uid) in &uids {
        let dead: Vec<DeadPod> = dead.iter().filter(|dead| dead.workload == *workload).cloned().collect();
        let first = all.iter().position(|(action, _)| action.workload() == Some(workload));
        if let Some(first) = first.filter(|_| !dead.is_empty()) {
            let rest = all.split_off(first);
            all.extend(remove_dead(dead, uid, rest));
        }
    }
    plan.steps = number(all, &plan.limits);
    plan.id = plan
        .compute_id()
        .expect("a plan has only string keys and finite numbers");
    plan
}
