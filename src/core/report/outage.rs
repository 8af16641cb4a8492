//! The time in which the app did not answer, as far as a run's journal can tell.
//!
//! It means what the plan's words mean (`plan::strategy`): from when a workload's last pod was told to stop until the
//! first one is healthy. A run that was taken back is one story with its abort: what the one stopped, the other starts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::page::{clock, moment};
use crate::journal::{Entry, What};
use crate::model::{Removal, StepId, WorkloadRef};
use crate::plan::{Action, Gate, Plan, Step};

/// The time in which no pod of a workload answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    /// When a workload's last pod was told to stop; where none ran when the run began, when that was.
    pub from: Timestamp,
    /// When the first pod of every workload was healthy; `None`: it lasts, or nobody waited for its end.
    pub to: Option<Timestamp>,
    /// Milliseconds without those between the parts; up to the newest entry where no end is known.
    pub ms: u64,
    /// Whether it began before the run did: no pod ran, or none was ready.
    pub began_before: bool,
    /// Whether it goes on.
    pub lasts: bool,
    /// Each time without an interruption, in order: more than one where only pods were replaced one after another.
    pub parts: Vec<OutagePart>,
}

/// One time without an interruption.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutagePart {
    /// From when.
    pub from: Timestamp,
    /// Until when, or as far as the journal goes.
    pub to: Timestamp,
}

impl Outage {
    /// When it was, in words: `03:00:01 to 03:00:09`; with this behind a time, which is one in UTC.
    pub(super) fn span(&self, utc: &str) -> String {
        let to = match self.to {
            Some(to) if self.began_before => format!("; the first is healthy at {}", clock(to) + utc),
            Some(to) => format!(" to {}", clock(to) + utc),
            None if self.lasts => ", and it lasts".to_owned(),
            None => "; until when is not known".to_owned(),
        };
        let from = match (self.began_before, self.to) {
            (true, _) => format!("no pod answered when the run began, {}", clock(self.from) + utc),
            (false, Some(_)) => clock(self.from),
            (false, None) => format!("since {}", moment(self.from)),
        };
        let times = match self.parts.len() {
            1 => String::new(),
            parts => format!(", {parts} times"),
        };
        format!("{from}{to}{times}")
    }
}

/// A run as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Its plan.
    pub plan: &'a Plan,
    /// Its entries, those of one legal journal.
    pub entries: &'a [Entry],
}

/// A workload without a pod that answers.
#[derive(Debug)]
struct Dark {
    from: Timestamp,
    to: Option<Timestamp>,
    began_before: bool,
}

