//! sqlx's own lock, held while the lease is ours: a pod that starts in the middle of a run waits instead of migrating.
//!
//! sqlx takes a session lock and waits inside the call. A pooler that multiplexes transactions would leave such a lock
//! behind, so ours is a transaction's, taken without waiting, in a READ COMMITTED transaction that stays open and idle: it
//! holds no snapshot, and so nobody's `CREATE INDEX CONCURRENTLY` (LAWS D14). Every script's transaction makes sure that
//! it is still there.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnectOptions;
use stepback_core::model::{LedgerTool, Token};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::lease::LOOK_AGAIN;
use super::quote::{Names, Value, fill};
use super::session::{Failed, Session};
use super::{PostgresDatabase, error};
use crate::database::DbError;
use crate::database::ledger::sqlx_lock_id;

/// Begins the transaction that holds the lock. No limit on idling may end it, and a client that is gone is found out
/// within half a minute. A setting that an older server does not know is passed over.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SELECT pg_catalog.set_config(s.name, v.value, true) FROM (VALUES ('idle_in_transaction_session_timeout', '0'), \
    ('transaction_timeout', '0'), ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), \
    ('tcp_keepalives_count', '3')) v(name, value) JOIN pg_catalog.pg_settings s ON s.name = v.name; \
    SELECT pg_catalog.pg_try_advisory_xact_lock($1) AS taken, pg_catalog.pg_backend_pid()::bigint AS pid";

/// Says that the session is alive; and tells others by its text under which lease it was taken: sqlx has one lock for all of
/// its ledgers in a database, and each ledger has a lease of its own (LAWS D16).
const PING: &str = "SELECT $1 AS stepback_holds_the_lock, {k} AS for_ledger";

/// How long an answer to one of these may take.
const ANSWER: Duration = Duration::from_secs(10);

/// How long to wait for the end of a session that was told to end, before looking again.
const SOON: Duration = Duration::from_millis(20);

macro_rules! holders {
    () => {
        " FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' \
         AND l.granted AND l.objsubid = 1 AND l.classid::bigint = $1 AND l.objid::bigint = $2 \
         AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
    };
}

const WHO: &str = concat!(
    "SELECT a.pid::bigint AS pid, a.usename::text AS role, a.application_name AS program, a.state, \
     to_char(a.state_change AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS\"Z\"') AS since",
    holders!()
);

/// Ends the session of a coordinator that is not the holder of this lease any more: we are. One of another ledger is let
/// be, whose holder may be at work.
const END_DEAD: &str = concat!(
    "SELECT pg_catalog.pg_terminate_backend(a.pid)",
    holders!(),
    " AND a.query = $3 AND a.pid <> pg_catalog.pg_backend_pid()"
);

/// Raises unless process `$3` holds the lock.
const HELD: &str = concat!(
    "PERFORM 1",
    holders!(),
    " AND l.pid = $3; IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = $4, \
     MESSAGE = 'the lock of sqlx was lost'; END IF; "
);

/// Which lock is taken, and under which lease.
#[derive(Clone)]
pub(super) struct Wanted {
    id: i64,
    ping: String,
}

/// The lock, held by a session of its own. Dropping it gives it back.
pub(super) struct ToolLock {
    session: Session,
    pid: i64,
    ping: String,
}

/// Where the lock is kept: the heartbeat looks after it too.
pub(super) type Slot = Arc<Mutex<Option<ToolLock>>>;

fn parts(id: i64) -> (i64, i64) {
    ((id >> 32) & 0xffff_ffff, id & 0xffff_ffff)
}

impl ToolLock {
    /// Takes the lock if it is free.
    async fn take(connect: &PgConnectOptions, wanted: &Wanted) -> Result<Option<Self>, Failed> {
        let mut session = Session::open(connect, ANSWER).await?;
        let results = session
            .send(fill(BEGIN, Names::default(), &[Value::Int(wanted.id)]))
            .await?;
        let row = results
            .last()
            .and_then(|rows| rows.first())
            .ok_or(sqlx::Error::RowNotFound)?;
        if !row.try_get::<bool, _>("taken")? {
            return Ok(None);
        }
        let pid = row.try_get("pid")?;
        let ping = wanted.ping.clone();
        session.send(ping.clone()).await?;
        Ok(Some(Self { session, pid, ping }))
    }

    /// Whether it is still held.
    async fn is_held(&mut self) -> bool {
        self.session.send(self.ping.clone()).await.is_ok()
    }
}

/// Looks after a lock between two heartbeats: takes it again where its session was lost.
pub(super) async fn look_after(connect: &PgConnectOptions, slot: &Slot, wanted: &Wanted) {
    let mut held = slot.lock().await;
    if let Some(lock) = held.as_mut()
        && lock.is_held().await
    {
        return;
    }
    *held = match ToolLock::take(connect, wanted).await {
        Ok(taken) => taken,
        Err(failed) => {
            tracing::debug!(error = %failed.error, "sqlx's lock was lost and could not be taken again");
            None
        }
    };
}

