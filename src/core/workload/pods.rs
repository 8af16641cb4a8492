//! What a single pod is, and whether it is one that is to go.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, PodCondition};

use super::set_back::index_of;
use crate::model::{Removal, SeenWorkload, TemplateRef, images_of};

pub(super) fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == name)
}

/// Whether it is on its way out.
pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether it runs, is ready, and stays.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !is_terminating(pod)
        && !matches!(phase, Some("Failed" | "Succeeded"))
        && condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// The name of the ControllerRevision that a pod was made from.
pub(crate) fn revision_of(pod: &Pod) -> Option<&str> {
    let labels = pod.metadata.labels.as_ref()?;
    labels.get("controller-revision-hash").map(String::as_str)
}

/// The containers of a template with these images that the pod runs with another one, or not at all (`None`); it runs the
/// template where there are none. Whatever else is in the pod does not count: webhooks put proxies and agents into every
/// pod of a cluster, and no template names them.
pub(crate) fn other_images(pod: &Pod, wanted: &BTreeMap<String, String>) -> BTreeMap<String, Option<String>> {
    let mut found = pod.spec.as_ref().map(images_of).unwrap_or_default();
    let found = wanted.iter().filter_map(|(container, wanted)| {
        let found = found.remove(container);
        (found.as_ref() != Some(wanted)).then(|| (container.clone(), found))
    });
    found.collect()
}

/// The name of the ControllerRevision that pods of this template are made from: its own, or, where the images were put
/// on the present template, the one that the controller has made of it.
pub(super) fn wanted_revision<'a>(set: &'a StatefulSet, template: &'a TemplateRef) -> Option<&'a str> {
    let update = set.status.as_ref().and_then(|status| status.update_revision.as_deref());
    template.revision.as_deref().or(update)
}

/// Whether this pod of the set is one that is to go. Asked of the pod that is about to be removed: it may have been
/// replaced since it was planned for, and what came then must stay.
pub fn is_to_go(set: &StatefulSet, pod: &Pod, removal: &Removal) -> bool {
    match removal {
        Removal::BeyondCount => {
            let start = set
                .spec
                .ordinals
                .as_ref()
                .and_then(|ordinals| ordinals.start)
                .unwrap_or(0);
            let end = i64::from(start) + i64::from(set.spec.replicas.unwrap_or(1));
            ordinal_of(pod).is_some_and(|ordinal| ordinal < i64::from(start) || ordinal >= end)
        }
        Removal::Outdated(template) => {
            let wanted = wanted_revision(set, template);
            wanted.is_some() && revision_of(pod) != wanted
        }
        Removal::Dead(uid) => pod.metadata.uid.as_ref() == Some(uid),
    }
}

fn ordinal_of(pod: &Pod) -> Option<i64> {
    pod.metadata.name.as_ref()?.rsplit_once('-')?.1.parse().ok()
}

/// The pods beyond the replica count, or below a first number that was raised since, that are not on their way out, highest ordinal first.
pub(crate) fn beyond_count(seen: &SeenWorkload) -> Vec<&Pod> {
    let Some(set) = &seen.set else { return Vec::new() };
    let beyond = |pod: &&Pod| !is_terminating(pod) && is_to_go(set, pod, &Removal::BeyondCount);
    seen.pods.iter().rev().filter(beyond).collect()
}

/// Whether the controller holds every ready pod ready for long enough. It says how many, not which, and by its own clock:
/// ours may be another.
fn are_available(seen: &SeenWorkload, set: &StatefulSet) -> bool {
    let ready = seen.pods.iter().filter(|pod| is_ready(pod)).count();
    let status = set.status.as_ref();
    let available = status.and_then(|status| status.available_replicas).unwrap_or(0);
    let counted = status.and_then(|status| status.ready_replicas).unwrap_or(0);
    set.spec.min_ready_seconds.unwrap_or(0) == 0
        || (available >= counted && usize::try_from(available).is_ok_and(|available| available >= ready))
}

/// Whether the controller leaves pods beyond the replica count standing, and why. An ordered set looks at every place
/// below first, and goes no further where a pod is missing, not ready or not ready for long enough. Where it may be one
/// of these, it is taken for one: the pod beyond the count is to go either way.
pub(super) fn why_left_standing(seen: &SeenWorkload) -> Option<String> {
    let set = seen.set.as_ref()?;
    if set.spec.pod_management_policy.as_deref() == Some("Parallel") || beyond_count(seen).is_empty() {
        return None;
    }
    let not_ready = (0..seen.replicas())
        .map(|index| seen.pod_name(index))
        .find_map(|name| match seen.pod(&name) {
            None => Some(format!("{name} is missing")),
            Some(pod) if is_ready(pod) => None,
            Some(_) => Some(format!("{name} is not ready")),
        });
    not_ready.or_else(|| {
        (seen.replicas() > 0 && !are_available(seen, set)).then(|| "a pod is not ready for long enough".to_owned())
    })
}

/// The pod that keeps the controller from making this one: the lowest below it that stands and is not ready, where pods
/// are made in order. One that is on its way out makes room by itself.
pub fn standing_in_the_way<'a>(seen: &'a SeenWorkload, pod: &str) -> Option<&'a Pod> {
    let set = seen.set.as_ref()?;
    if set.spec.pod_management_policy.as_deref() == Some("Parallel") || seen.pod(pod).is_some() {
        return None;
    }
    let below = (0..index_of(seen, pod)?).map_while(|index| seen.pod(&seen.pod_name(index)));
    below
        .into_iter()
        .find(|pod| !is_ready(pod))
        .filter(|pod| !is_terminating(pod))
}
