//! PostgreSQL.
//!
//! Every change of ours is one message `BEGIN; fence; …; COMMIT`, which the server carries out whole or not at all, also
//! when this process dies after sending it. The fence takes `FOR KEY SHARE` on the lease row, whose token is part of a
//! unique key: a takeover changes the token and so waits for work in flight, and a heartbeat, which changes no key, does
//! not (LAWS D4). Scripts go several migrations a message, each in a transaction that defends itself (LAWS D7).
//!
//! Responsible for: everything that is special to PostgreSQL. Not for: how scripts are stored (`archive`), or what the
//! answers mean (core). Only `database::connect` makes one.

mod advance;
mod ask;
mod blockers;
mod capture;
mod error;
mod find;
mod fingerprint;
mod journal;
mod lease;
mod leavings;
mod lock;
mod look;
mod message;
mod prepare;
mod quote;
mod rights;
mod rows;
mod script;
mod server;
mod session;
mod store;
mod tls;

use std::str::FromStr as _;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use stepback_core::catalog::Migration;
use stepback_core::model::{
    Bound, Digest, Direction, Engine, Fingerprint, LedgerRow, MigrationSet, RunId, RunRow, ScriptRef, SeenDatabase,
    Stamp, Token,
};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::ledger::Current;
use super::secrets::Secrets;
use super::silence::Silence;
use super::{ConnectOptions, Database, DbError, LeaseRequest, Record, Reply};
use lease::Heart;
pub(super) use prepare::own_tables;
use quote::{Names, Value, fill, literal};
use session::{Failed, Life, PROGRAM, Results, Session, SessionId};

/// Our own tables.
const OWN_TABLES: &str = include_str!("../../../migrations/postgres/0001_own_tables.sql");

/// How long an ended session may take to be gone: it finishes what cannot be interrupted, and rolls back.
const GONE: Duration = Duration::from_secs(60);

/// A PostgreSQL database. Nothing is opened before it is needed.
pub struct PostgresDatabase {
    options: ConnectOptions,
    redacted: String,
    secrets: Secrets,
    connect: PgConnectOptions,
    /// What it calls itself in its transactions, and nobody else does: a server session that a pooler gives to us and to
    /// others is told by it (LAWS D14).
    name: String,
    /// The state schema as an identifier, quoted.
    schema: String,
    /// The ledger, which the lease is for.
    ledger: Current,
    work: Mutex<Work>,
    heart: Mutex<Option<Heart>>,
    /// Of the lease that is waited for.
    silence: Silence,
    /// The lock of the ledger's tool, while we hold the lease.
    tool_lock: lock::Slot,
    /// Whether a batch was not done within the time of one migration: from then on they go singly.
    singly: AtomicBool,
}

/// The connection that works and looks, and what must be known to replace it.
#[derive(Default)]
struct Work {
    session: Option<Session>,
    /// Our own session that was lost: it may still be working (LAWS D5).
    lost: Option<SessionId>,
    /// The token under which this connection works.
    token: Option<Token>,
    /// What the first session said of the database that it led to.
    server: Option<String>,
}

impl PostgresDatabase {
    /// A database at this URL, which may hold a password and is never shown; `redacted` is shown.
    ///
    /// # Errors
    /// When the URL or the name of the state schema cannot be used.
    pub fn new(url: &str, redacted: String, options: ConnectOptions) -> Result<Self, DbError> {
        let refused = |message: String, hint: &str| DbError::Url {
            message,
            hint: hint.to_owned(),
        };
        let state = &options.state_schema;
        if state.is_empty() || state.len() > 63 || state.chars().any(char::is_control) {
            return Err(refused(
                format!("{state:?} cannot be the name of a schema"),
                "set database.stateSchema to a name of at most 63 bytes",
            ));
        }
        // The driver's error may repeat parts of the URL.
        let connect = PgConnectOptions::from_str(url).map_err(|_| {
            refused(
                format!("the URL {redacted} cannot be read"),
                "write postgres://USER@HOST:PORT/DATABASE, special characters of the password as %XX",
            )
        })?;
        let connect = tls::protect(connect, url)
            .application_name(PROGRAM)
            .extra_float_digits(None)
            .statement_cache_capacity(0)
            .disable_statement_logging();
        Ok(Self {
            schema: quote::name(state),
            ledger: Current::new(find::own_ledger(state)),
            options,
            name: format!("{PROGRAM}-{}", ulid::Ulid::generate()),
            secrets: Secrets::of_url(url, &redacted),
            redacted,
            connect,
            work: Mutex::default(),
            heart: Mutex::default(),
            silence: Silence::default(),
            tool_lock: lock::Slot::default(),
            singly: AtomicBool::new(false),
        })
    }

    fn explain(&self, doing: &'static str, error: &sqlx::Error) -> DbError {
        error::explain(&self.redacted, doing, error)
    }

