//! Whether pods of the target can be made at all, before one is stopped (LAWS W13).
//!
//! Responsible for: the pod that the API server is asked for, without making it, and what its answer means. A dry run of
//! the set would prove nothing: sets are taken whose every pod is refused.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;

use crate::model::{Finding, SeenAround, SeenWorkload, TemplateRef, TriedPod};

/// The pod template of the target: the revision's, or the images on the present one.
pub(super) fn pod_template(seen: &SeenWorkload, target: &TemplateRef) -> Option<PodTemplateSpec> {
    let Some(name) = &target.revision else {
        let mut template = seen.set.as_ref()?.spec.template.clone();
        let spec = template.spec.as_mut()?;
        let init = spec.init_containers.iter_mut().flatten();
        for container in init.chain(&mut spec.containers) {
            if let Some(image) = target.images.get(&container.name) {
                container.image = Some(image.clone());
            }
        }
        return Some(template);
    };
    let revision = seen
        .revisions
        .iter()
        .find(|revision| revision.metadata.name.as_ref() == Some(name))?;
    PodTemplateSpec::deserialize(revision.data.0.get("spec")?.get("template")?).ok()
}

/// The first pod of the target, as the StatefulSet's controller would make it, but for a name of its own: one of that
/// name may be there. Claims of the set's templates take the place of volumes of their names.
pub(super) fn first_pod(seen: &SeenWorkload, target: &TemplateRef) -> Option<Pod> {
    let set = seen.set.as_ref()?;
    let PodTemplateSpec { metadata, spec } = pod_template(seen, target)?;
    let metadata = metadata.unwrap_or_default();
    let (mut spec, name) = (spec?, seen.pod_name(0));
    let mut labels = metadata.labels.unwrap_or_default();
    labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.clone());
    labels.insert(
        "apps.kubernetes.io/pod-index".to_owned(),
        seen.first_ordinal().to_string(),
    );
    if let Some(revision) = &target.revision {
        labels.insert("controller-revision-hash".to_owned(), revision.clone());
    }
    let claims: Vec<Volume> = set
        .spec
        .volume_claim_templates
        .iter()
        .flatten()
        .filter_map(|template| template.metadata.name.clone())
        .map(|template| Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: format!("{template}-{name}"),
                read_only: None,
            }),
            name: template,
            ..Volume::default()
        })
        .collect();
    let others = spec.volumes.take().unwrap_or_default();
    let others = others
        .into_iter()
        .filter(|volume| claims.iter().all(|claim| claim.name != volume.name));
    spec.volumes = Some(claims.iter().cloned().chain(others).collect());
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.service_name.clone().filter(|service| !service.is_empty());
    Some(Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", seen.workload.name)),
            namespace: Some(seen.workload.namespace.clone()),
            labels: Some(labels),
            annotations: metadata.annotations,
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    })
}

/// Finds that pods of the target would be refused. A quota that is full of the pods that are about to stop is none.
pub(super) fn check_start(seen: &SeenWorkload, around: &SeenAround, findings: &mut Vec<Finding>) {
    let subject = seen.workload.to_string();
    match &around.pod {
        Some(TriedPod::Made { .. }) | None => {}
        Some(TriedPod::Untried(why)) => findings.push(Finding::warning(
            "pod-untried",
            subject,
            format!("nobody has asked whether the API server would take a pod of the target: {why}"),
            "grant `create` on pods, of which only dry runs are made; or know that nothing has changed which refuses such \
             pods (Pod Security, quota, webhooks)",
        )),
        Some(TriedPod::Refused(why)) => match Quota::read(why) {
            Some(quota) if !seen.pods.is_empty() && quota.has_room_when_empty() => findings.push(Finding::warning(
                "quota-tight",
                subject,
                format!("as long as the present pods run, a quota refuses one more: {why}"),
                "nothing, where the pods that are stopped free enough for those of the target; else raise the quota",
            )),
            _ => {
                let message = format!("a pod of the target would not be made, because the API server refuses it: {why}");
                let remedy = "mend what refuses it (the account, Pod Security, the quota, the webhook), then plan again";
                findings.push(if seen.original_replicas() == 0 {
                    // None is started.
                    Finding::warning("pod-refused", subject, message, remedy)
                } else {
                    Finding::refusal("pod-refused", subject, message, remedy)
                });
            }
        },
    }
}

/// What the refusal of a quota says, by resource: `exceeded quota: NAME, requested: pods=1, used: pods=3, limited: pods=3`.
/// Source: `k8s.io/apiserver/pkg/admission/plugin/resourcequota`, which has written it so since Kubernetes 1.2.
struct Quota<'a> {
    requested: BTreeMap<&'a str, &'a str>,
    limited: BTreeMap<&'a str, &'a str>,
}

impl<'a> Quota<'a> {
    fn read(message: &'a str) -> Option<Self> {
        let (_, rest) = message.split_once("exceeded quota: ")?;
        let (_, rest) = rest.split_once(", requested: ")?;
        let (requested, rest) = rest.split_once(", used: ")?;
        let (_, limited) = rest.split_once(", limited: ")?;
        let pairs = |text: &'a str| text.split(',').filter_map(|pair| pair.trim().split_once('=')).collect();
        Some(Self {
            requested: pairs(requested),
            limited: pairs(limited),
        })
    }

    /// Whether one pod fits where nobody else is.
    fn has_room_when_empty(&self) -> bool {
        let fits = |(resource, wanted): (&&str, &&str)| {
            let limit = self.limited.get(resource).and_then(|limit| quantity(limit));
            limit.is_some_and(|limit| quantity(wanted).is_some_and(|wanted| wanted <= limit))
        };
        !self.requested.is_empty() && self.requested.iter().all(fits)
    }
}

/// A Kubernetes quantity in units; precise enough to compare by.
fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
    ];
    let suffixed = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = suffixed.unwrap_or((text, 1.0));
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_compared_whatever_their_suffix() {
        for (small, large) in [
            ("1", "2"),
            ("999m", "1"),
            ("1023Mi", "1Gi"),
            ("1e3", "1001"),
            ("1G", "1Gi"),
        ] {
            assert!(quantity(small) < quantity(large), "{small} {large}");
        }
        assert_eq!(quantity("500m"), quantity("0.5"));
        assert_eq!(quantity("many"), None);
    }

    #[test]
    fn w13_a_quota_that_stopping_frees_is_told_from_one_that_is_too_small() {
        let room = |message: &str| Quota::read(message).map(|quota| quota.has_room_when_empty());
        let full = "pods \"shop-\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3";
        assert_eq!(room(full), Some(true));
        let small = "exceeded quota: q, requested: limits.memory=2Gi,pods=1, used: limits.memory=1Gi,pods=3, limited: \
                     limits.memory=1536Mi,pods=3";
        assert_eq!(room(small), Some(false));
        assert_eq!(room("violates PodSecurity \"restricted:latest\""), None);
        assert_eq!(room("failed quota: q: must specify limits.cpu for: shop"), None);
    }
}
