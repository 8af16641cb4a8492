//! A run as text.

use std::io;

use super::evidence::write_evidence;
use super::page::{Page, Paint, clock, duration, moment};
use super::run::{Pause, Report, StepReport};

/// Writes a run's report. With `all`, what was seen at every step.
///
/// # Errors
/// As the writer's.
pub fn write_report(page: &mut Page<'_>, report: &Report, all: bool) -> io::Result<()> {
    let state = page.paint(paint_of(report.state), report.state);
    let title = page.paint(Paint::Bold, &report.title);
    page.line(&format!("{title}: {state}"))?;
    page.labelled("  run      ", None, &report.run.to_string())?;
    let app = report.app.as_ref().map(|app| format!("{app}, ")).unwrap_or_default();
    page.labelled("  on       ", None, &format!("{app}{}", report.database))?;
    if let Some(on) = &report.acts_on {
        page.labelled("  cluster  ", None, on)?;
    }
    page.labelled("  from     ", None, &report.from.to_string())?;
    page.labelled("  to       ", None, &report.to.to_string())?;
    if let (Some(at), Some(by)) = (report.opened_at, &report.by) {
        page.labelled("  opened   ", None, &format!("{} by {by}", moment(at)))?;
    }
    page.labelled("  took     ", None, &duration(report.took_ms))?;
    if let Some(outage) = &report.outage {
        page.labelled(
            "  outage   ",
            None,
            &format!("{} ({})", duration(outage.ms), outage.span("")),
        )?;
    }
    if let Some(run) = &report.aborts {
        page.labelled("  back     ", None, &format!("from run {run}, which it took over from"))?;
    }
    if let Some(run) = &report.handed_over_to {
        page.labelled("  then     ", None, &format!("run {run} took it back"))?;
    }
    page.blank()?;
    for step in &report.steps {
        write_step(page, step, all)?;
    }
    for pause in &report.pauses {
        write_pause(page, pause)?;
    }
    if report.is_unfinished() {
        page.blank()?;
        page.labelled("  to continue: ", None, &format!("stepback resume {}", report.run))?;
    }
    Ok(())
}

fn paint_of(state: &str) -> Paint {
    match state {
        "done" | "passed" => Paint::Green,
        "halted" | "stopped" => Paint::Red,
        "pending" => Paint::Dim,
        _ => Paint::Yellow,
    }
}

fn write_step(page: &mut Page<'_>, step: &StepReport, all: bool) -> io::Result<()> {
    let at = step.started_at.map_or_else(|| "        ".to_owned(), clock);
    let took = step.ms.map(duration).unwrap_or_default();
    let does = match step.attempts {
        0 | 1 => step.does.clone(),
        attempts => format!("{} ({attempts} attempts)", step.does),
    };
    let head = format!("  {:>3}  {at}  {took:>10}  ", step.step.0);
    // That a step has passed is what one expects; anything else is said.
    let state = match step.state {
        "passed" => String::new(),
        state => format!("{state:<7}  "),
    };
    page.columns(&[(&head, None), (&state, Some(paint_of(step.state)))], &does)?;
    if all {
        for seen in &step.seen {
            page.labelled(&" ".repeat(29), None, seen)?;
        }
    }
    Ok(())
}

fn write_pause(page: &mut Page<'_>, pause: &Pause) -> io::Result<()> {
    page.blank()?;
    match (pause.halted_at, &pause.halt) {
        (Some(at), Some(halt)) => {
            let step = halt.step.map(|step| format!(" at step {step}")).unwrap_or_default();
            page.labelled(
                "  halted   ",
                Some(Paint::Red),
                &format!("{}{step}: {}", moment(at), halt.message),
            )?;
            if let Some(hint) = &halt.hint {
                page.labelled("  hint     ", None, hint)?;
            }
            if let Some(evidence) = &halt.evidence {
                write_evidence(page, evidence)?;
            }
        }
        _ => {
            let after = pause.last_heard_at.map(|at| format!(" after {}", moment(at)));
            let text = format!("its coordinator ended without a word{}", after.unwrap_or_default());
            page.labelled("  ended    ", Some(Paint::Red), &text)?;
        }
    }
    if let (Some(at), Some(by)) = (pause.resumed_at, &pause.resumed_by) {
        page.labelled("  resumed  ", None, &format!("{} by {by}{}", moment(at), pause.said()))?;
    }
    Ok(())
}
