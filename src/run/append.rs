//! A durable append: legal before it is written, and read back when its outcome is unknown.

use std::time::Duration;

use stepback_core::journal::{Entry, FORMAT, RunState, What};
use stepback_core::model::Token;
use tokio::time::Instant;

use super::{RunError, Stop};
use crate::journal::{Journal, JournalError};

/// For how long an append whose outcome is unknown is tried where nothing is under way, or somebody asks to stop: with
/// the pauses between, six times.
const BRIEF: Duration = Duration::from_secs(6);

/// The first pause between two tries; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// For how long an append whose outcome is unknown is tried, and who is told.
pub(super) struct Patience<'a> {
    limit: Duration,
    stop: Option<Stop>,
    say: Option<&'a mut (dyn FnMut(String) + Send)>,
}

impl Patience<'_> {
    /// A few seconds: for what can be typed again without harm.
    pub(super) fn brief() -> Self {
        Self {
            limit: BRIEF,
            stop: None,
            say: None,
        }
    }
}

impl<'a> Patience<'a> {
    /// For as long as a step may take, or until shortly after a stop is asked for: a run is not given up half-way because
    /// the journal is away for a minute. What keeps it is said once.
    pub(super) fn of_step(limit: Duration, stop: &Stop, say: &'a mut (dyn FnMut(String) + Send)) -> Self {
        Self {
            limit: limit.max(BRIEF),
            stop: Some(stop.clone()),
            say: Some(say),
        }
    }

    fn is_stop_asked(&self) -> bool {
        self.stop.as_ref().is_some_and(Stop::is_asked)
    }

    /// Waits before the next try, or until somebody asks to stop.
    async fn pause(&mut self, pause: Duration) {
        let is_asked = self.is_stop_asked();
        match &mut self.stop {
            Some(stop) if !is_asked => tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.asked() => {}
            },
            _ => tokio::time::sleep(pause).await,
        }
    }
}

/// Appends what happened to the journal and takes it into the state. Tried for a few seconds where the outcome is not
/// known.
///
/// # Errors
/// When the table of transitions does not allow it (nothing was written), when another coordinator has written since
/// ([`JournalError::Fenced`]), or when the journal cannot be written.
pub async fn append(journal: &dyn Journal, state: &mut RunState, token: Token, what: What) -> Result<Entry, RunError> {
    append_patiently(journal, state, token, what, Patience::brief()).await
}

/// The same, tried for as long as there is patience.
///
/// # Errors
/// As [`append`].
pub(super) async fn append_patiently(
    journal: &dyn Journal,
    state: &mut RunState,
    token: Token,
    what: What,
    patience: Patience<'_>,
) -> Result<Entry, RunError> {
    let entry = Entry {
        format: FORMAT,
        sequence: state.next_sequence,
        at: jiff::Timestamp::now(),
        token,
        previous: state.last_hash.clone(),
        what: what.presentable(),
    };
    let mut after = state.clone();
    after.accept(&entry)?;
    write(journal, state, &entry, patience).await?;
    *state = after;
    Ok(entry)
}

/// Writes one entry and makes sure that it is there. An append that did not succeed is read back before anything else:
/// our entry may be there all the same, also when a second append of it was refused because the first had landed.
///
/// # Errors
/// As [`append`].
pub(super) async fn write(
    journal: &dyn Journal,
    state: &RunState,
    entry: &Entry,
    mut patience: Patience<'_>,
) -> Result<(), RunError> {
    let mut ends = Instant::now() + patience.limit;
    let mut error = match journal.append(&state.run, entry).await {
        Ok(()) => return Ok(()),
        Err(error) => may_be_there(error)?,
    };
    let mut pause = FIRST_PAUSE;
    let mut hurries = false;
    loop {
        match journal.read(&state.run).await {
            Ok(stored) => match stored.entries.iter().find(|other| other.sequence == entry.sequence) {
                Some(other) if other == entry => return Ok(()),
                // Whoever was taken over had this one in hand; only a higher token is a rival.
                Some(_) if stored.entries.iter().all(|other| other.token < entry.token) => {
                    return Err(JournalError::Grown(state.run.clone()).into());
                }
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
        if !hurries && patience.is_stop_asked() {
            // Whoever asks to stop is not kept for minutes; a few seconds may still bring a clean halt.
            hurries = true;
            ends = ends.min(Instant::now() + BRIEF);
            pause = FIRST_PAUSE;
        }
        if Instant::now() >= ends {
            return Err(error.into());
        }
        if let Some(say) = patience.say.take() {
            say(error.to_string());
        }
        patience.pause(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Passes on the errors after which our entry may be in the journal, now or soon.
fn may_be_there(error: JournalError) -> Result<JournalError, JournalError> {
    match error {
        JournalError::Unknown(_) | JournalError::Unreachable(_) | JournalError::Fenced(_) => Ok(error),
        other => Err(other),
    }
}
