//! Carrying scripts out, several migrations a message (LAWS D4, D7, D8).
//!
//! Each migration is a transaction of its own that defends itself: it begins by raising unless token, ledger row and
//! archive are what the plan says, and ends with its ledger row. A syntax error anywhere stops the whole message before it
//! starts, so after an error the ledger says what was done, and the rest goes singly until the culprit is found.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::Row as _;
use stepback_core::model::{Direction, Engine, ScriptRef, Stamp, Token};
use stepback_core::report::limit;
use stepback_core::sql::line_ends;
use tokio::time::Instant;

use super::PostgresDatabase;
use super::blockers::Watch;
use super::capture::{BIND_TO, UNBIND};
use super::error::{self, is_contention, is_lock_timeout, of_server, sentence};
use super::leavings::{DEALLOCATE, forget, reset};
use super::message::{do_block, milliseconds};
use super::quote::literal;
use super::script::{Fit, fit};
use super::session::Failed;
use super::store::MESSAGE;
use crate::database::DbError;
use crate::database::ledger::Entry;

/// The most migrations in one message.
const BATCH: usize = 100;

/// How much longer than one migration may take a message of scripts may take. The server ends a statement at its limit and
/// says where: so it comes first.
const ANSWER: Duration = Duration::from_secs(1);

/// How long migrations go on that go singly before the rest is left to the next call.
const SINGLY: Duration = Duration::from_millis(500);

const SETTINGS: &str = "PERFORM pg_catalog.set_config('lock_timeout', $1, true), \
    pg_catalog.set_config('statement_timeout', $2, true), pg_catalog.set_config('synchronous_commit', 'on', true), \
    pg_catalog.set_config('application_name', $3, true); ";
const NOT_HELD: &str = "RAISE EXCEPTION USING ERRCODE = $1, DETAIL = $2, MESSAGE = 'the ledger does not hold it as it was when its scripts were captured: with the up script that the plan names, and applied once'; END IF; ";
const HELD: &str = "RAISE EXCEPTION USING ERRCODE = $1, DETAIL = $2, MESSAGE = 'the ledger holds it already'; END IF; ";
const IN_ARCHIVE: &str = "PERFORM 1 FROM {s}.archive a WHERE ledger = {k} AND version = $1 AND up_sha256 = $2 AND $3 IN (up_sha256, down_sha256) \
    AND revision = (SELECT max(revision) FROM {s}.archive b WHERE b.ledger = a.ledger AND b.version = a.version); \
    IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = $4, DETAIL = $1, MESSAGE = 'the archive''s newest revision does not hold the script that the plan names'; END IF; ";
const VANISHED: &str = "; IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = $1, DETAIL = $2, MESSAGE = 'its ledger row vanished while its down script ran'; END IF; ";
const UNARCHIVED: &str = "; IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = $1, DETAIL = $2, MESSAGE = 'its archive row vanished while its script ran'; END IF; ";

/// One migration, ready to be sent.
struct Ready<'a> {
    script: &'a ScriptRef,
    before: String,
    text: &'a str,
    after: String,
    /// Lines of the script that were taken off in front of `text`.
    lines_before: usize,
}

impl Ready<'_> {
    fn len(&self) -> usize {
        self.before.len() + self.text.len() + self.after.len()
    }
}

impl PostgresDatabase {
    pub(super) async fn carry_out(
        &self,
        direction: Direction,
        scripts: &[ScriptRef],
        stamp: &Stamp,
    ) -> Result<(), DbError> {
        let most = if self.singly.load(Ordering::Relaxed) { 1 } else { BATCH };
        let batch = &scripts[..scripts.len().min(most)];
        let batch = &batch[..self.count_fitting(batch).await?];
        let names: Vec<_> = batch.iter().map(|script| script.sha256).collect();
        let bodies = self.read_bodies(&names).await?;
        let ups = self.read_ups(direction, batch).await?;
        let locked = self.check_tool_lock(stamp.token).await?;
        let ledger = self.ledger.get();
        let mut ready: Vec<Ready<'_>> = Vec::with_capacity(batch.len());
        for ((script, body), up) in batch.iter().zip(&bodies).zip(&ups) {
            let fit = fit(body).map_err(|message| DbError::Check {
                migration: script.migration.clone(),
                message: format!("{message}; nothing of this batch was run"),
                hint: None,
            })?;
            let entry = ledger.entry(&script.migration, &script.up_sha256, up.as_ref().unwrap_or(body))?;
            ready.push(Ready {
                script,
                before: self.before(direction, script, &entry, stamp.token, &locked, &fit),
                text: fit.text,
                after: self.after(direction, script, &entry, &fit),
                lines_before: fit.lines_before,
            });
        }
        if direction == Direction::Up && !ledger.is_own() {
            return self.send_singly(&ready).await;
        }
        // The bodies are larger than what was counted packed.
        let mut size = 0;
        let fitting = ready.iter().take_while(|ready| {
            size += ready.len();
            size <= MESSAGE
        });
        let count = fitting.count().max(1).min(ready.len());
        self.send_batch(direction, &ready[..count]).await
    }

