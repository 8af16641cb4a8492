//! The executor: carries a plan out, one move at a time.
//!
//! Responsible for: the loop that asks core's `decide` for the next move, makes it through one seam and keeps the fact
//! that it learned; and durable appends, read back when their outcome is unknown. Not for: deciding, waiting, or
//! knowing any driver or client.
//!
//! A fresh run is a resume of a journal with one entry: there is no recovery code.

mod append;
mod event;
mod look;
mod over_status;
mod road;
mod world;

use std::time::Duration;

use stepback_core::journal::{Halt, Illegal, Outcome, RunState, StepState, What};
use stepback_core::model::{Failure, Observed, Settled, Stamp, StepId, Token};
use stepback_core::plan::{Plan, Step};
use stepback_core::run::{Facts, Move, decide};
use tokio::time::Instant;

use crate::journal::{Journal, JournalError};

use crate::probe::LEAVING;
pub use crate::probe::{Stop, Stopper, stop};
pub use append::append;
use append::{Patience, append_patiently};
pub use event::{Event, Listen};
pub use look::look;
pub use road::{
    Back, Consent, Coordinator, Finished, Lost, RoadError, Said, Standing, StillHeld, Unfit, WhatIsLost, bound_to,
    leaves_nothing, unless_stopped,
};
pub use world::{Unpaired, World};

/// How carrying out a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The run is closed.
    Closed(Outcome),
    /// The run stands still and can be resumed.
    Halted(Halt),
    /// Another coordinator has taken over; this one has written nothing more.
    Fenced,
}

/// Why a run could not be carried on: what it had recorded stands, and it can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal does not take entries.
    #[error("the journal cannot be written: {0}")]
    Journal(#[from] JournalError),
    /// An entry would not be legal: a mistake in this program, found before it was written.
    #[error("the next journal entry is not legal: {0}")]
    Illegal(#[from] Illegal),
    /// The plan cannot be written down: a mistake in this program, found before a run was opened.
    #[error("the plan cannot be written: {0}")]
    Plan(serde_json::Error),
    /// Somebody asked to stop, and the journal did not answer.
    #[error("it was asked to stop, and its journal did not answer within {} s: what was seen last is not recorded, nor that it halted", LEAVING.as_secs())]
    Unrecorded,
}

/// A run that is being carried out.
pub struct Execution<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The state that its journal tells.
    pub state: RunState,
    /// The right to act; that of the newest entry.
    pub token: Token,
    /// Where its entries go.
    pub journal: &'a dyn Journal,
    /// What it acts on.
    pub world: World<'a>,
    /// The wish to stop.
    pub stop: Stop,
}

/// Carries a run out to its end, a halt, or the loss of the right to act.
///
/// # Errors
/// When the journal does not take an entry. What happened until then can be resumed.
pub async fn execute(mut run: Execution<'_>, listener: &mut dyn Listen) -> Result<Ending, RunError> {
    let mut facts = Facts::default();
    let mut clock = Clock::start();
    loop {
        facts.stop = run.stop.is_asked();
        facts.out_of_time = run
            .state
            .current()
            .and_then(|id| run.plan.step(id))
            // All have passed, and a resume looks at them again: that too has a limit.
            .or(run.plan.steps.last())
            .is_some_and(|step| clock.is_over(Duration::from_millis(run.plan.trying_ms(step))));
        match decide(run.plan, &run.state, &facts) {
            Move::Record(what) => match run.record(what, &mut facts, &mut clock, listener).await {
                Err(RunError::Journal(JournalError::Fenced(_))) => return Ok(Ending::Fenced),
                recorded => recorded?,
            },
            Move::Observe(id) => run.observe(id, &mut facts, &mut clock, listener).await,
            Move::Recheck(id) => run.recheck(id, &mut facts, &mut clock, listener).await,
            Move::Perform(id) => run.perform(id, &mut facts, listener).await,
            Move::Settle(id) => run.settle(id, &mut facts, listener).await,
            Move::Remove(id) => run.remove(id, &mut facts).await,
            Move::Pause(id) => clock.pause(id, &mut run.stop, &mut facts, listener).await,
            Move::Finish => return Ok(run.ending()),
        }
    }
}

