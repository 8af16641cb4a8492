//! Images that the cluster rewrites on their way into pods: to those of a mirror, or to digests (LAWS W13).
//!
//! Responsible for: what a dry run and the live pods show of it, before anything is stopped, so that a gate knows what
//! its pod will run. Not for: judging the pod (`workload`).

use std::collections::BTreeMap;

use crate::model::{Finding, SeenAround, SeenWorkload, Severity, TemplateRef, TriedPod, revision_images};
use crate::workload::{other_images, revision_of};

/// What the cluster makes of images, by image.
pub(super) type Rewriting = BTreeMap<String, String>;

/// What the present pods show: each against the revision that it was made from.
fn of_pods(seen: &SeenWorkload) -> Rewriting {
    let shown = seen.pods.iter().filter_map(|pod| {
        let name = revision_of(pod)?;
        let mut kept = seen.revisions.iter();
        let revision = kept.find(|kept| kept.metadata.name.as_deref() == Some(name))?;
        let images = revision_images(revision)?;
        let others = other_images(pod, &images).into_iter();
        let others = others.filter_map(|(container, found)| Some((images.get(&container)?.clone(), found?)));
        Some(others.collect::<Rewriting>())
    });
    shown.flatten().collect()
}

/// What is known of a workload: what its pods show, and what a dry run has shown of the target.
pub(super) fn rewriting(seen: &SeenWorkload, target: &TemplateRef, around: Option<&SeenAround>) -> Rewriting {
    let mut known = of_pods(seen);
    if let Some(TriedPod::Made { images }) = around.and_then(|around| around.pod.as_ref()) {
        for (container, image) in &target.images {
            match images.get(container) {
                Some(made) if made != image => known.insert(image.clone(), made.clone()),
                Some(_) => known.remove(image),
                None => None,
            };
        }
    }
    known
}

/// As [`rewriting`], where nothing can be tried: what a plan knew before, and what the present pods show.
pub(super) fn rewriting_since(seen: &SeenWorkload, before: Option<&Rewriting>) -> Rewriting {
    let mut known = before.cloned().unwrap_or_default();
    known.extend(of_pods(seen));
    known
}

/// The template's containers whose images are rewritten, and to what.
pub(super) fn rewritten(template: &TemplateRef, known: &Rewriting) -> BTreeMap<String, String> {
    let containers = template.images.iter();
    let rewritten = containers.filter_map(|(container, image)| Some((container.clone(), known.get(image)?.clone())));
    rewritten.collect()
}

/// Says what images become; where the present pods show that they are rewritten, and nothing shows to what the target's
/// will be, no gate of it would hold.
pub(super) fn check_rewritten(
    seen: &SeenWorkload,
    target: &TemplateRef,
    around: &SeenAround,
    findings: &mut Vec<Finding>,
) {
    let known = rewriting(seen, target, Some(around));
    let subject = seen.workload.to_string();
    let untried = !matches!(around.pod, Some(TriedPod::Made { .. }));
    let mut unknown = target.images.values().filter(|image| !known.contains_key(*image));
    if let (true, Some((image, made)), Some(target)) = (untried, known.first_key_value(), unknown.next()) {
        findings.push(Finding::refusal(
            "images-rewritten",
            subject,
            format!(
                "the cluster makes {image} into {made}, and what it makes of the target's {target} is not known, because \
                 no pod of the target could be tried: its gates would not hold"
            ),
            "see to it that a pod can be tried: grant `create` on pods, or leave room for one in the quota",
        ));
        return;
    }
    let made = target
        .images
        .values()
        .filter_map(|image| Some((image, known.get(image)?)));
    for (image, made) in made.collect::<BTreeMap<_, _>>() {
        findings.push(Finding::new(
            Severity::Note,
            "images-rewritten",
            subject.clone(),
            format!("the cluster makes {image} into {made}: the target's pods may run either"),
            "nothing, where that image is the same",
        ));
    }
}