    /// How many of the scripts go into one message, by their packed size: at least one.
    async fn count_fitting(&self, batch: &[ScriptRef]) -> Result<usize, DbError> {
        if batch.len() < 2 {
            return Ok(batch.len());
        }
        let list: Vec<String> = batch
            .iter()
            .map(|script| literal((&script.sha256.to_string()).into()))
            .collect();
        let query = self.fill(
            "SELECT sha256, sum(octet_length(body))::bigint AS size FROM {s}.script WHERE sha256 IN ",
            &[],
        );
        let doing = "reading the sizes of scripts";
        let results = self
            .read(doing, &format!("{query}({}) GROUP BY sha256", list.join(", ")))
            .await?;
        let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
        for row in &results[0] {
            let failed = |error: sqlx::Error| self.explain(doing, &error);
            let size: i64 = row.try_get("size").map_err(failed)?;
            sizes.insert(
                row.try_get("sha256").map_err(failed)?,
                usize::try_from(size).unwrap_or(0),
            );
        }
        let mut total = 0;
        let fitting = batch.iter().take_while(|script| {
            total += sizes.get(&script.sha256.to_string()).copied().unwrap_or(0);
            total <= MESSAGE / 4
        });
        Ok(fitting.count().max(1))
    }

    /// The up scripts of a batch of downs, where the ledger's rows can be told only from them.
    async fn read_ups(&self, direction: Direction, batch: &[ScriptRef]) -> Result<Vec<Option<Vec<u8>>>, DbError> {
        if direction == Direction::Up || !self.ledger.get().needs_up_text() {
            return Ok(vec![None; batch.len()]);
        }
        let names: Vec<_> = batch.iter().map(|script| script.up_sha256).collect();
        Ok(self.read_bodies(&names).await?.into_iter().map(Some).collect())
    }

