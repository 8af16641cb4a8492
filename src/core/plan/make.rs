//! From what was asked and what was seen to a plan, or to everything that forbids one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::appfile::{Limits, OnFailure};
use crate::model::{Digest, Finding, JournalPlace, PlanId, RunRow, RunStatus, ScriptRef, SeenWorkload, StepId};
use crate::workload::{is_ready, revision_of};

use super::bound::check_bound;
use super::probes::judge_tries;
use super::request::{Goal, Request, Seen};
use super::rights::check_cluster_rights;
use super::schema::{SchemaHalf, plan_schema};
use super::stored::check_stored;
use super::strategy::{Choice, outage};
use super::template::present_template;
use super::workloads::{WorkloadHalf, plan_workloads, pod_key};
use super::{Action, ClusterRef, FORMAT, Gate, Plan, Refusals, RunLimits, Step};

/// Makes a plan. A plan without steps says that there is nothing to do.
///
/// # Errors
/// All findings, when one of them forbids the plan.
pub fn plan(request: &Request<'_>, seen: &Seen) -> Result<Plan, Refusals> {
    let SchemaHalf {
        from,
        to,
        actions,
        mut findings,
        scripts,
    } = plan_schema(request, seen);
    findings.extend(seen.database.open_run.as_ref().map(unfinished));
    let limits = request
        .app
        .map_or_else(RunLimits::default, |app| run_limits(&app.limits));
    let mut all: Vec<(Action, Gate)> = Vec::new();
    let mut strategy = None;
    let mut rewritten = BTreeMap::new();
    match (&request.goal, request.app, &seen.cluster) {
        (Goal::Release(release), Some(app), Some(cluster)) if !app.workloads.is_empty() => {
            let choice = Choice {
                app,
                release,
                from: &from.schema,
                to: &to.schema,
                workloads: &cluster.workloads,
            };
            let (chosen, unfit) = choice.choose();
            findings.extend(unfit);
            let schema_changes = actions.iter().any(|(action, _)| action.changes_schema());
            let recorded = seen.database.paired(release).map(|row| &row.schema);
            let half = plan_workloads(
                &choice,
                recorded,
                (&seen.around, &request.dead),
                chosen.strategy,
                schema_changes,
            );
            let WorkloadHalf {
                before,
                after,
                give_back,
                findings: found,
                rewritten: known,
            } = half;
            rewritten = known;
            findings.extend(found);
            let is_gated = |(_, gate): &(Action, Gate)| matches!(gate, Gate::PodHealthy { .. });
            if before.iter().chain(&after).any(is_gated) {
                judge_tries(&seen.probes, &mut findings);
            }
            check_bound(request, seen, &mut findings);
            check_cluster_rights(seen, &mut findings);
            strategy = Some(chosen);
            all.extend(before);
            all.extend(actions);
            all.extend(after);
            all.extend(give_back);
        }
        (Goal::Release(_), Some(app), None) if !app.workloads.is_empty() => findings.push(Finding::refusal(
            "cluster-missing",
            "workloads",
            "the app file names workloads, but no cluster was looked at",
            "connect to the cluster, or use `stepback migrate goto` for the schema alone",
        )),
        _ => all.extend(actions),
    }
    if let Goal::Release(release) = &request.goal
        && !all.is_empty()
        && !request.is_app_only()
    {
        all.push((
            Action::RecordRelease {
                release: release.clone(),
                schema: to.schema.clone(),
            },
            Gate::None,
        ));
    }
    if let (Goal::Release(release), Some(app)) = (&request.goal, request.app) {
        check_stored(app, release, &seen.database, &mut findings);
    }
    let findings = Refusals::judge(findings, &request.accepted)?;

    let has_workloads = all.iter().any(|(action, _)| action.workload().is_some());
    let cluster = seen.cluster.as_ref().filter(|_| has_workloads).and_then(|cluster| {
        let namespace = cluster.workloads.first()?.workload.namespace.clone();
        Some(ClusterRef {
            uid: cluster.uid.clone(),
            namespace,
            place: cluster.place.clone(),
        })
    });
    let journal = request.journal.clone().unwrap_or_else(|| match &cluster {
        Some(cluster) => JournalPlace::Cluster(cluster.namespace.clone()),
        None => JournalPlace::Database,
    });
    let steps = number(all, &limits);
    if let (Some(chosen), Some(cluster)) = (&mut strategy, &seen.cluster) {
        chosen.outage = outage(chosen.strategy, &steps, &cluster.workloads);
    }
    // A run without workloads closes itself when it halts: it holds nothing that could be given back.
    let turns_back = strategy.is_some() && request.app.is_some_and(|app| app.on_failure == OnFailure::Abort);
    let mut plan = Plan {
        format: FORMAT,
        id: PlanId(Digest::of(b"")),
        title: title(request, &from, &to),
        app: request.app.map(|app| app.name.clone()),
        from,
        to,
        strategy,
        database: seen.database.database.clone(),
        cluster,
        journal,
        world: world(seen, &scripts),
        steps,
        unready: unready(seen),
        outdated: outdated(seen),
        rewritten,
        turns_back,
        findings,
        limits,
    };
    plan.id = plan
        .compute_id()
        .expect("a plan has only string keys and finite numbers");
    Ok(plan)
}

