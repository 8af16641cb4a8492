//! Fresh databases of each engine, and short words for what every law needs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};
use stepback::database::{ConnectOptions, Database, DbError, LeaseRequest, LedgerChoice, connect};
use stepback_core::catalog::{Migration, Script};
use stepback_core::model::{
    Digest, Direction, JournalPlace, MigrationId, PlanId, RunId, RunRow, RunStatus, ScriptRef, Stamp, StepId, Token,
    UrlSource, Version,
};

use crate::support::runner::{Ctx, NotPassed};
use crate::support::servers::Postgres;

/// An engine that laws are checked on.
#[async_trait]
pub trait Harness: Send + Sync {
    fn name(&self) -> &'static str;

    /// A database in which nothing is.
    async fn fresh(&self, ctx: &Ctx) -> Result<Arc<dyn Place>, NotPassed>;
}

/// One database.
#[async_trait]
pub trait Place: Send + Sync {
    /// A coordinator's value on it.
    fn open(&self) -> Box<dyn Database>;

    /// Likewise, with another limit for one migration.
    fn open_within(&self, step: Duration) -> Box<dyn Database>;

    /// Likewise, on this ledger.
    fn open_on(&self, ledger: LedgerChoice) -> Box<dyn Database>;

    /// Makes the ledger of another app that sqlx migrates, and gives its full name.
    async fn add_ledger(&self) -> Result<&'static str, NotPassed>;

    /// The full name of the ledger that a fresh database has, or gets from us.
    fn first_ledger(&self) -> &'static str;

    /// Runs statements as somebody else.
    async fn run(&self, sql: &str) -> Result<(), NotPassed>;

    /// Everything that is in it, as text.
    async fn dump(&self) -> Result<String, NotPassed>;

    /// The full name of one of our own tables.
    fn own(&self, table: &str) -> String;

    /// A statement that takes about this long.
    fn slow(&self, seconds: f32) -> String;

    /// Whose ledger it is.
    fn ledger(&self) -> Kept;

    /// A statement after which the ledger names another up script for every migration.
    fn edit_ledger(&self) -> String {
        match self.ledger() {
            Kept::ByUs => format!(
                "UPDATE {} SET up_sha256 = '{}'",
                self.own("ledger"),
                Digest::of("edited")
            ),
            Kept::BySqlx => "UPDATE _sqlx_migrations SET checksum = checksum || checksum".to_owned(),
        }
    }
}

/// Who keeps the ledger beside us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nobody.
    ByUs,
    /// sqlx, which made its table.
    BySqlx,
}

impl Kept {
    fn name(self, engine: &'static str, with_sqlx: &'static str) -> &'static str {
        match self {
            Self::ByUs => engine,
            Self::BySqlx => with_sqlx,
        }
    }
}

/// What a law is given.
pub struct Fresh {
    pub place: Arc<dyn Place>,
    pub harness: Box<dyn Harness>,
    pub ctx: Ctx,
}

impl Fresh {
    /// A value on the database.
    pub fn open(&self) -> Box<dyn Database> {
        self.place.open()
    }

    /// A value on the database, with our tables made and the lease taken.
    pub async fn holder(&self, name: &str) -> Result<(Box<dyn Database>, Token), NotPassed> {
        let database = self.open();
        database.prepare().await?;
        let token = acquire(&*database, name).await?;
        Ok((database, token))
    }

    /// The row of a run on the database's ledger.
    pub fn run_row(&self, run: &str, status: RunStatus, token: Token) -> RunRow {
        run_row(self.place.first_ledger(), run, status, token)
    }

    /// Makes the lease look as if its holder were silent for long.
    pub async fn silence(&self) -> Result<(), NotPassed> {
        self.place
            .run(&format!("UPDATE {} SET heartbeat_ms = 0", self.place.own("lease")))
            .await
    }

