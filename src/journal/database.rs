//! The journal in the database itself: for runs without a cluster.
//!
//! An append is fenced by the lease's token like every other change, and by the sequence number's uniqueness.

use std::sync::Arc;

use async_trait::async_trait;
use stepback_core::journal::Entry;
use stepback_core::model::{RunId, Token};
use stepback_core::plan::Plan;

use super::{Journal, JournalError, Stored, stored, stored_plan};
use crate::database::{Database, DbError, archive};

/// Journals in the own tables of a database.
pub struct DatabaseJournal(Arc<dyn Database>);

impl DatabaseJournal {
    /// Journals in this database.
    pub fn new(database: Arc<dyn Database>) -> Self {
        Self(database)
    }
}

fn explain(run: &RunId, error: DbError) -> JournalError {
    match error {
        DbError::Fenced => JournalError::Fenced(run.clone()),
        // Whether a commit whose answer was lost took effect is not known.
        DbError::Unreachable { .. }
        | DbError::NoEntry { .. }
        | DbError::Url { .. }
        | DbError::Driver { .. }
        | DbError::Busy { .. } => JournalError::Unknown(error.to_string()),
        DbError::Refused { message, .. } | DbError::Forbidden { message, .. } => JournalError::Forbidden(message),
        other => JournalError::Damaged {
            run: run.clone(),
            message: other.to_string(),
        },
    }
}

#[async_trait]
impl Journal for DatabaseJournal {
    async fn create(&self, run: &RunId, plan: &Plan, token: Token) -> Result<(), JournalError> {
        let json = plan
            .to_json()
            .map_err(|error| JournalError::Unknown(error.to_string()))?;
        self.0
            .write_plan(token, run, &archive::compress(&json))
            .await
            .map_err(|error| explain(run, error))
    }

    async fn append(&self, run: &RunId, entry: &Entry) -> Result<(), JournalError> {
        let appended = self
            .0
            .append_line(entry.token, run, entry.sequence, &entry.to_line())
            .await;
        match appended.map_err(|error| explain(run, error))? {
            true => Ok(()),
            // The number is taken: by our own entry whose answer was lost, or by somebody else's.
            false => Err(JournalError::Unknown(format!(
                "entry {} is there already",
                entry.sequence
            ))),
        }
    }

    async fn read(&self, run: &RunId) -> Result<Stored, JournalError> {
        let found = self.0.read_lines(run).await.map_err(|error| explain(run, error))?;
        let (plan, lines) = found.ok_or_else(|| JournalError::NotFound(run.clone()))?;
        let damaged = |message: String| JournalError::Damaged {
            run: run.clone(),
            message,
        };
        let json = archive::decompress(&plan).map_err(|error| damaged(error.to_string()))?;
        let entries: Result<Vec<Entry>, _> = lines.iter().map(|line| Entry::from_line(line)).collect();
        let entries = entries.map_err(|error| damaged(error.to_string()))?;
        stored(run, stored_plan(run, &json)?, entries, None)
    }

    async fn runs(&self) -> Result<Vec<RunId>, JournalError> {
        let rows = self
            .0
            .runs()
            .await
            .map_err(|error| JournalError::Unreachable(error.to_string()))?;
        Ok(rows.into_iter().map(|row| row.run).collect())
    }
}
