//! From what was asked to a run and its report: look, plan, show, ask, carry out.

use std::collections::BTreeMap;

use stepback_core::journal::{Halt, What};
use stepback_core::model::{Progress, Severity, StepId, closest};
use stepback_core::plan::{Action, Goal, Plan, Refusals, Request, Seen, cost_of_abort, plan};
use stepback_core::report::{Bodies, Kind, Paint, Report, Told, count, write_findings, write_plan, write_report};

use super::Exit;
use super::explain::{CliError, Halted};
use super::ground::{Ground, WayArgs};
use super::signals::stop_on_signals;
use super::terminal::Terminal;
use crate::database::similar_file;
use crate::journal::Stored;
use crate::run::{Back, Ending, Finished, RoadError};

/// Looks, and makes the plan.
///
/// # Errors
/// [`CliError::Refused`] with everything that forbids it.
pub(super) async fn look_and_plan(ground: &Ground, request: &Request<'_>) -> anyhow::Result<(Plan, Seen)> {
    let seen = ground.coordinator.look_for(request, &ground.workloads).await?;
    match plan(request, &seen) {
        Ok(plan) => Ok((plan, seen)),
        Err(refusals) => Err(meant(ground, &seen, refusals).await.into()),
    }
}

/// A refusal; where a workload does not exist, with those that may have been meant.
async fn meant(ground: &Ground, seen: &Seen, refusals: Refusals) -> CliError {
    let mut hints = Vec::new();
    let missing = seen.cluster.iter().flat_map(|cluster| &cluster.workloads);
    for workload in missing.filter(|seen| seen.set.is_none()).map(|seen| &seen.workload) {
        let Some(cluster) = &ground.coordinator.cluster else {
            continue;
        };
        let similar = cluster.similar(workload).await;
        let namesake = similar.iter().find(|other| other.name == workload.name);
        let here: Vec<&str> = similar
            .iter()
            .filter(|other| other.namespace == workload.namespace)
            .map(|other| other.name.as_str())
            .collect();
        hints.push(match (namesake, closest(&workload.name, &here), here.as_slice()) {
            (Some(other), _, _) => format!(
                "did you mean {other}? namespace {} has no {}",
                workload.namespace, workload.name
            ),
            (None, Some(name), _) => format!("did you mean {} {}/{name}?", workload.kind, workload.namespace),
            (None, None, []) => format!("namespace {} has no {} at all", workload.namespace, workload.kind),
            (None, None, names) => format!("namespace {} has {}", workload.namespace, names.join(", ")),
        });
    }
    match hints.is_empty() {
        true => CliError::Refused(refusals),
        false => CliError::NoWorkload {
            refusals,
            hint: hints.join("; "),
        },
    }
}

/// The SQL of the scripts that a plan runs, from the archive or the folder.
pub(super) fn bodies_of(plan: &Plan, ground: &Ground, seen: &Seen) -> Bodies {
    let mut filed = BTreeMap::new();
    for migration in ground.catalog.migrations() {
        for script in std::iter::once(&migration.up).chain(&migration.down) {
            filed.insert(script.sha256(), script.text().to_owned());
        }
    }
    let body = |sha256| match seen.bodies.get(sha256) {
        Some(Ok(body)) => Some(String::from_utf8_lossy(body).into_owned()),
        _ => filed.get(sha256).cloned(),
    };
    let scripts = plan.scripts().into_iter();
    scripts
        .filter_map(|script| Some((script.sha256, body(&script.sha256)?)))
        .collect()
}

/// Plans, shows the plan, asks, carries it out, and answers with the report.
pub(super) async fn carry_out(
    terminal: &Terminal,
    verbose: bool,
    ground: &Ground,
    goal: Goal,
    way: Option<&WayArgs>,
) -> anyhow::Result<Exit> {
    let request = ground.request(goal, way);
    let (plan, seen) = look_and_plan(ground, &request).await?;
    if plan.steps.is_empty() {
        return say_nothing_to_do(terminal, &plan);
    }
    if terminal.asks() {
        // Nobody is asked about what cannot be.
        ground.coordinator.see_way_free(&seen.database).await?;
    }
    let bodies = verbose.then(|| bodies_of(&plan, ground, &seen));
    carry_plan(terminal, verbose, ground, &request, &plan, bodies.as_ref()).await
}

