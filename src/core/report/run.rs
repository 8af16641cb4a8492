//! A run as its journal tells it.

use jiff::Timestamp;
use serde::Serialize;

use super::outage::{Outage, Told, find_outage};
use crate::journal::{By, Entry, Halt, Outcome, What};
use crate::model::{DeadPod, Finding, RunId, StepId, Target};
use crate::plan::{ChosenStrategy, ClusterRef, Gate, Plan, Step, Strategy};

/// What was done when, by whom, how long it took and how it ended. Made from the plan and the journal alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The run.
    pub run: RunId,
    /// The plan's id.
    pub plan: String,
    /// What it does.
    pub title: String,
    /// The app, when there is one.
    pub app: Option<String>,
    /// The database, without its password.
    pub database: String,
    /// The full name of the ledger that it was on.
    pub ledger: String,
    /// The cluster that its plan was made for; `None` where no workload takes part.
    pub cluster: Option<ClusterRef>,
    /// That and the workloads, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acts_on: Option<String>,
    /// Where it came from.
    pub from: Target,
    /// Where it goes.
    pub to: Target,
    /// Which way back, and why; `None` where no workload takes part.
    pub strategy: Option<ChosenStrategy>,
    /// What was found and accepted when the plan was made.
    pub findings: Vec<Finding>,
    /// `open`, `halted`, `done`, `stopped` or `handed-over`.
    pub state: &'static str,
    /// Who opened it.
    pub by: Option<By>,
    /// When it was opened.
    pub opened_at: Option<Timestamp>,
    /// When the newest entry was written.
    pub last_at: Option<Timestamp>,
    /// Milliseconds between the two.
    pub took_ms: u64,
    /// The time in which the app did not answer; `None`: as far as is known, there was none.
    pub outage: Option<Outage>,
    /// The steps, in the plan's order.
    pub steps: Vec<StepReport>,
    /// Each time that it stood still.
    pub pauses: Vec<Pause>,
    /// The run that it took back.
    pub aborts: Option<RunId>,
    /// The run that took over from it.
    pub handed_over_to: Option<RunId>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// Its number.
    pub step: StepId,
    /// What it does.
    pub does: String,
    /// What it acts on: `database` or `workload`.
    pub on: &'static str,
    /// `pending`, `started`, `applied` or `passed`.
    pub state: &'static str,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was first started.
    pub started_at: Option<Timestamp>,
    /// When its effects were seen.
    pub applied_at: Option<Timestamp>,
    /// When its gate held.
    pub passed_at: Option<Timestamp>,
    /// Milliseconds from its start until it passed.
    pub ms: Option<u64>,
    /// What was seen when it was applied and when it passed.
    pub seen: Vec<String>,
}

/// The run stood still, until it was resumed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// When it halted; `None`: its coordinator ended without a word.
    pub halted_at: Option<Timestamp>,
    /// The last entry before it stood still: a coordinator that ended without a word did so after this.
    pub last_heard_at: Option<Timestamp>,
    /// Why.
    pub halt: Option<Halt>,
    /// When it was resumed; `None`: it still stands.
    pub resumed_at: Option<Timestamp>,
    /// By whom.
    pub resumed_by: Option<By>,
    /// The pods of which whoever resumed it has said that they are dead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub said_dead: Vec<DeadPod>,
}

impl Pause {
    /// What whoever resumed it has said, in words: `; said to be dead: shop-1 (UID)`.
    pub(super) fn said(&self) -> String {
        let dead: Vec<String> = self
            .said_dead
            .iter()
            .map(|dead| format!("{} ({})", dead.pod, dead.uid))
            .collect();
        match dead.is_empty() {
            true => String::new(),
            false => format!("; said to be dead: {}", dead.join(", ")),
        }
    }
}

impl Report {
    /// Makes the report. The entries are those of one legal journal.
    pub fn new(run: &RunId, plan: &Plan, entries: &[Entry]) -> Self {
        let first = entries.first().map(|entry| entry.at);
        let last = entries.last().map(|entry| entry.at);
        let mut report = Self {
            run: run.clone(),
            plan: plan.id.to_string(),
            title: plan.title.clone(),
            app: plan.app.clone(),
            database: plan.database.redacted.clone(),
            ledger: plan.database.ledger.table.clone(),
            cluster: plan.cluster.clone(),
            acts_on: plan.acts_on(),
            from: plan.from.clone(),
            to: plan.to.clone(),
            strategy: plan.strategy.clone(),
            findings: plan.findings.clone(),
            state: "open",
            by: None,
            opened_at: first,
            last_at: last,
            took_ms: between(first, last).unwrap_or(0),
            outage: None,
            steps: plan.steps.iter().map(StepReport::pending).collect(),
            pauses: Vec::new(),
            aborts: None,
            handed_over_to: None,
        };
        let mut heard = None;
        for entry in entries {
            report.take(plan, entry, heard);
            heard = Some(entry.at);
        }
        report.outage = find_outage(&[Told { plan, entries }]);
        report
    }

