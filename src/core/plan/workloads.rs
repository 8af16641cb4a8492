//! The workloads' half of a plan: stopping, pointing at the target's template, starting.

use std::collections::BTreeMap;

use crate::appfile::{AppFile, OnFailure, Strategy as FileStrategy, WorkloadKind as FileKind};
use crate::model::{Finding, SeenWorkload, TemplateRef, WorkloadKind, WorkloadRef, revision_images};

use super::probes::{Probe, check_containers, probes_of};
use super::{Action, ChosenStrategy, Gate, Strategy};

/// The workloads' half, with everything that was found.
pub(super) struct WorkloadHalf {
    /// Before the schema: highest ordinal first, workloads in reverse of their starting order.
    pub(super) stop: Vec<(Action, Gate)>,
    /// After the schema.
    pub(super) start: Vec<(Action, Gate)>,
    /// At the very end.
    pub(super) give_back: Vec<(Action, Gate)>,
    pub(super) strategy: ChosenStrategy,
    pub(super) findings: Vec<Finding>,
}

/// The workloads that the app file names, as references with a namespace.
pub fn workloads_of(app: &AppFile, default_namespace: &str) -> Vec<WorkloadRef> {
    app.workloads
        .iter()
        .map(|workload| WorkloadRef {
            kind: match workload.kind {
                FileKind::StatefulSet | FileKind::Deployment => WorkloadKind::StatefulSet,
            },
            namespace: workload
                .namespace
                .clone()
                .unwrap_or_else(|| default_namespace.to_owned()),
            name: workload.name.clone(),
        })
        .collect()
}

/// Plans the workloads' half for the release.
pub(super) fn plan_workloads(
    app: &AppFile,
    release: &semver::Version,
    seen: &[SeenWorkload],
    schema_changes: bool,
) -> WorkloadHalf {
    let mut half = WorkloadHalf {
        stop: Vec::new(),
        start: Vec::new(),
        give_back: Vec::new(),
        strategy: ChosenStrategy {
            strategy: Strategy::Offline,
            reason: reason(app, release),
        },
        findings: Vec::new(),
    };
    check_app(app, &mut half.findings);
    for workload in seen {
        let target = check_workload(app, release, workload, &mut half.findings);
        let Some((uid, target)) = target else { continue };
        let probes = probes_of(app, &workload.workload.name);
        check_containers(&probes, workload, &target, &mut half.findings);
        plan_one(workload, &uid, &target, &probes, schema_changes, &mut half);
    }
    // Stopped in reverse of the starting order; the stop steps of one workload stay together and in order.
    let mut by_workload: Vec<Vec<(Action, Gate)>> = Vec::new();
    for step in std::mem::take(&mut half.stop) {
        match by_workload.last_mut() {
            Some(group) if group.last().is_some_and(|last| last.0.workload() == step.0.workload()) => group.push(step),
            _ => by_workload.push(vec![step]),
        }
    }
    half.stop = by_workload.into_iter().rev().flatten().collect();
    half
}

fn reason(app: &AppFile, release: &semver::Version) -> String {
    match app.strategy {
        FileStrategy::Offline => "the app file asks for it".to_owned(),
        _ if app.migrates_at_start => {
            "the app migrates by itself when it starts, which permits nothing else".to_owned()
        }
        _ => format!("{release} and the present release are not known to accept each other's schema"),
    }
}

fn plan_one(
    seen: &SeenWorkload,
    uid: &str,
    target: &TemplateRef,
    probes: &[Probe],
    schema_changes: bool,
    half: &mut WorkloadHalf,
) {
    let workload = seen.workload.clone();
    let present = present_template(seen);
    let changes_template = !crate::workload::is_at(seen, target);
    let borrowed = seen.annotation(crate::model::annotation::ORIGINAL_REPLICAS).is_some();
    if !changes_template && !schema_changes && !borrowed {
        return;
    }
    let (now, original) = (seen.replicas(), seen.original_replicas());
    for count in (0..now).rev() {
        let gate = if count == 0 {
            Gate::AllGone {
                workload: workload.clone(),
            }
        } else {
            Gate::PodGone {
                workload: workload.clone(),
                pod: seen.pod_name(count),
            }
        };
        let action = Action::Scale {
            workload: workload.clone(),
            uid: uid.to_owned(),
            from: count + 1,
            to: count,
            original,
        };
        half.stop.push((action, gate));
    }
    if changes_template {
        let gate = Gate::Repointed {
            workload: workload.clone(),
            to: target.clone(),
        };
        let action = Action::Repoint {
            workload: workload.clone(),
            uid: uid.to_owned(),
            from: present,
            to: target.clone(),
        };
        half.start.push((action, gate));
    }
    let min_ready_seconds = seen
        .set
        .as_ref()
        .and_then(|set| set.spec.min_ready_seconds)
        .unwrap_or(0);
    for count in 0..original {
        let gate = Gate::PodHealthy {
            workload: workload.clone(),
            pod: seen.pod_name(count),
            template: target.clone(),
            min_ready_seconds,
            probes: probes.to_vec(),
        };
        let action = Action::Scale {
            workload: workload.clone(),
            uid: uid.to_owned(),
            from: count,
            to: count + 1,
            original,
        };
        half.start.push((action, gate));
    }
    half.give_back.push((
        Action::GiveBack {
            workload,
            uid: uid.to_owned(),
        },
        Gate::None,
    ));
}

