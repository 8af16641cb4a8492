//! What an app file says, as types. They can be serialised, because a saved plan carries the app file that it was made
//! with: fields are added with a default, and never renamed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Place;
use crate::model::Version;

/// A `stepback.yaml` that was read and found consistent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppFile {
    /// The file's name, for messages.
    pub file: String,
    /// `metadata.name`.
    pub name: String,
    /// The database.
    pub database: Database,
    /// The workloads on it, in starting order.
    pub workloads: Vec<WorkloadRef>,
    /// Others that use the database: suspended during a run.
    pub also_uses: Vec<UserRef>,
    /// The releases, in the order of the file.
    pub releases: Vec<Release>,
    /// The app migrates by itself on boot: permits the offline strategy only.
    pub migrates_at_start: bool,
    /// Which way back.
    pub strategy: Strategy,
    /// What may be lost.
    pub data_loss: DataLoss,
    /// What must hold on a pod before the next pod is touched.
    pub probes: Vec<Probe>,
    /// How long things may take.
    pub limits: Limits,
    /// What a halt leads to.
    pub on_failure: OnFailure,
}

impl AppFile {
    /// The release of this version.
    pub fn release(&self, version: &semver::Version) -> Option<&Release> {
        self.releases.iter().find(|release| release.version == *version)
    }

    /// The releases whose own schema is this one.
    pub fn releases_at(&self, schema: &Version) -> impl Iterator<Item = &Release> {
        self.releases.iter().filter(move |release| release.schema == *schema)
    }
}

/// `spec.database`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// How to get the URL.
    pub url: UrlSource,
    /// The URL around a transaction pooler, for scripts that need a session.
    pub direct_url: Option<UrlSource>,
    /// The migrations folder, relative to the app file.
    pub migrations: String,
    /// Whose file layout; none is `auto`.
    pub layout: Option<Tool>,
    /// Whose ledger; none is `auto`.
    pub ledger: Option<Tool>,
    /// Where our own tables live on PostgreSQL: a schema; `None`: where they are found. On SQLite they begin with `stepback_`.
    pub state_schema: Option<String>,
    /// The app's own database roles.
    pub app_roles: Vec<String>,
    /// The workload that is the database server itself.
    pub hosted_by: Option<String>,
}

/// Where a URL comes from. Only [`UrlSource::Literal`] holds one, and never with a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UrlSource {
    /// An environment variable.
    Env(String),
    /// The content of a file.
    File(String),
    /// A key of a Kubernetes Secret.
    Secret {
        /// The Secret.
        name: String,
        /// Its key.
        key: String,
    },
    /// The URL itself.
    Literal(String),
}

/// A migration tool whose layout or ledger we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Tool {
    Stepback,
    Sqlx,
    GolangMigrate,
    Dbmate,
    Goose,
    Diesel,
    Flyway,
    Refinery,
    Sqitch,
}

/// A workload that is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace; none is the current one.
    pub namespace: Option<String>,
    /// Its name, by which `images` and `hostedBy` mean it.
    pub name: String,
    /// How many pods start as one step (LAWS W15).
    pub start_together: Option<u32>,
}

/// The kinds of workloads that can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Kubernetes' own names")]
pub enum WorkloadKind {
    StatefulSet,
    Deployment,
}

/// Something else that uses the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRef {
    /// Its kind.
    pub kind: UserKind,
    /// Its namespace; none is the current one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// The kinds of other users that can be suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Kubernetes' own names")]
pub enum UserKind {
    CronJob,
    Job,
    Deployment,
    StatefulSet,
}

/// One release of the app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Its version.
    pub version: semver::Version,
    /// Its newest migration.
    pub schema: Version,
    /// The schemas that it can run on; its own among them.
    pub accepts: Accepts,
    /// Workload to container to image.
    pub images: BTreeMap<String, BTreeMap<String, String>>,
    /// The stored data versions that its server can open, by engine.
    pub engine: BTreeMap<DataEngine, semver::VersionReq>,
    /// Where its version stands in the file.
    #[serde(skip)]
    pub place: Place,
    /// Where its schema stands, and the ends of `accepts` that are written out.
    #[serde(skip)]
    pub(super) named_schemas: Vec<(String, Version, Place)>,
}

/// A range of schema versions, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepts {
    /// The oldest.
    pub min: Version,
    /// The newest.
    pub max: Version,
}

impl Accepts {
    /// Whether a schema is in the range.
    pub fn includes(&self, schema: &Version) -> bool {
        (&self.min..=&self.max).contains(&schema)
    }
}

/// An engine whose stored data has a version of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the products' names")]
pub enum DataEngine {
    Mysql,
    Mariadb,
    Postgres,
    Mongodb,
    Redis,
    Valkey,
}

/// Which way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The first of the others that holds.
    #[default]
    Auto,
    /// Stop all workloads, migrate down, start again.
    Offline,
    /// Walk pods back, then migrate down.
    AppFirst,
    /// Migrate down, then walk pods back.
    SchemaFirst,
    /// Walk pods back and leave the schema.
    AppOnly,
}

/// What may be lost by a down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataLoss {
    /// Nothing.
    #[default]
    Refuse,
    /// What is lost is copied first.
    Salvage,
    /// Anything.
    Accept,
}

/// What a halt leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The run stays open until it is resumed or aborted.
    #[default]
    Halt,
    /// Back to where the run started, while that is free.
    Abort,
}

/// One thing that must hold on a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    pub ask: Ask,
    /// The workload whose pods are asked; none is every one.
    #[serde(default)]
    pub workload: Option<String>,
    /// How many times in a row it must hold; 3 unless written.
    pub successes: u32,
    /// The time from one try to the next; 1 s unless written.
    pub period: Duration,
    /// How long it may take until it has held often enough; 120 s unless written.
    pub timeout: Duration,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// A GET that is answered with 2xx or 3xx.
    Http {
        /// Over TLS.
        tls: Option<Tls>,
        /// Begins with a slash.
        path: String,
        /// The pod's port.
        port: u16,
    },
    /// A connection that is accepted.
    Tcp {
        /// The pod's port.
        port: u16,
    },
    /// A query whose rows begin with a value that is true, not zero and not null.
    Sql {
        /// The query.
        query: String,
    },
    /// A command in a container that exits with 0.
    Exec {
        /// The container; none is the pod's default one.
        container: Option<String>,
        /// Program and arguments; there is no shell.
        command: Vec<String>,
    },
}

impl Ask {
    /// Whether a connection is made to the pod.
    pub fn dials(&self) -> bool {
        matches!(self, Self::Http { .. } | Self::Tcp { .. })
    }
}

/// Whose certificate an `https` probe expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The name that the certificate must be for; `{pod}` stands for the pod's name. None only with [`Trust::Anyone`].
    pub server_name: Option<String>,
    /// Who may have signed it.
    pub trust: Trust,
}

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// The system's authorities.
    System,
    /// The authorities in this file, relative to the app file.
    File(String),
    /// These authorities, as PEM.
    Pem(String),
    /// Anyone at all.
    Anyone,
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// One migration.
    pub step: Duration,
    /// One pod, its gate included.
    pub pod: Duration,
    /// One statement.
    pub statement: Duration,
    /// Waiting for a lock inside the engine.
    pub lock_wait: Duration,
    /// Waiting for our lease when another holds it.
    pub lock: Duration,
    /// The lease's life without a heartbeat.
    pub lease: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(600),
            pod: Duration::from_secs(300),
            statement: Duration::from_secs(600),
            lock_wait: Duration::from_secs(5),
            lock: Duration::from_secs(30),
            lease: Duration::from_secs(15),
        }
    }
}