impl Execution<'_> {
    async fn record(
        &mut self,
        what: What,
        facts: &mut Facts,
        clock: &mut Clock,
        listener: &mut dyn Listen,
    ) -> Result<(), RunError> {
        let begun = Instant::now();
        // That which is over has a last step; what it waits for is said of that one.
        let step = self
            .state
            .current()
            .and_then(|id| self.plan.step(id))
            .or(self.plan.steps.last());
        let mut say = |reason| {
            if let Some(step) = step {
                listener.hear(Event::Retrying { step: step.id, reason });
            }
        };
        let limit = Duration::from_millis(step.map_or(0, |step| self.plan.trying_ms(step)));
        let patience = Patience::of_step(limit, &self.stop, &mut say);
        let mut stop = self.stop.clone();
        // What is on its way is looked for by whoever resumes, as after a lost reply.
        let entry = tokio::select! {
            biased;
            entry = append_patiently(self.journal, &mut self.state, self.token, what, patience) => entry?,
            () = stop.left() => return Err(RunError::Unrecorded),
        };
        // A journal that is away takes nothing of the step's own time.
        clock.started += begun.elapsed();
        facts.keep_recorded(&entry.what);
        if matches!(entry.what, What::StepPassed { .. }) {
            *clock = Clock::start();
        }
        listener.hear(Event::Entry(entry));
        Ok(())
    }

    fn step(&self, id: StepId) -> &Step {
        self.plan.step(id).expect("the state has as many steps as the plan")
    }

    async fn observe(&self, id: StepId, facts: &mut Facts, clock: &mut Clock, listener: &mut dyn Listen) {
        let seen = self.world.observe(self.plan, self.step(id)).await;
        if let Ok(seen) = &seen {
            clock.see(seen);
        }
        tell(id, &seen, listener);
        facts.keep_observed(seen);
    }

    async fn recheck(&self, id: StepId, facts: &mut Facts, clock: &mut Clock, listener: &mut dyn Listen) {
        let seen = self.world.recheck(self.plan, self.step(id)).await;
        if seen.is_ok() {
            *clock = Clock::start();
        }
        tell(id, &seen, listener);
        facts.keep_rechecked(id, seen);
    }

    async fn perform(&self, id: StepId, facts: &mut Facts, listener: &mut dyn Listen) {
        let Some(StepState::Started { attempt }) = self.state.step(id) else {
            return;
        };
        if facts.performed != Some(attempt) {
            listener.hear(Event::Performing(id));
        }
        let seen = facts.begin_perform(attempt);
        facts.keep_performed(self.world.perform(self.step(id), &seen, &self.stamp(id)).await);
    }

    /// No attempt of its own: it is the rest of what was begun.
    async fn remove(&self, id: StepId, facts: &mut Facts) {
        facts.begin_removal();
        facts.keep_performed(self.world.remove(self.step(id), &self.stamp(id)).await);
    }

    fn stamp(&self, id: StepId) -> Stamp {
        Stamp {
            run: self.state.run.clone(),
            step: id,
            token: self.token,
        }
    }

    async fn settle(&self, id: StepId, facts: &mut Facts, listener: &mut dyn Listen) {
        facts.settled = Some(match self.world.settle(self.step(id), &self.stop, listener).await {
            Ok(settled) => settled,
            Err(failure) => Settled::Failed(failure.message),
        });
        if matches!(facts.settled, Some(Settled::Failed(_) | Settled::TimedOut(_))) {
            facts.evidence = self.world.gather(self.step(id)).await.map(Box::new);
        }
    }

    fn ending(self) -> Ending {
        match (self.state.closed, self.state.halted) {
            (Some(outcome), _) => Ending::Closed(outcome),
            (None, Some(halt)) => Ending::Halted(halt),
            (None, None) => Ending::Fenced,
        }
    }
}

fn tell(step: StepId, seen: &Result<Observed, Failure>, listener: &mut dyn Listen) {
    if let Ok(seen) = seen {
        listener.hear(Event::Observed {
            step,
            seen: seen.clone(),
        });
    }
}

/// How long this process has been trying the current step without coming further, and how long it waits between two
/// tries.
struct Clock {
    started: Instant,
    pauses: u32,
    /// How much of the step was seen done.
    done: u32,
}

impl Clock {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            pauses: 0,
            done: 0,
        }
    }

    fn is_over(&self, limit: Duration) -> bool {
        self.started.elapsed() >= limit
    }

    /// What is done was worth the time that it took: the rest has its own.
    fn see(&mut self, seen: &Observed) {
        if let Observed::Partial(progress) = seen
            && progress.done > self.done
        {
            *self = Self {
                done: progress.done,
                ..Self::start()
            };
        }
    }

    /// Waits before the next try, longer each time: 0.1 s, doubled up to 5 s.
    async fn pause(&mut self, step: StepId, stop: &mut Stop, facts: &mut Facts, listener: &mut dyn Listen) {
        let reason = |failure: &Failure| failure.message.clone();
        let reason = facts
            .look_failure
            .as_ref()
            .or(facts.failure.as_ref())
            .map(reason)
            .unwrap_or_default();
        listener.hear(Event::Retrying { step, reason });
        let wait = Duration::from_millis(100)
            .saturating_mul(1 << self.pauses.min(6))
            .min(Duration::from_secs(5));
        self.pauses += 1;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.asked() => {}
        }
        facts.paused = true;
    }
}

#[cfg(test)]
mod tests {
    use stepback_core::model::Progress;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn d17_the_clock_of_trying_starts_again_with_every_migration_that_is_done() {
        let limit = Duration::from_secs(10);
        let partial = |done| Observed::Partial(Progress { done, of: 9 });
        let mut clock = Clock::start();
        clock.see(&partial(3));
        tokio::time::advance(Duration::from_secs(9)).await;
        clock.see(&partial(4));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(!clock.is_over(limit), "the fourth was done in between");
        clock.see(&partial(4));
        clock.see(&Observed::Untouched);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(clock.is_over(limit), "looking is no progress");
    }
}
