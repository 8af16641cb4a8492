//! The workloads' half of a plan: stopping, pointing at the target's template, starting.

use std::collections::{BTreeMap, BTreeSet};

use crate::appfile::{AppFile, WorkloadKind as FileKind};
use crate::model::{
    Finding, MigrationSet, Pairing, Removal, SeenAround, SeenWorkload, TemplateRef, UpdateStrategy, WorkloadKind,
    WorkloadRef, annotation,
};
use crate::workload::{is_terminating, is_to_go};

use super::around::check_around;
use super::lost::{check_named_dead, dead_of, remove_dead};
use super::owner::check_owners;
use super::probes::{Probe, check_containers, probes_of};
use super::rewritten::{Rewriting, rewriting, rewritten};
use super::strategy::Choice;
use super::template::{Wanted, present_template, target_template};
use super::{Action, Gate, Strategy, offline, walk};

/// The workloads' half, with everything that was found.
pub(super) struct WorkloadHalf {
    /// Before the schema.
    pub(super) before: Vec<(Action, Gate)>,
    /// After the schema.
    pub(super) after: Vec<(Action, Gate)>,
    /// At the very end.
    pub(super) give_back: Vec<(Action, Gate)>,
    pub(super) findings: Vec<Finding>,
    /// What the cluster makes of images, by workload.
    pub(super) rewritten: BTreeMap<String, Rewriting>,
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

/// A workload that is taken back, and to what.
pub(super) struct Taken<'a> {
    pub(super) seen: &'a SeenWorkload,
    pub(super) uid: String,
    pub(super) target: TemplateRef,
    /// So many pods start as one step (LAWS W15).
    pub(super) start_together: i32,
    pub(super) probes: Vec<Probe>,
    /// Containers of the target whose images the cluster rewrites.
    pub(super) rewritten: BTreeMap<String, String>,
}

impl Taken<'_> {
    pub(super) fn scale(&self, from: i32, to: i32) -> Action {
        Action::Scale {
            workload: self.seen.workload.clone(),
            uid: self.uid.clone(),
            from,
            to,
            original: self.seen.original_replicas(),
        }
    }

    /// Pointing it at the target's template, where it has another one.
    pub(super) fn repoint(&self) -> Option<(Action, Gate)> {
        let workload = self.seen.workload.clone();
        let gate = Gate::Repointed {
            workload: workload.clone(),
            to: self.target.clone(),
        };
        let action = Action::Repoint {
            workload,
            uid: self.uid.clone(),
            from: present_template(self.seen),
            to: self.target.clone(),
        };
        self.changes_template().then_some((action, gate))
    }

    pub(super) fn healthy(&self, pod: String) -> Gate {
        let spec = self.seen.set.as_ref().map(|set| &set.spec);
        Gate::PodHealthy {
            workload: self.seen.workload.clone(),
            pod,
            template: self.target.clone(),
            rewritten: self.rewritten.clone(),
            min_ready_seconds: spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0),
            probes: self.probes.clone(),
        }
    }

    /// Setting the update strategy to `OnDelete`, where it is another one.
    pub(super) fn borrow_strategy(&self) -> Option<(Action, Gate)> {
        let workload = self.seen.workload.clone();
        let present = self.seen.update_strategy();
        let was_there = present.is_on_delete();
        let action = Action::UpdateStrategy {
            workload: workload.clone(),
            uid: self.uid.clone(),
            from: present,
            to: UpdateStrategy::on_delete(),
            original: self.seen.original_update_strategy(),
        };
        let gate = Gate::Settled {
            workload,
            mid_update: false,
        };
        (!was_there).then_some((action, gate))
    }

    /// Setting it back to what it was before this run, or before one that was lost borrowed it (LAWS W7).
    pub(super) fn give_strategy_back(&self) -> Option<(Action, Gate)> {
        let workload = self.seen.workload.clone();
        let original = self.seen.original_update_strategy();
        let was_there = original.is_on_delete();
        let action = Action::UpdateStrategy {
            workload: workload.clone(),
            uid: self.uid.clone(),
            from: UpdateStrategy::on_delete(),
            to: original.clone(),
            original,
        };
        let gate = Gate::Settled {
            workload,
            mid_update: false,
        };
        (!was_there).then_some((action, gate))
    }

    /// Pairing what its pods were started from with the release.
    fn pair(&self, pairing: &Pairing) -> Action {
        Action::Pair {
            workload: self.seen.workload.clone(),
            uid: self.uid.clone(),
            template: self.target.clone(),
            pairing: pairing.clone(),
        }
    }

    pub(super) fn changes_template(&self) -> bool {
        !crate::workload::is_at(self.seen, &self.target)
    }

    /// Whether a run that was lost has left something of it as it was not before.
    fn is_borrowed(&self) -> bool {
        use annotation::{ORIGINAL_REPLICAS, ORIGINAL_UPDATE_STRATEGY};
        let marks = [ORIGINAL_REPLICAS, ORIGINAL_UPDATE_STRATEGY];
        marks.iter().any(|name| self.seen.annotation(name).is_some())
    }

    /// Whether the pod runs the target's template, or will as soon as its controller makes it anew.
    pub(super) fn runs_target(&self, pod: &str) -> bool {
        let Some(set) = &self.seen.set else { return false };
        let has_template = !self.changes_template();
        match self.seen.pod(pod) {
            Some(pod) if is_terminating(pod) => has_template,
            // What the controller makes of images that are put on another template has no name yet.
            Some(_) if self.target.revision.is_none() && !has_template => false,
            Some(pod) => !is_to_go(set, pod, &Removal::Outdated(self.target.clone())),
            None => has_template,
        }
    }

    /// Whether a pod runs another template than the target's.
    pub(super) fn has_outdated_pods(&self) -> bool {
        let Some(set) = &self.seen.set else { return false };
        let removal = Removal::Outdated(self.target.clone());
        self.seen.pods.iter().any(|pod| is_to_go(set, pod, &removal))
    }
}

