//! A durable append: legal before it is written, and read back when its outcome is unknown.

use stepback_core::journal::{Entry, FORMAT, RunState, What};
use stepback_core::model::Token;

use super::RunError;
use crate::journal::{Journal, JournalError};

/// How often an append whose outcome is unknown is read back and tried again.
const TRIES: u32 = 4;

/// Appends what happened to the journal and takes it into the state.
///
/// # Errors
/// When the table of transitions does not allow it (nothing was written), when another coordinator has written since
/// ([`JournalError::Fenced`]), or when the journal cannot be written.
pub async fn append(journal: &dyn Journal, state: &mut RunState, token: Token, what: What) -> Result<Entry, RunError> {
    let entry = Entry {
        format: FORMAT,
        sequence: state.next_sequence,
        at: jiff::Timestamp::now(),
        token,
        previous: state.last_hash.clone(),
        what,
    };
    let mut after = state.clone();
    after.accept(&entry)?;
    write(journal, state, &entry).await?;
    *state = after;
    Ok(entry)
}

/// Writes the first entry of a run, or any other, and makes sure that it is there.
///
/// # Errors
/// As [`append`].
async fn write(journal: &dyn Journal, state: &RunState, entry: &Entry) -> Result<(), RunError> {
    let mut tries = 0;
    loop {
        let error = match journal.append(&state.run, entry).await {
            Ok(()) => return Ok(()),
            Err(error @ (JournalError::Unknown(_) | JournalError::Unreachable(_))) => error,
            Err(error) => return Err(error.into()),
        };
        tries += 1;
        if tries == TRIES {
            return Err(error.into());
        }
        // A lost reply: our entry may be there, or somebody else's.
        let stored = match journal.read(&state.run).await {
            Ok(stored) => stored,
            Err(JournalError::Unknown(_) | JournalError::Unreachable(_)) => {
                tokio::time::sleep(std::time::Duration::from_millis(100 << tries)).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match stored.entries.iter().find(|other| other.sequence == entry.sequence) {
            Some(other) if other == entry => return Ok(()),
            Some(_) => return Err(JournalError::Fenced(state.run.clone()).into()),
            None => {}
        }
    }
}