    /// Whether a table can be read.
    pub async fn has_table(&self, table: &str) -> bool {
        self.place.run(&format!("SELECT count(*) FROM {table}")).await.is_ok()
    }
}

/// Takes the lease without waiting; its heartbeats are 20 s apart.
pub async fn acquire(database: &dyn Database, holder: &str) -> Result<Token, DbError> {
    let request = LeaseRequest {
        holder: holder.to_owned(),
        life: Duration::from_secs(60),
        wait: Duration::ZERO,
        above: 0,
    };
    database.acquire(&request).await
}

pub fn stamp(token: Token) -> Stamp {
    Stamp {
        run: RunId("01J8ZQ5W3N6M2R0XQ4T1V7B9CD".to_owned()),
        step: StepId(1),
        token,
    }
}

/// The row of a run on this ledger.
pub fn run_row(ledger: &str, run: &str, status: RunStatus, token: Token) -> RunRow {
    RunRow {
        run: RunId(run.to_owned()),
        plan: PlanId(Digest::of("plan")),
        app: Some("shop".to_owned()),
        journal: JournalPlace::Database,
        status,
        title: "rollback 1.3.0 -> 1.2.0, {now} it's \\ $1".to_owned(),
        closes_itself: true,
        token,
        ledger: ledger.to_owned(),
    }
}

pub fn migration(version: &str, up: &str, down: &str) -> Migration {
    Migration {
        version: Version::parse(version).unwrap(),
        name: format!("m{version}"),
        up: Script::new("up.sql", up),
        down: Some(Script::new("down.sql", down)),
    }
}

/// References to the scripts of migrations, in their order.
pub fn scripts(direction: Direction, migrations: &[Migration]) -> Vec<ScriptRef> {
    let one = |migration: &Migration| ScriptRef {
        migration: MigrationId {
            version: migration.version.clone(),
            name: migration.name.clone(),
        },
        direction,
        sha256: match direction {
            Direction::Up => migration.up.sha256(),
            Direction::Down => migration.down.as_ref().unwrap().sha256(),
        },
        up_sha256: migration.up.sha256(),
    };
    migrations.iter().map(one).collect()
}

/// Calls `advance` until all is done, as the executor does: the ledger says what is left.
pub async fn carry(
    database: &dyn Database,
    direction: Direction,
    scripts: &[ScriptRef],
    token: Token,
) -> Result<(), DbError> {
    let mut rest = scripts.to_vec();
    while !rest.is_empty() {
        let before = rest.len();
        database.advance(direction, &rest, &stamp(token)).await?;
        let ledger = database.ledger().await?;
        rest.retain(|script| {
            let in_ledger = ledger
                .iter()
                .any(|row| row.migration.version == script.migration.version);
            in_ledger == (direction == Direction::Down)
        });
        assert!(rest.len() < before, "`advance` was answered with Ok and did nothing");
    }
    Ok(())
}

/// The ledger's versions, in order.
pub async fn applied(database: &dyn Database) -> Result<Vec<String>, DbError> {
    let rows = database.ledger().await?;
    Ok(rows.iter().map(|row| row.migration.version.to_string()).collect())
}

fn options() -> ConnectOptions {
    ConnectOptions {
        source: UrlSource::Env("DATABASE_URL".to_owned()),
        state_schema: "stepback".to_owned(),
        ledger: LedgerChoice::Auto,
        lock_wait: Duration::from_secs(2),
        statement: Duration::from_secs(60),
        step: Duration::from_secs(60),
        create: true,
        by: "tester@host (process 1)".to_owned(),
    }
}

pub struct SqliteHarness(pub Kept);

struct SqlitePlace {
    path: PathBuf,
    kept: Kept,
}

impl SqlitePlace {
    async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let url = format!("sqlite://{}?mode=rwc", self.path.display());
        SqliteConnection::connect(&url).await
    }
}

