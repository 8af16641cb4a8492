//! From a workload, its pods and a gate to a verdict. Pure: how long a pod was seen ready is handed in. The times that
//! are written on objects are those of other machines' clocks, and nothing is reckoned with them.
//!
//! The order of the questions is that of the field: is the object still there; has the controller seen this
//! generation; do the pods carry the wanted revision, by their own label; are they ready; for long enough.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;

use super::not_ready::{phase, why_never_ready, why_not_ready};
use super::observe::{has_template, other_template};
use super::pods::{
    condition, is_ready, is_terminating, other_images, revision_of, standing_in_the_way, wanted_revision,
    why_left_standing,
};
use super::set_back::{counted_again, index_of, not_counted, remove_pods};
use crate::model::{SeenWorkload, TemplateRef, Verdict};
use crate::plan::Gate;

/// Judges a gate. `ready_for` is how long whoever asks has seen the gate's pod in the same spell of readiness
/// ([`readiness`]), by a clock of their own that never jumps. Probes are not part of it: they are asked once the verdict
/// is healthy.
pub fn judge(gate: &Gate, seen: &SeenWorkload, ready_for: Duration) -> Verdict {
    // Pods are found through the set: without it, "none is left" would be said of pods that nobody can see.
    if seen.set.is_none() && *gate != Gate::None {
        return Verdict::Foreign(format!("{} does not exist any more", seen.workload));
    }
    // A controller that has not seen the new count yet may still make the pod that is missed from the list.
    if let (Gate::PodGone { .. } | Gate::AllGone { .. }, Some(waiting)) =
        (gate, seen.set.as_ref().and_then(unseen_generation))
    {
        return waiting;
    }
    match gate {
        Gate::None => Verdict::Healthy("no gate".to_owned()),
        Gate::PodGone { pod, .. } => match seen.pod(pod) {
            None => Verdict::Healthy(format!("pod {pod} is gone")),
            Some(found) => match (raised_over(seen, pod), why_left_standing(seen)) {
                (Some(why), _) => Verdict::Waiting(why),
                (None, Some(why)) if !is_terminating(found) => Verdict::LeftStanding(format!(
                    "pod {pod} is {}, and the controller waits because {why}; it is to go: {}",
                    phase(found),
                    remove_pods(&seen.workload, &[pod])
                )),
                _ => Verdict::Waiting(format!("pod {pod} is {}", phase(found))),
            },
        },
        Gate::AllGone { workload } => match (seen.pods.as_slice(), counted_again(seen, 0)) {
            ([], _) if counted(seen) > 0 => Verdict::Waiting(format!(
                "no pod of {workload} is seen, but its controller still counts {}",
                counted(seen)
            )),
            ([], _) => Verdict::Healthy(format!("no pod of {workload} is left")),
            (_, Some(why)) => Verdict::Waiting(why),
            ([one], None) => Verdict::Waiting(format!("pod {} is {}", name(one), phase(one))),
            ([first, rest @ ..], None) => Verdict::Waiting(format!(
                "{} pods are left; {} is {}",
                rest.len() + 1,
                name(first),
                phase(first)
            )),
        },
        Gate::Repointed { to, .. } => judge_repointed(seen, to),
        Gate::Settled { mid_update, .. } => judge_settled(seen, *mid_update),
        Gate::PodHealthy {
            pod,
            template,
            rewritten,
            min_ready_seconds,
            ..
        } => judge_pod(seen, pod, (template, rewritten), *min_ready_seconds, ready_for),
    }
}

/// Why a pod will not go: the count was raised over it.
fn raised_over(seen: &SeenWorkload, pod: &str) -> Option<String> {
    // One below a first number that was raised is in no count.
    counted_again(seen, index_of(seen, pod).filter(|index| *index >= 0)?)
}

