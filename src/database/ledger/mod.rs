//! Ledgers: the table that says what is applied. Ours, or the table of the tool that migrates the database too.
//!
//! Responsible for: which table is the ledger (told by its columns, never by its name), and how each tool's is read and
//! written, exactly as the tool does it, so that the tool agrees with us afterwards; one file a tool. Not for: sending
//! anything (the engines do), or what rows mean (core). Only the engines use it, and `cli` for [`LedgerChoice`].
//!
//! A foreign table is never altered. What we must know beyond it (scripts, fingerprints, who acts) lies in our own.

mod choose;
mod sqlx;
mod stepback;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use stepback_core::model::{
    Checksum, Digest, Engine, LedgerRef, LedgerRow, LedgerSeen, LedgerTool, MigrationId, RunRow, RunStatus, Version,
};

use super::DbError;

pub use self::choose::LedgerChoice;
pub(super) use self::choose::{Candidate, Found, choose};
pub(super) use self::sqlx::{COLUMNS as SQLX_COLUMNS, TABLE as SQLX_TABLE, lock_id as sqlx_lock_id};

/// How a ledger is read and written on one engine.
///
/// `{l}` is the quoted table; on PostgreSQL `{s}` is our own schema and `{k}` the ledger's name as a value. Values are text
/// unless said otherwise: `1` is the version, `2` the name as the tool writes it, `3` the up script's checksum in
/// hexadecimal digits.
pub(super) struct Statements {
    /// Makes the table where it is missing, in the tool's own words; empty where the table is made with our own.
    pub(super) create: &'static str,
    /// Every row in order of application, as columns `sequence` (a number, or null), `version`, `name`, `checksum`,
    /// `applied_at`, `dirty`.
    pub(super) select: &'static str,
    /// The rows of version `1`, with the columns of `select`.
    pub(super) find: &'static str,
    /// Returns a row when version `1` is applied from `3`, and the newest archive row of version `4` is bound to it.
    /// PostgreSQL only: SQLite compares what `find` returns.
    pub(super) holds: &'static str,
    /// Adds a row; on SQLite `4` is [`Ledger::time`], and the row's sequence is returned.
    pub(super) insert: &'static str,
    /// Removes the row of version `1` with checksum `3`.
    pub(super) delete: &'static str,
}

/// A row that is to be written or to be there, as the tool writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) version: String,
    pub(super) name: String,
    /// Hexadecimal digits.
    pub(super) checksum: String,
}

/// The columns of a row as [`Statements::select`] returns them.
pub(super) struct Columns {
    pub(super) sequence: Option<i64>,
    pub(super) version: String,
    pub(super) name: String,
    pub(super) checksum: String,
    pub(super) applied_at: String,
    pub(super) dirty: bool,
}

/// The ledger that was found or chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) tool: LedgerTool,
    /// Its full name, as in [`LedgerRef::table`]: what lease, archive, facts and runs are kept for (LAWS D16), and what people
    /// read.
    pub(super) table: String,
    /// Its full name as an identifier.
    pub(super) quoted: String,
    pub(super) exists: bool,
    chosen: bool,
}

impl Ledger {
    /// Our own.
    pub(super) fn own(table: String, quoted: String) -> Self {
        Self {
            tool: LedgerTool::Stepback,
            table,
            quoted,
            exists: false,
            chosen: false,
        }
    }

    pub(super) fn is_own(&self) -> bool {
        self.tool == LedgerTool::Stepback
    }

    pub(super) fn by_name(&self) -> LedgerRef {
        LedgerRef {
            tool: self.tool,
            table: self.table.clone(),
        }
    }

    pub(super) fn seen(&self) -> LedgerSeen {
        LedgerSeen {
            exists: self.exists,
            chosen: self.chosen,
        }
    }

    /// Fails where the row of a run is another ledger's: the lease that is held is this one's, and fences nothing there.
    pub(super) fn expect_own_run(&self, row: &RunRow) -> Result<(), DbError> {
        if row.ledger == self.table {
            return Ok(());
        }
        Err(DbError::Own {
            message: format!(
                "run {} is on the ledger {}, and the lease is that of {}",
                row.run, row.ledger, self.table
            ),
        })
    }

