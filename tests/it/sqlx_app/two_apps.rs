//! Two apps in one database, each with a ledger of its own: neither is in the other's way (LAWS D16).

use std::fs;
use std::time::Duration;

use sqlx::migrate::Migrator;

use stepback::database::{ConnectOptions, DbError, LeaseRequest, LedgerChoice, connect};
use stepback_core::model::LedgerTool;

use super::place::{App, Connection, Engine};
use super::{options, says};
use crate::support::binary::Binary;
use crate::support::runner::{Ctx, NotPassed, Outcome};

/// Who keeps the first app's ledger; the second's is sqlx's, in a table that only it has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum First {
    OfOurs,
    OfSqlx,
}

/// One of the two.
struct Tenant {
    name: &'static str,
    stepback: Binary,
    /// What says which ledger is meant.
    ledger: String,
}

const DOWN: &str = "--data-loss accept --yes";

impl Tenant {
    /// In a folder of its own, with two migrations whose versions are also the other's.
    fn new(ctx: &Ctx, app: &App, name: &'static str, ledger: String) -> Result<Self, NotPassed> {
        let dir = ctx.dir().join(name);
        fs::create_dir_all(dir.join("migrations"))?;
        for version in 1..=2 {
            let write = |half: &str, sql: String| {
                fs::write(dir.join("migrations").join(format!("{version}_made.{half}.sql")), sql)
            };
            write("up", format!("CREATE TABLE {name}{version} (i integer);"))?;
            // Of the first app, the last step of undoing version 2 fails until somebody helps.
            let more = if (name, version) == ("ones", 2) {
                " DROP TABLE helped;"
            } else {
                ""
            };
            write("down", format!("DROP TABLE {name}{version};{more}"))?;
        }
        let text = format!(
            "apiVersion: stepback.dev/v1\nkind: App\nmetadata: {{ name: {name} }}\nspec:\n  database:\n    \
             url: {{ env: DATABASE_URL }}\n    migrations: migrations\n  releases:\n    \
             - {{ version: 2.0.0, schema: \"2\", images: {{}} }}\n    - {{ version: 1.0.0, schema: \"1\", images: {{}} }}\n"
        );
        fs::write(dir.join("stepback.yaml"), text)?;
        Ok(Self {
            name,
            stepback: Binary::in_dir(&dir).env("DATABASE_URL", app.url.clone()),
            ledger,
        })
    }

    fn ends(&self, code: i32, typed: &str) -> Result<crate::support::binary::Ran, NotPassed> {
        self.stepback.ends(code, &format!("{typed} --ledger {}", self.ledger))
    }
}

/// The second app's table, made by sqlx itself; its full name.
async fn make_table(app: &App) -> Result<&'static str, NotPassed> {
    let mut migrator = Migrator::DEFAULT;
    Ok(match app.connect().await? {
        Connection::Sqlite(mut connection) => {
            migrator.dangerous_set_table_name("twos_migrations");
            migrator.run_direct(None, &mut connection, false).await?;
            "twos_migrations"
        }
        Connection::Postgres(mut connection) => {
            sqlx::raw_sql("CREATE SCHEMA twos").execute(&mut connection).await?;
            migrator.dangerous_set_table_name("twos._sqlx_migrations");
            migrator.run_direct(None, &mut connection, false).await?;
            "twos._sqlx_migrations"
        }
    })
}

/// sqlx has one lock for a whole database: whoever works on one of its ledgers keeps it from whoever comes for another.
pub async fn d16_one_lock(ctx: Ctx) -> Outcome {
    let app = App::new(&ctx, Engine::Postgres).await?;
    app.migrate(&app.folder("empty")).await??;
    let twos = make_table(&app).await?;
    let on = |table: &str| {
        let ledger = LedgerChoice::In(LedgerTool::Sqlx, table.to_owned());
        connect(&app.url, ConnectOptions { ledger, ..options() })
    };
    let (first, second) = (on("public._sqlx_migrations")?, on(twos)?);
    let request = LeaseRequest {
        holder: "a test".to_owned(),
        life: Duration::from_secs(60),
        wait: Duration::from_secs(1),
        above: 0,
    };
    first.prepare().await?;
    let token = first.acquire(&request).await?;
    let held = "SELECT pid::text FROM pg_locks WHERE locktype = 'advisory' AND granted \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let holder = app.rows(held).await?;
    assert_eq!(holder.len(), 1);
    let refused = second.acquire(&request).await;
    assert!(
        matches!(&refused, Err(DbError::ToolLock { holder, .. }) if holder.contains("stepback")),
        "{refused:?}"
    );
    assert_eq!(app.rows(held).await?, holder, "the holder's session was ended");
    first.stage(token, &[]).await?;
    first.release().await?;
    second.acquire(&request).await?;
    Ok(())
}

