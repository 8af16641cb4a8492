//! A list of runs: what each of them was, who began it when, and how it ended.

use std::io;

use jiff::Timestamp;
use serde::Serialize;

use super::page::{Page, Paint, count, duration};
use super::run::Report;
use crate::journal::By;
use crate::model::{JournalPlace, RunId, RunRow, RunStatus, StepId};

/// One run of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// What it does: `rollback 1.3.0 -> 1.2.0`.
    pub title: String,
    /// The app, when there is one.
    pub app: Option<String>,
    /// The full name of the ledger that it was on.
    pub ledger: String,
    /// The cluster and the workloads that it acted on, in one line; `None`: on none, or its journal was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acts_on: Option<String>,
    /// Where its journal is.
    pub journal: JournalPlace,
    /// How far the database says that it is; without one, what the journal comes to.
    pub status: RunStatus,
    /// When it was begun.
    pub started_at: Option<Timestamp>,
    /// Who began it; `None`: its journal was not read.
    pub by: Option<By>,
    /// How it ended: `done`, `stopped`, `halted`, `aborted`, `unfinished`, `nothing` (it was never opened), or
    /// `unknown` where its journal was not read.
    pub outcome: &'static str,
    /// The step that it ended or stands at, unless it is done.
    pub at_step: Option<StepId>,
    /// How many steps it has; 0: not known.
    pub steps: usize,
    /// Milliseconds from its first entry to its last.
    pub took_ms: Option<u64>,
    /// The run that took it back.
    pub handed_over_to: Option<RunId>,
    /// Why it stands still, or why its journal was not read.
    pub why: Option<String>,
}

impl RunSummary {
    /// Of a run whose journal was read.
    pub fn read(report: &Report, journal: JournalPlace, row: Option<&RunRow>) -> Self {
        let (outcome, status) = match report.state {
            "open" => ("unfinished", RunStatus::Open),
            "halted" => ("halted", RunStatus::Halted),
            "handed-over" => ("aborted", RunStatus::Closed),
            state => (state, RunStatus::Closed),
        };
        let halt = report.pauses.last().and_then(|pause| pause.halt.as_ref());
        let halt = halt.filter(|_| matches!(outcome, "halted" | "stopped"));
        let begun = report.steps.iter().rfind(|step| step.started_at.is_some());
        Self {
            run: report.run.clone(),
            title: report.title.clone(),
            app: report.app.clone(),
            ledger: report.ledger.clone(),
            acts_on: report.acts_on.clone(),
            journal,
            status: row.map_or(status, |row| row.status),
            started_at: report.opened_at,
            by: report.by.clone(),
            outcome,
            at_step: halt
                .and_then(|halt| halt.step)
                .or(begun.map(|step| step.step))
                .filter(|_| outcome != "done"),
            steps: report.steps.len(),
            took_ms: Some(report.took_ms),
            handed_over_to: report.handed_over_to.clone(),
            why: halt.map(|halt| halt.message.clone()),
        }
    }

    /// Of a run whose journal was not read; its name holds the time.
    pub fn unread(row: &RunRow, started_at: Option<Timestamp>, why: Option<String>) -> Self {
        Self {
            run: row.run.clone(),
            title: row.title.clone(),
            app: row.app.clone(),
            ledger: row.ledger.clone(),
            acts_on: None,
            journal: row.journal.clone(),
            status: row.status,
            started_at,
            by: None,
            outcome: if row.status == RunStatus::Opening {
                "nothing"
            } else {
                "unknown"
            },
            at_step: None,
            steps: 0,
            took_ms: None,
            handed_over_to: None,
            why,
        }
    }

    /// How it ended, in 23 columns where that can be.
    fn ended(&self) -> String {
        let at = |word: &str| match self.at_step {
            Some(step) => format!("{word} at step {step} of {}", self.steps),
            None => word.to_owned(),
        };
        match (self.outcome, self.took_ms) {
            ("done", Some(ms)) => format!("done in {}", duration(ms)),
            ("unfinished", _) => match self.at_step {
                Some(step) => format!("unfinished, step {step} of {}", self.steps),
                None => "unfinished".to_owned(),
            },
            ("nothing", _) => "did nothing".to_owned(),
            ("unknown", _) => format!("{:?}", self.status).to_lowercase(),
            (outcome, _) => at(outcome),
        }
    }

    fn paint(&self) -> Paint {
        match self.outcome {
            "done" => Paint::Green,
            "halted" | "stopped" => Paint::Red,
            "nothing" | "unknown" => Paint::Dim,
            _ => Paint::Yellow,
        }
    }
}

/// Writes a list of runs, newest first as given; `more` are not listed. The ledger of each is named where they are not all
/// on one.
///
/// # Errors
/// As the writer's.
pub fn write_runs(page: &mut Page<'_>, runs: &[RunSummary], more: usize) -> io::Result<()> {
    if runs.is_empty() {
        return page.line("no runs");
    }
    let on_one = runs.iter().all(|run| run.ledger == runs[0].ledger);
    for run in runs {
        let at = run
            .started_at
            .map(|at| at.strftime("%Y-%m-%d %H:%MZ").to_string())
            .unwrap_or_default();
        let (at, ended) = (format!("{at:<17}  "), format!("{:<23} ", run.ended()));
        page.columns(&[(&at, None), (&ended, Some(run.paint()))], &run.title)?;
        let by = run.by.as_ref().map(|by| format!("  by {}@{}", by.user, by.host));
        page.line(&format!("{:<19}{}{}", "", run.run, by.unwrap_or_default()))?;
        if let Some(on) = &run.acts_on {
            page.labelled(&format!("{:<19}", ""), None, on)?;
        }
        if !on_one {
            let ledger = format!("on {}", run.ledger);
            page.labelled(&format!("{:<19}", ""), None, &ledger)?;
        }
        let behind = run.handed_over_to.as_ref().map(|to| format!("taken back by run {to}"));
        for text in behind.iter().chain(&run.why) {
            page.labelled(&format!("{:<19}", ""), None, text)?;
        }
    }
    if more > 0 {
        let text = format!(
            "and {}: -n {} lists them too",
            count(more, "older run"),
            runs.len() + more
        );
        page.labelled("", None, &text)?;
    }
    Ok(())
}
