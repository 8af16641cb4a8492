//! Formats outlive versions (LAWS W12): what earlier versions wrote is read, and what later ones will add is no hindrance.
//!
//! `testdata/journals` and `testdata/tables` hold one of every format that was ever shipped. Nothing in them is ever
//! changed: a format that is to be another one gets a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use stepback_core::{
    journal::{Outcome, RunState, read_lines},
    plan::Plan,
    report::Report,
};

use crate::cli::{open, shop, shop_migrations};
use crate::support::{
    binary::Binary,
    runner::{Case, Ctx, NotPassed, Outcome as Ended, case, root, sync_case},
    servers::Postgres,
};

pub fn cases() -> Vec<Case> {
    vec![
        sync_case("formats::w12_journals_of_every_format_are_read", |_ctx| journals()),
        case("formats::w12_tables_of_every_format_are_worked_on", tables),
        case(
            "formats::w12_what_a_later_version_adds_to_tables_is_left_alone",
            more_columns,
        ),
        case("formats::w12_a_run_of_a_later_version_is_left_to_it", later_run),
    ]
}

/// The folders of a kind, one a format.
fn formats(kind: &str) -> Result<Vec<PathBuf>, NotPassed> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("testdata").join(kind))? {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    assert!(!found.is_empty(), "no format of {kind}");
    Ok(found)
}

fn journals() -> Ended {
    for folder in formats("journals")? {
        let json = fs::read(folder.join("plan.json"))?;
        let plan: Plan = serde_json::from_slice(&json)?;
        assert_eq!(plan.compute_id()?, plan.id, "{}", folder.display());
        let read = read_lines(fs::read(folder.join("entries"))?)?;
        assert_eq!(read.torn, None);
        let state = RunState::replay(&read.entries, plan.steps.len())?.expect("there are entries");
        assert_eq!(state.closed, Some(Outcome::Done));
        assert!(!state.newer_format && state.resumed);
        let report = Report::new(&state.run, &plan, &read.entries);
        assert_eq!(report.state, "done");
    }
    Ok(())
}

/// The whole of what can be done without a cluster.
fn works(stepback: &Binary) -> Ended {
    stepback.ends(0, "migrate up --yes")?;
    stepback.ends(0, "reconcile --to 1.1.0 --data-loss accept")?;
    stepback.ends(0, "reconcile --to 1.3.0")?;
    for look in [
        "status",
        "runs",
        "report",
        "plan --to 1.2.0 --data-loss accept",
        "resume",
    ] {
        stepback.ends(0, look)?;
    }
    Ok(())
}

async fn tables(ctx: Ctx) -> Ended {
    for (number, folder) in formats("tables")?.into_iter().enumerate() {
        let dir = ctx.dir().join(number.to_string());
        fs::create_dir(&dir)?;
        let stepback = shop(&dir, &shop_migrations().display().to_string())?;
        let database = dir.join("shop.db");
        fs::write(&database, "")?;
        let sql = fs::read_to_string(folder.join("sqlite.sql"))?;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut open(&database).await?)
            .await?;
        works(&stepback)?;

        let url = Postgres::shared().await?.fresh_database("formats").await?;
        let sql = fs::read_to_string(folder.join("postgres.sql"))?;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut PgConnection::connect(&url).await?)
            .await?;
        works(&stepback.env("DATABASE_URL", url))?;
    }
    Ok(())
}

/// Columns that nobody here knows, in tables of ours, and one more table.
async fn more_columns(ctx: Ctx) -> Ended {
    let stepback = shop(ctx.dir(), &shop_migrations().display().to_string())?;
    stepback.ends(0, "migrate up --yes")?;
    let mut sqlite = open(&ctx.dir().join("shop.db")).await?;
    let ours = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'stepback_*'";
    for row in sqlx::query(ours).fetch_all(&mut sqlite).await? {
        let table: String = row.get(0);
        let added = format!("ALTER TABLE {table} ADD COLUMN later TEXT DEFAULT 'kept'");
        sqlx::raw_sql(AssertSqlSafe(added)).execute(&mut sqlite).await?;
    }
    sqlx::raw_sql("CREATE TABLE stepback_later (a TEXT)")
        .execute(&mut sqlite)
        .await?;
    sqlite.close().await?;
    works(&stepback)?;

    let url = Postgres::shared().await?.fresh_database("later").await?;
    let stepback = stepback.env("DATABASE_URL", &url);
    stepback.ends(0, "migrate up --yes")?;
    let mut postgres = PgConnection::connect(&url).await?;
    let ours = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'stepback'";
    for row in sqlx::query(ours).fetch_all(&mut postgres).await? {
        let table: String = row.get(0);
        let added = format!("ALTER TABLE {table} ADD COLUMN later text DEFAULT 'kept'");
        sqlx::raw_sql(AssertSqlSafe(added)).execute(&mut postgres).await?;
    }
    sqlx::raw_sql("CREATE TABLE stepback.later (a text)")
        .execute(&mut postgres)
        .await?;
    works(&stepback)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes of the newest run one that a later version has left open: entries of a format that is not known here.
async fn rewrite(database: &Path) -> Result<String, NotPassed> {
    let mut sqlite = open(database).await?;
    let run: String = sqlx::query("SELECT run FROM stepback_run ORDER BY run DESC LIMIT 1")
        .fetch_one(&mut sqlite)
        .await?
        .get(0);
    let cut = "UPDATE stepback_run SET status = 'open' WHERE run = ?";
    sqlx::query(cut).bind(&run).execute(&mut sqlite).await?;
    // Cut off before its end.
    let cut = "DELETE FROM stepback_journal WHERE run = ? AND sequence > 3";
    sqlx::query(cut).bind(&run).execute(&mut sqlite).await?;
    let lines = sqlx::query("SELECT sequence, line FROM stepback_journal WHERE run = ? ORDER BY sequence")
        .bind(&run)
        .fetch_all(&mut sqlite)
        .await?;
    let mut previous = String::new();
    for row in lines {
        let (sequence, line): (i64, String) = (row.get(0), row.get(1));
        let (_, json) = line.split_once(' ').expect("a hash and an entry");
        let mut entry: serde_json::Value = serde_json::from_str(json)?;
        entry["v"] = 2.into();
        entry["later"] = serde_json::json!({ "a": sequence });
        entry["prev"] = previous.clone().into();
        let json = entry.to_string();
        previous = sha256(json.as_bytes())[..16].to_owned();
        sqlx::query("UPDATE stepback_journal SET line = ? WHERE run = ? AND sequence = ?")
            .bind(format!("{previous} {json}"))
            .bind(&run)
            .bind(sequence)
            .execute(&mut sqlite)
            .await?;
    }
    Ok(run)
}

async fn later_run(ctx: Ctx) -> Ended {
    let stepback = shop(ctx.dir(), &shop_migrations().display().to_string())?;
    stepback.ends(0, "migrate up --yes")?;
    let run = rewrite(&ctx.dir().join("shop.db")).await?;
    // Where an older program must not write, it says so; looking is allowed.
    stepback.ends(0, &format!("report {run}"))?;
    for typed in ["reconcile --to 1.1.0 --data-loss accept", "resume"] {
        let refused = stepback.ends(3, typed)?.err;
        let words: Vec<&str> = refused.split_whitespace().collect();
        assert!(
            words.join(" ").contains("a newer format than this program writes"),
            "{refused}"
        );
    }
    let other = stepback.ends(5, "rollback --to 1.1.0 --data-loss accept --yes")?;
    assert!(other.err.contains(&run), "{}", other.err);
    Ok(())
}
