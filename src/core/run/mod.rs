//! What to do next in a run.
//!
//! Responsible for: one pure function from plan, state and facts to the next move. Not for: doing it.

mod decide;
mod progress;

pub use decide::{Facts, Move, decide};
pub use progress::{observe_scripts, recheck_scripts};
