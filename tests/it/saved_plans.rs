//! Saved plans at the command line, on SQLite: what is carried out is what was saved, and nothing else ever is.

use std::{fs, path::Path};

use sqlx::Connection as _;

use crate::cli::{CREATE, PAYMENTS, PRODUCT, contains, dump, files, open, shop, shop_migrations};
use crate::support::{
    binary::Binary,
    runner::{Case, Ctx, NotPassed, Outcome, case, sync_case},
};

pub fn cases() -> Vec<Case> {
    vec![
        case("saved_plans::apply_carries_out_what_was_saved_and_once", carried_out),
        case("saved_plans::a_changed_world_refuses_and_says_what_changed", changed),
        case("saved_plans::w8_another_body_in_the_archive_is_not_run", exchanged),
        case(
            "saved_plans::what_no_archive_holds_is_taken_from_the_file",
            from_the_folder,
        ),
        sync_case("saved_plans::a_file_that_is_not_what_was_saved_refuses", |ctx| {
            files_refused(&ctx)
        }),
        sync_case("saved_plans::a_plan_has_every_form", |ctx| forms(&ctx)),
        sync_case("saved_plans::only_a_saved_plan_is_ever_replaced", |ctx| replaced(&ctx)),
    ]
}

const PLAN: &str = "plan --to 1.2.0 --data-loss accept --out back.plan";

/// A shop at 1.3.0, with an order in it, and its rollback to 1.2.0 saved.
async fn saved(dir: &Path) -> Result<Binary, NotPassed> {
    fs::create_dir(dir.join("none"))?;
    fs::write(dir.join("shop.db"), "")?;
    let stepback = shop(dir, "none")?;
    stepback.ends(0, &format!("migrate up --yes --dir {}", shop_migrations().display()))?;
    sql(
        dir,
        "INSERT INTO orders (id, product, quantity, customer) VALUES (1, 'tea', 3, 'Ada')",
    )
    .await?;
    let ran = stepback.ends(0, PLAN)?;
    contains(&ran, "to carry it out: stepback apply back.plan")?;
    contains(&ran, "revert 2 migrations")?;
    Ok(stepback)
}

async fn sql(dir: &Path, sql: &str) -> Outcome {
    let mut connection = open(&dir.join("shop.db")).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// The refusal says all of this, with this exit code, and not a byte is another than before.
fn refuses(dir: &Path, stepback: &Binary, code: i32, typed: &str, said: &[&str]) -> Outcome {
    let before = files(dir)?;
    let ran = stepback.ends(code, typed)?;
    for said in said.iter().chain(&["nothing was touched"]) {
        contains(&ran, said)?;
    }
    assert_eq!(files(dir)?, before, "{typed} touched something");
    Ok(())
}

async fn carried_out(ctx: Ctx) -> Outcome {
    let dir = ctx.dir();
    let stepback = saved(dir).await?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(dir.join("back.plan"))?.permissions().mode();
        assert_eq!(mode & 0o177, 0, "others may read the scripts: {mode:o}");
    }
    let left: Vec<_> = files(dir)?
        .into_keys()
        .filter(|path| path.to_string_lossy().contains("/."))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    // From another machine: no app file, no folder, nothing but the plan and the URL.
    let elsewhere = dir.join("elsewhere");
    fs::create_dir(&elsewhere)?;
    fs::copy(dir.join("back.plan"), elsewhere.join("back.plan"))?;
    let url = format!("sqlite://{}", dir.join("shop.db").display());
    let there = Binary::in_dir(&elsewhere);
    contains(&there.ends(2, "apply back.plan --yes")?, "DATABASE_URL is not set")?;
    contains(
        &there.ends(2, &format!("apply back.plan --url {url}"))?,
        "type the same with --yes",
    )?;
    let ran = there.ends(0, &format!("apply back.plan --url {url} --yes"))?;
    contains(&ran, "by tester@here at 20")?;
    contains(&ran, "rollback 1.3.0 -> 1.2.0: done")?;
    let after = dump(&dir.join("shop.db")).await?;
    assert!(!after.contains_key("table payments"), "{after:?}");
    assert_eq!(after["table orders"][1..], ["id=1 item=tea quantity=3 customer=Ada"]);

    // What ran is the plan that was saved, under its own id.
    let plan: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("back.plan"))?)?;
    let mut connection = open(&dir.join("shop.db")).await?;
    let (ran,): (String,) = sqlx::query_as("SELECT plan FROM stepback_run ORDER BY run DESC LIMIT 1")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    assert_eq!(ran, plan["plan"]["id"]);

    // A Job that is tried again finds nothing left to do.
    let before = files(dir)?;
    contains(
        &stepback.ends(0, "apply back.plan --yes")?,
        "nothing to do: already at 1.2.0",
    )?;
    assert_eq!(files(dir)?, before);
    Ok(())
}

