//! The lease on SQLite: the write transaction is the lock (LAWS D4).

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Row as _};
use stepback_core::model::Token;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::file::FileId;
use super::{SqliteDatabase, in_transaction, look, now_ms};
use crate::database::{DbError, LeaseRequest};

/// A lease that is ours, and the task that keeps it alive. Dropping it stops the heartbeat and gives nothing back.
pub(super) struct Heart {
    token: Token,
    task: JoinHandle<()>,
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Fails unless the lease still has this token. Must be asked inside the write transaction that does the work.
pub(super) async fn check_fence(connection: &mut SqliteConnection, ledger: &str, token: Token) -> Result<(), DbError> {
    let held =
        sqlx::query("SELECT 1 FROM main.stepback_lease WHERE ledger = ? AND token = ? AND nonce = ? AND NOT released")
            .bind(ledger)
            .bind(i64::try_from(token.number).unwrap_or(i64::MAX))
            .bind(i64::from(token.nonce))
            .fetch_optional(connection)
            .await
            .map_err(|error| DbError::Driver {
                doing: "checking the lease",
                message: error.to_string(),
            })?;
    if held.is_some() { Ok(()) } else { Err(DbError::Fenced) }
}

/// The last heartbeat, by the clock of whoever wrote it.
async fn heartbeat(connection: &mut SqliteConnection, ledger: &str) -> Result<i64, sqlx::Error> {
    sqlx::query("SELECT heartbeat_ms FROM main.stepback_lease WHERE ledger = ?")
        .bind(ledger)
        .fetch_one(connection)
        .await?
        .try_get(0)
}

/// Renews the heartbeat. Inside a work transaction, just before its `COMMIT`.
pub(super) async fn renew(connection: &mut SqliteConnection, ledger: &str, token: Token) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE main.stepback_lease SET heartbeat_ms = ? WHERE ledger = ? AND token = ? AND nonce = ?")
        .bind(now_ms())
        .bind(ledger)
        .bind(i64::try_from(token.number).unwrap_or(i64::MAX))
        .bind(i64::from(token.nonce))
        .execute(connection)
        .await
        .map(drop)
}