impl PostgresDatabase {
    /// The lock that the ledger's tool takes; `None` where it takes none.
    pub(super) async fn wanted_tool_lock(&self) -> Result<Option<Wanted>, DbError> {
        if self.ledger.get().tool != LedgerTool::Sqlx {
            return Ok(None);
        }
        let doing = "looking for the database's name";
        let results = self.read(doing, "SELECT current_database()::text").await?;
        let row = results[0].first().ok_or(sqlx::Error::RowNotFound);
        let name: String = row
            .and_then(|row| row.try_get(0))
            .map_err(|error| self.explain(doing, &error))?;
        Ok(Some(Wanted {
            id: sqlx_lock_id(&name),
            ping: self.fill(PING, &[(&self.options.state_schema).into()]),
        }))
    }

    /// Takes the lock of the ledger's tool, polling until the deadline. Only the holder of the lease calls this.
    pub(super) async fn take_tool_lock(&self, wanted: &Wanted, deadline: Instant) -> Result<(), DbError> {
        let ending = Instant::now() + ANSWER;
        loop {
            let failed = |failed: Failed| self.explain("taking sqlx's lock", &failed.error);
            let taken = ToolLock::take(&self.connect, wanted).await.map_err(failed)?;
            if taken.is_some() {
                *self.tool_lock.lock().await = taken;
                return Ok(());
            }
            let (high, low) = parts(wanted.id);
            let values = [high.into(), low.into(), (&wanted.ping).into()];
            // Without the right to end it, the server finds out by itself; who holds the lock is said below.
            let ended = self.ask("ending a dead session", self.fill(END_DEAD, &values)).await;
            let is_ending = ended.is_ok_and(|results| results.iter().any(|rows| !rows.is_empty()));
            let until = if is_ending { deadline.max(ending) } else { deadline };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.who_holds(wanted.id).await?);
            }
            if is_ending {
                tokio::time::sleep(left.min(SOON)).await;
                continue;
            }
            // There is no event for a lock of another session that is given back, but waiting inside a lock call.
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
        }
    }

    async fn who_holds(&self, id: i64) -> Result<DbError, DbError> {
        let doing = "looking for who holds sqlx's lock";
        let (high, low) = parts(id);
        let results = self.read(doing, &self.fill(WHO, &[high.into(), low.into()])).await?;
        let text = |row: &sqlx::postgres::PgRow, column: &str| {
            let text: Result<Option<String>, _> = row.try_get(column);
            text.ok().flatten().filter(|text| !text.is_empty())
        };
        let holders: Vec<String> = results[0]
            .iter()
            .map(|row| {
                let pid: i64 = row.try_get("pid").unwrap_or_default();
                let role = text(row, "role").unwrap_or_else(|| "an unknown role".to_owned());
                let program = text(row, "program")
                    .map(|name| format!(" ({name})"))
                    .unwrap_or_default();
                let state = text(row, "state").unwrap_or_else(|| "in an unknown state".to_owned());
                let since = text(row, "since").unwrap_or_else(|| "an unknown time".to_owned());
                format!("process {pid} of {role}{program}, {state} since {since}")
            })
            .collect();
        let holder = if holders.is_empty() {
            "a session that is gone by now".to_owned()
        } else {
            holders.join("; ")
        };
        Ok(DbError::ToolLock { tool: "sqlx", holder })
    }

    /// Makes sure that the lock is held, as far as can be known beforehand, and returns the check of it as statements of a
    /// `DO` body: empty where there is no such lock.
    pub(super) async fn check_tool_lock(&self, token: Token) -> Result<String, DbError> {
        let wanted = self
            .heart
            .lock()
            .await
            .as_ref()
            .and_then(|heart| heart.tool_lock.clone());
        let Some(wanted) = wanted else {
            return Ok(String::new());
        };
        look_after(&self.connect, &self.tool_lock, &wanted).await;
        let held = self.tool_lock.lock().await;
        let Some(lock) = held.as_ref() else {
            drop(held);
            // Perhaps the lease went the same way.
            self.change("checking the lease", token, "SELECT").await?;
            return Err(self.who_holds(wanted.id).await?);
        };
        let (high, low) = parts(wanted.id);
        let values = [high.into(), low.into(), lock.pid.into(), error::TOOL_LOCK.into()];
        Ok(self.fill(HELD, &values))
    }

    /// Gives the lock back, if it is held.
    pub(super) async fn give_tool_lock_back(&self) {
        if let Some(mut lock) = self.tool_lock.lock().await.take() {
            // The session ends with this value in any case; so it is over when this returns.
            drop(lock.session.send("ROLLBACK".to_owned()).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_those_of_the_lock_table() {
        assert_eq!(parts(3_469_795_979_745_788_610), (807874831, 1339261634));
        assert_eq!(parts(-1), (0xffff_ffff, 0xffff_ffff));
    }
}