async fn changed(ctx: Ctx) -> Outcome {
    let again = "to make a new plan: stepback plan --to 1.2.0 --data-loss accept --out back.plan";
    for (name, done, said) in [
        (
            "applied",
            "INSERT INTO stepback_ledger (version, name, up_sha256, applied_at) SELECT '20240401000000', 'x', \
          up_sha256, applied_at FROM stepback_ledger LIMIT 1",
            "ledger: applied since: 20240401000000",
        ),
        (
            "redone",
            "UPDATE stepback_ledger SET sequence = sequence + 100 WHERE version = '20240301090000'",
            "ledger: the same migrations are applied, but their rows are others",
        ),
        (
            "schema",
            "CREATE TABLE stray (id integer)",
            "schema: its tables are not as they were",
        ),
        (
            "identity",
            "UPDATE stepback_identity SET id = 'another'",
            "database: it is another one",
        ),
        // What it would be compared with is gone: the same request makes a shorter plan.
        (
            "fingerprint",
            "DELETE FROM stepback_fingerprint",
            "steps: step 2 is `compare the schema",
        ),
    ] {
        let dir = ctx.dir().join(name);
        fs::create_dir(&dir)?;
        let stepback = saved(&dir).await?;
        sql(&dir, done).await?;
        refuses(&dir, &stepback, 3, "apply back.plan --yes", &[said, again])?;
    }

    // Part of the way was gone by hand.
    let dir = ctx.dir().join("undone");
    fs::create_dir(&dir)?;
    let stepback = saved(&dir).await?;
    stepback.ends(0, "migrate down --yes --data-loss accept")?;
    let undone = format!("ledger: undone since: {PAYMENTS}");
    refuses(
        &dir,
        &stepback,
        3,
        "apply back.plan --yes",
        &[&undone, "schema: ", again],
    )?;
    // All of it, to another place: there is something to do, and it is not this.
    stepback.ends(0, &format!("migrate goto {CREATE} --yes --data-loss accept"))?;
    refuses(
        &dir,
        &stepback,
        3,
        "apply back.plan --yes",
        &["undone since", PRODUCT, again],
    )?;
    let json = stepback.ends(3, "apply back.plan --yes -o json")?.out;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!((&json["kind"], &json["exitCode"]), (&"Error".into(), &3.into()));

    Ok(())
}

/// The archive's own check is renewed too, as somebody would who knows the program: what counts is the plan's checksum.
async fn exchanged(ctx: Ctx) -> Outcome {
    let dir = ctx.dir();
    let stepback = saved(dir).await?;
    sql(
        dir,
        "UPDATE stepback_archive SET down_sha256 = (SELECT other.down_sha256 FROM stepback_archive other WHERE \
         other.version = '20240220103000') WHERE version = '20240301090000'",
    )
    .await?;
    let said = format!("scripts: the down script of {PAYMENTS}_create_payments is another one");
    refuses(dir, &stepback, 3, "apply back.plan --yes", &[&said])?;
    sql(dir, "DELETE FROM stepback_archive WHERE version = '20240301090000'").await?;
    let said = format!("scripts: the archive no longer holds {PAYMENTS}_create_payments");
    refuses(dir, &stepback, 3, "apply back.plan --yes", &[&said])
}

/// The ledger shows the migration and no archive has it: the folder's scripts were planned with, and travel with the plan.
async fn from_the_folder(ctx: Ctx) -> Outcome {
    let dir = ctx.dir();
    fs::write(dir.join("shop.db"), "")?;
    let stepback = shop(dir, &shop_migrations().display().to_string())?;
    stepback.ends(0, "migrate up --yes")?;
    sql(dir, "DELETE FROM stepback_archive; DELETE FROM stepback_script").await?;
    stepback.ends(0, PLAN)?;
    let elsewhere = dir.join("elsewhere");
    fs::create_dir(&elsewhere)?;
    let url = format!("sqlite://{}", dir.join("shop.db").display());
    let there = Binary::in_dir(&elsewhere).env("DATABASE_URL", url);
    there.ends(0, "apply ../back.plan --yes")?;
    let after = dump(&dir.join("shop.db")).await?;
    assert!(!after.contains_key("table payments"), "{after:?}");
    Ok(())
}