fn judge_repointed(seen: &SeenWorkload, to: &TemplateRef) -> Verdict {
    let Some(set) = &seen.set else {
        return Verdict::Foreign(format!("{} does not exist any more", seen.workload));
    };
    if !has_template(seen, to) {
        return Verdict::Foreign(other_template(seen, to));
    }
    if let Some(waiting) = unseen_generation(set) {
        return waiting;
    }
    let status = set.status.as_ref();
    let update = status
        .and_then(|status| status.update_revision.as_deref())
        .unwrap_or_default();
    if let Some(wanted) = &to.revision
        && update != wanted
    {
        return Verdict::Waiting(format!("the update revision is {update}, not yet {wanted}"));
    }
    let current = status
        .and_then(|status| status.current_revision.as_deref())
        .unwrap_or_default();
    let strategy = set
        .spec
        .update_strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref());
    // At 0 replicas under RollingUpdate the controller completes the update trivially; until it has, a new pod could
    // still come from the old revision. Under OnDelete it never advances the current revision.
    if seen.replicas() == 0 && strategy != Some("OnDelete") && current != update {
        return Verdict::Waiting(format!("the current revision is {current}, not yet {update}"));
    }
    Verdict::Healthy(format!("new pods come from revision {update}"))
}

fn judge_settled(seen: &SeenWorkload, mid_update: bool) -> Verdict {
    let Some(set) = &seen.set else {
        return Verdict::Foreign(format!("{} does not exist any more", seen.workload));
    };
    if let Some(waiting) = unseen_generation(set) {
        return waiting;
    }
    let status = set.status.as_ref();
    let [current, update] = [
        status.and_then(|status| status.current_revision.as_deref()),
        status.and_then(|status| status.update_revision.as_deref()),
    ]
    .map(Option::unwrap_or_default);
    let strategy = seen.update_strategy();
    // Under OnDelete the controller never advances the current revision. Under RollingUpdate a pod below a partition
    // that came now would be made from the current one.
    if !mid_update && !strategy.is_on_delete() && current != update {
        return Verdict::Waiting(format!("the current revision is {current}, not yet {update}"));
    }
    Verdict::Healthy(format!("the update strategy is {}", strategy.type_name()))
}

/// The pods that the controller counts.
fn counted(seen: &SeenWorkload) -> i32 {
    let status = seen.set.as_ref().and_then(|set| set.status.as_ref());
    status.map_or(0, |status| status.replicas)
}

/// The status of a set speaks of the generation that the controller has seen, which may be an older one.
pub(super) fn unseen_generation(set: &StatefulSet) -> Option<Verdict> {
    let observed = set
        .status
        .as_ref()
        .and_then(|status| status.observed_generation)
        .unwrap_or(0);
    let generation = set.metadata.generation.unwrap_or(0);
    (observed < generation)
        .then(|| Verdict::Waiting(format!("the controller has seen generation {observed} of {generation}")))
}

