//! A plan as text: what a person reads before they say yes.

use std::collections::BTreeMap;
use std::io;

use super::page::{Page, Paint, count, limit};
use super::refusal::write_findings;
use crate::model::{Digest, JournalPlace, ScriptRef};
use crate::plan::{Action, ChosenStrategy, Gate, Plan, Step, free_until};

/// The text of scripts by checksum, where the SQL is to be shown.
pub type Bodies = BTreeMap<Digest, String>;

/// Writes a plan. With `bodies`, the SQL of each script that is run stands under its step.
///
/// # Errors
/// As the writer's.
pub fn write_plan(page: &mut Page<'_>, plan: &Plan, bodies: Option<&Bodies>) -> io::Result<()> {
    let title = page.paint(Paint::Bold, &plan.title);
    page.line(&title)?;
    let app = plan.app.as_ref().map(|app| format!("{app}, ")).unwrap_or_default();
    let database = &plan.database;
    page.labelled(
        "  on       ",
        None,
        &format!("{app}{} ({})", database.redacted, database.engine.title()),
    )?;
    if let Some(on) = plan.acts_on() {
        page.labelled("  cluster  ", None, &on)?;
    }
    page.labelled("  from     ", None, &plan.from.to_string())?;
    page.labelled("  to       ", None, &plan.to.to_string())?;
    if let Some(chosen) = &plan.strategy {
        page.labelled("  strategy ", None, &describe_strategy(chosen))?;
        if !plan.steps.is_empty() && !chosen.outage.is_empty() {
            page.labelled("  outage   ", None, &chosen.outage)?;
        }
        if !plan.steps.is_empty() && plan.turns_back {
            page.labelled("  failing  ", None, &describe_turning_back(plan))?;
        }
    }
    if plan.steps.is_empty() {
        page.labelled("  steps    ", None, "nothing to do")?;
    } else {
        page.labelled("  journal  ", None, &describe_journal(&plan.journal))?;
        page.labelled("  plan     ", None, &plan.id.to_string())?;
        page.blank()?;
        let heading = page.paint(Paint::Bold, &count(plan.steps.len(), "step"));
        page.line(&heading)?;
        for step in &plan.steps {
            write_step(page, step, bodies)?;
        }
    }
    if !plan.findings.is_empty() {
        page.blank()?;
        let heading = page.paint(Paint::Bold, &count(plan.findings.len(), "finding"));
        page.line(&heading)?;
        write_findings(page, &plan.findings)?;
    }
    Ok(())
}

/// What a plan says that goes back by itself.
pub(super) fn describe_turning_back(plan: &Plan) -> String {
    let until = free_until(plan).map_or_else(String::new, |until| format!(", until {until}: from then on, it halts"));
    format!("goes back by itself to where it started (onFailure: abort){until}")
}

/// `offline: why`.
pub(super) fn describe_strategy(chosen: &ChosenStrategy) -> String {
    format!("{}: {}", chosen.strategy, chosen.reason)
}

pub(super) fn describe_journal(place: &JournalPlace) -> String {
    match place {
        JournalPlace::Database => "in the database".to_owned(),
        JournalPlace::Cluster(namespace) => format!("in ConfigMaps of namespace {namespace}"),
        JournalPlace::File(path) => format!("in the file {path}"),
    }
}

fn write_step(page: &mut Page<'_>, step: &Step, bodies: Option<&Bodies>) -> io::Result<()> {
    page.labelled(
        &format!("  {:>3}  ", step.id.0),
        Some(Paint::Bold),
        &step.action.describe(),
    )?;
    if let Some(gate) = describe_gate(&step.gate) {
        let limit = limit(step.limit_ms);
        page.labelled("       until ", Some(Paint::Dim), &format!("{gate} (at most {limit})"))?;
    }
    let scripts: &[ScriptRef] = match &step.action {
        Action::Revert { scripts, .. } | Action::Apply { scripts } => scripts,
        _ => &[],
    };
    if scripts.len() > 1 || bodies.is_some() {
        for script in scripts {
            if scripts.len() > 1 {
                page.line(&format!("       - {}", script.migration))?;
            }
            if let Some(body) = bodies.and_then(|bodies| bodies.get(&script.sha256)) {
                for line in body.trim_end().lines() {
                    let line = page.paint(Paint::Dim, line);
                    page.line(&format!("         | {line}"))?;
                }
            }
        }
    }
    if let Action::Verify { drifted, .. } = &step.action
        && !drifted.is_empty()
    {
        let text = format!("leaving out what differed before: {}", drifted.join(", "));
        page.labelled("       ", None, &text)?;
    }
    Ok(())
}

pub(super) fn describe_gate(gate: &Gate) -> Option<String> {
    match gate {
        Gate::None => None,
        Gate::PodGone { pod, .. } => Some(format!("{pod} is gone")),
        Gate::AllGone { workload } => Some(format!("no pod of {workload} is left")),
        Gate::Repointed { .. } => Some("the controller has seen the template".to_owned()),
        Gate::Settled { mid_update: true, .. } => Some("the controller has seen it".to_owned()),
        Gate::Settled { .. } => Some("the controller has seen it, and no update is under way".to_owned()),
        Gate::PodHealthy {
            pod,
            min_ready_seconds,
            probes,
            ..
        } => {
            let mut text = format!("{pod} runs the target and is ready");
            if *min_ready_seconds > 0 {
                text.push_str(&format!(" for {min_ready_seconds} s"));
            }
            if !probes.is_empty() {
                text.push_str(&format!(", and {} held", count(probes.len(), "probe")));
            }
            Some(text)
        }
    }
}
