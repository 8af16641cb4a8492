//! Volume claims of a set's pods: their names, and who owns them under `persistentVolumeClaimRetentionPolicy`.
//! No API calls.
//!
//! `Delete` works by ownership alone: the controller makes a pod that is about to be scaled away (or the set) the owner
//! of the claim, and the garbage collector removes the claim after its owner. The rules are those of Kubernetes 1.37,
//! `pkg/controller/statefulset/stateful_set_utils.go`.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource, ResourceExt};

use super::pod::{in_range, ordinal};

pub(super) fn templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.volume_claim_templates.as_deref().unwrap_or_default()
}

/// The name of the claim that a template gives the pod of this ordinal.
pub(super) fn name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template.name_any(), set.name_any())
}

/// The claims that the pod of this ordinal is to have.
pub(super) fn build(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let selector = set.spec.selector.match_labels.clone().unwrap_or_default();
    let build = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.metadata.name = Some(name(set, template, ordinal));
        claim.metadata.namespace = set.namespace();
        claim.labels_mut().extend(selector.clone());
        claim
    };
    templates(set).iter().map(build).collect()
}

/// When claims are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention {
    when_deleted: bool,
    pub when_scaled: bool,
}

/// The set's policy: `true` deletes. Without one everything is retained.
pub(super) fn retention(set: &StatefulSet) -> Retention {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let delete = |field: Option<&String>| field.is_some_and(|value| value == "Delete");
    Retention {
        when_deleted: delete(policy.and_then(|policy| policy.when_deleted.as_ref())),
        when_scaled: delete(policy.and_then(|policy| policy.when_scaled.as_ref())),
    }
}

fn names<K: Resource<DynamicType = ()>>(reference: &OwnerReference, object: &K) -> bool {
    reference.kind == K::kind(&())
        && reference.api_version == K::api_version(&())
        && Some(&reference.name) == object.meta().name.as_ref()
}

fn owned_by<K: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim, object: &K) -> bool {
    let uid = object.uid();
    claim
        .owner_references()
        .iter()
        .any(|reference| Some(&reference.uid) == uid.as_ref())
}

/// Whether the claim names an earlier object of this name as an owner: it is about to be deleted.
pub(super) fn is_stale<K: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim, object: &K) -> bool {
    let reference = claim
        .owner_references()
        .iter()
        .find(|reference| names(reference, object));
    reference.is_some_and(|reference| Some(&reference.uid) != object.uid().as_ref())
}

/// Whether somebody else controls the claim, so that the policy must leave it alone.
pub(super) fn has_foreign_controller(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    let Retention {
        when_deleted,
        when_scaled,
    } = retention(set);
    if !when_deleted && !when_scaled {
        return false;
    }
    claim.owner_references().iter().any(|reference| {
        if names(reference, set) {
            Some(&reference.uid) != set.uid().as_ref()
        } else if names(reference, pod) {
            Some(&reference.uid) != pod.uid().as_ref()
        } else {
            reference.controller == Some(true)
        }
    })
}

/// Who is to own the claim: (the set, the pod).
fn wanted_owners(set: &StatefulSet, pod: &Pod) -> (bool, bool) {
    let Retention {
        when_deleted,
        when_scaled,
    } = retention(set);
    let scaled_away = !ordinal(pod).is_some_and(|ordinal| in_range(set, ordinal));
    (
        when_deleted && !(when_scaled && scaled_away),
        when_scaled && scaled_away,
    )
}

/// Whether the claim's owners are what the policy wants, or are nobody's business of ours.
pub(super) fn owners_match(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    if is_stale(claim, set) || is_stale(claim, pod) {
        return true;
    }
    let owned = (owned_by(claim, set), owned_by(claim, pod));
    if has_foreign_controller(claim, set, pod) {
        return owned == (false, false);
    }
    let ours = |reference: &&OwnerReference| {
        Some(&reference.uid) == set.uid().as_ref() || Some(&reference.uid) == pod.uid().as_ref()
    };
    if claim
        .owner_references()
        .iter()
        .filter(ours)
        .any(|reference| reference.controller != Some(true))
    {
        return false;
    }
    owned == wanted_owners(set, pod)
}

/// Makes the claim's owners what the policy wants.
pub(super) fn set_owners(claim: &mut PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) {
    let foreign = has_foreign_controller(claim, set, pod);
    let references = claim.owner_references_mut();
    references.retain(|reference| !names(reference, set) && !names(reference, pod));
    if foreign {
        return;
    }
    let (by_set, by_pod) = wanted_owners(set, pod);
    if by_pod {
        references.extend(pod.controller_owner_ref(&()));
    }
    if by_set {
        references.extend(set.controller_owner_ref(&()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn set(deleted: &str, scaled: &str, replicas: i32) -> StatefulSet {
        from_value(json!({
            "metadata": { "name": "web", "namespace": "n", "uid": "set" },
            "spec": {
                "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": {},
                "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {} }],
                "persistentVolumeClaimRetentionPolicy": { "whenDeleted": deleted, "whenScaled": scaled },
            },
        }))
        .unwrap()
    }

    fn pod(uid: &str) -> Pod {
        from_value(json!({ "metadata": { "name": "web-1", "namespace": "n", "uid": uid } })).unwrap()
    }

    fn owners(claim: &PersistentVolumeClaim) -> Vec<&str> {
        claim
            .owner_references()
            .iter()
            .map(|reference| reference.uid.as_str())
            .collect()
    }

    #[test]
    fn owners_follow_the_policy_and_the_size() {
        let cases = [
            ("Retain", "Retain", 1, vec![]),
            ("Retain", "Retain", 2, vec![]),
            ("Delete", "Retain", 1, vec!["set"]),
            ("Delete", "Retain", 2, vec!["set"]),
            ("Retain", "Delete", 1, vec!["pod"]),
            ("Retain", "Delete", 2, vec![]),
            ("Delete", "Delete", 1, vec!["pod"]),
            ("Delete", "Delete", 2, vec!["set"]),
        ];
        for (deleted, scaled, replicas, expected) in cases {
            let set = set(deleted, scaled, replicas);
            let mut claim = build(&set, 1).remove(0);
            assert_eq!(claim.name_any(), "data-web-1");
            assert_eq!(owners_match(&claim, &set, &pod("pod")), expected.is_empty());
            set_owners(&mut claim, &set, &pod("pod"));
            assert_eq!(owners(&claim), expected, "{deleted} {scaled} {replicas}");
            assert!(owners_match(&claim, &set, &pod("pod")));
        }
    }

    #[test]
    fn a_claim_of_an_earlier_pod_is_stale_and_left_alone() {
        let set = set("Retain", "Delete", 1);
        let mut claim = build(&set, 1).remove(0);
        set_owners(&mut claim, &set, &pod("earlier"));
        assert!(is_stale(&claim, &pod("later")));
        assert!(owners_match(&claim, &set, &pod("later")));
    }

    #[test]
    fn a_claim_that_somebody_else_controls_is_left_alone() {
        let set = set("Delete", "Delete", 2);
        let mut claim = build(&set, 1).remove(0);
        claim.owner_references_mut().push(OwnerReference {
            api_version: "example.org/v1".into(),
            kind: "Backup".into(),
            name: "b".into(),
            uid: "foreign".into(),
            controller: Some(true),
            block_owner_deletion: None,
        });
        assert!(owners_match(&claim, &set, &pod("pod")));
        set_owners(&mut claim, &set, &pod("pod"));
        assert_eq!(owners(&claim), ["foreign"]);
    }
}
