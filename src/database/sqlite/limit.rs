//! How long a migration may take (LAWS D17). SQLite has no timeout: the progress of its machine is watched.
//!
//! Responsible for: ending a statement when its own or its migration's time is over, and saying which it was. Not for:
//! rolling back, which is the transaction's. `work` uses it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnection;
use stepback_core::model::MigrationId;
use stepback_core::report::limit;

use super::STEPS;
use crate::database::{ConnectOptions, DbError};

/// What may take how long.
#[derive(Clone, Copy)]
struct Span {
    began: Instant,
    limit: Duration,
    /// The line of the script's statement that it is about; `None` for the migration as a whole.
    line: Option<usize>,
}

impl Span {
    fn is_over(&self) -> bool {
        self.began.elapsed() >= self.limit
    }
}

/// What is running, and what was over when SQLite asked.
struct Now {
    migration: Span,
    statement: Option<Span>,
    ended: Option<String>,
}

impl Now {
    /// Whether SQLite may go on.
    fn may_go_on(&mut self) -> bool {
        let line = self.statement.and_then(|statement| statement.line);
        let at = line.map_or_else(String::new, |line| format!("line {line}: "));
        let ended = |span: &Span, what: &str| {
            let limit = limit(u64::try_from(span.limit.as_millis()).unwrap_or(u64::MAX));
            Some(format!("{at}it took longer than {limit}, {what}"))
        };
        self.ended = match &self.statement {
            _ if self.migration.is_over() => ended(&self.migration, "the limit of one migration (limits.step)"),
            Some(statement) if statement.is_over() => ended(statement, "the limit of one statement (limits.statement)"),
            _ => return true,
        };
        false
    }
}

/// Watches one migration's transaction.
pub(super) struct Watch {
    now: Arc<Mutex<Now>>,
    statement: Duration,
}

impl Watch {
    /// The migration begins.
    pub(super) async fn start(
        connection: &mut SqliteConnection,
        options: &ConnectOptions,
    ) -> Result<Self, sqlx::Error> {
        let migration = Span {
            began: Instant::now(),
            limit: options.step,
            line: None,
        };
        let now = Arc::new(Mutex::new(Now {
            migration,
            statement: None,
            ended: None,
        }));
        let watched = Arc::clone(&now);
        connection.lock_handle().await?.set_progress_handler(STEPS, move || {
            watched.lock().unwrap_or_else(PoisonError::into_inner).may_go_on()
        });
        Ok(Self {
            now,
            statement: options.statement,
        })
    }

    /// A statement of the script begins, in this line.
    pub(super) fn begin(&self, line: usize) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).statement = Some(Span {
            began: Instant::now(),
            limit: self.statement,
            line: Some(line),
        });
    }

    /// The last statement of the script is done; what follows is ours.
    pub(super) fn leave_script(&self) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).statement = None;
    }

    /// The migration is done, or has failed; the commit or rollback that comes next is not interrupted. Where the time was
    /// over, that is why it has failed.
    pub(super) async fn end<T>(
        self,
        connection: &mut SqliteConnection,
        migration: &MigrationId,
        carried: Result<T, DbError>,
    ) -> Result<T, DbError> {
        let unwatched = connection
            .lock_handle()
            .await
            .map(|mut handle| handle.remove_progress_handler());
        let ended = self.now.lock().unwrap_or_else(PoisonError::into_inner).ended.take();
        match (carried, ended, unwatched) {
            (Err(_), Some(message), _) => Err(DbError::Limit {
                migration: migration.clone(),
                message,
            }),
            (Ok(_), _, Err(error)) => Err(DbError::Driver {
                doing: "carrying a migration out",
                message: error.to_string(),
            }),
            (carried, _, _) => carried,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d17_what_is_over_is_said_with_its_limit_and_its_line() {
        let span = |limit, line| Span {
            began: Instant::now(),
            limit: Duration::from_secs(limit),
            line,
        };
        let now = |step, statement| Now {
            migration: span(step, None),
            statement: Some(span(statement, Some(3))),
            ended: None,
        };
        assert!(now(600, 600).may_go_on());
        for (step, statement, said) in [(600, 0, "limits.statement"), (0, 600, "limits.step")] {
            let mut now = now(step, statement);
            assert!(!now.may_go_on());
            let ended = now.ended.unwrap();
            assert!(ended.starts_with("line 3: ") && ended.contains(said), "{ended}");
        }
    }
}