fn files_refused(ctx: &Ctx) -> Outcome {
    let dir = ctx.dir();
    let stepback = shop(dir, &shop_migrations().display().to_string())?;
    stepback.ends(0, "migrate up --yes")?;
    stepback.ends(0, PLAN)?;
    let whole = fs::read_to_string(dir.join("back.plan"))?;
    assert!(
        whole.contains("DROP TABLE payments;"),
        "the plan carries its scripts: {whole}"
    );
    let again = "stepback plan --to RELEASE --out bad.plan";
    for (text, code, said) in [
        (
            whole.replace("DROP TABLE payments;", "DROP TABLE orders;"),
            3,
            "it was changed since it was saved",
        ),
        (
            whole.replace("\"acceptLoss\": true", "\"acceptLoss\":  true"),
            3,
            "it was changed since it was saved",
        ),
        (whole[..whole.len() / 2].to_owned(), 3, "it is not whole"),
        (String::new(), 3, "it is not whole"),
        (
            whole.replacen("\"format\": 1", "\"format\": 99", 1),
            3,
            "its format is 99 (by stepback",
        ),
        (
            "{\"apiVersion\": \"stepback.dev/v1\", \"kind\": \"Plan\"}".to_owned(),
            2,
            "not a saved plan",
        ),
    ] {
        fs::write(dir.join("bad.plan"), &text)?;
        // What is something else is not to be written over.
        let next = if code == 2 { "--to RELEASE --out FILE" } else { again };
        refuses(dir, &stepback, code, "apply bad.plan --yes", &[said, next])?;
    }
    refuses(dir, &stepback, 2, "apply not.there --yes", &["cannot read not.there"])
}

fn forms(ctx: &Ctx) -> Outcome {
    let dir = ctx.dir();
    // A password must not get into any of them.
    let stepback = shop(dir, &shop_migrations().display().to_string())?;
    stepback.ends(0, "migrate up --yes")?;
    let plan = "plan --to 1.2.0 --data-loss accept";
    let sql = stepback.ends(0, &format!("{plan} -o sql"))?.out;
    let first = sql.find("DROP TABLE payments;");
    let second = sql.find("RENAME COLUMN product TO item;");
    assert!(first.is_some() && first < second, "newest first: {sql}");
    let is_sql = |line: &str| !line.is_empty() && !line.starts_with("--");
    assert_eq!(sql.lines().filter(|line| is_sql(line)).count(), 2, "{sql}");
    let markdown = stepback.ends(0, &format!("{plan} -o markdown"))?.out;
    assert!(markdown.starts_with("## rollback 1.3.0 -> 1.2.0\n"), "{markdown}");
    contains(&stepback.ends(2, "status -o markdown")?, "ask for one of -o text|json")?;
    contains(&stepback.ends(2, &format!("{plan} -o html"))?, "markdown")?;
    // The answer keeps its form while the plan is saved.
    let ran = stepback.ends(0, &format!("{plan} -o json --out a.plan"))?;
    let _: serde_json::Value = serde_json::from_str(&ran.out)?;
    assert!(dir.join("a.plan").exists());
    Ok(())
}

fn replaced(ctx: &Ctx) -> Outcome {
    let dir = ctx.dir();
    let stepback = shop(dir, &shop_migrations().display().to_string())?;
    stepback.ends(0, "migrate up --yes")?;
    for out in ["stepback.yaml", "shop.db", "."] {
        let typed = format!("plan --to 1.2.0 --data-loss accept --out {out}");
        refuses(dir, &stepback, 2, &typed, &["is no saved plan"])?;
    }
    refuses(
        dir,
        &stepback,
        2,
        "plan --to 1.2.0 --data-loss accept --out not/there.plan",
        &["cannot write not/there.plan"],
    )?;
    // A refused plan is not saved, and what was saved before stays.
    stepback.ends(0, PLAN)?;
    refuses(
        dir,
        &stepback,
        3,
        "plan --to 1.2.0 --data-loss refuse --out back.plan",
        &["data-loss"],
    )?;
    stepback.ends(0, PLAN)?;
    Ok(())
}
