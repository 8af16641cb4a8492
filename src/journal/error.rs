//! What can go wrong with a journal.

use stepback_core::journal::Illegal;
use stepback_core::model::RunId;

/// An error of the seam.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another coordinator has written since; nothing of ours was.
    #[error("another coordinator has written to the journal of run {0}; this one does nothing more")]
    Fenced(RunId),
    /// Whoever was taken over has written since it was read; nothing of ours was. To be read again.
    #[error("the journal of run {0} has grown since it was read")]
    Grown(RunId),
    /// Whether the append took effect is not known.
    #[error("it is not known whether the journal took the entry: {0}")]
    Unknown(String),
    /// The journal cannot be reached; nothing was written.
    #[error("cannot reach the journal: {0}")]
    Unreachable(String),
    /// There is no such run.
    #[error("there is no journal of run {0}")]
    NotFound(RunId),
    /// What is there is damaged or was changed by somebody.
    #[error("the journal of run {run} is damaged: {message}")]
    Damaged {
        /// Which run.
        run: RunId,
        /// How.
        message: String,
    },
    /// A newer version of this program has written it.
    #[error("the plan of run {run} was written by a newer version of stepback, and this one cannot read it")]
    Newer {
        /// Which run.
        run: RunId,
    },
    /// The plan is larger than the place can hold.
    #[error("the plan has {bytes} bytes, more than the {limit} that this journal can hold")]
    TooLarge {
        /// Its size, compressed.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The place holds another run that is not over; nothing was written.
    #[error("{place} holds the journal of run {run}, which is not over; resume it, or name another place")]
    Occupied {
        /// Where.
        place: String,
        /// The run that is there.
        run: RunId,
    },
    /// A right is missing.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// What keeps the journal will not have it, and will not have it again; nothing was written.
    #[error("the journal was refused: {0}")]
    Refused(String),
}

impl JournalError {
    /// A journal whose entries do not follow from one another.
    pub fn illegal(run: &RunId, illegal: &Illegal) -> Self {
        Self::Damaged {
            run: run.clone(),
            message: illegal.to_string(),
        }
    }
}
