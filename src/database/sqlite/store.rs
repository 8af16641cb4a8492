//! What is written besides the archive: run rows, records, plans and journal lines. Every write is fenced.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use stepback_core::model::{Bound, Digest, Fingerprint, MigrationSet, RunId, RunRow, Stamp, Token};

use super::lease::check_fence;
use super::{Connected, SqliteDatabase, has_table, in_transaction, look, now_text};
use crate::database::archive;
use crate::database::{DbError, Record};

impl SqliteDatabase {
    pub(super) async fn read_bodies(
        &self,
        connection: &mut SqliteConnection,
        scripts: &[Digest],
    ) -> Result<Vec<Vec<u8>>, DbError> {
        let mut bodies = Vec::with_capacity(scripts.len());
        for sha256 in scripts {
            let rows = sqlx::query("SELECT chunks, body FROM main.stepback_script WHERE sha256 = ? ORDER BY chunk")
                .bind(sha256.to_string())
                .fetch_all(&mut *connection)
                .await
                .map_err(|error| self.explain("reading scripts from the archive", error))?;
            let chunks = rows.first().map_or(0, |row| row.get::<i64, _>(0));
            let found: Vec<Vec<u8>> = rows.iter().map(|row| row.get(1)).collect();
            bodies.push(archive::unpack(sha256, usize::try_from(chunks).unwrap_or(0), &found)?);
        }
        Ok(bodies)
    }

    /// Writes the row of a run, and closes that of the run that it takes over from.
    pub(super) async fn store_run(&self, token: Token, row: &RunRow, from: Option<&RunId>) -> Result<(), DbError> {
        let mut connection = self.working().await?;
        in_transaction(self, &mut connection, "writing the run's row", async |connection| {
            let ledger = self.ledger.get();
            check_fence(connection, &ledger.table, token).await?;
            let failed = |error| self.explain("writing the run's row", error);
            if let Some(from) = from {
                sqlx::query(
                    "UPDATE main.stepback_run SET status = 'closed', token = ?2, changed_at = ?3 \
                     WHERE run = ?1 AND ledger = ?4",
                )
                .bind(&from.0)
                .bind(row.token.to_string())
                .bind(now_text())
                .bind(&ledger.table)
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
            }
            let runs = look::runs(connection).await.map_err(failed)?;
            ledger.expect_own_run(row)?;
            ledger.expect_no_other_run(row, runs)?;
            let own = |error: serde_json::Error| DbError::Own {
                message: error.to_string(),
            };
            let status = serde_json::to_value(row.status).map_err(own)?;
            sqlx::query(
                "INSERT INTO main.stepback_run (run, plan, app, journal, status, title, closes_itself, token, changed_at, ledger) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
                 ON CONFLICT (run) DO UPDATE SET status = ?5, token = ?8, changed_at = ?9",
            )
            .bind(&row.run.0)
            .bind(row.plan.0.to_string())
            .bind(&row.app)
            .bind(serde_json::to_string(&row.journal).map_err(own)?)
            .bind(status.as_str())
            .bind(&row.title)
            .bind(row.closes_itself)
            .bind(row.token.to_string())
            .bind(now_text())
            .bind(&row.ledger)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
            Ok(())
        })
        .await
    }

    pub(super) async fn store_record(&self, record: &Record, stamp: &Stamp) -> Result<(), DbError> {
        let mut connection = self.working().await?;
        in_transaction(self, &mut connection, "recording a fact", async |connection| {
            let from = self.ledger.get();
            check_fence(connection, &from.table, stamp.token).await?;
            let ledger = look::ledger(connection, &from).await;
            record.expect_applied(&ledger.map_err(|error| self.explain("reading the ledger", error))?)?;
            let own = |error: serde_json::Error| DbError::Own {
                message: error.to_string(),
            };
            let written = match record {
                Record::Release { release, schema } => {
                    sqlx::query(
                        // A fact that is recorded again is recorded once.
                        "INSERT INTO main.stepback_release (release, migrations, recorded_at, run, ledger) \
                         SELECT ?1, ?2, ?3, ?4, ?5 WHERE (SELECT migrations FROM main.stepback_release \
                         WHERE ledger = ?5 AND release = ?1 ORDER BY sequence DESC LIMIT 1) IS NOT ?2",
                    )
                    .bind(release.to_string())
                    .bind(serde_json::to_string(schema).map_err(own)?)
                    .bind(now_text())
                    .bind(&stamp.run.0)
                    .bind(&from.table)
                    .execute(&mut *connection)
                    .await
                }
                Record::Fingerprint { schema, fingerprint } => sqlx::query(
                    "INSERT INTO main.stepback_fingerprint (schema_sha256, sha256, body, taken_at, ledger) VALUES (?1, ?2, ?3, ?4, ?5) \
                         ON CONFLICT (ledger, schema_sha256) DO UPDATE SET sha256 = ?2, body = ?3, taken_at = ?4",
                )
                .bind(schema.digest().to_string())
                .bind(fingerprint.digest().to_string())
                .bind(archive::compress(&serde_json::to_vec(fingerprint).map_err(own)?))
                .bind(now_text())
                .bind(&from.table)
                .execute(&mut *connection)
                .await,
            };
            written
                .map(drop)
                .map_err(|error| self.explain("recording a fact", error))
        })
        .await
    }