fn judge_pod(
    seen: &SeenWorkload,
    pod: &str,
    (template, rewritten): (&TemplateRef, &BTreeMap<String, String>),
    min_ready_seconds: i32,
    ready_for: Duration,
) -> Verdict {
    let Some(set) = &seen.set else {
        return Verdict::Foreign(format!("{} does not exist any more", seen.workload));
    };
    if !has_template(seen, template) {
        return Verdict::Foreign(other_template(seen, template));
    }
    if let Some(waiting) = unseen_generation(set) {
        return waiting;
    }
    let Some(found) = seen.pod(pod) else {
        let why = not_counted(seen, pod).or_else(|| why_not_made(seen, pod, wanted_revision(set, template)));
        return Verdict::Waiting(why.unwrap_or_else(|| format!("pod {pod} does not exist yet")));
    };
    if found.metadata.deletion_timestamp.is_some() {
        return Verdict::Waiting(format!("pod {pod} is {}", phase(found)));
    }
    let label = revision_of(found);
    let wanted = wanted_revision(set, template);
    if label.is_none() || label != wanted {
        return Verdict::Waiting(format!(
            "pod {pod} is of revision {}, not of {}",
            label.unwrap_or("none"),
            wanted.unwrap_or("none"),
        ));
    }
    let mut others = other_images(found, &template.images);
    others.retain(|container, image| image.is_none() || image.as_ref() != rewritten.get(container));
    if !others.is_empty() {
        return Verdict::Failed(format!(
            "pod {pod} runs other images than the target: {}",
            list(&others)
        ));
    }
    match found.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Failed") => return Verdict::Waiting(format!("pod {pod} has failed")),
        Some("Succeeded") => return Verdict::Waiting(format!("pod {pod} has ended")),
        _ => {}
    }
    if let Some(why) = why_never_ready(found) {
        return Verdict::Failed(format!("pod {pod} cannot start: {why}"));
    }
    if condition(found, "Ready").is_none_or(|ready| ready.status != "True") {
        return Verdict::Waiting(format!("pod {pod} is not ready ({})", why_not_ready(found)));
    }
    let wanted = Duration::from_secs(u64::try_from(min_ready_seconds).unwrap_or(0));
    if ready_for < wanted {
        return Verdict::Waiting(format!(
            "pod {pod} is ready, and must stay so for {min_ready_seconds} s"
        ));
    }
    Verdict::Healthy(format!("pod {pod} is ready on revision {}", label.unwrap_or_default()))
}

/// Why a pod is not made: an ordered set makes none above one that is not ready, and does not replace that one either.
fn why_not_made(seen: &SeenWorkload, pod: &str, wanted: Option<&str>) -> Option<String> {
    let blocking = standing_in_the_way(seen, pod)?;
    let (name, why) = (name(blocking), why_not_ready(blocking));
    let namespace = &seen.workload.namespace;
    let what = format!("pod {pod} is not made while {name} is not ready ({why})");
    let label = revision_of(blocking);
    Some(if label == wanted {
        format!("{what}; see why: kubectl -n {namespace} logs {name} --all-containers")
    } else {
        format!(
            "{what}; that one is of revision {}, not of {}, and no controller replaces it: {}",
            label.unwrap_or("none"),
            wanted.unwrap_or("none"),
            remove_pods(&seen.workload, &[name])
        )
    })
}

/// The pod's identity while it is healthy: its UID and how often its containers restarted, sidecars (init containers that
/// run beside the others) among them. When one of the two
/// changes, successes counted before are worth nothing.
pub fn incarnation(seen: &SeenWorkload, pod: &str) -> Option<(String, i32)> {
    let found = seen.pod(pod)?;
    let sidecars: Vec<&str> = found
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let restarts = found.status.iter().flat_map(|status| {
        // Other init containers have done their work, and do it again only with the whole pod.
        let init = status.init_container_statuses.iter().flatten();
        let sidecars = init.filter(|status| sidecars.contains(&status.name.as_str()));
        sidecars.chain(status.container_statuses.iter().flatten())
    });
    Some((
        found.metadata.uid.clone()?,
        restarts.map(|status| status.restart_count).sum(),
    ))
}

/// One spell of readiness of a pod: as long as two are equal, it has not been anything else in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    incarnation: (String, i32),
    /// Never reckoned with: whichever clock wrote it, another spell begins with another one.
    since: Option<Timestamp>,
}

/// The present spell of readiness of a pod; `None` while it is not ready.
pub fn readiness(seen: &SeenWorkload, pod: &str) -> Option<Readiness> {
    let found = seen.pod(pod).filter(|found| is_ready(found))?;
    let since = condition(found, "Ready")?.last_transition_time.as_ref();
    Some(Readiness {
        incarnation: incarnation(seen, pod)?,
        since: since.map(|time| time.0),
    })
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("(unnamed)")
}

fn list(images: &BTreeMap<String, Option<String>>) -> String {
    let pairs: Vec<String> = images
        .iter()
        .map(|(container, image)| match image {
            Some(image) => format!("{container}={image}"),
            None => format!("no {container}"),
        })
        .collect();
    pairs.join(", ")
}
