//! What is written besides scripts: the archive, run rows, records, plans and journal lines. Every write is fenced.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use stepback_core::catalog::{Migration, Script};
use stepback_core::model::{Digest, Engine, Fingerprint, MigrationSet, RunId, RunRow, Stamp, Token, Version};

use super::lease::check_fence;
use super::{Connected, SqliteDatabase, has_table, in_transaction, look, now_text};
use crate::database::archive::{self, Binding};
use crate::database::{DbError, Record};

/// The layout's name in archive rows.
const LAYOUT: &str = "stepback";

impl SqliteDatabase {
    pub(super) async fn store_migrations(&self, token: Token, migrations: &[Migration]) -> Result<(), DbError> {
        if migrations.is_empty() {
            return Ok(());
        }
        let mut connection = self.working().await?;
        in_transaction(
            self,
            &mut connection,
            "storing scripts in the archive",
            async |connection| {
                check_fence(connection, token).await?;
                let failed = |error| self.explain("storing scripts in the archive", error);
                let archived = look::archive(connection).await.map_err(failed)?;
                let ledger = look::ledger(connection).await.map_err(failed)?;
                for migration in migrations {
                    let down = migration.down.as_ref().map(Script::sha256);
                    let present = archived.iter().find(|row| row.migration.version == migration.version);
                    let applied = ledger.iter().find(|row| row.migration.version == migration.version);
                    let same =
                        present.is_some_and(|row| row.up_sha256 == migration.up.sha256() && row.down_sha256 == down);
                    let captured = present.is_some_and(|row| row.capture == stepback_core::model::Capture::Captured);
                    // A migration that is applied was captured from what ran; the folder may have been edited since.
                    if same || (captured && applied.is_some()) {
                        continue;
                    }
                    let matching =
                        applied.filter(|row| row.up_sha256.is_none_or(|sha256| sha256 == migration.up.sha256()));
                    let revision = present.map_or(1, |row| row.revision + 1);
                    store_scripts(connection, migration).await.map_err(failed)?;
                    self.store_archive_row(connection, migration, revision, matching.and_then(|row| row.sequence))
                        .await
                        .map_err(failed)?;
                }
                Ok(())
            },
        )
        .await
    }

