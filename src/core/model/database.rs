//! What is known of a database: where it is, what it is, and what its tables say.

use serde::{Deserialize, Serialize};

use super::{
    Bound, Checksum, Digest, Engine, MigrationId, MigrationSet, PlanId, RunId, ScriptRef, SeenServer, Token, Version,
};

/// Where the database is to be found again, without a secret: a plan carries it, so that `resume` needs no app file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UrlSource {
    /// The environment variable of this name holds the URL.
    Env(String),
    /// The file at this path holds the URL.
    File(String),
    /// The URL itself; it holds no password.
    Url(String),
}

/// A database by reference, engine and identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseRef {
    /// Its engine.
    pub engine: Engine,
    /// Where its URL is read from.
    pub source: UrlSource,
    /// The URL without its password, for people.
    pub redacted: String,
    /// The schema (PostgreSQL) that our own tables live in; elsewhere a table prefix.
    pub state_schema: String,
    /// Which of its ledgers is meant (LAWS D16).
    pub ledger: LedgerRef,
    /// Which database this is (LAWS D13).
    pub identity: DatabaseIdentity,
}

/// What tells one database from a copy, a restored backup or another server (LAWS D13).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseIdentity {
    /// The engine's own name of the cluster or server: PostgreSQL's `system_identifier`; empty where it has none.
    pub system: String,
    /// PostgreSQL's timeline, which a failover raises; 0 where there is none.
    pub timeline: u32,
    /// The database within the server: PostgreSQL's `oid`; empty where there is none.
    pub database: String,
    /// Our own random id, written when our tables were made; empty before that.
    pub own: String,
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerRow {
    /// Rises in the order of application; `None` where the tool keeps no order.
    pub sequence: Option<i64>,
    /// The migration.
    pub migration: MigrationId,
    /// SHA-256 of the up script that was applied, where the ledger has it.
    pub up_sha256: Option<Digest>,
    /// Another tool's checksum of the up script that was applied, where the ledger is that tool's and has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_checksum: Option<Checksum>,
    /// Whether the ledger says that it was begun and not finished.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
    /// When, as the ledger says it.
    pub applied_at: String,
}

impl LedgerRow {
    /// Whether this is the up script that the ledger says was applied: `None` where the ledger does not say.
    pub fn names_up(&self, sha256: &Digest, text: &[u8]) -> Option<bool> {
        match (&self.up_sha256, &self.up_checksum) {
            (Some(named), _) => Some(named == sha256),
            (None, Some(checksum)) => Some(checksum.is_of(text)),
            (None, None) => None,
        }
    }
}

/// Whose ledger it is: which tool reads and writes it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerTool {
    /// Our own.
    #[default]
    Stepback,
    /// sqlx's `_sqlx_migrations`.
    Sqlx,
}

impl LedgerTool {
    /// The name in app files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stepback => "stepback",
            Self::Sqlx => "sqlx",
        }
    }
}

impl std::fmt::Display for LedgerTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Which table is the ledger: what the lease, the archive, the pairings and the runs are kept for (LAWS D16).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerRef {
    /// Whose it is.
    pub tool: LedgerTool,
    /// Its full name within the database, which no other table of it has: on PostgreSQL `schema.table`, each of the two in
    /// double quotes unless it is made of small letters, digits and `_` alone; on SQLite the table's name. Empty where it
    /// is not known.
    pub table: String,
}

impl std::fmt::Display for LedgerRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.table)
    }
}

/// What was seen of the ledger's table itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerSeen {
    /// Whether the table is there.
    pub exists: bool,
    /// Whether a person named the tool, rather than that it was told from what the database holds.
    pub chosen: bool,
}

/// Whether an archived script is known to have been applied (LAWS D3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    /// Stored before an upgrade; not (yet) applied by us.
    Staged,
    /// The ledger shows its version, and the row is bound to that ledger row.
    Captured,
}

/// A migration in the archive, without its bodies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveRow {
    /// The migration.
    pub migration: MigrationId,
    /// Rises when a row is replaced; older revisions stay.
    pub revision: i64,
    /// Staged or captured.
    pub capture: Capture,
    /// SHA-256 of the up script.
    pub up_sha256: Digest,
    /// SHA-256 of the down script, when there is one.
    pub down_sha256: Option<Digest>,
    /// Whether the down script holds no statement at all.
    pub down_empty: bool,
    /// The ledger row's sequence that this row is bound to.
    pub ledger_sequence: Option<i64>,
    /// Whether content and binding still have the checksum they were stored with; `false` is corruption or forgery.
    pub intact: bool,
}

impl ArchiveRow {
    /// Rises from one row of a version to the next, also where an earlier stepback made rows for several spellings of it.
    pub fn age(&self) -> impl Ord + use<> {
        (self.revision, self.ledger_sequence)
    }
}

/// A recorded pairing of a release with the migrations that were applied when it was current (LAWS D1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRow {
    /// The release.
    pub release: semver::Version,
    /// The migrations.
    pub schema: MigrationSet,
    /// When it was recorded, RFC 3339.
    pub recorded_at: String,
}

/// What a database knows about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// The row was written; the journal may not exist yet. Such a run has done nothing.
    Opening,
    /// The journal has its first entry; steps may have started.
    Open,
    /// The run halted; it stays open for everybody else until it is resumed or aborted.
    Halted,
    /// The run is over.
    Closed,
}