/// The outage of a story: a run, or a run and its abort, which have one between them wherever it began and ended.
pub(super) fn find_outage(story: &[Told<'_>]) -> Option<Outage> {
    let last = story
        .iter()
        .filter_map(|told| told.entries.last())
        .map(|entry| entry.at);
    let last = last.max()?;
    let mut found = watch(story);
    found.sort_by_key(|dark| dark.from);
    let first = found.first()?;
    let is_over = story.last().is_some_and(|told| is_over(told.entries));
    let is_open = found.iter().any(|dark| dark.to.is_none());
    let mut parts: Vec<OutagePart> = Vec::new();
    for dark in &found {
        let to = dark.to.unwrap_or(last);
        match parts.last_mut().filter(|part| dark.from <= part.to) {
            Some(part) => part.to = part.to.max(to),
            None => parts.push(OutagePart { from: dark.from, to }),
        }
    }
    let length = |part: &OutagePart| u64::try_from(part.to.as_millisecond() - part.from.as_millisecond()).unwrap_or(0);
    Some(Outage {
        from: first.from,
        to: parts.last().map(|part| part.to).filter(|_| !is_open),
        ms: parts.iter().map(length).sum(),
        began_before: first.began_before,
        lasts: is_open && !is_over,
        parts,
    })
}

fn is_over(entries: &[Entry]) -> bool {
    let last = entries.last().map(|entry| &entry.what);
    // One that was handed over goes on in its abort, whose journal is not there.
    matches!(last, Some(What::RunClosed { .. } | What::RunHandedOver { .. }))
}

/// Follows every workload through the story.
fn watch(story: &[Told<'_>]) -> Vec<Dark> {
    let mut over = Vec::new();
    let mut dark: BTreeMap<WorkloadRef, Dark> = BTreeMap::new();
    for told in story {
        let Some(opened) = told.entries.first().map(|entry| entry.at) else {
            continue;
        };
        for workload in told.plan.workloads() {
            if is_dark_before(told.plan, &workload) {
                dark.entry(workload).or_insert(Dark {
                    from: opened,
                    to: None,
                    began_before: true,
                });
            }
        }
        for (index, entry) in told.entries.iter().enumerate() {
            let (step, has_begun) = match &entry.what {
                What::StepStarted { step, .. } => (*step, is_effective(*step, &told.entries[index + 1..])),
                What::StepPassed { step, .. } => (*step, false),
                _ => continue,
            };
            let Some(step) = told.plan.step(step) else { continue };
            let Some(workload) = step.action.workload() else {
                continue;
            };
            if has_begun && stops(story, step) {
                dark.entry(workload.clone()).or_insert(Dark {
                    from: entry.at,
                    to: None,
                    began_before: false,
                });
            }
            if matches!(entry.what, What::StepPassed { .. })
                && matches!(step.gate, Gate::PodHealthy { .. })
                && let Some(mut ended) = dark.remove(workload)
            {
                ended.to = Some(entry.at);
                over.push(ended);
            }
        }
    }
    over.extend(dark.into_values());
    over
}

/// Whether an attempt has effects, or may have them while nothing else is known: one that was seen to have none is
/// followed by another attempt, or by a halt for good.
fn is_effective(step: StepId, after: &[Entry]) -> bool {
    let seen = after.iter().find_map(|entry| match &entry.what {
        What::StepApplied { step: other, .. } if *other == step => Some(true),
        What::StepStarted { step: other, .. } if *other == step => Some(false),
        _ => None,
    });
    let stands = || match after.last().map(|entry| &entry.what) {
        Some(What::RunHalted { .. }) => true,
        _ => is_over(after),
    };
    seen.unwrap_or_else(|| !stands())
}

/// Whether no pod of the workload answers once the step has begun.
fn stops(story: &[Told<'_>], step: &Step) -> bool {
    match &step.action {
        Action::Scale { from, to, .. } => *to == 0 && *from > 0,
        Action::RemovePod {
            workload,
            removal: Removal::Outdated(_),
            stays: false,
            ..
        } => story
            .first()
            .is_some_and(|first| walked(first.plan, workload).len() == 1),
        _ => false,
    }
}

/// The pods of a workload that is walked; none where it is stopped whole, or where the plan is that of an abort, which
/// spares pods. A walk has a step for each of them.
fn walked(plan: &Plan, of: &WorkloadRef) -> Vec<String> {
    let steps = || plan.steps.iter().filter(|step| step.action.workload() == Some(of));
    if plan.strategy.is_none() || steps().any(|step| matches!(step.action, Action::Scale { .. })) {
        return Vec::new();
    }
    let pods = steps().filter_map(|step| match &step.gate {
        Gate::PodHealthy { workload, pod, .. } => Some(format!("{}/{pod}", workload.namespace)),
        _ => None,
    });
    pods.collect()
}

/// Whether no pod of the workload ran, or none was ready, when the plan was made, and one is started.
fn is_dark_before(plan: &Plan, of: &WorkloadRef) -> bool {
    let mut steps = plan.steps.iter().filter(|step| step.action.workload() == Some(of));
    let starts = steps.clone().any(|step| matches!(step.gate, Gate::PodHealthy { .. }));
    let scaled = steps.find_map(|step| match &step.action {
        Action::Scale { from, .. } => Some(*from),
        _ => None,
    });
    let walked = walked(plan, of);
    starts && (scaled == Some(0) || !walked.is_empty() && walked.iter().all(|pod| plan.unready.contains(pod)))
}