/// The time limit of one step of the schema's half.
fn limit_ms(action: &Action, limits: &RunLimits) -> u64 {
    match action {
        Action::Revert { scripts, .. } | Action::Apply { scripts } => limits
            .step_ms
            .saturating_mul(u64::try_from(scripts.len()).unwrap_or(u64::MAX)),
        _ => limits.step_ms,
    }
}

/// Steps with their numbers and limits.
pub(super) fn number(all: Vec<(Action, Gate)>, limits: &RunLimits) -> Vec<Step> {
    (1..)
        .zip(all)
        .map(|(number, (action, gate))| Step {
            id: StepId(number),
            limit_ms: if action.workload().is_some() {
                limits.pod_ms
            } else {
                limit_ms(&action, limits)
            },
            action,
            gate,
        })
        .collect()
}

fn pods(seen: &Seen) -> impl Iterator<Item = (&SeenWorkload, &Pod)> {
    let workloads = seen.cluster.iter().flat_map(|cluster| &cluster.workloads);
    workloads.flat_map(|seen| seen.pods.iter().map(move |pod| (seen, pod)))
}

fn key_of(workload: &SeenWorkload, pod: &Pod) -> String {
    pod_key(&workload.workload, pod.metadata.name.as_deref().unwrap_or_default())
}

/// The pods that are not ready now, and those that are not even there.
fn unready(seen: &Seen) -> Vec<String> {
    let unready = pods(seen).filter(|(_, pod)| !is_ready(pod));
    let unready = unready.map(|(workload, pod)| key_of(workload, pod));
    let workloads = seen.cluster.iter().flat_map(|cluster| &cluster.workloads);
    let missing = workloads.filter(|seen| seen.set.is_some()).flat_map(|seen| {
        let names = (0..seen.replicas()).map(|index| seen.pod_name(index));
        let missing = names.filter(|name| seen.pod(name).is_none());
        missing.map(|name| pod_key(&seen.workload, &name))
    });
    unready.chain(missing).collect()
}

/// The pods that run another revision than their workload's template, and which.
fn outdated(seen: &Seen) -> BTreeMap<String, String> {
    let outdated = pods(seen).filter_map(|(workload, pod)| {
        let ran = revision_of(pod)?;
        let present = present_template(workload).revision?;
        (ran != present).then(|| (key_of(workload, pod), ran.to_owned()))
    });
    outdated.collect()
}