#[async_trait]
impl Harness for SqliteHarness {
    fn name(&self) -> &'static str {
        self.0.name("sqlite", "sqlite_sqlx")
    }

    async fn fresh(&self, ctx: &Ctx) -> Result<Arc<dyn Place>, NotPassed> {
        let name = (0..)
            .map(|number| format!("{number}.db"))
            .find(|name| !ctx.dir().join(name).exists());
        let place = SqlitePlace {
            path: ctx.fresh_file(&name.unwrap_or_default()),
            kept: self.0,
        };
        // An empty database that is there, so that looking at it can be told from making it.
        let mut connection = place.connect().await?;
        connection.execute("CREATE TABLE foreign_table (a int)").await?;
        if self.0 == Kept::BySqlx {
            Migrator::DEFAULT.run_direct(None, &mut connection, false).await?;
        }
        connection.close().await?;
        Ok(Arc::new(place))
    }
}

#[async_trait]
impl Place for SqlitePlace {
    fn open(&self) -> Box<dyn Database> {
        self.open_within(options().step)
    }

    fn open_within(&self, step: Duration) -> Box<dyn Database> {
        let url = format!("sqlite://{}", self.path.display());
        connect(&url, ConnectOptions { step, ..options() }).unwrap()
    }

    fn open_on(&self, ledger: LedgerChoice) -> Box<dyn Database> {
        let url = format!("sqlite://{}", self.path.display());
        connect(&url, ConnectOptions { ledger, ..options() }).unwrap()
    }

    async fn add_ledger(&self) -> Result<&'static str, NotPassed> {
        let name = "Other's migrations";
        let mut migrator = Migrator::DEFAULT;
        migrator.dangerous_set_table_name(format!("\"{name}\""));
        migrator.run_direct(None, &mut self.connect().await?, false).await?;
        Ok(name)
    }

    fn first_ledger(&self) -> &'static str {
        self.kept.name("stepback_ledger", "_sqlx_migrations")
    }

    async fn run(&self, sql: &str) -> Result<(), NotPassed> {
        let mut connection = self.connect().await?;
        connection.execute(AssertSqlSafe(sql.to_owned())).await?;
        connection.close().await?;
        Ok(())
    }

    async fn dump(&self) -> Result<String, NotPassed> {
        let mut connection = self.connect().await?;
        let schema = connection
            .fetch_all("SELECT coalesce(sql, '') FROM sqlite_schema ORDER BY 1")
            .await?;
        let mut dump: Vec<String> = schema.iter().map(|row| row.get(0)).collect();
        // Every write rises it, whatever it wrote.
        let version = connection.fetch_one("PRAGMA data_version").await?;
        dump.push(version.get::<i64, _>(0).to_string());
        dump.push(Digest::of(std::fs::read(&self.path)?).to_string());
        Ok(dump.join("\n"))
    }

    fn own(&self, table: &str) -> String {
        format!("stepback_{table}")
    }

    fn slow(&self, seconds: f32) -> String {
        // About ten million rows a second in a debug build's bundled SQLite, which is compiled optimized.
        let rows = (seconds * 5_000_000.0).round();
        format!(
            "CREATE TABLE slow AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT count(*) FROM n"
        )
    }

    fn ledger(&self) -> Kept {
        self.kept
    }
}

pub struct PostgresHarness(pub Kept);

/// A database of the shared server.
pub struct PostgresPlace {
    pub url: String,
    kept: Kept,
}

impl PostgresPlace {
    pub async fn new(ctx: &Ctx) -> Result<Self, NotPassed> {
        Self::kept(ctx, Kept::ByUs).await
    }

    pub async fn kept(ctx: &Ctx, kept: Kept) -> Result<Self, NotPassed> {
        let server = Postgres::shared().await?;
        let url = server.fresh_database(ctx.name()).await?;
        let place = Self { url, kept };
        if kept == Kept::BySqlx {
            Migrator::DEFAULT
                .run_direct(None, &mut place.connect().await?, false)
                .await?;
        }
        Ok(place)
    }

