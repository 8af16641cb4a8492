//! The seam to the database.
//!
//! Responsible for: what every engine must be able to do and promise. Not for: deciding anything (core), waiting for
//! health (`probe`), the journal's lines (`journal`). `run` and `cli` use it through [`Database`].

pub mod archive;
mod capture;
mod connect;
mod error;
mod ledger;
mod own_tables;
mod parameters;
mod postgres;
mod secrets;
mod silence;
mod sqlite;
mod truth;

use std::time::Duration;

use async_trait::async_trait;
use stepback_core::catalog::Migration;
use stepback_core::model::{
    Bound, Digest, Direction, Engine, Fingerprint, LedgerRow, MigrationSet, RunId, RunRow, ScriptRef, SeenDatabase,
    Stamp, Token,
};

pub use connect::{ConnectOptions, connect, find_state_schema, redact, similar_file, sqlite_file};
pub use error::DbError;
pub use ledger::LedgerChoice;
pub use own_tables::own_tables;
pub use postgres::PostgresDatabase;
pub use sqlite::SqliteDatabase;

/// What a coordinator asks for when it wants to act alone.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// Who asks, for those who find the lease taken.
    pub holder: String,
    /// How long the lease lives without a heartbeat.
    pub life: Duration,
    /// How long to wait while another holds it.
    pub wait: Duration,
    /// The highest token number seen anywhere else: the cluster Lease, stamps, a journal. The new one is above it.
    pub above: u64,
}

/// A fact of ours that is kept in the database.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A release is paired with these migrations.
    Release {
        /// The release.
        release: semver::Version,
        /// The migrations.
        schema: MigrationSet,
    },
    /// The schema looks like this when these migrations are applied.
    Fingerprint {
        /// The migrations.
        schema: MigrationSet,
        /// The fingerprint.
        fingerprint: Fingerprint,
    },
}

/// What a database answers to a probe's query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It returned rows, and each begins with a value that is true, not zero and not null.
    Yes,
    /// It returned something else. The sentence says what.
    No(String),
    /// It can never be asked: not one statement, not SQL, or a write. The sentence says why.
    Unfit(String),
}

impl Record {
    /// The migrations that it is about.
    pub fn schema(&self) -> &MigrationSet {
        match self {
            Self::Release { schema, .. } | Self::Fingerprint { schema, .. } => schema,
        }
    }

    /// Fails unless exactly its migrations are applied: a fact about another state must not be recorded for this one
    /// (LAWS D13).
    fn expect_applied(&self, ledger: &[LedgerRow]) -> Result<(), DbError> {
        let applied: MigrationSet = ledger.iter().map(|row| row.migration.version.clone()).collect();
        if applied == *self.schema() {
            return Ok(());
        }
        Err(DbError::Own {
            message: NOT_APPLIED.to_owned(),
        })
    }
}

/// Why a fact is not recorded.
const NOT_APPLIED: &str = "the ledger does not hold exactly the migrations that this is to be recorded of; somebody else \
    has migrated, or the database was restored";

/// One database with its ledger, archive, lease and run row.
///
/// # Guarantees
/// - What is read and written of ours is this ledger's alone, but for bodies, plans and journal lines, which have names of
///   their own, and [`Database::runs`] (LAWS D16).
/// - Looking (`look`, `ledger`, `fingerprint`, `recorded*`, `bodies`) creates nothing and takes no lock beyond a read's.
/// - Everything that changes something carries a [`Token`], which is checked in the same transaction so that a rival's
///   takeover either comes wholly before it or waits for it (LAWS D4).
/// - [`Database::advance`] commits each script together with its ledger row, where the engine has transactional DDL.
/// - No method tries again by itself, and no `Ok` of a change is the proof of it: the caller looks afterwards.
///
/// # Assumptions
/// - [`Database::prepare`] was called before anything but looking.
/// - One coordinator process uses one value; its methods are called one at a time, but for the heartbeat inside.
///
/// # After a crash
/// A new value on the same database, after [`Database::acquire`], finds a world in which no statement of the dead
/// coordinator is running any more (LAWS D5), and every script either happened with its ledger row or not at all.
#[async_trait]
pub trait Database: Send + Sync {
    /// The engine.
    fn engine(&self) -> Engine;

    /// Reads everything for one decision.
    async fn look(&self) -> Result<SeenDatabase, DbError>;

    /// Reads the ledger alone, in order of application.
    async fn ledger(&self) -> Result<Vec<LedgerRow>, DbError>;

    /// Takes the fingerprint of the schema as it is, own tables left out.
    async fn fingerprint(&self) -> Result<Fingerprint, DbError>;

