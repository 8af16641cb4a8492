//! Whether a write to a workload has happened.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Deserialize as _;

use super::pods::{is_terminating, is_to_go, wanted_revision};
use super::set_back::{is_kept, set_count, set_strategy, set_template};
use crate::model::{Observed, Removal, SeenWorkload, TemplateRef, UpdateStrategy, annotation, revision_images};

/// Why the workload is not the one that the plan was made for.
fn other_object(seen: &SeenWorkload, uid: &str) -> Option<Observed> {
    let Some(set) = &seen.set else {
        return Some(Observed::Foreign(format!("{} does not exist any more", seen.workload)));
    };
    let found = set.metadata.uid.as_deref().unwrap_or_default();
    (found != uid).then(|| {
        Observed::Foreign(format!(
            "{} was deleted and made again (uid {found}, planned for {uid})",
            seen.workload
        ))
    })
}

/// Whether the replica count went from `from` to `to`. Where the controller then leaves the pod beyond it standing, the
/// step's gate says so ([`super::judge`]).
pub fn observe_scale(seen: &SeenWorkload, uid: &str, from: i32, to: i32) -> Observed {
    if let Some(other) = other_object(seen, uid) {
        return other;
    }
    match seen.replicas() {
        // Held at a count: there is nothing to see of it but our stamp.
        count if count == to && from == to && seen.annotation(annotation::STAMP).is_none() => Observed::Untouched,
        count if count == to => Observed::Done(format!("spec.replicas is {to}")),
        count if count == from => Observed::Untouched,
        count => Observed::Foreign(format!(
            "{} has spec.replicas {count}, where {from} or {to} was expected; set it back, then resume: {}",
            seen.workload,
            set_count(&seen.workload, from)
        )),
    }
}

/// Whether the template is the one that the workload was to be pointed at.
pub fn observe_repoint(seen: &SeenWorkload, uid: &str, from: &TemplateRef, to: &TemplateRef) -> Observed {
    if let Some(other) = other_object(seen, uid) {
        return other;
    }
    if has_template(seen, to) {
        return Observed::Done(match &to.revision {
            Some(revision) => format!("the template is that of revision {revision}"),
            None => "the template has the release's images".to_owned(),
        });
    }
    if has_template(seen, from) {
        return Observed::Untouched;
    }
    Observed::Foreign(format!(
        "the template of {} is neither the one before nor the one to come; set it back, then resume: {}",
        seen.workload,
        set_template(seen, if is_kept(seen, from) { from } else { to })
    ))
}

/// Whether the update strategy went from `from` to `to`.
pub fn observe_update_strategy(seen: &SeenWorkload, uid: &str, from: &UpdateStrategy, to: &UpdateStrategy) -> Observed {
    if let Some(other) = other_object(seen, uid) {
        return other;
    }
    let present = seen.update_strategy();
    if present == *to {
        Observed::Done(format!("the update strategy is {}", to.type_name()))
    } else if present == *from {
        Observed::Untouched
    } else {
        Observed::Foreign(format!(
            "the update strategy of {} is {}, where {} or {} was expected; set it back, then resume: {}",
            seen.workload,
            present.0,
            from.0,
            to.0,
            set_strategy(&seen.workload, from)
        ))
    }
}

