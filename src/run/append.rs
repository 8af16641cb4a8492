//! A durable append: legal before it is written, and read back when its outcome is unknown.

use std::time::Duration;

use stepback_core::journal::{Entry, FORMAT, RunState, What};
use stepback_core::model::Token;

use super::RunError;
use crate::journal::{Journal, JournalError};

/// How often an append whose outcome is unknown is read back; with the pauses between, for about 6 s.
const TRIES: u32 = 6;

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

/// Writes one entry and makes sure that it is there. An append that did not succeed is read back before anything else:
/// our entry may be there all the same, also when a second append of it was refused because the first had landed.
///
/// # Errors
/// As [`append`].
pub(super) async fn write(journal: &dyn Journal, state: &RunState, entry: &Entry) -> Result<(), RunError> {
    let mut error = match journal.append(&state.run, entry).await {
        Ok(()) => return Ok(()),
        Err(error) => may_be_there(error)?,
    };
    for tries in 1..=TRIES {
        match journal.read(&state.run).await {
            Ok(stored) => match stored.entries.iter().find(|other| other.sequence == entry.sequence) {
                Some(other) if other == entry => return Ok(()),
                Some(_) => return Err(JournalError::Fenced(state.run.clone()).into()),
                None if matches!(error, JournalError::Fenced(_)) => return Err(error.into()),
                None => match journal.append(&state.run, entry).await {
                    Ok(()) => return Ok(()),
                    Err(again) => error = may_be_there(again)?,
                },
            },
            // Not known, and not to be known just now: appending again could only be refused, and prove nothing.
            Err(unread) => drop(may_be_there(unread)?),
        }
        if tries < TRIES {
            tokio::time::sleep(Duration::from_millis(100 << tries)).await;
        }
    }
    Err(error.into())
}

/// Passes on the errors after which our entry may be in the journal, now or soon.
fn may_be_there(error: JournalError) -> Result<JournalError, JournalError> {
    match error {
        JournalError::Unknown(_) | JournalError::Unreachable(_) | JournalError::Fenced(_) => Ok(error),
        other => Err(other),
    }
}