    /// The same of a run that took another one back, or was taken back by it: the outage that one of them began, the other
    /// may have ended.
    #[must_use]
    pub fn beside(mut self, own: Told<'_>, other: Told<'_>) -> Self {
        self.outage = match &self.aborts {
            Some(_) => find_outage(&[other, own]),
            None => find_outage(&[own, other]),
        };
        self
    }

    /// Whether it can still be continued.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.state, "open" | "halted")
    }

    fn take(&mut self, plan: &Plan, entry: &Entry, heard: Option<Timestamp>) {
        match &entry.what {
            What::RunOpened { by, aborts, .. } => {
                self.by = Some(by.clone());
                self.aborts.clone_from(aborts);
            }
            What::RunResumed { by, dead, .. } => {
                self.state = "open";
                let resumed = (Some(entry.at), Some(by.clone()));
                match self.pauses.last_mut().filter(|pause| pause.resumed_at.is_none()) {
                    Some(pause) => {
                        (pause.resumed_at, pause.resumed_by) = resumed;
                        pause.said_dead.clone_from(dead);
                    }
                    None => self.pauses.push(Pause {
                        halted_at: None,
                        last_heard_at: heard,
                        halt: None,
                        resumed_at: resumed.0,
                        resumed_by: resumed.1,
                        said_dead: dead.clone(),
                    }),
                }
            }
            What::StepStarted { step, attempt } => {
                if let Some(step) = self.step_mut(*step) {
                    step.state = "started";
                    step.attempts = *attempt;
                    step.started_at.get_or_insert(entry.at);
                }
            }
            What::StepApplied { step, seen } => {
                if let Some(step) = self.step_mut(*step) {
                    step.state = "applied";
                    step.applied_at = Some(entry.at);
                    step.see(seen);
                }
            }
            What::StepPassed { step, seen } => {
                let has_gate = plan.step(*step).is_some_and(|step| step.gate != Gate::None);
                if let Some(step) = self.step_mut(*step) {
                    step.state = "passed";
                    step.passed_at = Some(entry.at);
                    step.ms = between(step.started_at, Some(entry.at));
                    if has_gate {
                        step.see(seen);
                    }
                }
            }
            What::RunHalted { halt } => {
                self.state = "halted";
                self.pauses.push(Pause {
                    halted_at: Some(entry.at),
                    last_heard_at: heard,
                    halt: Some(halt.clone()),
                    resumed_at: None,
                    resumed_by: None,
                    said_dead: Vec::new(),
                });
            }
            What::RunClosed { outcome } => {
                self.state = match outcome {
                    Outcome::Done => "done",
                    Outcome::Stopped => "stopped",
                }
            }
            What::Unknown => {}
            What::RunHandedOver { to } => {
                self.state = "handed-over";
                self.handed_over_to = Some(to.clone());
            }
        }
    }

    fn step_mut(&mut self, id: StepId) -> Option<&mut StepReport> {
        self.steps.iter_mut().find(|step| step.step == id)
    }
}

impl Pause {
    /// From when to when nothing was done, where it is over.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.halted_at.or(self.last_heard_at)?, self.resumed_at?))
    }
}

impl StepReport {
    fn pending(step: &Step) -> Self {
        Self {
            step: step.id,
            does: step.action.describe(),
            on: match step.action.workload() {
                Some(_) => "workload",
                None => "database",
            },
            state: "pending",
            attempts: 0,
            started_at: None,
            applied_at: None,
            passed_at: None,
            ms: None,
            seen: Vec::new(),
        }
    }

    fn see(&mut self, what: &str) {
        if !what.is_empty() && self.seen.last().is_none_or(|last| last != what) {
            self.seen.push(what.to_owned());
        }
    }
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<u64> {
    u64::try_from(to?.as_millisecond() - from?.as_millisecond()).ok()
}

/// The strategy as it is typed.
pub(super) fn strategy_name(strategy: Strategy) -> String {
    match serde_json::to_value(strategy) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{strategy:?}").to_lowercase(),
    }
}
