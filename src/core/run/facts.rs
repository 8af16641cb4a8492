//! What one process has learned while it carries a run out, and how each thing that it learns is kept.

use std::collections::BTreeSet;

use crate::journal::What;
use crate::model::{Evidence, Failure, Observed, Settled, StepId};

/// What this process has learned since it began to carry the run out. Nothing of it is durable.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The newest observation of the current step; taken away by every perform.
    pub observed: Option<Observed>,
    /// How the gate of the current step settled.
    pub settled: Option<Settled>,
    /// What was to be read of the pod whose gate did not hold.
    pub evidence: Option<Box<Evidence>>,
    /// The attempt of the current step that this process has performed at least once.
    pub performed: Option<u32>,
    /// What the newest perform of this attempt reported, when it was not a success. It never decides what happened.
    pub failure: Option<Failure>,
    /// Whether this process has removed the pod that the controller had left standing.
    pub removed: bool,
    /// How much of the current step was done when it was last observed in this attempt.
    pub progress: Option<u32>,
    /// Why looking did not work, when the newest look did not.
    pub look_failure: Option<Failure>,
    /// Whether a pause was made since the newest failure.
    pub paused: bool,
    /// Applied and passed steps that this process itself has found done, be it for the first time or again.
    pub rechecked: BTreeSet<StepId>,
    /// What looking at a passed step again has shown, when it was not found done.
    pub undone: Option<(StepId, Observed)>,
    /// Whether we were asked to stop.
    pub stop: bool,
    /// Whether the current step's limit has passed since this process began to try.
    pub out_of_time: bool,
}

impl Facts {
    /// An entry is durable.
    pub fn keep_recorded(&mut self, what: &What) {
        match what {
            What::StepStarted { .. } => {
                self.performed = None;
                self.observed = None;
                self.failure = None;
                self.paused = false;
            }
            // Our own observation was the reason for this entry: no need to look at the step again.
            What::StepApplied { step, .. } => {
                self.rechecked.insert(*step);
                // Whatever was reported, it was seen done.
                self.failure = None;
                self.paused = false;
            }
            What::StepPassed { .. } => {
                *self = Self {
                    rechecked: std::mem::take(&mut self.rechecked),
                    stop: self.stop,
                    ..Self::default()
                };
            }
            _ => {}
        }
    }

    /// The current step was looked at.
    pub fn keep_observed(&mut self, seen: Result<Observed, Failure>) {
        self.paused = false;
        match seen {
            Ok(seen) => {
                self.look_failure = None;
                self.observed = Some(seen);
            }
            Err(failure) => self.look_failure = Some(failure),
        }
    }

    /// A step that was done before this process began was looked at again.
    pub fn keep_rechecked(&mut self, step: StepId, seen: Result<Observed, Failure>) {
        self.paused = false;
        match seen {
            Ok(seen) => {
                self.look_failure = None;
                if matches!(seen, Observed::Done(_)) {
                    self.rechecked.insert(step);
                } else {
                    self.undone = Some((step, seen));
                }
            }
            Err(failure) => self.look_failure = Some(failure),
        }
    }

    /// The step, or the rest of it, is about to be carried out in this attempt. What was observed before is worth
    /// nothing from here on; it is handed back, because it says where to begin.
    pub fn begin_perform(&mut self, attempt: u32) -> Observed {
        let seen = self.observed.take().unwrap_or(Observed::Untouched);
        self.progress = Some(match &seen {
            Observed::Partial(progress) => progress.done,
            _ => 0,
        });
        self.performed = Some(attempt);
        self.paused = false;
        seen
    }

    /// The pod that was left standing is about to be removed: how the gate settled before is worth nothing from here on.
    pub fn begin_removal(&mut self) {
        self.settled = None;
        self.removed = true;
        self.paused = false;
    }

    /// What carrying it out reported. It never decides what happened.
    pub fn keep_performed(&mut self, result: Result<(), Failure>) {
        self.failure = result.err();
    }
}
