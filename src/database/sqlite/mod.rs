//! SQLite: the embedded default.
//!
//! The write transaction is the lock: every work transaction begins `IMMEDIATE`, checks the token, and renews the
//! heartbeat just before it commits, because a rival that waited for the write lock would otherwise find a lease that
//! looks dead and take over from a living holder (LAWS D4).

mod ask;
mod capture;
mod file;
mod find;
mod fingerprint;
mod lease;
mod limit;
mod look;
mod store;
mod watched;
mod work;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use stepback_core::catalog::Migration;
use stepback_core::model::{
    Bound, Digest, Direction, Engine, Fingerprint, LedgerRow, MigrationSet, RunId, RunRow, ScriptRef, SeenDatabase,
    Stamp, Token, UrlSource,
};
use tokio::sync::Mutex;

use super::ledger::Current;
use super::silence::Silence;
use super::{ConnectOptions, Database, DbError, LeaseRequest, Record, Reply, similar_file};
use file::FileId;
use lease::Heart;
pub(super) use lease::own_tables;

/// Our own tables.
const OWN_TABLES: &str = include_str!("../../../migrations/sqlite/0001_own_tables.sql");

/// Our own ledger.
const OWN_LEDGER: &str = "stepback_ledger";

/// After so many steps of SQLite's machine it is asked whether a limit has passed.
const STEPS: i32 = 10_000;

/// A SQLite file.
pub struct SqliteDatabase {
    path: PathBuf,
    redacted: String,
    source: UrlSource,
    options: ConnectOptions,
    /// The one connection that works and looks; opened when it is first needed.
    connection: Mutex<Option<SqliteConnection>>,
    /// The file that was opened first.
    file: OnceLock<FileId>,
    heart: Mutex<Option<Heart>>,
    /// Of the lease that is waited for.
    silence: Silence,
    ledger: Current,
}

impl SqliteDatabase {
    /// A database at this path. Nothing is opened yet.
    pub fn new(path: PathBuf, redacted: String, options: ConnectOptions) -> Self {
        let source = options.source.clone();
        Self {
            path,
            redacted,
            source,
            options,
            connection: Mutex::new(None),
            file: OnceLock::new(),
            heart: Mutex::new(None),
            silence: Silence::default(),
            ledger: Current::new(find::own_ledger()),
        }
    }

    fn open_options(&self, create: bool) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(create)
            .foreign_keys(false)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(self.options.lock_wait)
            .log_statements(tracing::log::LevelFilter::Trace)
            .log_slow_statements(tracing::log::LevelFilter::Trace, Duration::MAX)
    }

    /// The connection, opened when there is none, and in no transaction.
    async fn connected(&self, create: bool) -> Result<Connected<'_>, DbError> {
        let mut slot = self.connection.lock().await;
        self.expect_same_file()?;
        // Refused where there is no transaction, which is the rule. Whoever began one was given up half-way: a look at the
        // cluster failed beside it, say.
        if let Some(connection) = slot.as_mut()
            && sqlx::raw_sql("ROLLBACK").execute(connection).await.is_ok()
        {
            *slot = None;
        }
        if slot.is_none() {
            if !create && !self.path.exists() {
                return if self.options.create {
                    Ok(Connected::Missing)
                } else {
                    Err(self.missing())
                };
            }
            let opened = SqliteConnection::connect_with(&self.open_options(create)).await;
            *slot = Some(opened.map_err(|error| self.explain("opening the database", error))?);
            self.keep_file();
        }
        Ok(Connected::Open(Working(slot)))
    }

    /// The connection of a method that may change something.
    async fn working(&self) -> Result<Working<'_>, DbError> {
        match self.connected(self.options.create).await? {
            Connected::Open(working) => Ok(working),
            Connected::Missing => Err(self.missing()),
        }
    }

    /// The file is not there, and this is no command that makes it.
    fn missing(&self) -> DbError {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let meant = similar_file(&path).map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"));
        DbError::NoEntry {
            database: self.redacted.clone(),
            message: format!("there is no file {}{meant}", path.display()),
            hint: "check the path: a relative one starts at the current directory; a new database is made by \
                   `stepback migrate up` alone"
                .to_owned(),
        }
    }

    /// From the driver's error to ours.
    fn explain(&self, doing: &'static str, error: sqlx::Error) -> DbError {
        let sqlx::Error::Database(inner) = &error else {
            return DbError::Driver {
                doing,
                message: error.to_string(),
            };
        };
        let message = inner.message().to_owned();
        // SQLite's primary result codes are the low byte of the extended ones.
        let code = inner
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            .map(|code| code & 0xff);
        match code {
            Some(5 | 6) => DbError::Busy { message },
            Some(8) => DbError::Refused {
                message,
                hint: Some(format!(
                    "make {} and its folder writable for this user",
                    self.path.display()
                )),
            },
            Some(13) => DbError::Refused {
                message,
                hint: Some("free some disk space".to_owned()),
            },
            Some(14) => DbError::NoEntry {
                database: self.redacted.clone(),
                message,
                hint: "check the path, and that this user may read and write the file and its folder".to_owned(),
            },
            Some(26 | 11) => DbError::NoEntry {
                database: self.redacted.clone(),
                message,
                hint: "is this file a SQLite database?".to_owned(),
            },
            _ => DbError::Driver { doing, message },
        }
    }
}

enum Connected<'a> {
    Open(Working<'a>),
    /// The file does not exist, and is not made here.
    Missing,
}

struct Working<'a>(tokio::sync::MutexGuard<'a, Option<SqliteConnection>>);