/// The template that the workload has: by revision name, where the controller has made one of it.
fn present_template(seen: &SeenWorkload) -> TemplateRef {
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

/// What forbids or endangers taking this workload back; its UID and the template of the release where there is one.
fn check_workload(
    app: &AppFile,
    release: &semver::Version,
    seen: &SeenWorkload,
    findings: &mut Vec<Finding>,
) -> Option<(String, TemplateRef)> {
    let subject = seen.workload.to_string();
    let Some(set) = &seen.set else {
        findings.push(Finding::refusal(
            "workload-missing",
            subject,
            "it does not exist in this cluster",
            "check namespace and name in the app file, and the context: `kubectl config current-context`",
        ));
        return None;
    };
    let retention = set.spec.persistent_volume_claim_retention_policy.as_ref();
    if retention.and_then(|policy| policy.when_scaled.as_deref()) == Some("Delete") {
        findings.push(Finding::refusal(
            "claims-deleted",
            subject.clone(),
            "its persistentVolumeClaimRetentionPolicy.whenScaled is Delete: scaling down deletes the volumes and their data",
            format!(
                "set it to Retain first: kubectl -n {} patch statefulset {} --type merge -p \
                 '{{\"spec\":{{\"persistentVolumeClaimRetentionPolicy\":{{\"whenScaled\":\"Retain\"}}}}}}'",
                seen.workload.namespace, seen.workload.name
            ),
        ));
    }
    check_pods(seen, findings);
    if seen.original_replicas() == 0 {
        findings.push(Finding::warning(
            "no-replicas",
            subject.clone(),
            "it has 0 replicas, so no pod is started and no probe is asked",
            "scale it up afterwards and look at its health yourself",
        ));
    }
    let uid = set.metadata.uid.clone().unwrap_or_default();
    let images = app
        .release(release)
        .and_then(|release| release.images.get(&seen.workload.name));
    let Some(images) = images.filter(|images| !images.is_empty()) else {
        findings.push(Finding::refusal(
            "images-unknown",
            subject,
            format!("the app file names no images of release {release} for it"),
            "add `images` to the release in the app file",
        ));
        return None;
    };
    target_template(seen, images, findings).map(|template| (uid, template))
}

/// The template of a release: the one revision with exactly its images, else its images on the present template.
fn target_template(
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

/// Pods that would make an ordered scale-down stand still (research: two unready pods, or one below another).
fn check_pods(seen: &SeenWorkload, findings: &mut Vec<Finding>) {
    let ready = |pod: &k8s_openapi::api::core::v1::Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    };
    let unready: Vec<&str> = seen
        .pods
        .iter()
        .filter(|pod| !ready(pod))
        .filter_map(|pod| pod.metadata.name.as_deref())
        .collect();
    // A single unready pod with the highest ordinal goes down by itself.
    let highest = seen.pods.last().and_then(|pod| pod.metadata.name.as_deref());
    let parallel = seen
        .set
        .as_ref()
        .and_then(|set| set.spec.pod_management_policy.as_deref())
        == Some("Parallel");
    if parallel || unready.is_empty() || (unready.len() == 1 && unready.first().copied() == highest) {
        return;
    }
    findings.push(Finding::refusal(
        "pods-unready",
        seen.workload.to_string(),
        format!(
            "{} not ready: an ordered StatefulSet with such pods does not scale down",
            unready.join(", ")
        ),
        format!(
            "make them ready, or stop the workload by hand and plan again: kubectl -n {} scale statefulset {} \
             --replicas 0, then delete the pods that are not ready, lowest first",
            seen.workload.namespace, seen.workload.name
        ),
    ));
}

fn check_app(app: &AppFile, findings: &mut Vec<Finding>) {
    let mut later = |subject: &str, message: String| {
        let remedy = "take it out of the app file, or do that part by hand";
        findings.push(Finding::refusal("not-supported", subject, message, remedy));
    };
    if !matches!(app.strategy, FileStrategy::Auto | FileStrategy::Offline) {
        later(
            "strategy",
            "this version carries out the offline strategy only".to_owned(),
        );
    }
    for workload in &app.workloads {
        if workload.kind == FileKind::Deployment {
            later(
                &workload.name,
                "this version takes StatefulSets back, not Deployments".to_owned(),
            );
        }
        if workload.start_together.is_some_and(|count| count > 1) {
            later(
                &workload.name,
                "this version starts pods one at a time, not together".to_owned(),
            );
        }
    }
    if !app.database.app_roles.is_empty() {
        later(
            "appRoles",
            "this version does not see to it that the roles of `appRoles` have no session left".to_owned(),
        );
    }
    if app.on_failure == OnFailure::Abort {
        later(
            "onFailure",
            "this version halts when a step fails; it does not abort by itself".to_owned(),
        );
    }
    for user in &app.also_uses {
        later(
            &user.name,
            "this version does not suspend others that use the database (`alsoUses`)".to_owned(),
        );
    }
    if app.database.hosted_by.is_some() {
        later(
            "hostedBy",
            "this version does not take back the workload that is the database server".to_owned(),
        );
    }
}