/// The apps' own tables.
async fn tables(app: &App) -> Result<String, NotPassed> {
    let query = match app.engine {
        Engine::Sqlite => "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB '[ot]*s[12]' ORDER BY 1",
        Engine::Postgres => "SELECT tablename::text FROM pg_tables WHERE tablename ~ '^[ot].*s[12]$' ORDER BY 1",
    };
    Ok(app.rows(query).await?.join(" "))
}

/// Makes a run that ended one that waits to be continued.
async fn halt(app: &App, tenant: &Tenant) -> Result<String, NotPassed> {
    let (run, journal) = match app.engine {
        Engine::Sqlite => ("stepback_run", "stepback_journal"),
        Engine::Postgres => ("stepback.run", "stepback.journal"),
    };
    let newest = format!("SELECT max(run) FROM {run} WHERE app = '{}'", tenant.name);
    let name = app.rows(&newest).await?.concat();
    app.run(&format!(
        "DELETE FROM {journal} WHERE run = '{name}' AND line LIKE '%\"runClosed\"%'; \
         UPDATE {run} SET status = 'halted', {} WHERE run = '{name}'",
        match app.engine {
            Engine::Sqlite => "closes_itself = 0",
            Engine::Postgres => "closes_itself = false",
        }
    ))
    .await?;
    Ok(name)
}

pub async fn d16_two_apps(ctx: Ctx, engine: Engine, first: First) -> Outcome {
    let app = App::new(&ctx, engine).await?;
    let table = make_table(&app).await?;
    let theirs = match (first, engine) {
        (First::OfOurs, _) => "stepback",
        (First::OfSqlx, Engine::Sqlite) => "sqlx:_sqlx_migrations",
        (First::OfSqlx, Engine::Postgres) => "sqlx:public._sqlx_migrations",
    };
    if first == First::OfSqlx {
        app.migrate(&app.folder("empty")).await??;
    }
    let ones = Tenant::new(&ctx, &app, "ones", theirs.to_owned())?;
    let twos = Tenant::new(&ctx, &app, "twos", format!("sqlx:{table}"))?;
    for tenant in [&ones, &twos] {
        tenant.ends(0, "migrate up --to 1 --yes")?;
        tenant.ends(0, "migrate up --yes")?;
    }
    assert_eq!(tables(&app).await?, "ones1 ones2 twos1 twos2");
    if first == First::OfOurs {
        // Nobody guesses between the two.
        says(
            &twos.stepback.ends(3, "migrate status")?,
            "say which one the app goes by",
        )?;
    }

    // One app's way back stops half-way. It is in its own way, and in nobody else's.
    ones.ends(4, &format!("rollback --to 1.0.0 {DOWN}"))?;
    let halted = halt(&app, &ones).await?;
    says(&ones.ends(5, &format!("rollback --to 1.0.0 {DOWN}"))?, &halted)?;
    says(&ones.ends(0, "status")?, &halted)?;
    assert!(!twos.ends(0, "status")?.out.contains(&halted));
    twos.ends(0, &format!("rollback --to 1.0.0 {DOWN}"))?;
    assert_eq!(tables(&app).await?, "ones1 ones2 twos1");
    twos.ends(0, "migrate up --yes")?;
    assert_eq!(tables(&app).await?, "ones1 ones2 twos1 twos2");

    // Whoever has nothing but the database sees the runs of both, and says which one is meant.
    let database = Binary::in_dir(&app.folder("empty")).env("DATABASE_URL", app.url.clone());
    let runs = database.ends(0, "runs")?;
    says(&runs, &format!("on {table}"))?;
    let other = halt(&app, &twos).await?;
    let several = database.ends(2, "resume")?;
    for part in [&halted, &other, table] {
        says(&several, part)?;
    }
    database.ends(0, &format!("resume {other}"))?;
    says(&database.ends(3, &format!("resume {other}"))?, "is closed already")?;
    app.run("CREATE TABLE helped (i integer)").await?;
    says(&database.ends(0, "resume")?, &halted)?;
    assert_eq!(tables(&app).await?, "ones1 twos1 twos2");

    // Each goes back on its own, by what was captured of it.
    twos.ends(0, &format!("rollback --to 1.0.0 {DOWN}"))?;
    assert_eq!(tables(&app).await?, "ones1 twos1");
    ones.ends(0, &format!("migrate down --to 0 {DOWN}"))?;
    assert_eq!(tables(&app).await?, "twos1");
    ones.ends(0, "reconcile --to 2.0.0")?;
    assert_eq!(tables(&app).await?, "ones1 ones2 twos1");
    Ok(())
}