/// Where a run's journal is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JournalPlace {
    /// In the database itself.
    Database,
    /// In ConfigMaps of this namespace.
    Cluster(String),
    /// In a JSON-lines file.
    File(String),
}

/// The row of a run in the database: a plan's digest and the token stand here, out of reach of whoever can
/// edit the journal (LAWS W8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// The full name of the ledger that it is on, as in [`LedgerRef::table`].
    pub ledger: String,
    /// Its plan.
    pub plan: PlanId,
    /// The app, when there is one.
    pub app: Option<String>,
    /// Where the journal is.
    pub journal: JournalPlace,
    /// How far it is.
    pub status: RunStatus,
    /// What it does, for people: `rollback 1.3.0 -> 1.2.0`.
    pub title: String,
    /// Whether it may be closed by the next coordinator when it was killed: it has no workload steps.
    pub closes_itself: bool,
    /// The token that wrote the row last.
    pub token: Token,
}

/// Who holds the lease, as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseSeen {
    /// The holder's name: host, process, user.
    pub holder: String,
    /// Its token.
    pub token: Token,
    /// Milliseconds since its last heartbeat, by the database's clock.
    pub age_ms: u64,
    /// Milliseconds that its last heartbeat lies in the future of that clock, which was set back since; 0 elsewhere.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ahead_ms: u64,
    /// Milliseconds it lives without a heartbeat.
    pub life_ms: u64,
    /// Whether it was given back.
    pub released: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl LeaseSeen {
    /// The milliseconds from its last heartbeat to now, split into age and how far it is ahead.
    pub fn split_age(age_ms: i64) -> (u64, u64) {
        match u64::try_from(age_ms) {
            Ok(age) => (age, 0),
            Err(_) => (0, age_ms.unsigned_abs()),
        }
    }

    /// Whether its holder may still be acting. Of a heartbeat that is ahead only time can tell, to whoever waits.
    pub fn is_alive(&self) -> bool {
        !self.released && self.age_ms < self.life_ms
    }
}

/// What the role that connects may not do (LAWS D15). Empty where it may do everything, and where there are no roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingRights {
    /// The role.
    pub role: String,
    /// Our own tables that it cannot use as a run does, with their schema.
    pub own_tables: Vec<String>,
    /// What it may not do to the ledger: `INSERT`, `DELETE`.
    #[serde(default)]
    pub ledger: Vec<String>,
    /// Tables and indexes that it neither owns nor is a member of the owner of; none whose name one of its own has in
    /// another schema.
    pub owned_by_others: Vec<OwnedTable>,
    /// Other roles that can connect and write the archive: what they put there this role would run.
    #[serde(default)]
    pub archive_writers: Vec<String>,
}

/// A table, or an index, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnedTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// The table of an index: it has no owner but the table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_of: Option<String>,
}

/// Everything that was read of a database for one decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenDatabase {
    /// Which database.
    pub database: DatabaseRef,
    /// The server's version as it says it.
    pub server_version: String,
    /// Whether our own tables exist.
    pub prepared: bool,
    /// Whether the server refuses writes: a replica, a read-only file.
    pub read_only: bool,
    /// The ledger's table.
    #[serde(default)]
    pub ledger_table: LedgerSeen,
    /// The ledger, in order of application where that is kept.
    pub ledger: Vec<LedgerRow>,
    /// The newest revision of each archived migration: one row a version.
    pub archive: Vec<ArchiveRow>,
    /// The pairings, newest last.
    pub releases: Vec<ReleaseRow>,
    /// The sets of migrations that a fingerprint was recorded for, by [`MigrationSet::digest`], with its digest.
    pub fingerprints: Vec<(Digest, Digest)>,
    /// What the newest run of each app on this ledger that acted on workloads acted on.
    #[serde(default)]
    pub bound: Vec<Bound>,
    /// The run on this ledger that is not closed, when there is one.
    pub open_run: Option<RunRow>,
    /// The lease.
    pub lease: Option<LeaseSeen>,
    /// The highest token number ever seen here.
    pub highest_token: u64,
    /// What the role that connects may not do.
    #[serde(default)]
    pub missing_rights: MissingRights,
    /// What of its server matters to a run.
    #[serde(default)]
    pub server: SeenServer,
}

impl SeenDatabase {
    /// The applied migrations as a set.
    pub fn applied(&self) -> MigrationSet {
        self.ledger.iter().map(|row| row.migration.version.clone()).collect()
    }

    /// The archive row of a version, however that is spelled.
    pub fn archived(&self, version: &Version) -> Option<&ArchiveRow> {
        let rows = self.archive.iter().filter(|row| row.migration.version == *version);
        rows.max_by_key(|row| row.age())
    }

    /// The newest recorded pairing of a release.
    pub fn paired(&self, release: &semver::Version) -> Option<&ReleaseRow> {
        self.releases.iter().rev().find(|row| row.release == *release)
    }
}

/// How far a list of scripts has come, as the ledger says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// How many of the list are done, from its beginning.
    pub done: u32,
    /// How many there are.
    pub of: u32,
}

/// A list of scripts to be carried out in order.
pub type Scripts = Vec<ScriptRef>;
