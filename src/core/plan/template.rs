//! Which pod template a workload has, and which one is the target's (LAWS W1).

use std::collections::BTreeMap;

use crate::model::{Finding, SeenWorkload, TemplateRef, revision_images};

/// The template that the workload has: by revision name, where the controller has made one of it.
pub(super) fn present_template(seen: &SeenWorkload) -> TemplateRef {
    let images = seen.template_images();
    let update = seen
        .set
        .as_ref()
        .and_then(|set| set.status.as_ref()?.update_revision.clone());
    let revision = update.filter(|name| {
        let template = TemplateRef {
            revision: Some(name.clone()),
            images: images.clone(),
        };
        crate::workload::is_at(seen, &template)
    });
    TemplateRef { revision, images }
}

/// The template of a release: the one revision with exactly its images, else its images on the present template.
pub(super) fn target_template(
    seen: &SeenWorkload,
    images: &BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) -> Option<TemplateRef> {
    let subject = seen.workload.to_string();
    let present = seen.template_images();
    let unknown: Vec<&str> = images
        .keys()
        .filter(|name| !present.contains_key(*name))
        .map(String::as_str)
        .collect();
    let matches = |found: &BTreeMap<String, String>| images.iter().all(|(name, image)| found.get(name) == Some(image));
    let revisions: Vec<(&str, BTreeMap<String, String>)> = seen
        .revisions
        .iter()
        .filter_map(|revision| Some((revision.metadata.name.as_deref()?, revision_images(revision)?)))
        .filter(|(_, found)| matches(found))
        .collect();
    match revisions.as_slice() {
        [(name, found)] => Some(TemplateRef {
            revision: Some((*name).to_owned()),
            images: found.clone(),
        }),
        [] if !unknown.is_empty() => {
            findings.push(Finding::refusal(
                "container-unknown",
                subject,
                format!("its template has no container {}", unknown.join(", ")),
                format!(
                    "name the containers that it has: {}",
                    present.keys().cloned().collect::<Vec<_>>().join(", ")
                ),
            ));
            None
        }
        [] => {
            let mut target = present.clone();
            target.extend(images.iter().map(|(name, image)| (name.clone(), image.clone())));
            if !matches(&present) {
                findings.push(Finding::warning(
                    "template-unknown",
                    subject,
                    "no revision with the release's images is kept, so its images are put on the present template: \
                     environment, arguments and volumes stay those of the newer release",
                    "check that the older release runs with them",
                ));
            }
            Some(TemplateRef {
                revision: None,
                images: target,
            })
        }
        several => {
            // The template that the workload has now is not ambiguous when it is one of them.
            let update = seen
                .set
                .as_ref()
                .and_then(|set| set.status.as_ref()?.update_revision.clone());
            if let Some((name, found)) = several.iter().find(|(name, _)| Some(*name) == update.as_deref()) {
                return Some(TemplateRef {
                    revision: Some((*name).to_owned()),
                    images: found.clone(),
                });
            }
            let names = several.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            findings.push(Finding::refusal(
                "revision-ambiguous",
                subject,
                format!("several revisions have the release's images: {names}"),
                "compare them (`kubectl rollout history`), and delete those that are not the release's",
            ));
            None
        }
    }
}
