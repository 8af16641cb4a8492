//! Carrying scripts out: fence, script, ledger row and our own rows in one transaction each (LAWS D4, D8, D10).

use std::time::{Duration, Instant};

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use stepback_core::model::{Direction, Engine, ScriptRef, Stamp};
use stepback_core::sql::{Transactional, transactional};

use super::lease::{check_fence, renew};
use super::limit::Watch;
use super::watched::{self, Watched};
use super::{SqliteDatabase, capture, in_transaction, look};
use crate::database::DbError;
use crate::database::ledger::{Entry, Ledger};

/// The one function that quotes a name for SQLite.
pub(super) use stepback_core::sql::quoted as quote;

/// How long `advance` goes on before it returns with the rest undone, so that a signal or a progress bar is not kept
/// waiting by a thousand migrations.
const BATCH_TIME: Duration = Duration::from_millis(500);

/// How many scripts' bodies are read at once.
const BATCH: usize = 100;

impl SqliteDatabase {
    pub(super) async fn carry_out(
        &self,
        direction: Direction,
        scripts: &[ScriptRef],
        stamp: &Stamp,
    ) -> Result<(), DbError> {
        let started = Instant::now();
        let batch = &scripts[..scripts.len().min(BATCH)];
        let names: Vec<_> = batch.iter().map(|script| script.sha256).collect();
        let (bodies, ups) = {
            let mut connection = self.working().await?;
            let bodies = self.read_bodies(&mut connection, &names).await?;
            (bodies, self.read_ups(&mut connection, direction, batch).await?)
        };
        let ledger = self.ledger.get();
        for ((script, body), up) in batch.iter().zip(&bodies).zip(&ups) {
            let entry = ledger.entry(&script.migration, &script.up_sha256, up.as_ref().unwrap_or(body))?;
            let ready = transactional(body, Engine::Sqlite).map_err(|problem| DbError::Check {
                migration: script.migration.clone(),
                message: problem.to_string(),
                hint: None,
            })?;
            let mut connection = self.working().await?;
            if touches_session(body) {
                // Nor may it see what is ours: `last_insert_rowid()` would be a ledger row's.
                connection.end().await;
                connection = self.working().await?;
            }
            // Not possible inside a transaction, and never left over from the script before.
            let pragma = format!(
                "PRAGMA foreign_keys = {}",
                if ready.foreign_keys == Some(true) { "ON" } else { "OFF" }
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(pragma))
                .execute(&mut *connection)
                .await
                .map_err(|error| self.explain("setting foreign_keys", error))?;
            let carried = in_transaction(self, &mut connection, "carrying a migration out", async |connection| {
                check_fence(connection, &ledger.table, stamp.token).await?;
                let watch = Watch::start(connection, &self.options).await;
                let watch = watch.map_err(|error| self.explain("carrying a migration out", error))?;
                let carried = self.carry_one_out(connection, direction, script, &ready, &entry, &watch);
                let carried = carried.await;
                watch.end(connection, &script.migration, carried).await?;
                let renewed = renew(connection, &ledger.table, stamp.token).await;
                renewed.map_err(|error| self.explain("writing the heartbeat", error))
            })
            .await;
            if touches_session(body) {
                connection.end().await;
            }
            carried?;
            if started.elapsed() > BATCH_TIME {
                break;
            }
        }
        Ok(())
    }

    /// The up scripts of a batch of downs, where the ledger's rows can be told only from them.
    async fn read_ups(
        &self,
        connection: &mut SqliteConnection,
        direction: Direction,
        batch: &[ScriptRef],
    ) -> Result<Vec<Option<Vec<u8>>>, DbError> {
        if direction == Direction::Up || !self.ledger.get().needs_up_text() {
            return Ok(vec![None; batch.len()]);
        }
        let names: Vec<_> = batch.iter().map(|script| script.up_sha256).collect();
        let ups = self.read_bodies(connection, &names).await?;
        Ok(ups.into_iter().map(Some).collect())
    }

