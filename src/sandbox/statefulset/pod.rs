//! What the controller asks of a pod, and what a pod of a set looks like when it is born. No API calls.
//!
//! The questions and their answers are those of Kubernetes 1.37, `pkg/controller/statefulset/stateful_set_utils.go`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, ResourceExt};

use super::claim;

pub(super) const REVISION_LABEL: &str = "controller-revision-hash";
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The set and the ordinal that a pod's name tells; `None` where it is no name of a set's pod.
pub(super) fn parent_and_ordinal(name: &str) -> Option<(&str, i32)> {
    let (parent, ordinal) = name.rsplit_once('-')?;
    if !ordinal.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((parent, ordinal.parse().ok()?))
}

pub(super) fn ordinal(pod: &Pod) -> Option<i32> {
    parent_and_ordinal(pod.metadata.name.as_deref()?).map(|(_, ordinal)| ordinal)
}

pub(super) fn is_member(set: &StatefulSet, pod: &Pod) -> bool {
    parent_and_ordinal(&pod.name_any()).is_some_and(|(parent, _)| parent == set.name_any())
}

pub(super) fn start_ordinal(set: &StatefulSet) -> i32 {
    let ordinals = set.spec.ordinals.as_ref();
    ordinals.and_then(|ordinals| ordinals.start).unwrap_or(0)
}

pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// Whether the set at its present size has a pod of this ordinal.
pub(super) fn in_range(set: &StatefulSet, ordinal: i32) -> bool {
    let start = start_ordinal(set);
    (start..start.saturating_add(replicas(set))).contains(&ordinal)
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("")
}

/// The server keeps this pod: it gives each a phase.
pub(super) fn is_created(pod: &Pod) -> bool {
    !phase(pod).is_empty()
}

pub(super) fn is_pending(pod: &Pod) -> bool {
    phase(pod) == "Pending"
}

pub(super) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Failed" | "Succeeded")
}

pub(super) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Since when the pod is Ready. The outer `None`: it is not. The inner: nobody says since when.
fn ready_since(pod: &Pod) -> Option<Option<Timestamp>> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    (ready.status == "True").then(|| ready.last_transition_time.as_ref().map(|time| time.0))
}

pub(super) fn is_running_and_ready(pod: &Pod) -> bool {
    phase(pod) == "Running" && ready_since(pod).is_some()
}

/// Ready for at least `min_ready` seconds.
pub(super) fn is_available(pod: &Pod, min_ready: i32, now: Timestamp) -> bool {
    match ready_since(pod) {
        None => false,
        Some(_) if min_ready == 0 => true,
        Some(since) => since.is_some_and(|since| since + seconds(min_ready) <= now),
    }
}

pub(super) fn is_unavailable(pod: &Pod, min_ready: i32, now: Timestamp) -> bool {
    !is_available(pod, min_ready, now) || is_terminating(pod)
}

/// How long until a pod that is Ready already becomes available; `None` for one that is, or that is not Ready.
pub(super) fn until_available(pod: &Pod, min_ready: i32, now: Timestamp) -> Option<SignedDuration> {
    let left = (ready_since(pod)?? + seconds(min_ready)).duration_since(now);
    left.is_positive().then_some(left)
}

fn seconds(seconds: i32) -> SignedDuration {
    SignedDuration::from_secs(seconds.into())
}

/// The name of the revision that the pod was made from.
pub(super) fn revision(pod: &Pod) -> &str {
    pod.labels().get(REVISION_LABEL).map_or("", String::as_str)
}

/// Whether the pod carries the name, namespace and label of its place in the set.
pub(super) fn identity_matches(set: &StatefulSet, pod: &Pod) -> bool {
    is_member(set, pod)
        && pod.namespace() == set.namespace()
        && pod.labels().get(NAME_LABEL) == pod.meta().name.as_ref()
}

/// Whether the pod mounts the claims that the set's templates give its ordinal.
pub(super) fn storage_matches(set: &StatefulSet, pod: &Pod) -> bool {
    let Some(ordinal) = ordinal(pod) else { return false };
    let volumes = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.volumes.as_deref())
        .unwrap_or_default();
    claim::templates(set).iter().all(|template| {
        let claim = volumes
            .iter()
            .find(|volume| Some(&volume.name) == template.metadata.name.as_ref())
            .and_then(|volume| volume.persistent_volume_claim.as_ref());
        claim.is_some_and(|claim| claim.claim_name == claim::name(set, template, ordinal))
    })
}

/// Gives the pod the labels of its place in the set.
pub(super) fn update_identity(pod: &mut Pod) {
    let name = pod.name_any();
    let index = ordinal(pod).map(|ordinal| ordinal.to_string());
    let labels = pod.labels_mut();
    labels.insert(NAME_LABEL.to_owned(), name);
    if let Some(index) = index {
        labels.insert(INDEX_LABEL.to_owned(), index);
    }
}

/// Makes the pod mount its claims; its other volumes stay.
pub(super) fn update_storage(set: &StatefulSet, pod: &mut Pod) {
    let Some(ordinal) = ordinal(pod) else { return };
    let templates = claim::templates(set);
    let Some(spec) = pod.spec.as_mut() else { return };
    let others = spec.volumes.take().unwrap_or_default();
    let claims = templates.iter().map(|template| Volume {
        name: template.name_any(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim::name(set, template, ordinal),
            read_only: None,
        }),
        ..Volume::default()
    });
    let mut volumes: Vec<_> = claims.collect();
    volumes.extend(
        others
            .into_iter()
            .filter(|volume| templates.iter().all(|template| template.name_any() != volume.name)),
    );
    spec.volumes = (!volumes.is_empty()).then_some(volumes);
}

/// A pod for one place in the set, made from the template of `set`, labelled with that template's revision.
pub(super) fn build(set: &StatefulSet, revision: &str, ordinal: i32) -> Pod {
    let spec = set.spec.clone();
    let PodTemplateSpec {
        metadata,
        spec: template,
    } = spec.template;
    let metadata = metadata.unwrap_or_default();
    let name = format!("{}-{ordinal}", set.name_any());
    let mut pod = Pod {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: set.namespace(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(set.controller_owner_ref(&()).into_iter().collect()),
            ..ObjectMeta::default()
        },
        spec: template,
        status: None,
    };
    update_identity(&mut pod);
    pod.labels_mut().insert(REVISION_LABEL.to_owned(), revision.to_owned());
    if let Some(pod_spec) = pod.spec.as_mut() {
        pod_spec.hostname = Some(name);
        pod_spec.subdomain = spec.service_name.filter(|service| !service.is_empty());
    }
    update_storage(set, &mut pod);
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_parent_and_ordinal() {
        assert_eq!(parent_and_ordinal("shop-10"), Some(("shop", 10)));
        assert_eq!(parent_and_ordinal("my-shop-0"), Some(("my-shop", 0)));
        assert_eq!(parent_and_ordinal("shop-1x"), None);
        assert_eq!(parent_and_ordinal("shop"), None);
        assert_eq!(parent_and_ordinal("shop-99999999999"), None);
    }
}