/// Shows a plan, asks, carries it out, and answers with the report.
///
/// # Errors
/// [`RoadError::Changed`] where the world is not the one that the plan was made for; others as they come.
pub(super) async fn carry_plan(
    terminal: &Terminal,
    verbose: bool,
    ground: &Ground,
    request: &Request<'_>,
    plan: &Plan,
    bodies: Option<&Bodies>,
) -> anyhow::Result<Exit> {
    // Nobody is asked about what they were not shown, and a warning is no progress.
    if !terminal.quiet || terminal.asks() {
        terminal.tell(|page| write_plan(page, plan, bodies).and_then(|()| page.blank()));
    } else {
        let mut findings = plan.findings.clone();
        findings.retain(|finding| finding.severity > Severity::Note);
        terminal.tell(|page| write_findings(page, &findings));
    }
    if let Some(file) = ground.makes.as_ref().filter(|_| !terminal.quiet || terminal.asks()) {
        terminal.tell(|page| {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            let beside = similar_file(&file).map_or_else(String::new, |name| format!("; beside it lies {name}"));
            let what = format!(
                "{} does not exist, and is made as a new database{beside}",
                file.display()
            );
            page.labelled("new: ", Some(Paint::Yellow), &what)?;
            page.blank()
        });
    }
    terminal.confirm_on(Some(plan), "Go ahead?")?;
    let stop = stop_on_signals()?;
    let mut lines = terminal.lines(plan);
    let started = ground
        .coordinator
        .start(request, plan, &ground.workloads, stop, &mut lines)
        .await;
    let (opened, partly) = (lines.opened().cloned(), lines.partly());
    if let Err(RoadError::Changed(_)) = &started
        && let Ok((now, _)) = look_and_plan(ground, request).await
        && now.steps.is_empty()
    {
        // While we waited for the lease, another coordinator did the same.
        return say_nothing_to_do(terminal, &now);
    }
    let finished = started.map_err(|error| match (opened, error) {
        (Some(run), error) => CliError::broke_off(run, error).into(),
        (None, RoadError::Changed(changes)) if matches!(request.goal, Goal::Down(_)) => {
            let again = to_go_on(plan);
            anyhow::Error::from(CliError::Overtaken { changes, again })
        }
        (None, error) => anyhow::Error::from(error),
    })?;
    conclude(terminal, verbose, &finished, None, partly)
}

/// Answers that the goal is reached already.
pub(super) fn say_nothing_to_do(terminal: &Terminal, plan: &Plan) -> anyhow::Result<Exit> {
    terminal.answer(Kind::Plan, plan, |page| {
        page.line(&format!("nothing to do: already at {}", plan.to))?;
        if !plan.findings.is_empty() {
            page.blank()?;
        }
        write_findings(page, &plan.findings)
    })?;
    Ok(Exit::Done)
}

/// Answers with the report of a run that has ended or halted; `aborted` is the run that it took back, and `partly` is how
/// far its last step was seen to be.
///
/// # Errors
/// [`CliError::Halted`] or [`CliError::Fenced`], after a report in text.
pub(super) fn conclude(
    terminal: &Terminal,
    verbose: bool,
    finished: &Finished,
    aborted: Option<&Stored>,
    partly: Option<(StepId, Progress)>,
) -> anyhow::Result<Exit> {
    let mut report = Report::new(&finished.run, &finished.plan, &finished.entries);
    if let Some(Stored { plan, entries, .. }) = aborted {
        let own = Told {
            plan: &finished.plan,
            entries: &finished.entries,
        };
        report = report.beside(own, Told { plan, entries });
    }
    if let (Ending::Closed(_), Some(Back::Of(run))) = (&finished.ending, &finished.back)
        && let Ending::Halted(halt) = &run.ending
    {
        let report = Report::new(&run.run, &run.plan, &run.entries);
        let halted = halted_at(run, halt, &report, None);
        let by = finished.run.clone();
        return Err(CliError::TurnedBack { halted, by }.into());
    }
    let halt = match &finished.ending {
        Ending::Closed(_) => {
            terminal.answer(Kind::Report, &report, |page| write_report(page, &report, verbose))?;
            return match report.pauses.last().and_then(|pause| pause.halt.as_ref()) {
                // Only a run that stopped part-way is closed without a last step that has passed.
                Some(halt) if report.state == "stopped" => Err(halted(finished, halt, &report, partly).into()),
                _ => Ok(Exit::Done),
            };
        }
        Ending::Halted(halt) => halt,
        Ending::Fenced => return Err(CliError::Fenced(finished.run.clone()).into()),
    };
    Err(halted(finished, halt, &report, partly).into())
}

