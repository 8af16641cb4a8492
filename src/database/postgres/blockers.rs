//! Who blocks us: seen while we wait, because afterwards nobody does any more (LAWS D17). Best effort.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgConnectOptions, PgRow};
use tokio::task::JoinHandle;

use super::quote::{Names, Value, fill};
use super::session::{Session, SessionId};

const WHO: &str = "SELECT pid::bigint AS pid, usename::text AS role, \
    to_char(query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS\"Z\"') AS since, \
    extract(epoch FROM clock_timestamp() - query_start)::bigint AS age, left(query, 80) AS query \
    FROM pg_catalog.pg_stat_activity WHERE pid = ANY (pg_catalog.pg_blocking_pids($1::integer))";

/// Looks at who blocks a session, from the moment on that a wait has become long, until it is dropped.
pub(super) struct Watch {
    seen: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Begins to watch after half of what a wait for a lock may take.
    pub(super) fn start(connect: &PgConnectOptions, waiting: &SessionId, lock_wait: Duration) -> Self {
        let seen = Arc::new(Mutex::new(None));
        let (connect, pid, tell) = (connect.clone(), waiting.pid, Arc::clone(&seen));
        let task = tokio::spawn(async move {
            tokio::time::sleep(lock_wait / 2).await;
            let Ok(mut session) = Session::open(&connect, Duration::ZERO).await else {
                return;
            };
            while let Ok(results) = session.send(fill(WHO, Names::default(), &[Value::Int(pid)])).await {
                let blockers: Vec<String> = results.iter().flatten().filter_map(|row| describe(row).ok()).collect();
                if !blockers.is_empty() {
                    *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(blockers.join(", "));
                }
                tokio::time::sleep(lock_wait / 4).await;
            }
        });
        Self { seen, task }
    }

    /// Who was seen blocking last.
    pub(super) fn seen(&self) -> Option<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn describe(row: &PgRow) -> Result<String, sqlx::Error> {
    let role: Option<&str> = row.try_get("role")?;
    let since: Option<&str> = row.try_get("since")?;
    let age: Option<i64> = row.try_get("age")?;
    let query: Option<&str> = row.try_get("query")?;
    Ok(format!(
        "process {} of {} (since {}, {} s: {})",
        row.try_get::<i64, _>("pid")?,
        role.unwrap_or("an unknown role"),
        since.unwrap_or("an unknown time"),
        age.unwrap_or(0),
        query.unwrap_or("a query that this role may not see"),
    ))
}