    pub(super) async fn is_recorded(&self, record: &Record) -> Result<bool, DbError> {
        match record {
            Record::Fingerprint { schema, fingerprint } => Ok(self
                .read_fingerprint(schema)
                .await?
                .is_some_and(|found| found == *fingerprint)),
            Record::Release { release, schema } => {
                let seen = self.read_everything().await?;
                Ok(seen.paired(release).is_some_and(|row| row.schema == *schema))
            }
        }
    }

    pub(super) async fn read_fingerprint(&self, schema: &MigrationSet) -> Result<Option<Fingerprint>, DbError> {
        let Connected::Open(mut working) = self.connected(false).await? else {
            return Ok(None);
        };
        let connection = &mut *working;
        let failed = |error| self.explain("reading a recorded fingerprint", error);
        if !has_table(connection, "stepback_fingerprint").await.map_err(failed)? {
            return Ok(None);
        }
        let ledger = self.find_ledger(connection).await?;
        let row = sqlx::query("SELECT body FROM main.stepback_fingerprint WHERE ledger = ? AND schema_sha256 = ?")
            .bind(&ledger.table)
            .bind(schema.digest().to_string())
            .fetch_optional(connection)
            .await
            .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let damaged = |error: &dyn std::fmt::Display| DbError::Own {
            message: format!("a recorded fingerprint is damaged: {error}"),
        };
        let json = archive::decompress(&row.get::<Vec<u8>, _>(0)).map_err(|error| damaged(&error))?;
        serde_json::from_slice(&json).map(Some).map_err(|error| damaged(&error))
    }

    pub(super) async fn store_binding(&self, token: Token, bound: &Bound) -> Result<(), DbError> {
        let mut connection = self.working().await?;
        let doing = "writing down what the run acts on";
        in_transaction(self, &mut connection, doing, async |connection| {
            let ledger = self.ledger.get();
            check_fence(connection, &ledger.table, token).await?;
            let own = |error: serde_json::Error| DbError::Own {
                message: error.to_string(),
            };
            let body = serde_json::to_string(bound).map_err(own)?;
            sqlx::query(
                "INSERT OR IGNORE INTO main.stepback_binding (ledger, app, run, body, bound_at) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(&ledger.table)
            .bind(bound.app.as_deref().unwrap_or_default())
            .bind(&bound.run.0)
            .bind(body)
            .bind(now_text())
            .execute(&mut *connection)
            .await
            .map(drop)
            .map_err(|error| self.explain(doing, error))
        })
        .await
    }

    pub(super) async fn store_plan(&self, token: Token, run: &RunId, plan: &[u8]) -> Result<(), DbError> {
        let mut connection = self.working().await?;
        in_transaction(self, &mut connection, "storing the plan", async |connection| {
            check_fence(connection, &self.ledger.get().table, token).await?;
            sqlx::query("INSERT OR IGNORE INTO main.stepback_plan (run, body) VALUES (?, ?)")
                .bind(&run.0)
                .bind(plan)
                .execute(&mut *connection)
                .await
                .map(drop)
                .map_err(|error| self.explain("storing the plan", error))
        })
        .await
    }

    pub(super) async fn store_line(
        &self,
        token: Token,
        run: &RunId,
        sequence: u64,
        line: &str,
    ) -> Result<bool, DbError> {
        let mut connection = self.working().await?;
        in_transaction(self, &mut connection, "appending to the journal", async |connection| {
            check_fence(connection, &self.ledger.get().table, token).await?;
            let failed = |error| self.explain("appending to the journal", error);
            let written =
                sqlx::query("INSERT OR IGNORE INTO main.stepback_journal (run, sequence, line) VALUES (?, ?, ?)")
                    .bind(&run.0)
                    .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
                    .bind(line)
                    .execute(&mut *connection)
                    .await
                    .map_err(failed)?;
            super::lease::renew(connection, &self.ledger.get().table, token)
                .await
                .map_err(failed)?;
            Ok(written.rows_affected() == 1)
        })
        .await
    }

    pub(super) async fn read_journal(&self, run: &RunId) -> Result<Option<(Vec<u8>, Vec<String>)>, DbError> {
        let Connected::Open(mut working) = self.connected(false).await? else {
            return Ok(None);
        };
        let connection = &mut *working;
        let read = async {
            if !has_table(connection, "stepback_plan").await? {
                return Ok(None);
            }
            let plan = sqlx::query("SELECT body FROM main.stepback_plan WHERE run = ?")
                .bind(&run.0)
                .fetch_optional(&mut *connection)
                .await?;
            let Some(plan) = plan else { return Ok(None) };
            let lines = sqlx::query("SELECT line FROM main.stepback_journal WHERE run = ? ORDER BY sequence")
                .bind(&run.0)
                .fetch_all(&mut *connection)
                .await?;
            let lines = lines.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            Ok(Some((plan.try_get(0)?, lines)))
        };
        read.await.map_err(|error| self.explain("reading the journal", error))
    }
}
