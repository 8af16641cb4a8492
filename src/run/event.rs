//! What is said to whoever is listening, and gone if nobody is.

use stepback_core::journal::{Entry, Halt};
use stepback_core::model::{Observed, RunId, StepId};
use stepback_core::plan::Plan;

/// Something that happened just now.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An entry is durable.
    Entry(Entry),
    /// The step was looked at.
    Observed {
        /// Which.
        step: StepId,
        /// What was seen.
        seen: Observed,
    },
    /// The step is being carried out.
    Performing(StepId),
    /// The step's gate does not hold yet.
    Waiting {
        /// Which.
        step: StepId,
        /// Why, in a sentence.
        reason: String,
    },
    /// Another coordinator holds the lease, and it is waited for.
    Held {
        /// Who, and how long its lease lives if it is dead.
        reason: String,
    },
    /// The run has halted and goes back by itself; what is said from here on is of its abort.
    TurningBack {
        /// The run that halted.
        run: RunId,
        /// Why it halted.
        halt: Box<Halt>,
        /// The plan of its abort.
        plan: Box<Plan>,
    },
    /// Something did not work and is tried again.
    Retrying {
        /// Which step.
        step: StepId,
        /// Why, in a sentence.
        reason: String,
    },
}

/// Who listens to a run.
pub trait Listen: Send {
    /// Takes one event. Must not block.
    fn hear(&mut self, event: Event);
}

impl<F: FnMut(Event) + Send> Listen for F {
    fn hear(&mut self, event: Event) {
        self(event);
    }
}