    pub async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect(&self.url).await
    }

    /// A value that reaches this database at another address, or waits for locks for another time.
    pub fn open_at(url: &str, lock_wait: Duration) -> Box<dyn Database> {
        Self::open_with(url, lock_wait, options().statement)
    }

    /// Likewise, with another limit for each statement.
    pub fn open_with(url: &str, lock_wait: Duration, statement: Duration) -> Box<dyn Database> {
        let options = ConnectOptions {
            lock_wait,
            statement,
            ..options()
        };
        connect(url, options).unwrap()
    }

    /// A value whose own tables live in another schema.
    pub fn open_in(&self, state_schema: &str) -> Box<dyn Database> {
        let state_schema = state_schema.to_owned();
        let options = ConnectOptions {
            state_schema,
            ..options()
        };
        connect(&self.url, options).unwrap()
    }
}

#[async_trait]
impl Harness for PostgresHarness {
    fn name(&self) -> &'static str {
        self.0.name("postgres", "postgres_sqlx")
    }

    async fn fresh(&self, ctx: &Ctx) -> Result<Arc<dyn Place>, NotPassed> {
        Ok(Arc::new(PostgresPlace::kept(ctx, self.0).await?))
    }
}

#[async_trait]
impl Place for PostgresPlace {
    fn open(&self) -> Box<dyn Database> {
        self.open_within(options().step)
    }

    fn open_within(&self, step: Duration) -> Box<dyn Database> {
        connect(&self.url, ConnectOptions { step, ..options() }).unwrap()
    }

    fn open_on(&self, ledger: LedgerChoice) -> Box<dyn Database> {
        connect(&self.url, ConnectOptions { ledger, ..options() }).unwrap()
    }

    async fn add_ledger(&self) -> Result<&'static str, NotPassed> {
        self.run("CREATE SCHEMA \"other.app\"").await?;
        let mut migrator = Migrator::DEFAULT;
        migrator.dangerous_set_table_name("\"other.app\"._sqlx_migrations");
        migrator.run_direct(None, &mut self.connect().await?, false).await?;
        Ok("\"other.app\"._sqlx_migrations")
    }

    fn first_ledger(&self) -> &'static str {
        self.kept.name("stepback.ledger", "public._sqlx_migrations")
    }

    async fn run(&self, sql: &str) -> Result<(), NotPassed> {
        let mut connection = self.connect().await?;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await?;
        connection.close().await?;
        Ok(())
    }

    async fn dump(&self) -> Result<String, NotPassed> {
        let mut connection = self.connect().await?;
        // Every object has a row here; `xmin` says who wrote it last.
        let catalog = "SELECT nspname || ' ' || oid || ' ' || xmin FROM pg_namespace UNION ALL \
            SELECT relname || ' ' || oid || ' ' || xmin FROM pg_class WHERE oid >= 16384 UNION ALL \
            SELECT proname || ' ' || oid || ' ' || xmin FROM pg_proc WHERE oid >= 16384 UNION ALL \
            SELECT typname || ' ' || oid || ' ' || xmin FROM pg_type WHERE oid >= 16384 ORDER BY 1";
        let rows = connection.fetch_all(catalog).await?;
        let mut dump: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let tables = "SELECT format('SELECT xmin || '' '' || t::text FROM %I.%I t ORDER BY 1', schemaname, tablename) FROM pg_tables \
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";
        for query in connection.fetch_all(tables).await? {
            let query: String = query.get(0);
            let rows = connection.fetch_all(AssertSqlSafe(query.clone())).await?;
            dump.push(query);
            dump.extend(rows.iter().map(|row| row.get::<String, _>(0)));
        }
        Ok(dump.join("\n"))
    }

    fn own(&self, table: &str) -> String {
        format!("stepback.{table}")
    }

    fn slow(&self, seconds: f32) -> String {
        format!("SELECT pg_sleep({seconds})")
    }

    fn ledger(&self) -> Kept {
        self.kept
    }
}