/// Another run that is not closed.
fn unfinished(row: &RunRow) -> Finding {
    let (what, remedy) = match row.status {
        RunStatus::Opening => (
            format!(
                "the run \"{}\" was broken off while it was being opened, or is under way",
                row.title
            ),
            "where it is dead it has touched nothing, and this run closes it".to_owned(),
        ),
        _ if row.closes_itself => (
            format!(
                "the run \"{}\" was broken off or is under way, and is not closed",
                row.title
            ),
            format!(
                "where it is dead, this run closes it, unless it halted in doubt; to continue it: `stepback resume {}`",
                row.run
            ),
        ),
        // The stamp of the open run on a workload is that of somebody who holds it: nothing goes past it.
        _ => (
            format!(
                "the run \"{}\" was broken off or is under way, and is not closed: until it is, this plan is not carried \
                 out (exit code 5)",
                row.title
            ),
            format!(
                "to continue it: `stepback resume {0}`; to take it back: `stepback abort {0}`",
                row.run
            ),
        ),
    };
    Finding::warning("run-unfinished", row.run.to_string(), what, remedy)
}

fn title(request: &Request<'_>, from: &crate::model::Target, to: &crate::model::Target) -> String {
    let schema = |target: &crate::model::Target| match target.schema.newest() {
        Some(newest) => newest.to_string(),
        None => "nothing".to_owned(),
    };
    let release = |target: &crate::model::Target| match &target.release {
        Some(release) => release.to_string(),
        None => format!("schema {}", schema(target)),
    };
    match &request.goal {
        // After an abort, or where a run was closed as it stood: the schema is the release's already.
        Goal::Release(_) if from == to => format!("rollback of the workloads to {}", release(to)),
        Goal::Release(_) => format!("rollback {} -> {}", release(from), release(to)),
        Goal::Down(_) | Goal::DownTo(_) => format!("migrate down {} -> {}", schema(from), schema(to)),
        Goal::Up(_) | Goal::UpTo(_) => format!("migrate up {} -> {}", schema(from), schema(to)),
        Goal::Schema(_) => format!("migrate {} -> {}", schema(from), schema(to)),
    }
}

/// What the plan was made for, by part. Nothing that comes and goes, and nothing that preparing makes: scripts count
/// by checksum, wherever they lie.
pub(super) fn world(seen: &Seen, scripts: &[ScriptRef]) -> BTreeMap<String, Digest> {
    let mut world = BTreeMap::new();
    let identity = &seen.database.database.identity;
    let text = format!("{}\n{}\n{}", identity.system, identity.timeline, identity.database);
    world.insert("database".to_owned(), Digest::of(text.as_bytes()));
    let rows: String = seen
        .database
        .ledger
        .iter()
        .map(|row| {
            let checksum = row.up_checksum.as_ref().map(ToString::to_string).unwrap_or_default();
            let version = &row.migration.version;
            format!("{version} {:?} {:?}{checksum}\n", row.sequence, row.up_sha256)
        })
        .collect();
    world.insert(
        "ledger".to_owned(),
        Digest::of(format!("{}\n{rows}", seen.database.database.ledger).as_bytes()),
    );
    let scripts: String = scripts
        .iter()
        .map(|script| format!("{} {}\n", script.migration.version, script.sha256))
        .collect();
    world.insert("scripts".to_owned(), Digest::of(scripts.as_bytes()));
    world.insert("schema".to_owned(), seen.fingerprint.digest());
    for workload in seen.cluster.iter().flat_map(|cluster| &cluster.workloads) {
        world.insert(workload.workload.to_string(), of_workload(workload));
    }
    world
}

fn of_workload(seen: &SeenWorkload) -> Digest {
    let Some(set) = &seen.set else {
        return Digest::of(b"missing");
    };
    let spec = serde_json::to_string(&set.spec).unwrap_or_default();
    Digest::of(format!("{}\n{spec}", set.metadata.uid.as_deref().unwrap_or_default()).as_bytes())
}

fn run_limits(limits: &Limits) -> RunLimits {
    let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    RunLimits {
        step_ms: ms(limits.step),
        pod_ms: ms(limits.pod),
        statement_ms: ms(limits.statement),
        lock_wait_ms: ms(limits.lock_wait),
        lock_ms: ms(limits.lock),
        lease_ms: ms(limits.lease),
    }
}