impl Working<'_> {
    /// Ends the session with everything that only it holds. Whoever needs a connection next opens another.
    async fn end(mut self) {
        if let Some(connection) = self.0.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "the connection could not be closed in order");
        }
    }
}

impl std::ops::Deref for Working<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.0.as_ref().expect("`connected` has opened it")
    }
}

impl std::ops::DerefMut for Working<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.0.as_mut().expect("`connected` has opened it")
    }
}

/// A write transaction: ended by `COMMIT` or, on any error, rolled back. What would be committed to a file that lost its
/// name is rolled back too.
async fn in_transaction<T>(
    database: &SqliteDatabase,
    connection: &mut SqliteConnection,
    doing: &'static str,
    work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, DbError>,
) -> Result<T, DbError> {
    let explain = |error| database.explain(doing, error);
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await
        .map_err(explain)?;
    let worked = match database.expect_same_file() {
        Ok(()) => work(&mut *connection).await,
        Err(error) => Err(error),
    };
    let worked = worked.and_then(|value| database.expect_same_file().map(|()| value));
    let ended = match worked {
        Ok(value) => sqlx::raw_sql("COMMIT")
            .execute(&mut *connection)
            .await
            .map(|_| value)
            .map_err(explain),
        Err(error) => Err(error),
    };
    if ended.is_err() {
        // Fails only where there is no transaction any more, which is what was wanted.
        drop(sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await);
    }
    ended
}

async fn has_table(connection: &mut SqliteConnection, name: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?")
        .bind(name)
        .fetch_one(connection)
        .await?;
    Ok(row.get::<i64, _>(0) > 0)
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn now_text() -> String {
    jiff::Timestamp::now().to_string()
}

#[async_trait]
impl Database for SqliteDatabase {
    fn engine(&self) -> Engine {
        Engine::Sqlite
    }

    async fn look(&self) -> Result<SeenDatabase, DbError> {
        self.read_everything().await
    }

    async fn ledger(&self) -> Result<Vec<LedgerRow>, DbError> {
        match self.connected(false).await? {
            Connected::Missing => Ok(Vec::new()),
            Connected::Open(mut connection) => {
                let ledger = self.find_ledger(&mut connection).await?;
                look::ledger(&mut connection, &ledger)
                    .await
                    .map_err(|error| self.explain("reading the ledger", error))
            }
        }
    }

    async fn fingerprint(&self) -> Result<Fingerprint, DbError> {
        match self.connected(false).await? {
            Connected::Missing => Ok(fingerprint::of_nothing()),
            Connected::Open(mut connection) => {
                let ledger = self.find_ledger(&mut connection).await?;
                fingerprint::take(&mut connection, &ledger)
                    .await
                    .map_err(|error| self.explain("reading the schema", error))
            }
        }
    }

    async fn recorded_fingerprint(&self, schema: &MigrationSet) -> Result<Option<Fingerprint>, DbError> {
        self.read_fingerprint(schema).await
    }

    async fn recorded(&self, record: &Record) -> Result<bool, DbError> {
        self.is_recorded(record).await
    }

    async fn bodies(&self, scripts: &[Digest]) -> Result<Vec<Vec<u8>>, DbError> {
        let mut connection = self.working().await?;
        self.read_bodies(&mut connection, scripts).await
    }

    async fn prepare(&self) -> Result<(), DbError> {
        self.make_tables().await
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Token, DbError> {
        let (token, heart) = self.take_lease(request).await?;
        *self.heart.lock().await = Some(heart);
        Ok(token)
    }

    async fn release(&self) -> Result<(), DbError> {
        let Some(heart) = self.heart.lock().await.take() else {
            return Ok(());
        };
        self.give_lease_back(heart).await
    }

    async fn stage(&self, token: Token, migrations: &[Migration]) -> Result<(), DbError> {
        self.store_migrations(token, migrations).await
    }

    async fn replace(&self, token: Token, migration: &Migration, reason: &str) -> Result<(), DbError> {
        self.append_replacement(token, migration, reason).await
    }

    async fn write_run(&self, token: Token, row: &RunRow) -> Result<(), DbError> {
        self.store_run(token, row, None).await
    }

    async fn bind(&self, token: Token, bound: &Bound) -> Result<(), DbError> {
        self.store_binding(token, bound).await
    }

    async fn hand_over(&self, token: Token, from: &RunId, to: &RunRow) -> Result<(), DbError> {
        self.store_run(token, to, Some(from)).await
    }

    async fn advance(&self, direction: Direction, scripts: &[ScriptRef], stamp: &Stamp) -> Result<(), DbError> {
        self.carry_out(direction, scripts, stamp).await
    }

    async fn record(&self, record: &Record, stamp: &Stamp) -> Result<(), DbError> {
        self.store_record(record, stamp).await
    }

    async fn write_plan(&self, token: Token, run: &RunId, plan: &[u8]) -> Result<(), DbError> {
        self.store_plan(token, run, plan).await
    }

    async fn append_line(&self, token: Token, run: &RunId, sequence: u64, line: &str) -> Result<bool, DbError> {
        self.store_line(token, run, sequence, line).await
    }

    async fn read_lines(&self, run: &RunId) -> Result<Option<(Vec<u8>, Vec<String>)>, DbError> {
        self.read_journal(run).await
    }

    async fn ask(&self, query: &str, limit: Duration) -> Result<Reply, DbError> {
        self.ask_query(query, limit).await
    }

    /// A file's name is no secret.
    fn redact(&self, text: &str) -> String {
        text.to_owned()
    }

    async fn runs(&self) -> Result<Vec<RunRow>, DbError> {
        self.read_runs().await
    }
}
