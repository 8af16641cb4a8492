//! Ledgers: the table that says what is applied. Ours, or the table of the tool that migrates the database too.
//!
//! Responsible for: which table is the ledger (told by its columns, never by its name), and how each tool's is read and
//! written, exactly as the tool does it, so that the tool agrees with us afterwards; one file a tool. Not for: sending
//! anything (the engines do), or what rows mean (core). Only the engines use it, and `cli` for [`LedgerChoice`].
//!
//! A foreign table is never altered. What we must know beyond it (scripts, fingerprints, who acts) lies in our own.

mod sqlx;
mod stepback;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use stepback_core::model::{Checksum, Digest, Engine, LedgerRef, LedgerRow, LedgerTool, MigrationId, Version};

use super::DbError;

pub(super) use self::sqlx::{COLUMNS as SQLX_COLUMNS, TABLE as SQLX_TABLE, lock_id as sqlx_lock_id};

/// What was said about the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LedgerChoice {
    /// Nothing: what the database holds tells it; ours where it holds none.
    #[default]
    Auto,
    /// This tool's.
    Of(LedgerTool),
    /// This tool's, in this table: its full name, or its name without the schema.
    In(LedgerTool, String),
}

impl LedgerChoice {
    /// Reads `auto`, `stepback`, `sqlx` or `sqlx:TABLE`.
    ///
    /// # Errors
    /// A sentence with the valid forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "stepback" => Ok(Self::Of(LedgerTool::Stepback)),
            None if text == "sqlx" => Ok(Self::Of(LedgerTool::Sqlx)),
            Some(("sqlx", table)) if !table.is_empty() => Ok(Self::In(LedgerTool::Sqlx, table.to_owned())),
            _ => Err("expected auto, stepback, sqlx, or sqlx:TABLE".to_owned()),
        }
    }
}

/// How a ledger is read and written on one engine.
///
/// `{l}` is the quoted table, `{s}` our own schema on PostgreSQL. Values are text unless said otherwise: `1` is the
/// version, `2` the name as the tool writes it, `3` the up script's checksum in hexadecimal digits.
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
    /// Its full name: what the lease is for (LAWS D16), and what people read.
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

    pub(super) fn seen(&self) -> LedgerRef {
        LedgerRef {
            tool: self.tool,
            table: self.table.clone(),
            exists: self.exists,
            chosen: self.chosen,
        }
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

/// A table whose columns are those of a tool's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) ledger: Ledger,
    /// Whether the tool, connecting as we do, would take this one.
    pub(super) in_path: bool,
    pub(super) has_rows: bool,
}

impl Candidate {
    /// Our own ledger.
    pub(super) fn own(ledger: Ledger, has_rows: bool) -> Self {
        Self {
            ledger,
            in_path: true,
            has_rows,
        }
    }

    /// A table with the columns of sqlx's ledger.
    pub(super) fn sqlx(table: String, quoted: String, in_path: bool, has_rows: bool) -> Self {
        Self {
            ledger: Ledger {
                tool: LedgerTool::Sqlx,
                table,
                quoted,
                exists: true,
                chosen: false,
            },
            in_path,
            has_rows,
        }
    }
}

/// The ledger of one value of a database: looked for again by every look, and settled from the moment on that the lease
/// is taken for it (LAWS D16).
pub(super) struct Current {
    ledger: RwLock<Arc<Ledger>>,
    settled: AtomicBool,
}

impl Current {
    /// Ours, until something else is found.
    pub(super) fn new(own: Ledger) -> Self {
        Self {
            ledger: RwLock::new(Arc::new(own)),
            settled: AtomicBool::new(false),
        }
    }

    pub(super) fn get(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, ledger: Ledger) -> Arc<Ledger> {
        let ledger = Arc::new(ledger);
        *self.ledger.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&ledger);
        ledger
    }

    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }
}

