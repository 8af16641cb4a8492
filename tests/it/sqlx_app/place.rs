//! An app that migrates itself with sqlx's own migrator, on each engine.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};

use crate::support::binary::Binary;
use crate::support::runner::{Ctx, NotPassed, root};
use crate::support::servers::Postgres;

pub const CREATE: &str = "20240101090000";
pub const CUSTOMER: &str = "20240115120000";
pub const PRODUCT: &str = "20240220103000";
pub const PAYMENTS: &str = "20240301090000";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A connection to the app's database.
pub enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A database of its own, and the folders of two releases.
pub struct App {
    pub engine: Engine,
    pub url: String,
    dir: PathBuf,
}

impl App {
    pub async fn new(ctx: &Ctx, engine: Engine) -> Result<Self, NotPassed> {
        let dir = ctx.dir().to_owned();
        let url = match engine {
            Engine::Sqlite => format!("sqlite://{}", ctx.fresh_file("shop.db").display()),
            Engine::Postgres => Postgres::shared().await?.fresh_database(ctx.name()).await?,
        };
        let app = Self { engine, url, dir };
        for (release, newest) in [("1.1.0", CREATE), ("1.2.0", CUSTOMER), ("1.3.0", PAYMENTS)] {
            fs::create_dir_all(app.folder(release))?;
            for file in fs::read_dir(root().join("testdata/apps/shop/migrations"))? {
                let file = file?;
                let name = file.file_name().to_string_lossy().into_owned();
                if &name[..newest.len()] <= newest {
                    fs::copy(file.path(), app.folder(release).join(name))?;
                }
            }
        }
        fs::create_dir(app.folder("empty"))?;
        Ok(app)
    }

    pub fn folder(&self, release: &str) -> PathBuf {
        self.dir.join(release)
    }

    pub fn binary(&self) -> Binary {
        Binary::in_dir(&self.dir).env("DATABASE_URL", self.url.clone())
    }

    pub async fn connect(&self) -> Result<Connection, NotPassed> {
        Ok(match self.engine {
            Engine::Sqlite => Connection::Sqlite(SqliteConnection::connect(&format!("{}?mode=rwc", self.url)).await?),
            Engine::Postgres => Connection::Postgres(PgConnection::connect(&self.url).await?),
        })
    }

    /// Starts the app of a folder: it migrates as far as the folder goes.
    pub async fn migrate(&self, folder: &Path) -> Result<Result<(), MigrateError>, NotPassed> {
        let migrator = Migrator::new(folder).await?;
        Ok(match self.connect().await? {
            Connection::Sqlite(mut connection) => migrator.run_direct(None, &mut connection, false).await,
            Connection::Postgres(mut connection) => migrator.run_direct(None, &mut connection, false).await,
        })
    }

    /// sqlx's own revert of everything above a version.
    pub async fn undo(&self, folder: &Path, to: &str) -> Result<(), NotPassed> {
        let (migrator, to) = (Migrator::new(folder).await?, to.parse().unwrap_or_default());
        match self.connect().await? {
            Connection::Sqlite(connection) => {
                let pool = sqlx::SqlitePool::connect(&self.url).await?;
                drop(connection);
                migrator.undo(&pool, to).await?;
                pool.close().await;
            }
            Connection::Postgres(_) => {
                let pool = sqlx::PgPool::connect(&self.url).await?;
                migrator.undo(&pool, to).await?;
                pool.close().await;
            }
        }
        Ok(())
    }

    pub async fn run(&self, sql: &str) -> Result<(), NotPassed> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self.connect().await? {
            Connection::Sqlite(mut connection) => connection.execute(sql).await.map(drop)?,
            Connection::Postgres(mut connection) => connection.execute(sql).await.map(drop)?,
        }
        Ok(())
    }

    /// The first column of every row, as text.
    pub async fn rows(&self, query: &str) -> Result<Vec<String>, NotPassed> {
        let query = AssertSqlSafe(query.to_owned());
        Ok(match self.connect().await? {
            Connection::Sqlite(mut connection) => {
                let rows = connection.fetch_all(query).await?;
                rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
            }
            Connection::Postgres(mut connection) => {
                let rows = connection.fetch_all(query).await?;
                rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
            }
        })
    }

    /// What sqlx's table says, but for what differs from run to run.
    pub async fn ledger(&self) -> Result<Vec<String>, NotPassed> {
        let hex = match self.engine {
            Engine::Sqlite => "lower(hex(checksum))",
            Engine::Postgres => "encode(checksum, 'hex')",
        };
        self.rows(&format!(
            "SELECT CAST(version AS text) || ' ' || description || ' ' || CASE WHEN success THEN 'ok ' ELSE 'dirty ' END \
             || {hex} || CASE WHEN execution_time > 0 AND installed_on IS NOT NULL THEN ' timed' ELSE '' END \
             FROM _sqlx_migrations ORDER BY version"
        ))
        .await
    }

    /// The versions that sqlx's table shows.
    pub async fn applied(&self) -> Result<Vec<String>, NotPassed> {
        self.rows("SELECT CAST(version AS text) FROM _sqlx_migrations ORDER BY version")
            .await
    }

    /// When each row was written.
    pub async fn installed(&self) -> Result<Vec<String>, NotPassed> {
        self.rows("SELECT CAST(version AS text) || CAST(installed_on AS text) FROM _sqlx_migrations ORDER BY version")
            .await
    }

    /// Makes every row look as if it had been written an hour ago: SQLite's clock has whole seconds.
    pub async fn age(&self) -> Result<(), NotPassed> {
        let earlier = match self.engine {
            Engine::Sqlite => "datetime(installed_on, '-1 hour')",
            Engine::Postgres => "installed_on - interval '1 hour'",
        };
        self.run(&format!("UPDATE _sqlx_migrations SET installed_on = {earlier}"))
            .await
    }
}
