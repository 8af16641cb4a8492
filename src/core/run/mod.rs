//! What to do next in a run.
//!
//! Responsible for: one pure function from plan, state and facts to the next move. Not for: doing it.

mod decide;
mod facts;
mod progress;

pub use decide::{Move, decide};
pub use facts::Facts;
pub use progress::{observe_scripts, recheck_scripts};