/// Plans the workloads' half for the release.
pub(super) fn plan_workloads(
    choice: &Choice<'_>,
    recorded: Option<&MigrationSet>,
    (around, dead): (&[SeenAround], &BTreeSet<String>),
    strategy: Strategy,
    schema_changes: bool,
) -> WorkloadHalf {
    let (app, release) = (choice.app, choice.release);
    let pairing = Pairing::new(
        &app.name,
        release.clone(),
        // The app alone went back: the schema is another release's.
        (strategy != Strategy::AppOnly).then_some(choice.to),
    );
    let mut half = WorkloadHalf {
        before: Vec::new(),
        after: Vec::new(),
        give_back: Vec::new(),
        findings: Vec::new(),
        rewritten: BTreeMap::new(),
    };
    check_app(app, &mut half.findings);
    check_named_dead(choice.workloads, dead, &mut half.findings);
    let mut stops: Vec<Vec<(Action, Gate)>> = Vec::new();
    for seen in choice.workloads {
        if strategy == Strategy::Offline {
            check_claims(seen, &mut half.findings);
        }
        let target = check_workload(app, release, recorded, seen, &mut half.findings);
        let Some((uid, target)) = target else {
            // It is refused already; everything else that forbids it is said with it.
            check_owners(seen, around, &mut half.findings);
            check_around(seen, strategy, None, around, dead, &mut half.findings);
            continue;
        };
        let filed = app.workloads.iter().find(|filed| filed.name == seen.workload.name);
        let found = around.iter().find(|around| around.workload == seen.workload);
        let known = rewriting(seen, &target, found);
        let taken = Taken {
            seen,
            uid,
            rewritten: rewritten(&target, &known),
            target,
            start_together: filed
                .and_then(|filed| filed.start_together)
                .map_or(1, |count| i32::try_from(count).unwrap_or(i32::MAX)),
            probes: probes_of(app, &seen.workload.name),
        };
        check_containers(&taken.probes, seen, &taken.target, &mut half.findings);
        let changes = taken.changes_template() || taken.has_outdated_pods() || taken.is_borrowed();
        let with_dead = |steps| remove_dead(dead_of(seen, dead), &taken.uid, steps);
        match strategy {
            Strategy::Offline if changes || schema_changes => {
                check_starting(&taken, &mut half.findings);
                stops.push(with_dead(offline::stop(&taken)));
                half.after.extend(offline::start(&taken));
            }
            Strategy::AppFirst | Strategy::AppOnly if changes => {
                half.before.extend(with_dead(walk::walk(&taken)));
            }
            Strategy::SchemaFirst if changes => half.after.extend(with_dead(walk::walk(&taken))),
            _ => continue,
        }
        let gated = half.before.iter().chain(&half.after);
        if gated.into_iter().any(|(_, gate)| is_health_of(gate, &seen.workload)) {
            half.give_back.push((taken.pair(&pairing), Gate::None));
        }
        if !known.is_empty() {
            half.rewritten.insert(key(&seen.workload), known);
        }
        check_owners(seen, around, &mut half.findings);
        check_around(seen, strategy, Some(&taken.target), around, dead, &mut half.findings);
        half.give_back.push((
            Action::GiveBack {
                workload: seen.workload.clone(),
                uid: taken.uid,
            },
            Gate::None,
        ));
    }
    // Stopped in reverse of the starting order; the steps of one workload stay together and in order.
    half.before.extend(stops.into_iter().rev().flatten());
    half
}