    async fn store_archive_row(
        &self,
        connection: &mut SqliteConnection,
        migration: &Migration,
        revision: i64,
        ledger_sequence: Option<i64>,
    ) -> Result<(), sqlx::Error> {
        let up = migration.up.sha256();
        let down = migration.down.as_ref().map(Script::sha256);
        let binding = Binding {
            engine: Engine::Sqlite,
            version: &migration.version,
            up: &up,
            down: down.as_ref(),
            ledger_sequence,
        };
        sqlx::query(
            "INSERT INTO main.stepback_archive (version, revision, name, capture, up_sha256, down_sha256, down_empty, layout, \
             ledger_sequence, binding_sha256, captured_by, captured_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(migration.version.as_str())
        .bind(revision)
        .bind(&migration.name)
        .bind(if ledger_sequence.is_some() { "captured" } else { "staged" })
        .bind(up.to_string())
        .bind(down.map(|down| down.to_string()))
        .bind(migration.down.as_ref().is_some_and(|down| down.is_empty(Engine::Sqlite)))
        .bind(LAYOUT)
        .bind(ledger_sequence)
        .bind(binding.digest().to_string())
        .bind(&self.options.by)
        .bind(now_text())
        .execute(connection)
        .await
        .map(drop)
    }

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

    pub(super) async fn store_run(&self, token: Token, row: &RunRow) -> Result<(), DbError> {
        let mut connection = self.working().await?;
        in_transaction(self, &mut connection, "writing the run's row", async |connection| {
            check_fence(connection, token).await?;
            let failed = |error| self.explain("writing the run's row", error);
            let other = look::runs(connection)
                .await
                .map_err(failed)?
                .into_iter()
                .find(|other| other.run != row.run && other.status != stepback_core::model::RunStatus::Closed);
            if let Some(other) = other {
                return Err(DbError::RunOpen(Box::new(other)));
            }
            let own = |error: serde_json::Error| DbError::Own {
                message: error.to_string(),
            };
            let status = serde_json::to_value(row.status).map_err(own)?;
            sqlx::query(
                "INSERT INTO main.stepback_run (run, plan, app, journal, status, title, closes_itself, token, changed_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
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
            check_fence(connection, stamp.token).await?;
            let own = |error: serde_json::Error| DbError::Own {
                message: error.to_string(),
            };
            let written = match record {
                Record::Release { release, schema } => {
                    sqlx::query(
                        // A fact that is recorded again is recorded once.
                        "INSERT INTO main.stepback_release (release, migrations, recorded_at, run) SELECT ?1, ?2, ?3, ?4 \
                         WHERE (SELECT migrations FROM main.stepback_release WHERE release = ?1 ORDER BY sequence DESC LIMIT 1) \
                         IS NOT ?2",
                    )
                    .bind(release.to_string())
                    .bind(serde_json::to_string(schema).map_err(own)?)
                    .bind(now_text())
                    .bind(&stamp.run.0)
                    .execute(&mut *connection)
                    .await
                }
                Record::Fingerprint { schema, fingerprint } => sqlx::query(
                    "INSERT INTO main.stepback_fingerprint (schema_sha256, sha256, body, taken_at) VALUES (?1, ?2, ?3, ?4) \
                         ON CONFLICT (schema_sha256) DO UPDATE SET sha256 = ?2, body = ?3, taken_at = ?4",
                )
                .bind(schema.digest().to_string())
                .bind(fingerprint.digest().to_string())
                .bind(archive::compress(&serde_json::to_vec(fingerprint).map_err(own)?))
                .bind(now_text())
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
        let Connected::Open(mut slot) = self.connected(false).await? else {
            return Ok(None);
        };
        let connection = slot.as_mut().expect("`connected` has opened it");
        let failed = |error| self.explain("reading a recorded fingerprint", error);
        if !has_table(connection, "stepback_fingerprint").await.map_err(failed)? {
            return Ok(None);
        }
        let row = sqlx::query("SELECT body FROM main.stepback_fingerprint WHERE schema_sha256 = ?")
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

    pub(super) async fn store_plan(&self, token: Token, run: &RunId, plan: &[u8]) -> Result<(), DbError> {
        let mut connection = self.working().await?;
        in_transaction(self, &mut connection, "storing the plan", async |connection| {
            check_fence(connection, token).await?;
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
            check_fence(connection, token).await?;
            let failed = |error| self.explain("appending to the journal", error);
            let written =
                sqlx::query("INSERT OR IGNORE INTO main.stepback_journal (run, sequence, line) VALUES (?, ?, ?)")
                    .bind(&run.0)
                    .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
                    .bind(line)
                    .execute(&mut *connection)
                    .await
                    .map_err(failed)?;
            super::lease::renew(connection, token).await.map_err(failed)?;
            Ok(written.rows_affected() == 1)
        })
        .await
    }

    pub(super) async fn read_journal(&self, run: &RunId) -> Result<Option<(Vec<u8>, Vec<String>)>, DbError> {
        let Connected::Open(mut slot) = self.connected(false).await? else {
            return Ok(None);
        };
        let connection = slot.as_mut().expect("`connected` has opened it");
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

/// Stores the bodies of a migration's scripts, compressed and in chunks. A body that is there already stays.
async fn store_scripts(connection: &mut SqliteConnection, migration: &Migration) -> Result<(), sqlx::Error> {
    for script in std::iter::once(&migration.up).chain(&migration.down) {
        let chunks = archive::pack(script.text().as_bytes());
        let count = i64::try_from(chunks.len()).unwrap_or(i64::MAX);
        for (index, chunk) in chunks.iter().enumerate() {
            sqlx::query("INSERT OR IGNORE INTO main.stepback_script (sha256, chunk, chunks, body) VALUES (?, ?, ?, ?)")
                .bind(script.sha256().to_string())
                .bind(i64::try_from(index).unwrap_or(i64::MAX))
                .bind(count)
                .bind(chunk)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// Binds the archive row of a migration to the ledger row that was just written: from staged to captured (LAWS D3).
pub(super) async fn bind_to_ledger(
    connection: &mut SqliteConnection,
    version: &Version,
    sequence: i64,
) -> Result<(), sqlx::Error> {
    let row = sqlx::query(
        "SELECT revision, up_sha256, down_sha256 FROM main.stepback_archive WHERE version = ? ORDER BY revision DESC LIMIT 1",
    )
    .bind(version.as_str())
    .fetch_one(&mut *connection)
    .await?;
    let read = |text: &str| {
        text.parse::<Digest>()
            .map_err(|error| sqlx::Error::Decode(error.to_string().into()))
    };
    let up = read(row.try_get("up_sha256")?)?;
    let down = row.try_get::<Option<&str>, _>("down_sha256")?.map(read).transpose()?;
    let binding = Binding {
        engine: Engine::Sqlite,
        version,
        up: &up,
        down: down.as_ref(),
        ledger_sequence: Some(sequence),
    };
    sqlx::query(
        "UPDATE main.stepback_archive SET capture = 'captured', ledger_sequence = ?, binding_sha256 = ? \
         WHERE version = ? AND revision = ?",
    )
    .bind(sequence)
    .bind(binding.digest().to_string())
    .bind(version.as_str())
    .bind(row.try_get::<i64, _>("revision")?)
    .execute(&mut *connection)
    .await
    .map(drop)
}