/// What there is to choose from.
pub(super) struct Found {
    pub(super) own: Candidate,
    pub(super) foreign: Vec<Candidate>,
    /// Where sqlx would make its table: full name, and quoted.
    pub(super) sqlx_default: (String, String),
    /// The ledger of a run that is not closed: what was chosen for it holds until it is.
    pub(super) of_open_run: Option<String>,
}

/// Which of the tables is the ledger.
///
/// # Errors
/// [`DbError::LedgerUnclear`] when that must be said; it names the choices.
pub(super) fn choose(choice: &LedgerChoice, found: Found) -> Result<Ledger, DbError> {
    let chosen = |ledger: Ledger| Ledger { chosen: true, ..ledger };
    let in_path: Vec<Candidate> = found.foreign.iter().filter(|one| one.in_path).cloned().collect();
    let near = if in_path.is_empty() {
        found.foreign.clone()
    } else {
        in_path
    };
    match choice {
        LedgerChoice::Of(LedgerTool::Stepback) | LedgerChoice::In(LedgerTool::Stepback, _) => {
            Ok(chosen(found.own.ledger))
        }
        LedgerChoice::Of(LedgerTool::Sqlx) => match near.as_slice() {
            [] => {
                let (table, quoted) = found.sqlx_default;
                Ok(Ledger {
                    tool: LedgerTool::Sqlx,
                    table,
                    quoted,
                    exists: false,
                    chosen: true,
                })
            }
            [one] => Ok(chosen(one.ledger.clone())),
            several => Err(unclear(several)),
        },
        LedgerChoice::In(LedgerTool::Sqlx, table) => {
            let is_named = |one: &&Candidate| {
                let full = &one.ledger.table;
                full == table || full.rsplit_once('.').is_some_and(|(_, name)| name == table)
            };
            let named: Vec<Candidate> = found.foreign.iter().filter(is_named).cloned().collect();
            match named.as_slice() {
                [one] => Ok(chosen(one.ledger.clone())),
                [] => Err(DbError::LedgerUnclear {
                    message: format!("there is no table {table} with the columns of sqlx's ledger"),
                    hint: match found.foreign.as_slice() {
                        [] => "no table of this database has them; `--ledger sqlx` makes sqlx's own".to_owned(),
                        some => format!("these have them: {}", names(some)),
                    },
                }),
                several => Err(unclear(several)),
            }
        }
        LedgerChoice::Auto => {
            let mut with_rows: Vec<Candidate> = near.iter().filter(|one| one.has_rows).cloned().collect();
            if found.own.has_rows {
                with_rows.insert(0, found.own.clone());
            }
            match (with_rows.as_slice(), near.as_slice()) {
                ([one], _) | ([], [one]) => Ok(one.ledger.clone()),
                ([], []) => Ok(found.own.ledger),
                ([], several) | (several, _) => several
                    .iter()
                    .find(|one| Some(&one.ledger.table) == found.of_open_run.as_ref())
                    .map(|one| one.ledger.clone())
                    .ok_or_else(|| unclear(several)),
            }
        }
    }
}

fn names(candidates: &[Candidate]) -> String {
    let names: Vec<&str> = candidates.iter().map(|one| one.ledger.table.as_str()).collect();
    names.join(", ")
}

fn unclear(candidates: &[Candidate]) -> DbError {
    let several_foreign = candidates.iter().filter(|one| !one.ledger.is_own()).count() > 1;
    let option = |one: &Candidate| match one.ledger.tool {
        LedgerTool::Stepback => "--ledger stepback".to_owned(),
        LedgerTool::Sqlx if several_foreign => format!("--ledger sqlx:{}", one.ledger.table),
        LedgerTool::Sqlx => "--ledger sqlx".to_owned(),
    };
    let options: Vec<String> = candidates.iter().map(option).collect();
    DbError::LedgerUnclear {
        message: format!("several tables can be the ledger: {}", names(candidates)),
        hint: format!("say which one the app goes by: {}", options.join(", or ")),
    }
}

#[cfg(test)]
mod tests;