    /// Another tool's rows say when a transaction began and how long it took, and the transactions of one message all
    /// begin when the message arrives: so one migration a message, for a while.
    async fn send_singly(&self, ready: &[Ready<'_>]) -> Result<(), DbError> {
        let started = Instant::now();
        for one in ready {
            self.send_batch(Direction::Up, std::slice::from_ref(one)).await?;
            if started.elapsed() > SINGLY {
                break;
            }
        }
        Ok(())
    }

    fn limits(&self) -> String {
        let (lock, statement) = (
            milliseconds(self.options.lock_wait),
            milliseconds(self.options.statement.min(self.options.step)),
        );
        self.fill(SETTINGS, &[(&lock).into(), (&statement).into(), (&self.name).into()])
    }

    /// What comes before a script in its transaction. The role's own `search_path` is left for the script.
    fn before(
        &self,
        direction: Direction,
        script: &ScriptRef,
        entry: &Entry,
        token: Token,
        locked: &str,
        fit: &Fit<'_>,
    ) -> String {
        let version = script.migration.version.as_str().into();
        let (up, sha256) = (script.up_sha256.to_string(), script.sha256.to_string());
        let statements = self.ledger.get().statements(Engine::Postgres);
        let values = [
            (&entry.version).into(),
            (&entry.name).into(),
            (&entry.checksum).into(),
            version,
        ];
        let (query, test, otherwise) = match direction {
            Direction::Down => (statements.holds, "NOT EXISTS", NOT_HELD),
            Direction::Up => (statements.find, "EXISTS", HELD),
        };
        let query = self.fill(query, &values);
        let otherwise = self.fill(otherwise, &[error::LEDGER.into(), version]);
        let archive = self.fill(
            IN_ARCHIVE,
            &[version, (&up).into(), (&sha256).into(), error::ARCHIVE.into()],
        );
        let checks = do_block(&format!(
            "{}{}{locked}IF {test} ({query}) THEN {otherwise}{archive}",
            self.limits(),
            self.fence(token)
        ));
        // What our own rows have drawn from their sequences is nothing for the script (LAWS D14).
        format!(
            "BEGIN ISOLATION LEVEL {}; {checks}; DISCARD SEQUENCES;\n",
            fit.isolation
        )
    }

    fn after(&self, direction: Direction, script: &ScriptRef, entry: &Entry, fit: &Fit<'_>) -> String {
        let version = script.migration.version.as_str().into();
        let ledger = self.ledger.get();
        let statements = ledger.statements(Engine::Postgres);
        let values = [(&entry.version).into(), (&entry.name).into(), (&entry.checksum).into()];
        let unarchived = self.fill(UNARCHIVED, &[error::ARCHIVE.into(), version]);
        let rows = match direction {
            Direction::Down => {
                let delete = self.fill(statements.delete, &values);
                let vanished = self.fill(VANISHED, &[error::LEDGER.into(), version]);
                if ledger.is_own() {
                    format!("{delete}{vanished}")
                } else {
                    format!("{delete}{vanished}{}{unarchived}", self.fill(UNBIND, &[version]))
                }
            }
            Direction::Up => {
                let insert = self.fill(statements.insert, &values);
                let written = self.fill(statements.find, &values);
                let (bind, to) = (self.fill(BIND_TO.0, &[version]), self.fill(BIND_TO.1, &[version]));
                format!("{insert}; {bind}{written}{to}{unarchived}")
            }
        };
        // The script may end in a comment or without a semicolon.
        let (reset, limits) = (reset(fit.text), self.limits());
        format!(
            "\n;{reset}{}; COMMIT;\n",
            do_block(&format!("{DEALLOCATE}{limits}{rows}"))
        )
    }

    async fn send_batch(&self, direction: Direction, batch: &[Ready<'_>]) -> Result<(), DbError> {
        let Some((message, failed)) = self.send_scripts(batch).await? else {
            return Ok(());
        };
        if failed.late {
            return self.settle_late(direction, batch).await;
        }
        if failed.ended || batch.is_empty() {
            return Err(self.explain("carrying migrations out", &failed.error));
        }
        if of_server(&failed.error).is_some_and(|server| server.code() == error::FENCED) {
            return Err(DbError::Fenced);
        }
        if of_server(&failed.error).is_some_and(|server| server.code() == error::TOOL_LOCK) {
            return Err(DbError::Busy {
                message: "the lock of the ledger's tool was lost, and is taken again by the next attempt".to_owned(),
            });
        }
        // A check of ours names the migration that it refused.
        let refused = of_server(&failed.error).filter(|server| matches!(server.code(), error::LEDGER | error::ARCHIVE));
        if let Some(version) = refused.and_then(|server| server.detail())
            && let Some(ready) = batch
                .iter()
                .find(|ready| ready.script.migration.version.as_str() == version)
        {
            return Err(self.blame(ready, &message, &failed));
        }
        // What was committed stays; the ledger says how far that is.
        let done = self.count_done(direction, batch).await?;
        let rest = &batch[done..];
        let Some(first) = rest.first() else {
            // All of it is there: the error came after the last commit, and the caller looks anyway.
            return Ok(());
        };
        if failed.completed > 0 || batch.len() == 1 {
            return Err(self.blame(first, &message, &failed));
        }
        // Nothing was even begun: somewhere in the message is what the parser does not read.
        let started = Instant::now();
        for ready in rest {
            if started.elapsed() > SINGLY {
                break;
            }
            if let Some((message, failed)) = self.send_scripts(std::slice::from_ref(ready)).await? {
                if failed.late {
                    return self.settle_late(direction, std::slice::from_ref(ready)).await;
                }
                return Err(self.blame(ready, &message, &failed));
            }
        }
        Ok(())
    }

    /// How many of the migrations are done, from the first on. It is asked over a session that sees a lost one gone.
    async fn count_done(&self, direction: Direction, batch: &[Ready<'_>]) -> Result<usize, DbError> {
        let ledger = self.read_ledger().await?;
        let is_done = |ready: &&Ready<'_>| {
            let in_ledger = ledger
                .iter()
                .any(|row| row.migration.version == ready.script.migration.version);
            in_ledger == (direction == Direction::Up)
        };
        Ok(batch.iter().take_while(is_done).count())
    }

    /// A message was not done within the time that one migration may take (LAWS D17). The first in it has had all of that
    /// time; what came after it had less, and gets its own in the next message.
    async fn settle_late(&self, direction: Direction, batch: &[Ready<'_>]) -> Result<(), DbError> {
        let done = self.count_done(direction, batch).await?;
        match batch.first() {
            Some(first) if done == 0 => {
                let step = u64::try_from(self.options.step.as_millis()).unwrap_or(u64::MAX);
                Err(DbError::Limit {
                    migration: first.script.migration.clone(),
                    message: format!(
                        "it took longer than {}, the limit of one migration (limits.step)",
                        limit(step)
                    ),
                })
            }
            _ => {
                self.singly.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Sends migrations as one message. When that fails: the message, why, and who was in the way.
    async fn send_scripts(&self, batch: &[Ready<'_>]) -> Result<Option<(Message, Failed)>, DbError> {
        let mut work = self.work().await?;
        let session = work.session.as_ref().expect("`work` has opened it").id();
        let watch = Watch::start(&self.connect, session, self.options.lock_wait);
        let text: String = batch
            .iter()
            .flat_map(|ready| [&ready.before, ready.text, &ready.after])
            .collect();
        let limit = self.options.step.saturating_add(ANSWER);
        match self.send_within(&mut work, text.clone(), Some(limit)).await {
            Ok(_) => Ok(None),
            Err(failed) => {
                let blockers = is_lock_timeout(&failed.error).then(|| watch.seen()).flatten();
                if !failed.ended {
                    // Not everything goes with the transaction. Should this fail too, the script's error is what matters.
                    let forgotten = self.send(&mut work, forget(batch.iter().map(|ready| ready.text)));
                    drop(forgotten.await);
                }
                Ok(Some((Message { text, blockers }, failed)))
            }
        }
    }

    /// The error of one migration.
    fn blame(&self, ready: &Ready<'_>, message: &Message, failed: &Failed) -> DbError {
        let Some(server) = of_server(&failed.error).filter(|_| !failed.ended) else {
            return self.explain("carrying migrations out", &failed.error);
        };
        let migration = ready.script.migration.clone();
        match server.code() {
            error::FENCED => DbError::Fenced,
            error::LEDGER => DbError::Check {
                migration,
                message: server.message().to_owned(),
                hint: None,
            },
            error::ARCHIVE => DbError::Archive {
                message: format!("cannot be trusted for {migration}: {}", server.message()),
            },
            // Of the script's transaction, but about the server.
            "25006" | "53100" => self.explain("carrying migrations out", &failed.error),
            _ => {
                let line = message
                    .line_of(ready, server)
                    .map(|line| format!("line {line}: "))
                    .unwrap_or_default();
                let blockers = message
                    .blockers
                    .as_ref()
                    .map(|who| format!("; blocked by {who}"))
                    .unwrap_or_default();
                DbError::Script {
                    migration,
                    message: format!("{line}{}{blockers}", sentence(server)),
                    retry: is_contention(server),
                }
            }
        }
    }
}

/// A message that failed.
struct Message {
    text: String,
    blockers: Option<String>,
}

impl Message {
    /// The line of the script that the server points at.
    fn line_of(&self, ready: &Ready<'_>, server: &sqlx::postgres::PgDatabaseError) -> Option<usize> {
        // The transaction's beginning names version and checksum, so it stands in the message once.
        let start = self.text.find(&ready.before)? + ready.before.len();
        let position = error::position(server)?;
        let at = self.text.char_indices().nth(position.checked_sub(1)?)?.0;
        let into = at.checked_sub(start).filter(|into| *into <= ready.text.len())?;
        Some(ready.lines_before + line_ends(ready.text, 0..into) + 1)
    }
}
