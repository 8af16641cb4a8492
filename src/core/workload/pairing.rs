//! The revision that a workload's pods were started from, and whether it is paired (LAWS W1).

use k8s_openapi::api::apps::v1::ControllerRevision;

use super::is_at;
use super::pods::{is_terminating, revision_of};
use crate::model::{Observed, Pairing, SeenWorkload, TemplateRef, pairings_of, revision_images};

/// The revision of the template that pods were started from, as long as it is kept. Where images were put on the present
/// template, it is the one that the controller has made of it: that the workload still has, and all its pods run.
pub fn revision_to_pair<'a>(seen: &'a SeenWorkload, template: &TemplateRef) -> Option<&'a ControllerRevision> {
    let name = match &template.revision {
        Some(name) => name.clone(),
        None => made_of(seen, template)?,
    };
    let found = seen
        .revisions
        .iter()
        .find(|revision| revision.metadata.name.as_ref() == Some(&name))?;
    (revision_images(found).as_ref() == Some(&template.images)).then_some(found)
}

fn made_of(seen: &SeenWorkload, template: &TemplateRef) -> Option<String> {
    let update = seen.set.as_ref()?.status.as_ref()?.update_revision.clone()?;
    let named = TemplateRef {
        revision: Some(update.clone()),
        images: template.images.clone(),
    };
    let all_run_it = !seen.pods.is_empty()
        && seen
            .pods
            .iter()
            .all(|pod| !is_terminating(pod) && revision_of(pod) == Some(&update));
    (all_run_it && is_at(seen, &named)).then_some(update)
}

/// Whether the revision is paired. One that is not there any more needs no pairing: nothing is left to do then.
pub fn observe_pairing(seen: &SeenWorkload, uid: &str, template: &TemplateRef, pairing: &Pairing) -> Observed {
    let release = &pairing.release;
    let found = revision_to_pair(seen, template).filter(|_| seen.uid() == Some(uid));
    let Some(revision) = found else {
        return Observed::Done(format!(
            "no revision is paired with {release}: the one that the pods of {} were started from is not there any more",
            seen.workload
        ));
    };
    if pairings_of(revision).contains(pairing) {
        let name = revision.metadata.name.as_deref().unwrap_or_default();
        Observed::Done(format!("revision {name} is paired with {release}"))
    } else {
        Observed::Untouched
    }
}
