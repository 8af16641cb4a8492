//! What to type where somebody has changed a workload that a run has in hand: the command that sets exactly that back, so
//! that a resume finds what it left.

use super::pods::revision_of;
use crate::model::{SeenWorkload, TemplateRef, UpdateStrategy, WorkloadRef};

fn kubectl(workload: &WorkloadRef, verb: &str) -> String {
    let kind = workload.kind.to_string().to_lowercase();
    format!("kubectl -n {} {verb} {kind} {}", workload.namespace, workload.name)
}

/// Sets a replica count back.
pub fn set_count(workload: &WorkloadRef, count: i32) -> String {
    format!("{} --replicas {count}", kubectl(workload, "scale"))
}

/// Whether the workload's history still has what this template is made from.
pub(super) fn is_kept(seen: &SeenWorkload, template: &TemplateRef) -> bool {
    let mut kept = seen.revisions.iter();
    template.revision.is_none() || kept.any(|kept| kept.metadata.name == template.revision)
}

/// Sets a template back, and removes the pods that have come of the other one: its controller may not replace them.
pub(super) fn set_template(seen: &SeenWorkload, to: &TemplateRef) -> String {
    let back = set_template_alone(seen, to);
    let status = seen.set.as_ref().and_then(|set| set.status.as_ref());
    let other = status.and_then(|status| status.update_revision.as_deref());
    // Under `OnDelete` none has come of it but where somebody has removed one.
    if seen.update_strategy().is_on_delete() || other.is_none() || other == to.revision.as_deref() {
        return back;
    }
    let came = seen.pods.iter().filter(|pod| revision_of(pod) == other);
    let came: Vec<&str> = came.filter_map(|pod| pod.metadata.name.as_deref()).collect();
    if came.is_empty() {
        return back;
    }
    format!("{back} && {}", remove_pods(&seen.workload, &came))
}

/// Removes pods, for their controller to make them anew.
pub(super) fn remove_pods(of: &WorkloadRef, pods: &[&str]) -> String {
    format!("kubectl -n {} delete pod {}", of.namespace, pods.join(" "))
}

/// To the revision, by the number that it has now, or where there is none to its images.
fn set_template_alone(seen: &SeenWorkload, to: &TemplateRef) -> String {
    let mut kept = seen.revisions.iter();
    let kept = kept.find(|kept| kept.metadata.name.is_some() && kept.metadata.name == to.revision);
    if let Some(number) = kept.and_then(|kept| kept.revision) {
        let undo = kubectl(&seen.workload, "rollout undo");
        return format!("{undo} --to-revision {number}");
    }
    let images: Vec<String> = to
        .images
        .iter()
        .map(|(name, image)| format!("{name}={image}"))
        .collect();
    format!("{} {}", kubectl(&seen.workload, "set image"), images.join(" "))
}

/// Sets an update strategy back, whole: a merge would leave what the other one has and this one has not.
pub(super) fn set_strategy(workload: &WorkloadRef, to: &UpdateStrategy) -> String {
    let mut whole = serde_json::json!({ "rollingUpdate": null });
    if let (Some(whole), Some(to)) = (whole.as_object_mut(), to.0.as_object()) {
        whole.extend(to.clone());
    }
    let patch = serde_json::json!({ "spec": { "updateStrategy": whole } });
    format!("{} --type merge -p '{patch}'", kubectl(workload, "patch"))
}

/// Why pods that were stopped will not go, where somebody has raised the count over this one since.
pub(super) fn counted_again(seen: &SeenWorkload, index: i32) -> Option<String> {
    (index < seen.replicas()).then(|| {
        format!(
            "spec.replicas of {} is {} again; set it back: {}",
            seen.workload,
            seen.replicas(),
            set_count(&seen.workload, index)
        )
    })
}

/// Why a pod that was started will not come, where somebody has lowered the count under it since.
pub(super) fn not_counted(seen: &SeenWorkload, pod: &str) -> Option<String> {
    let index = index_of(seen, pod)?;
    (index >= seen.replicas()).then(|| {
        format!(
            "spec.replicas of {} is {}, which leaves {pod} out; set it back: {}",
            seen.workload,
            seen.replicas(),
            set_count(&seen.workload, index + 1)
        )
    })
}

/// The place of a pod among the set's, counted from 0.
pub(super) fn index_of(seen: &SeenWorkload, pod: &str) -> Option<i32> {
    let ordinal: i32 = pod.rsplit_once('-')?.1.parse().ok()?;
    Some(ordinal - seen.first_ordinal())
}
