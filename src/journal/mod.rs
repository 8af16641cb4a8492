//! Where the journal's lines are kept.
//!
//! Responsible for: durable appends that an older coordinator cannot make, and reading everything back. Not for: what
//! an entry means or whether it is allowed (core). `run` and `cli` use it through [`Journal`].

mod cluster;
mod database;
mod error;
mod file;
mod places;

use std::sync::Arc;

use async_trait::async_trait;
use stepback_core::journal::{Entry, RunState, What};
use stepback_core::model::{DatabaseRef, JournalPlace, RunId, RunRow, Token};
use stepback_core::plan::{FORMAT, Plan};

pub use cluster::ClusterJournal;
pub use database::DatabaseJournal;
pub use error::JournalError;
pub use file::FileJournal;
pub use places::Places;

/// A journal as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The plan; its id was checked against its contents.
    pub plan: Plan,
    /// The entries, each line's checksum checked; their order and legality is for `RunState::replay`.
    pub entries: Vec<Entry>,
    /// A torn last line, cut off when the next entry is appended.
    pub torn: Option<String>,
}

impl Stored {
    /// The state of the run, as its entries tell it; `None` where there is none.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the entries do not follow from one another.
    pub fn state(&self, run: &RunId) -> Result<Option<RunState>, JournalError> {
        RunState::replay(&self.entries, self.plan.steps.len()).map_err(|illegal| JournalError::illegal(run, &illegal))
    }
}

/// A store of journals.
///
/// # Guarantees
/// - `Ok` of [`Journal::append`] means durable.
/// - An entry is appended only behind the entry that it follows: an append by a coordinator that does not know the
///   newest entry fails, and changes nothing.
///
/// # Assumptions
/// - The caller has checked the entry against the table of transitions.
///
/// # After a crash
/// Every entry whose append was answered with `Ok` is read back. One whose answer was lost may be there or not:
/// [`JournalError::Unknown`]; the caller reads back and compares sequence and hash.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Stores the plan of a run, before its first entry. Storing the same plan again is no error.
    async fn create(&self, run: &RunId, plan: &Plan, token: Token) -> Result<(), JournalError>;

    /// Appends one entry.
    async fn append(&self, run: &RunId, entry: &Entry) -> Result<(), JournalError>;

    /// Reads a run's plan and entries.
    async fn read(&self, run: &RunId) -> Result<Stored, JournalError>;

    /// The runs that have a plan here, newest first.
    async fn runs(&self) -> Result<Vec<RunId>, JournalError>;

    /// Removes the oldest runs of an app that are over until some are left, and what there is of those that never began; and
    /// returns which. Nothing where room is no question. Runs that are not over stay.
    ///
    /// # Assumptions
    /// - The caller holds the ledger's lease, and has read the rows since: nobody else opens a run on it.
    async fn prune(&self, _pruning: &Pruning<'_>) -> Result<Vec<RunId>, JournalError> {
        Ok(Vec::new())
    }
}

/// Which runs are to be removed, and what only the database knows of them.
#[derive(Clone, Copy, Debug)]
pub struct Pruning<'a> {
    /// The app.
    pub app: &'a str,
    /// How many runs that are over stay.
    pub keep: usize,
    /// The rows of all runs of the database.
    pub rows: &'a [RunRow],
    /// The database, and the ledger on which the caller holds the lease.
    pub database: &'a DatabaseRef,
}

/// Opens journals by their place.
pub trait Journals: Send + Sync {
    /// The journals of this place.
    ///
    /// # Errors
    /// When the place cannot be reached from here.
    fn open(&self, place: &JournalPlace) -> Result<Arc<dyn Journal>, JournalError>;
}

/// What a plan of any format begins with.
#[derive(serde::Deserialize)]
struct PlanHead {
    format: u32,
}

/// Reads a stored plan and checks it against its own id: a plan that somebody has changed is not carried out
/// (LAWS W8).
pub(crate) fn stored_plan(run: &RunId, json: &[u8]) -> Result<Plan, JournalError> {
    let damaged = |message: String| JournalError::Damaged {
        run: run.clone(),
        message,
    };
    let unread = |error: serde_json::Error| damaged(format!("its plan: {error}"));
    let format = serde_json::from_slice::<PlanHead>(json).map_err(unread)?.format;
    if format > FORMAT {
        return Err(JournalError::Newer { run: run.clone() });
    }
    let plan: Plan = serde_json::from_slice(json).map_err(unread)?;
    let id = plan
        .compute_id()
        .map_err(|error| damaged(format!("its plan: {error}")))?;
    if id != plan.id {
        return Err(damaged(format!(
            "its plan was changed: it says {}, its contents say {id}",
            plan.id
        )));
    }
    Ok(plan)
}

/// Puts a journal together, once its first entry names the plan that is stored with it (LAWS W8).
pub(crate) fn stored(
    run: &RunId,
    plan: Plan,
    entries: Vec<Entry>,
    torn: Option<String>,
) -> Result<Stored, JournalError> {
    if let Some(What::RunOpened {
        run: opened, plan: id, ..
    }) = entries.first().map(|entry| &entry.what)
        && (*id != plan.id || opened != run)
    {
        return Err(JournalError::Damaged {
            run: run.clone(),
            message: format!(
                "run {opened} was opened with plan {id}, but plan {} is stored with it",
                plan.id
            ),
        });
    }
    Ok(Stored { plan, entries, torn })
}