    /// The fingerprint that was recorded when exactly these migrations were applied.
    async fn recorded_fingerprint(&self, schema: &MigrationSet) -> Result<Option<Fingerprint>, DbError>;

    /// Whether a fact is recorded as it is given here.
    async fn recorded(&self, record: &Record) -> Result<bool, DbError>;

    /// The bodies of archived scripts, in the order asked for, each verified against its checksum.
    ///
    /// # Errors
    /// [`DbError::Archive`] when one is missing or is not what its checksum says.
    async fn bodies(&self, scripts: &[Digest]) -> Result<Vec<Vec<u8>>, DbError>;

    /// Makes our own tables where they are missing. Idempotent; safe when several do it at once.
    async fn prepare(&self) -> Result<(), DbError>;

    /// Takes the lease and keeps it alive in the background until [`Database::release`] or the end of this value.
    ///
    /// # Errors
    /// [`DbError::Held`] when another held it for all of `request.wait`.
    async fn acquire(&self, request: &LeaseRequest) -> Result<Token, DbError>;

    /// Gives the lease back; nothing happens when it is not ours any more.
    async fn release(&self) -> Result<(), DbError>;

    /// Stores migrations in the archive: captured and bound to their ledger row where the ledger shows the version,
    /// else staged (LAWS D3). A row that is there already with the same checksums stays as it is; one that was only
    /// staged is replaced by a new revision; a captured one with other checksums stays. Every row that was staged before
    /// becomes captured where the ledger shows that script by now, whoever applied it.
    async fn stage(&self, token: Token, migrations: &[Migration]) -> Result<(), DbError>;

    /// Appends a revision of an applied migration's archive row, bound to its ledger row, whatever was captured before;
    /// and why (LAWS D3). Nothing is overwritten.
    ///
    /// # Errors
    /// [`DbError::Check`] when the ledger does not show it, or names another up script.
    async fn replace(&self, token: Token, migration: &Migration, reason: &str) -> Result<(), DbError>;

    /// Writes the row of a run: inserts it, or changes the row with the same run.
    ///
    /// # Errors
    /// [`DbError::RunOpen`] when another run on this ledger is not closed.
    async fn write_run(&self, token: Token, row: &RunRow) -> Result<(), DbError>;

    /// Remembers which cluster and workloads a run acts on, before it is open. A second time for one run changes nothing.
    async fn bind(&self, token: Token, bound: &Bound) -> Result<(), DbError>;

    /// Closes the row of a run and writes that of the one that takes over from it, in one transaction: at no moment is
    /// there none, and at no moment are there two.
    ///
    /// # Errors
    /// [`DbError::RunOpen`] when yet another run on this ledger is not closed.
    async fn hand_over(&self, token: Token, from: &RunId, to: &RunRow) -> Result<(), DbError>;

    /// Carries a batch of scripts out, in order: for each, the token's fence, the script from the archive, its ledger
    /// row and (up) its archive row's binding, in one transaction. It may return after part of the batch; the caller
    /// asks the ledger and calls again with the rest.
    async fn advance(&self, direction: Direction, scripts: &[ScriptRef], stamp: &Stamp) -> Result<(), DbError>;

    /// Records a fact about the migrations that are applied, which is asked in the same transaction (LAWS D13).
    ///
    /// # Errors
    /// [`DbError::Own`] when the ledger holds other migrations than the fact is about.
    async fn record(&self, record: &Record, stamp: &Stamp) -> Result<(), DbError>;

    /// Stores a run's plan, compressed JSON, for runs whose journal lies in the database. Storing it again is no error.
    async fn write_plan(&self, token: Token, run: &RunId, plan: &[u8]) -> Result<(), DbError>;

    /// Appends a journal line under this sequence number. `false`: the number is taken, and nothing was written.
    async fn append_line(&self, token: Token, run: &RunId, sequence: u64, line: &str) -> Result<bool, DbError>;

    /// A run's plan and journal lines in order; `None` where there is no plan of this run here.
    async fn read_lines(&self, run: &RunId) -> Result<Option<(Vec<u8>, Vec<String>)>, DbError>;

    /// Asks a probe's query for at most `limit`, on a connection of its own and so that it can write nothing. Whoever
    /// stops waiting leaves nothing behind; the server ends the query at its limit.
    ///
    /// # Errors
    /// When it fails for a reason that may pass: no connection, a table that is not there, the limit.
    async fn ask(&self, query: &str, limit: Duration) -> Result<Reply, DbError>;

    /// The text without what this database's URL keeps secret.
    fn redact(&self, text: &str) -> String;

    /// The runs that have a row here, on whichever ledger, newest first.
    async fn runs(&self) -> Result<Vec<RunRow>, DbError>;
}