    /// Fails where the row of a run cannot be written beside these: another one on this ledger is not closed, or the run is
    /// another ledger's.
    pub(super) fn expect_no_other_run(&self, row: &RunRow, known: Vec<RunRow>) -> Result<(), DbError> {
        for other in known {
            if other.run == row.run {
                self.expect_own_run(&other)?;
            } else if other.ledger == self.table && other.status != RunStatus::Closed {
                return Err(DbError::RunOpen(Box::new(other)));
            }
        }
        Ok(())
    }

    /// How it is read and written on an engine.
    pub(super) fn statements(&self, engine: Engine) -> &'static Statements {
        match (self.tool, engine) {
            (LedgerTool::Stepback, Engine::Postgres) => &stepback::POSTGRES,
            (LedgerTool::Stepback, _) => &stepback::SQLITE,
            (LedgerTool::Sqlx, Engine::Postgres) => &sqlx::POSTGRES,
            (LedgerTool::Sqlx, _) => &sqlx::SQLITE,
        }
    }

    /// Whether an entry can be told only from the up script's text.
    pub(super) fn needs_up_text(&self) -> bool {
        !self.is_own()
    }

    /// The row of a migration. `up` is the up script's text, needed where [`Ledger::needs_up_text`] says so.
    ///
    /// # Errors
    /// When the tool's table cannot hold such a migration.
    pub(super) fn entry(&self, migration: &MigrationId, up_sha256: &Digest, up: &[u8]) -> Result<Entry, DbError> {
        let entry = match self.tool {
            LedgerTool::Stepback => Ok(stepback::entry(migration, up_sha256)),
            LedgerTool::Sqlx => sqlx::entry(migration, up),
        };
        entry.map_err(|message| DbError::Check {
            migration: migration.clone(),
            message,
            hint: None,
        })
    }

    /// What the tool keeps about time, for `4` of [`Statements::insert`] on SQLite.
    pub(super) fn time(&self, elapsed: std::time::Duration) -> String {
        match self.tool {
            LedgerTool::Stepback => jiff::Timestamp::now().to_string(),
            LedgerTool::Sqlx => elapsed.as_nanos().to_string(),
        }
    }

    /// Reads a row.
    ///
    /// # Errors
    /// What the row holds that it cannot.
    pub(super) fn read(&self, columns: Columns) -> Result<LedgerRow, String> {
        let Columns {
            sequence,
            version,
            name,
            checksum,
            applied_at,
            dirty,
        } = columns;
        let version = Version::parse(&version).map_err(|error| error.to_string())?;
        let (name, up_sha256, up_checksum) = match self.tool {
            LedgerTool::Stepback => {
                let sha256 = checksum
                    .parse()
                    .map_err(|error: stepback_core::model::DigestError| error.to_string())?;
                (name, Some(sha256), None)
            }
            LedgerTool::Sqlx => (sqlx::file_name(&name), None, Some(Checksum::Sha384(checksum))),
        };
        Ok(LedgerRow {
            sequence,
            migration: MigrationId { version, name },
            up_sha256,
            up_checksum,
            dirty,
            applied_at,
        })
    }
}

/// The ledger of one value of a database: looked for again by every look, and settled from the moment on that the lease
/// is taken for it (LAWS D16).
pub(super) struct Current {
    ledger: RwLock<Arc<Ledger>>,
    found: AtomicBool,
    settled: AtomicBool,
}

impl Current {
    /// Ours, until something else is found.
    pub(super) fn new(own: Ledger) -> Self {
        Self {
            ledger: RwLock::new(Arc::new(own)),
            found: AtomicBool::new(false),
            settled: AtomicBool::new(false),
        }
    }

    pub(super) fn get(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one that was found last; `None` where none was looked for yet.
    pub(super) fn known(&self) -> Option<Arc<Ledger>> {
        self.found.load(Ordering::Acquire).then(|| self.get())
    }

    pub(super) fn set(&self, ledger: Ledger) -> Arc<Ledger> {
        let ledger = Arc::new(ledger);
        *self.ledger.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&ledger);
        self.found.store(true, Ordering::Release);
        ledger
    }

    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }
}