fn halted(finished: &Finished, halt: &Halt, report: &Report, partly: Option<(StepId, Progress)>) -> CliError {
    CliError::Halted(halted_at(finished, halt, report, partly))
}

fn halted_at(finished: &Finished, halt: &Halt, report: &Report, partly: Option<(StepId, Progress)>) -> Box<Halted> {
    let step = halt.step.and_then(|step| finished.plan.step(step));
    let back = match &finished.back {
        Some(Back::Not(why)) => {
            let why = why.iter();
            why.map(|why| format!("it did not go back by itself (onFailure: abort): {why}"))
                .collect()
        }
        Some(Back::Of(run)) => match &run.ending {
            Ending::Halted(halt) => vec![format!("it goes back because run {} halted: {}", run.run, halt.message)],
            _ => Vec::new(),
        },
        None => Vec::new(),
    };
    Box::new(Halted {
        run: finished.run.clone(),
        halt: halt.clone(),
        step: step.map(|step| step.action.describe()),
        compares: step.is_some_and(|step| matches!(step.action, Action::Verify { .. })),
        now: state_now(report, partly),
        closed: report.state == "stopped",
        again: to_go_on(&finished.plan),
        back,
        past: finished.past.map(|past| cost_of_abort(&finished.plan, past)),
        holds: finished.plan.has_workload_steps(),
        aborts: matches!(
            finished.entries.first().map(|entry| &entry.what),
            Some(What::RunOpened { aborts: Some(_), .. })
        ),
    })
}

/// What brings a run that has closed itself to where it was going. Of the schema alone, its name: some of it may be done,
/// and `down`, typed again, would go on from there, further than was meant.
fn to_go_on(plan: &Plan) -> String {
    match (&plan.to.release, plan.to.schema.newest()) {
        (Some(_), _) => "type the same again".to_owned(),
        (None, Some(schema)) => format!("to go on to where it was going: stepback migrate goto {schema}"),
        (None, None) => "to go on to where it was going: stepback migrate goto 0".to_owned(),
    }
}

/// `steps 1-2 passed, step 3 started, 2 of 4 migrations done, steps 4-7 not started`.
fn state_now(report: &Report, partly: Option<(StepId, Progress)>) -> String {
    let mut groups: Vec<(&str, u32, u32)> = Vec::new();
    for step in &report.steps {
        match groups.last_mut() {
            Some((state, _, last)) if *state == step.state => *last = step.step.0,
            _ => groups.push((step.state, step.step.0, step.step.0)),
        }
    }
    let texts: Vec<String> = groups
        .into_iter()
        .map(|(state, first, last)| {
            let partly = partly.filter(|(step, _)| step.0 == first);
            let state = match (state, partly) {
                ("pending", _) => "not started".to_owned(),
                ("started", Some((_, Progress { done, of }))) => {
                    format!("started, {done} of {} done", count(of as usize, "migration"))
                }
                ("started", None) => "started, not done".to_owned(),
                ("applied", _) => "applied, its gate not passed".to_owned(),
                (state, _) => state.to_owned(),
            };
            if first == last {
                format!("step {first} {state}")
            } else {
                format!("steps {first}-{last} {state}")
            }
        })
        .collect();
    texts.join(", ")
}