impl SqliteDatabase {
    pub(super) async fn take_lease(&self, request: &LeaseRequest) -> Result<(Token, Heart), DbError> {
        let deadline = Instant::now() + request.wait;
        loop {
            match self.try_lease(request).await {
                Ok(token) => return Ok((token, self.start_heart(token, request.life))),
                Err(error @ (DbError::Held(_) | DbError::Busy { .. })) if Instant::now() >= deadline => {
                    return Err(self.held_or(error).await);
                }
                // The row has no event that one could wait for: another process writes it.
                Err(DbError::Held(_) | DbError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(200)).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// A file that stays busy while somebody has not given the lease back is busy with that one's work: the write
    /// transaction is the lock, and no heartbeat gets past it (LAWS D4).
    async fn held_or(&self, error: DbError) -> DbError {
        if !matches!(error, DbError::Busy { .. }) {
            return error;
        }
        let seen = self.read_everything().await.ok();
        let lease = seen.and_then(|seen| seen.lease).filter(|lease| !lease.released);
        lease.map_or(error, |lease| DbError::Held(Box::new(lease)))
    }

    async fn try_lease(&self, request: &LeaseRequest) -> Result<Token, DbError> {
        let mut connection = self.working().await?;
        let ledger = self.find_ledger(&mut connection).await?;
        let taken = in_transaction(self, &mut connection, "taking the lease", async |connection| {
            let failed = |error| self.explain("taking the lease", error);
            let seen = look::lease(connection, &ledger.table).await.map_err(failed)?;
            if let Some(lease) = seen.as_ref().filter(|lease| lease.is_alive()) {
                let heartbeat = heartbeat(connection, &ledger.table).await.map_err(failed)?;
                let life = Duration::from_millis(lease.life_ms);
                if !self.silence.has_lasted(lease.token, heartbeat, life) {
                    return Err(DbError::Held(Box::new(lease.clone())));
                }
            }
            let highest = seen.map_or(0, |lease| lease.token.number).max(request.above);
            let token = Token {
                number: highest + 1,
                nonce: random_bits(),
            };
            sqlx::query(
                "INSERT INTO main.stepback_lease (ledger, token, nonce, holder, session, heartbeat_ms, life_ms, released) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0) \
                 ON CONFLICT (ledger) DO UPDATE SET token = ?2, nonce = ?3, holder = ?4, session = ?5, \
                 heartbeat_ms = ?6, life_ms = ?7, released = 0",
            )
            .bind(&ledger.table)
            .bind(i64::try_from(token.number).unwrap_or(i64::MAX))
            .bind(i64::from(token.nonce))
            .bind(&request.holder)
            .bind(format!("process {}", std::process::id()))
            .bind(now_ms())
            .bind(i64::try_from(request.life.as_millis()).unwrap_or(i64::MAX))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
            Ok(token)
        })
        .await?;
        self.ledger.settle();
        Ok(taken)
    }

    /// Renews the heartbeat every third of the lease's life, on a connection of its own. A heartbeat that cannot write
    /// is not a loss: as long as our own work holds the write lock, nobody else can take over either.
    fn start_heart(&self, token: Token, life: Duration) -> Heart {
        let options = self.open_options(false);
        let ledger = self.ledger.get();
        let (path, file) = (self.path.clone(), self.file.get().copied());
        let task = tokio::spawn(async move {
            let mut connection: Option<SqliteConnection> = None;
            loop {
                tokio::time::sleep(life / 3).await;
                // A copy that was put in its place is not ours to keep.
                if FileId::of(&path).is_ok_and(|now| now != file) {
                    tracing::debug!("the database's file was replaced; the heart stops");
                    return;
                }
                if connection.is_none() {
                    connection = SqliteConnection::connect_with(&options).await.ok();
                }
                if let Some(open) = &mut connection
                    && let Err(error) = renew(open, &ledger.table, token).await
                {
                    tracing::debug!(%error, "the heartbeat could not be written");
                    connection = None;
                }
            }
        });
        Heart { token, task }
    }

    pub(super) async fn give_lease_back(&self, heart: Heart) -> Result<(), DbError> {
        let token = heart.token;
        drop(heart);
        let mut connection = self.working().await?;
        sqlx::query("UPDATE main.stepback_lease SET released = 1 WHERE ledger = ? AND token = ? AND nonce = ?")
            .bind(&self.ledger.get().table)
            .bind(i64::try_from(token.number).unwrap_or(i64::MAX))
            .bind(i64::from(token.nonce))
            .execute(&mut *connection)
            .await
            .map(drop)
            .map_err(|error| self.explain("giving the lease back", error))
    }

    /// Our own random id of the database, written once.
    pub(super) async fn make_tables(&self) -> Result<(), DbError> {
        let mut connection = self.working().await?;
        let made = look_for_tables(&mut connection)
            .await
            .map_err(|error| self.explain("making the tables", error))?;
        if made {
            return self.make_ledger(&mut connection).await;
        }
        // Refuses where the ledger is unclear, before anything is made.
        self.find_ledger(&mut connection).await?;
        in_transaction(self, &mut connection, "making the tables", async |connection| {
            let failed = |error| self.explain("making the tables", error);
            sqlx::raw_sql(super::OWN_TABLES)
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
            sqlx::query("INSERT OR IGNORE INTO main.stepback_identity (one, id, made_at) VALUES (1, ?, ?)")
                .bind(ulid::Ulid::generate().to_string())
                .bind(super::now_text())
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
            Ok(())
        })
        .await?;
        self.make_ledger(&mut connection).await
    }
}

/// The SQL for a DBA: the tables, and the id, which the database itself draws.
pub(in crate::database) fn own_tables() -> String {
    let tables = super::OWN_TABLES;
    format!(
        "{tables}INSERT OR IGNORE INTO main.stepback_identity (one, id, made_at)\n    \
         VALUES (1, lower(hex(randomblob(16))), strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));\n"
    )
}

async fn look_for_tables(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name GLOB 'stepback_*'")
        .fetch_one(connection)
        .await?;
    let expected = super::OWN_TABLES.matches("CREATE TABLE IF NOT EXISTS").count();
    Ok(usize::try_from(row.try_get::<i64, _>(0)?).is_ok_and(|found| found >= expected))
}

/// The low bits of a fresh ULID, which are random.
fn random_bits() -> u32 {
    let low = u128::from(ulid::Ulid::generate()) & u128::from(u32::MAX);
    u32::try_from(low).expect("masked to 32 bits")
}
