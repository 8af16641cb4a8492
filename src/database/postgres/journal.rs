//! Plans and journal lines of runs whose journal lies in the database.

use sqlx::Row as _;
use stepback_core::model::{RunId, Token};

use super::PostgresDatabase;
use super::quote::Value;
use crate::database::DbError;

const PLAN: &str = "INSERT INTO {s}.plan (run, body) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const LINE: &str =
    "INSERT INTO {s}.journal (run, sequence, line) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1";
const READ: &str =
    "SELECT body FROM {s}.plan WHERE run = $1; SELECT line FROM {s}.journal WHERE run = $1 ORDER BY sequence";

impl PostgresDatabase {
    pub(super) async fn store_plan(&self, token: Token, run: &RunId, plan: &[u8]) -> Result<(), DbError> {
        let insert = self.fill(PLAN, &[(&run.0).into(), Value::Bytes(plan)]);
        self.change("storing the plan", token, &insert).await.map(drop)
    }

    pub(super) async fn store_line(
        &self,
        token: Token,
        run: &RunId,
        sequence: u64,
        line: &str,
    ) -> Result<bool, DbError> {
        let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
        let insert = self.fill(LINE, &[(&run.0).into(), sequence.into(), line.into()]);
        let results = self.change("appending to the journal", token, &insert).await?;
        Ok(results.first().is_some_and(|rows| !rows.is_empty()))
    }

    pub(super) async fn read_journal(&self, run: &RunId) -> Result<Option<(Vec<u8>, Vec<String>)>, DbError> {
        let doing = "reading the journal";
        let there = self.look_what_is_there().await?;
        if !there.has("plan") || !there.has("journal") {
            return Ok(None);
        }
        let results = self.read(doing, &self.fill(READ, &[(&run.0).into()])).await?;
        let failed = |error: sqlx::Error| self.explain(doing, &error);
        let Some(plan) = results[0].first() else {
            return Ok(None);
        };
        let plan = plan.try_get(0).map_err(failed)?;
        let lines = results[1]
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        Ok(Some((plan, lines)))
    }
}