/// Whether a pod that is to go is gone, or on its way out, or was replaced by one that may stay.
pub fn observe_removal(seen: &SeenWorkload, uid: &str, pod: &str, removal: &Removal) -> Observed {
    if let Some(other) = other_object(seen, uid) {
        return other;
    }
    if let Removal::Outdated(template) = removal
        && !has_template(seen, template)
    {
        return Observed::Foreign(other_template(seen, template));
    }
    let (Some(set), Some(found)) = (&seen.set, seen.pod(pod)) else {
        return Observed::Done(format!("pod {pod} is gone"));
    };
    // One that is said to be dead stays so for as long as its node says nothing.
    if is_terminating(found) && !matches!(removal, Removal::Dead(_)) {
        return Observed::Done(format!("pod {pod} is terminating"));
    }
    match removal {
        _ if is_to_go(set, found, removal) => Observed::Untouched,
        Removal::BeyondCount => Observed::Foreign(format!(
            "{} has {} replicas, and {pod} is one of them",
            seen.workload,
            seen.replicas()
        )),
        Removal::Outdated(template) => Observed::Done(format!(
            "pod {pod} runs revision {}",
            wanted_revision(set, template).unwrap_or_default()
        )),
        Removal::Dead(uid) => Observed::Done(format!("pod {pod} with the UID {uid} is gone")),
    }
}

/// That somebody has given the workload another template since it was pointed at this one.
pub fn other_template(seen: &SeenWorkload, wanted: &TemplateRef) -> String {
    template_changed(
        seen,
        wanted,
        "which this run pointed it at",
        "that this run pointed it at",
    )
}

/// The same of a workload that has not been pointed anywhere yet, and must still have the template that it was found with.
pub fn other_template_found(seen: &SeenWorkload, wanted: &TemplateRef) -> String {
    template_changed(
        seen,
        wanted,
        "which it had when this run was planned",
        "that this run was planned for",
    )
}

fn template_changed(seen: &SeenWorkload, wanted: &TemplateRef, which: &str, that: &str) -> String {
    if let (Some(revision), false) = (&wanted.revision, is_kept(seen, wanted)) {
        return format!(
            "revision {revision} of {}, {which}, is not kept any more",
            seen.workload
        );
    }
    format!(
        "the template of {} is not the one {that}: somebody, or a deployment tool, has changed it since; set it back, \
         then resume: {}",
        seen.workload,
        set_template(seen, wanted)
    )
}

/// The same as [`other_template`] where the replica count is not the one that was left either. The template goes first: with it the count would
/// be set back over pods that are not the target's, and take those away that are.
pub fn other_template_and_count(seen: &SeenWorkload, wanted: &TemplateRef, left: i32) -> String {
    let template = other_template(seen, wanted);
    if seen.replicas() == left || !is_kept(seen, wanted) {
        return template;
    }
    let count = set_count(&seen.workload, left);
    let also = format!(
        "; spec.replicas is {}, where {left} was left; set it back",
        seen.replicas()
    );
    format!("{} && {count}", template.replacen("; set it back", &also, 1))
}

/// Whether the workload's template is that one: a revision's, field for field, or with exactly these images.
pub fn has_template(seen: &SeenWorkload, wanted: &TemplateRef) -> bool {
    let Some(set) = &seen.set else { return false };
    if seen.template_images() != wanted.images {
        return false;
    }
    let Some(name) = &wanted.revision else { return true };
    let Some(revision) = seen
        .revisions
        .iter()
        .find(|revision| revision.metadata.name.as_ref() == Some(name))
    else {
        return false;
    };
    if revision_images(revision).as_ref() != Some(&wanted.images) {
        return false;
    }
    let recorded = revision.data.0.get("spec").and_then(|spec| spec.get("template"));
    // Both as this program knows templates: what it does not know is in the revision's data, but not in the set it read.
    let Some(recorded) = recorded.and_then(|template| PodTemplateSpec::deserialize(template).ok()) else {
        return false;
    };
    let bare = |template: &PodTemplateSpec| {
        let mut value = serde_json::to_value(template).ok()?;
        forget_nothings(&mut value);
        Some(value)
    };
    bare(&recorded).is_some_and(|recorded| Some(recorded) == bare(&set.spec.template))
}

/// Removes nulls and empty objects: the controller's revision writes `creationTimestamp: null` and `resources: {}`
/// where a typed client leaves them out.
fn forget_nothings(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(forget_nothings);
            fields.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|inner| !inner.is_empty()));
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(forget_nothings),
        _ => {}
    }
}