    fn fill(&self, template: &'static str, values: &[Value<'_>]) -> String {
        let ledger = self.ledger.get();
        let names = Names {
            schema: &self.schema,
            ledger: &ledger.quoted,
            key: &literal((&ledger.table).into()),
        };
        fill(template, names, values)
    }

    /// The connection, opened when there is none. A session of ours that was lost is seen gone first, because what it was
    /// doing may go on in the server (LAWS D5).
    async fn work(&self) -> Result<MutexGuard<'_, Work>, DbError> {
        let mut work = self.work.lock().await;
        if work.session.is_none() {
            let failed = |error: sqlx::Error| self.explain("connecting", &error);
            let opening = Session::open(&self.connect, self.options.statement);
            let mut session = opening.await.map_err(failed)?.named(&self.name);
            let server = session.server().await;
            if let (Some(first), Some(now)) = (&work.server, &server)
                && first != now
            {
                return Err(DbError::Refused {
                    message: format!(
                        "the connection was lost, and a new one to {} leads to another database: it was {first}, and is \
                         {now}; what was committed last may be missing there",
                        self.redacted
                    ),
                    hint: Some(
                        "find out which is the right one (a failover, a restore?) and what its ledger says: \
                         `stepback migrate status`"
                            .to_owned(),
                    ),
                });
            }
            work.server = work.server.take().or(server);
            if let Some(lost) = &work.lost {
                self.see_gone(&mut session, lost, Own::Yes).await?;
                work.lost = None;
            }
            if let Some(token) = work.token {
                let id = session.id().to_string();
                session
                    .send(self.name_session(token, &id))
                    .await
                    .map_err(|failed| self.explain("naming the session in the lease", &failed.error))?;
            }
            work.session = Some(session);
        }
        Ok(work)
    }

    /// Sends one message. A session that ends is replaced by the next call.
    async fn send(&self, work: &mut Work, message: String) -> Result<Results, Failed> {
        self.send_within(work, message, None).await
    }

    /// Likewise; a message of scripts has a limit.
    async fn send_within(&self, work: &mut Work, message: String, limit: Option<Duration>) -> Result<Results, Failed> {
        let session = work.session.as_mut().expect("`work` has opened it");
        let sent = match limit {
            Some(limit) => session.send_scripts(message, limit).await,
            None => session.send(message).await,
        };
        if sent.as_ref().is_err_and(|failed| failed.ended) {
            work.lost = work.session.take().map(|session| session.id().clone());
        }
        sent
    }

    /// Opens, sends, explains.
    async fn ask(&self, doing: &'static str, message: String) -> Result<Results, DbError> {
        let mut work = self.work().await?;
        let sent = self.send(&mut work, message).await;
        sent.map_err(|failed| self.explain(doing, &failed.error))
    }

    /// Waits until a session is gone, and ends it. One that works for another client by now is gone: behind a pooler the
    /// takeover of the lease is the proof. One that is not ours and idle is let be: it can start nothing that the
    /// fence lets through. So is one that this role may not see.
    async fn see_gone(&self, session: &mut Session, other: &SessionId, own: Own) -> Result<(), DbError> {
        let deadline = Instant::now() + GONE;
        let mut wait = Duration::from_millis(5);
        loop {
            let failed = |failed: Failed| self.explain("looking for a session that was lost", &failed.error);
            match (session.life_of(other).await.map_err(failed)?, own) {
                (Life::Gone, _) | (Life::Idle | Life::Hidden, Own::No) => return Ok(()),
                _ if Instant::now() > deadline => {
                    return Err(DbError::Busy {
                        message: format!(
                            "server process {} of a lost coordinator is still working although it was asked to end",
                            other.pid
                        ),
                    });
                }
                _ => {
                    if let Err(error) = session.terminate(other).await {
                        if error.ended || own == Own::Yes {
                            return Err(failed(error));
                        }
                        // Without the right to end it, the takeover of the lease is the proof (LAWS D14).
                        return Ok(());
                    }
                }
            }
            // There is no event for the end of another session.
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_millis(200));
        }
    }
}

/// Whose session it is that must be gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    /// One of this value's, which worked under the token that is still ours: the fence does not stop it.
    Yes,
    /// One whose token was taken over.
    No,
}

#[async_trait]
impl Database for PostgresDatabase {
    fn engine(&self) -> Engine {
        Engine::Postgres
    }

    async fn look(&self) -> Result<SeenDatabase, DbError> {
        self.read_everything().await
    }

    async fn ledger(&self) -> Result<Vec<LedgerRow>, DbError> {
        self.read_ledger().await
    }

    async fn fingerprint(&self) -> Result<Fingerprint, DbError> {
        self.take_fingerprint().await
    }

    async fn recorded_fingerprint(&self, schema: &MigrationSet) -> Result<Option<Fingerprint>, DbError> {
        self.read_fingerprint(schema).await
    }

    async fn recorded(&self, record: &Record) -> Result<bool, DbError> {
        self.is_recorded(record).await
    }

    async fn bodies(&self, scripts: &[Digest]) -> Result<Vec<Vec<u8>>, DbError> {
        self.read_bodies(scripts).await
    }

    async fn prepare(&self) -> Result<(), DbError> {
        self.make_tables().await
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Token, DbError> {
        self.take_lease(request).await
    }

    async fn release(&self) -> Result<(), DbError> {
        self.give_lease_back().await
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

    fn redact(&self, text: &str) -> String {
        self.secrets.hide(text)
    }

    async fn runs(&self) -> Result<Vec<RunRow>, DbError> {
        self.read_runs().await
    }
}
