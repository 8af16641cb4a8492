//! The database of a case, as someone looks at it who knows nothing of stepback.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::{
    runner::{NotPassed, fail},
    servers::Postgres,
};

/// What kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// How the names of its cases begin.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Sqlite => "sqlite",
            Engine::Postgres => "postgres",
        }
    }
}

/// One database.
pub struct Store {
    pub engine: Engine,
    pub url: String,
}

impl Store {
    /// An empty database: a file in this directory, or one of the shared server.
    pub async fn make(engine: Engine, dir: &Path, hint: &str) -> Result<Store, NotPassed> {
        let url = match engine {
            Engine::Sqlite => {
                let file = dir.join("shop.db");
                std::fs::write(&file, "")?;
                format!("sqlite://{}", file.display())
            }
            Engine::Postgres => {
                let hint = hint.rsplit("::").next().unwrap_or(hint);
                Postgres::shared().await?.fresh_database(hint).await?
            }
        };
        Ok(Store { engine, url })
    }

    /// The table of ours with this name.
    pub fn own_table(&self, name: &str) -> String {
        match self.engine {
            Engine::Sqlite => format!("stepback_{name}"),
            Engine::Postgres => format!("stepback.{name}"),
        }
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) -> Result<(), NotPassed> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self.engine {
            Engine::Sqlite => {
                sql.execute(&mut self.sqlite().await?).await?;
            }
            Engine::Postgres => {
                sql.execute(&mut PgConnection::connect(&self.url).await?).await?;
            }
        }
        Ok(())
    }

    /// Whether nobody holds a lock that would keep a run from its right to act.
    pub async fn is_free(&self) -> bool {
        let locked = match self.engine {
            Engine::Sqlite => self.run("PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK").await,
            Engine::Postgres => {
                let table = self.own_table("lease");
                self.run(&format!(
                    "BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE NOWAIT; ROLLBACK"
                ))
                .await
            }
        };
        locked.is_ok()
    }

    /// The runs that are not closed.
    pub async fn open_runs(&self) -> Result<Vec<String>, NotPassed> {
        let table = self.own_table("run");
        self.ask(&format!("SELECT run FROM {table} WHERE status <> 'closed'"))
            .await
    }

    /// The answers to a query of one column of text.
    pub async fn ask(&self, sql: &str) -> Result<Vec<String>, NotPassed> {
        let text = |text: Option<String>| text.unwrap_or_else(|| "NULL".to_owned());
        let sql = AssertSqlSafe(sql);
        match self.engine {
            Engine::Sqlite => {
                let rows = sqlx::query(sql).fetch_all(&mut self.sqlite().await?).await?;
                rows.iter().map(|row| Ok(text(row.try_get(0)?))).collect()
            }
            Engine::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await?;
                let rows = sqlx::query(sql).fetch_all(&mut connection).await?;
                rows.iter().map(|row| Ok(text(row.try_get(0)?))).collect()
            }
        }
    }

    async fn sqlite(&self) -> Result<SqliteConnection, NotPassed> {
        let options: SqliteConnectOptions = self.url.parse()?;
        let options = options.busy_timeout(std::time::Duration::from_secs(10));
        Ok(SqliteConnection::connect_with(&options).await?)
    }

    /// The versions that our ledger says are applied, oldest first.
    pub async fn applied(&self) -> Result<Vec<String>, NotPassed> {
        let ledger = self.own_table("ledger");
        self.ask(&format!("SELECT CAST(version AS text) FROM {ledger} ORDER BY sequence"))
            .await
    }

    /// Everything in the database as text: equal texts mean that nothing has changed. `but` names tables of ours that
    /// are left out.
    pub async fn dump(&self, but: &[&str]) -> Result<String, NotPassed> {
        match self.engine {
            Engine::Sqlite => self.dump_sqlite(but).await,
            Engine::Postgres => {
                let but: Vec<String> = but.iter().map(|name| self.own_table(name)).collect();
                Postgres::shared().await?.dump(&self.url, &but).await
            }
        }
    }

    async fn dump_sqlite(&self, but: &[&str]) -> Result<String, NotPassed> {
        let mut dump = self
            .ask("SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY type, name")
            .await?;
        let tables = self
            .ask("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            .await?;
        for table in tables {
            if but.iter().any(|but| table == self.own_table(but)) {
                continue;
            }
            let columns = self
                .ask(&format!("SELECT name FROM pragma_table_info('{table}')"))
                .await?;
            if columns.is_empty() {
                return fail(format_args!("table {table} has no columns"));
            }
            let columns: Vec<String> = columns.iter().map(|name| format!("quote(\"{name}\")")).collect();
            let rows = format!("SELECT {} FROM \"{table}\" ORDER BY 1", columns.join(" || ',' || "));
            dump.extend(self.ask(&rows).await?.into_iter().map(|row| format!("{table}: {row}")));
        }
        Ok(dump.join("\n"))
    }
}