/// What a workload is called in a plan's notes on it.
pub(super) fn key(of: &WorkloadRef) -> String {
    format!("{}/{}", of.namespace, of.name)
}

/// A pod of it, likewise.
pub(super) fn pod_key(of: &WorkloadRef, pod: &str) -> String {
    format!("{}/{pod}", of.namespace)
}

/// Whether the gate is the health of one of the workload's pods: without any, nothing is known of the release.
fn is_health_of(gate: &Gate, of: &WorkloadRef) -> bool {
    matches!(gate, Gate::PodHealthy { workload, .. } if workload == of)
}

/// Pods of a `Parallel` set may need one another to become ready, as those of a quorum do (LAWS W15).
fn check_starting(taken: &Taken<'_>, findings: &mut Vec<Finding>) {
    let spec = taken.seen.set.as_ref().map(|set| &set.spec);
    let policy = spec.and_then(|spec| spec.pod_management_policy.as_deref());
    if policy == Some("Parallel") && taken.start_together <= 1 && taken.seen.original_replicas() > 1 {
        findings.push(Finding::warning(
            "starts-alone",
            taken.seen.workload.to_string(),
            "its pods are managed in parallel, so they may need one another to become ready, and they are started one \
             at a time",
            "if the first pod is not ready alone, say `startTogether: N` of the workload in the app file",
        ));
    }
}

/// Scaling down deletes claims where the set says so. A walk scales nothing.
fn check_claims(seen: &SeenWorkload, findings: &mut Vec<Finding>) {
    let spec = seen.set.as_ref().map(|set| &set.spec);
    let retention = spec.and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    if retention.and_then(|policy| policy.when_scaled.as_deref()) == Some("Delete") {
        findings.push(Finding::refusal(
            "claims-deleted",
            seen.workload.to_string(),
            "its persistentVolumeClaimRetentionPolicy.whenScaled is Delete: scaling down deletes the volumes and their data",
            format!(
                "set it to Retain first: kubectl -n {} patch statefulset {} --type merge -p \
                 '{{\"spec\":{{\"persistentVolumeClaimRetentionPolicy\":{{\"whenScaled\":\"Retain\"}}}}}}'",
                seen.workload.namespace, seen.workload.name
            ),
        ));
    }
}

/// What forbids or endangers taking this workload back; its UID and the template of the release where there is one.
fn check_workload(
    app: &AppFile,
    release: &semver::Version,
    recorded: Option<&MigrationSet>,
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
    if seen.original_replicas() == 0 {
        findings.push(Finding::warning(
            "no-replicas",
            subject.clone(),
            "it has 0 replicas, so no pod is started and no probe is asked",
            "scale it up afterwards and look at its health yourself",
        ));
    }
    let uid = set.metadata.uid.clone().unwrap_or_default();
    let wanted = Wanted::of(app, release, recorded, seen);
    target_template(seen, &wanted, findings).map(|template| (uid, template))
}

fn check_app(app: &AppFile, findings: &mut Vec<Finding>) {
    let mut later = |subject: &str, message: String| {
        let remedy = "take it out of the app file, or do that part by hand";
        findings.push(Finding::refusal("not-supported", subject, message, remedy));
    };
    for workload in &app.workloads {
        if workload.kind == FileKind::Deployment {
            later(
                &workload.name,
                "this version takes StatefulSets back, not Deployments".to_owned(),
            );
        }
    }
    if !app.database.app_roles.is_empty() {
        later(
            "appRoles",
            "this version does not see to it that the roles of `appRoles` have no session left".to_owned(),
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
