//! The journal: what we intended and what we saw.
//!
//! Responsible for: what an entry is, its line, its hash, and the one table of legal transitions, used when
//! appending and when reading back. Not for: where the lines are kept (the root crate's `journal`).

mod entry;
mod replay;

pub use entry::{By, Entry, FORMAT, Halt, HaltKind, LineError, Outcome, What};
pub use replay::{Illegal, ReadBack, RunState, StepState, read_lines};