    async fn carry_one_out(
        &self,
        connection: &mut SqliteConnection,
        direction: Direction,
        script: &ScriptRef,
        ready: &Transactional<'_>,
        entry: &Entry,
        watch: &Watch,
    ) -> Result<(), DbError> {
        let ledger = &*self.ledger.get();
        let failed = |error| self.explain("checking before a migration", error);
        let check = |message: String| DbError::Check {
            migration: script.migration.clone(),
            message,
            hint: None,
        };
        let unwatched = |message: String| DbError::Check {
            migration: script.migration.clone(),
            message,
            hint: Some(watched::HINT),
        };
        let started = Instant::now();
        expect_ledger_row(connection, ledger, entry, direction, script).await?;
        let watched = Watched::before(connection, ready).await.map_err(failed)?;
        for statement in &ready.statements {
            watch.begin(statement.line);
            let run = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.text))
                .execute(&mut *connection)
                .await;
            run.map_err(|error| self.script_failed(script, statement.line, error))?;
        }
        watch.leave_script();
        watched.compare(connection).await.map_err(failed)?.map_err(unwatched)?;
        let failed = |error| self.explain("writing the ledger", error);
        let statements = ledger.statements(Engine::Sqlite);
        let write = |statement: &str, elapsed| {
            sqlx::query(sqlx::AssertSqlSafe(statement.replace("{l}", &ledger.quoted)))
                .bind(entry.version.clone())
                .bind(entry.name.clone())
                .bind(entry.checksum.clone())
                .bind(ledger.time(elapsed))
        };
        match direction {
            Direction::Up => {
                let row = write(statements.insert, started.elapsed())
                    .fetch_one(&mut *connection)
                    .await
                    .map_err(failed)?;
                let sequence: i64 = row.get(0);
                capture::bind(connection, ledger, &script.migration.version, Some(sequence))
                    .await
                    .map_err(failed)?;
            }
            Direction::Down => {
                let gone = write(statements.delete, started.elapsed())
                    .execute(&mut *connection)
                    .await
                    .map_err(failed)?;
                if gone.rows_affected() != 1 {
                    return Err(check("its ledger row vanished while its down script ran".to_owned()));
                }
                if !ledger.is_own() {
                    capture::bind(connection, ledger, &script.migration.version, None)
                        .await
                        .map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    fn script_failed(&self, script: &ScriptRef, line: usize, error: sqlx::Error) -> DbError {
        match self.explain("running a script", error) {
            DbError::Busy { message } => DbError::Script {
                migration: script.migration.clone(),
                message: format!("line {line}: {message}"),
                retry: true,
            },
            DbError::Driver { message, .. } => DbError::Script {
                migration: script.migration.clone(),
                message: format!("line {line}: {message}"),
                retry: false,
            },
            other => other,
        }
    }
}

/// Whether a script may leave something in its session, or read what another left there: temporary tables, views and
/// triggers, pragmas, attached files, counters. None of it can be named without one of these words, so that a script that
/// has none needs no session of its own (LAWS D8).
fn touches_session(body: &[u8]) -> bool {
    let words: [&[u8]; 6] = [
        b"temp",
        b"pragma",
        b"attach",
        b"detach",
        b"last_insert_rowid",
        b"changes",
    ];
    words
        .into_iter()
        .any(|word| body.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)))
}

/// A down needs its ledger row, bound to the archive as the plan saw it; an up must not find one: asked inside the
/// transaction that changes it (LAWS D7).
async fn expect_ledger_row(
    connection: &mut SqliteConnection,
    ledger: &Ledger,
    entry: &Entry,
    direction: Direction,
    script: &ScriptRef,
) -> Result<(), DbError> {
    let check = |message: &str| {
        Err(DbError::Check {
            migration: script.migration.clone(),
            message: message.to_owned(),
            hint: None,
        })
    };
    let failed = |error: sqlx::Error| DbError::Driver {
        doing: "reading the ledger",
        message: error.to_string(),
    };
    let row = look::ledger_row_of(connection, ledger, &entry.version)
        .await
        .map_err(failed)?;
    let row = match (direction, row) {
        (Direction::Down, Some(row)) => row,
        (Direction::Down, None) => return check("it is not in the ledger"),
        (Direction::Up, Some(_)) => return check("it is in the ledger already"),
        (Direction::Up, None) => return expect_archive_row(connection, ledger, script).await,
    };
    expect_archive_row(connection, ledger, script).await?;
    let named = match (&row.up_sha256, &row.up_checksum) {
        (Some(sha256), _) => sha256.to_string(),
        (None, checksum) => checksum.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    if named != entry.checksum {
        return check("the ledger names another up script than the plan");
    }
    if row.dirty {
        return check("the ledger marks it as begun and not finished");
    }
    let bound = capture::bound_to(connection, ledger, &script.migration.version)
        .await
        .map_err(failed)?;
    if bound != row.sequence {
        return check("it was applied again since its scripts were captured");
    }
    Ok(())
}

/// The archive's newest revision holds the script that the plan names: asked inside the transaction that runs it, because
/// somebody may have replaced it since the bodies were read (LAWS D7).
async fn expect_archive_row(
    connection: &mut SqliteConnection,
    ledger: &Ledger,
    script: &ScriptRef,
) -> Result<(), DbError> {
    let found = sqlx::query(
        "SELECT 1 FROM main.stepback_archive AS a WHERE version = ?1 AND up_sha256 = ?2 AND ?3 IN (up_sha256, down_sha256) \
         AND ledger = ?4 AND revision = (SELECT max(revision) FROM main.stepback_archive AS b \
         WHERE b.ledger = a.ledger AND b.version = a.version)",
    )
    .bind(script.migration.version.as_str())
    .bind(script.up_sha256.to_string())
    .bind(script.sha256.to_string())
    .bind(&ledger.table)
    .fetch_optional(connection)
    .await
    .map_err(|error| DbError::Driver {
        doing: "reading the archive",
        message: error.to_string(),
    })?;
    found.map(drop).ok_or_else(|| DbError::Archive {
        message: format!(
            "cannot be trusted for {}: its newest revision does not hold the script that the plan names",
            script.migration
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::{quote, touches_session};

    #[test]
    fn d8_what_can_touch_the_session_is_told_by_its_words() {
        for touching in [
            "CREATE TEMP TABLE a (b)",
            "drop table Temporary.a",
            "PrAgMa user_version",
            "SELECT * FROM pragma_table_info('a')",
            "attach 'b' AS b",
            "INSERT INTO a VALUES (LAST_INSERT_ROWID())",
            "INSERT INTO a SELECT total_changes()",
        ] {
            assert!(touches_session(touching.as_bytes()), "{touching}");
        }
        assert!(!touches_session(
            b"ALTER TABLE a ADD COLUMN b text; UPDATE a SET b = 'x'"
        ));
    }

    #[test]
    fn a_quoted_name_cannot_end_itself() {
        assert_eq!(quote("a"), "\"a\"");
        assert_eq!(quote("a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
    }
}
