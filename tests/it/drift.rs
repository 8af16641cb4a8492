//! What the comparison after the downs makes of changes by hand, of downs that forget something, and of databases that
//! have no fingerprint of their present state (LAWS D12), on each engine.

use std::fs;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::support::{
    binary::Binary,
    runner::{Case, Ctx, NotPassed, Outcome, case},
    servers::Postgres,
};

pub fn cases() -> Vec<Case> {
    vec![
        case("drift::sqlite::d12_only_what_the_run_made_halts", |ctx| {
            only_what_the_run_made(ctx, false)
        }),
        case("drift::postgres::d12_only_what_the_run_made_halts", |ctx| {
            only_what_the_run_made(ctx, true)
        }),
        case("drift::sqlite::d12_nothing_recorded_is_no_drift", |ctx| {
            nothing_recorded(ctx, false)
        }),
        case("drift::postgres::d12_nothing_recorded_is_no_drift", |ctx| {
            nothing_recorded(ctx, true)
        }),
        case(
            "drift::sqlite::d12_drift_before_an_up_does_not_halt_the_way_back",
            |ctx| drift_before_an_up(ctx, false),
        ),
        case(
            "drift::postgres::d12_drift_before_an_up_does_not_halt_the_way_back",
            |ctx| drift_before_an_up(ctx, true),
        ),
        case("drift::sqlite::d12_a_comparison_that_halted_is_made_again", |ctx| {
            compared_again(ctx, false)
        }),
        case("drift::postgres::d12_a_comparison_that_halted_is_made_again", |ctx| {
            compared_again(ctx, true)
        }),
        case("drift::sqlite::d12_the_order_of_columns_alone_does_not_halt", |ctx| {
            another_order(ctx, false)
        }),
        case("drift::postgres::d12_the_order_of_columns_alone_does_not_halt", |ctx| {
            another_order(ctx, true)
        }),
        case("drift::sqlite::up_records_what_an_interrupted_up_left_out", interrupted),
    ]
}

/// A database with the binary beside it, and a folder of three migrations: 3 forgets its index when it goes down.
struct Stage {
    stepback: Binary,
    url: String,
}

impl Stage {
    async fn new(ctx: &Ctx, postgres: bool) -> Result<Self, NotPassed> {
        let url = if postgres {
            Postgres::shared().await?.fresh_database("drift").await?
        } else {
            format!("sqlite://{}", ctx.dir().join("a.db").display())
        };
        let folder = ctx.dir().join("migrations");
        fs::create_dir(&folder)?;
        for (name, sql) in [
            ("1_a.up.sql", "CREATE TABLE a (id integer);"),
            ("1_a.down.sql", "DROP TABLE a;"),
            ("2_b.up.sql", "CREATE TABLE b (id integer);"),
            ("2_b.down.sql", "DROP TABLE b;"),
            (
                "3_c.up.sql",
                "CREATE TABLE c (id integer); CREATE INDEX forgotten ON a (id);",
            ),
            ("3_c.down.sql", "DROP TABLE c;"),
        ] {
            fs::write(folder.join(name), sql)?;
        }
        let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", &url);
        Ok(Self { stepback, url })
    }

    /// Somebody changes the database by hand.
    async fn by_hand(&self, sql: &str) -> Outcome {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.url.starts_with("sqlite") {
            let mut connection = SqliteConnection::connect(&self.url).await?;
            sqlx::raw_sql(sql).execute(&mut connection).await?;
            connection.close().await?;
        } else {
            let mut connection = PgConnection::connect(&self.url).await?;
            sqlx::raw_sql(sql).execute(&mut connection).await?;
            connection.close().await?;
        }
        Ok(())
    }

    fn down(&self, code: i32, to: &str) -> Result<String, NotPassed> {
        let typed = format!("migrate down --to {to} --data-loss accept --yes");
        let ran = self.stepback.ends(code, &typed)?;
        Ok(format!("{}{}", ran.out, ran.err))
    }
}

async fn only_what_the_run_made(ctx: Ctx, postgres: bool) -> Outcome {
    let stage = Stage::new(&ctx, postgres).await?;
    for version in ["1", "2", "3"] {
        stage.stepback.ends(0, &format!("migrate up --to {version} --yes"))?;
    }
    stage.by_hand("CREATE INDEX by_hand ON b (id)").await?;
    let said = stage.down(4, "2")?;
    assert!(said.contains("[drift]"), "{said}");
    assert!(said.contains("forgotten"), "what the down left behind halts: {said}");
    let halt = said.split("differs from how it was recorded for this state").last();
    assert!(
        halt.is_some_and(|halt| !halt.contains("by_hand")),
        "what was there before does not: {said}"
    );
    stage.by_hand("DROP INDEX forgotten").await?;
    let said = stage.down(0, "1")?;
    assert!(
        !said.contains("differs from how it was recorded for this state"),
        "{said}"
    );
    Ok(())
}

async fn nothing_recorded(ctx: Ctx, postgres: bool) -> Outcome {
    let stage = Stage::new(&ctx, postgres).await?;
    stage.stepback.ends(0, "migrate up --to 1 --yes")?;
    stage.stepback.ends(0, "migrate up --yes")?;
    let said = stage.down(0, "2")?;
    assert!(
        said.contains("note     schema [fingerprint-unknown]"),
        "1 and 2 together were never recorded: {said}"
    );
    stage.by_hand("CREATE TABLE by_hand (id integer)").await?;
    let said = stage.down(0, "1")?;
    assert!(said.contains("[drift-unknown]"), "{said}");
    Ok(())
}

/// What the comparison says is different; nothing where it holds.
fn halt_of(said: &str) -> &str {
    said.split_once("differs from how it was recorded for this state")
        .map_or("", |(_, halt)| halt)
}

async fn drift_before_an_up(ctx: Ctx, postgres: bool) -> Outcome {
    let stage = Stage::new(&ctx, postgres).await?;
    let up = |to: &str| -> Result<String, NotPassed> {
        let ran = stage.stepback.ends(0, &format!("migrate up --to {to} --yes"))?;
        Ok(format!("{}{}", ran.out, ran.err))
    };
    let said = up("1")?;
    assert!(!said.contains("[drift]"), "{said}");
    stage.by_hand("CREATE INDEX by_hand ON a (id)").await?;
    if postgres {
        stage.by_hand("GRANT ALL ON SCHEMA public TO PUBLIC").await?;
    }
    let said = up("2")?;
    assert!(said.contains("[drift]") && said.contains("by_hand"), "{said}");
    let said = stage.down(0, "1")?;
    assert!(said.contains("[drift]") && said.contains("by_hand"), "{said}");
    // Remembered over every further up, and compared where the target was recorded with it.
    let said = up("2")?;
    assert!(said.contains("[drift]"), "{said}");
    let said = up("3")?;
    assert!(!said.contains("[drift]"), "2 was recorded with it: {said}");
    let said = stage.down(4, "2")?;
    assert!(
        halt_of(&said).contains("forgotten") && !halt_of(&said).contains("by_hand"),
        "{said}"
    );
    stage.by_hand("DROP INDEX forgotten").await?;
    up("3")?;
    let said = stage.down(4, "1")?;
    assert!(
        halt_of(&said).contains("forgotten") && !halt_of(&said).contains("by_hand"),
        "{said}"
    );
    Ok(())
}

/// A column that was dropped comes back as the last one: no engine can do better.
async fn another_order(ctx: Ctx, postgres: bool) -> Outcome {
    let stage = Stage::new(&ctx, postgres).await?;
    let folder = ctx.dir().join("migrations");
    for (name, sql) in [
        ("4_d.up.sql", "CREATE TABLE d (x text, y text, z text);"),
        ("4_d.down.sql", "DROP TABLE d;"),
        ("5_e.up.sql", "ALTER TABLE d DROP COLUMN x;"),
        ("5_e.down.sql", "ALTER TABLE d ADD COLUMN x text;"),
    ] {
        fs::write(folder.join(name), sql)?;
    }
    for version in ["4", "5"] {
        stage.stepback.ends(0, &format!("migrate up --to {version} --yes"))?;
    }
    let said = stage.down(0, "4")?;
    assert!(said.contains("but for the order of columns in table"), "{said}");
    let ran = stage.stepback.ends(0, "migrate up --to 5 --yes")?;
    let said = format!("{}{}", ran.out, ran.err);
    assert!(!said.contains("[drift]"), "{said}");
    stage.down(0, "4")?;
    // What is more than that is found all the same.
    fs::write(folder.join("6_f.up.sql"), "CREATE TABLE f (i integer);")?;
    fs::write(
        folder.join("6_f.down.sql"),
        "DROP TABLE f; ALTER TABLE d ADD COLUMN w text;",
    )?;
    for version in ["5", "6"] {
        stage.stepback.ends(0, &format!("migrate up --to {version} --yes"))?;
    }
    let said = stage.down(4, "5")?;
    assert!(halt_of(&said).contains("w text"), "{said}");
    assert!(!said.contains("somebody else"), "this run made it: {said}");
    assert!(said.contains("schema different"), "{said}");
    Ok(())
}

async fn compared_again(ctx: Ctx, postgres: bool) -> Outcome {
    let stage = Stage::new(&ctx, postgres).await?;
    for version in ["1", "2", "3"] {
        stage.stepback.ends(0, &format!("migrate up --to {version} --yes"))?;
    }
    stage.by_hand("CREATE INDEX by_hand ON b (id)").await?;
    stage.down(4, "2")?;
    let said = stage.down(4, "2")?;
    assert!(
        !said.contains("nothing to do") && said.contains("[not-verified]"),
        "{said}"
    );
    assert!(
        halt_of(&said).contains("forgotten") && !halt_of(&said).contains("by_hand"),
        "{said}"
    );
    stage.by_hand("DROP INDEX forgotten").await?;
    let said = stage.down(0, "2")?;
    assert!(said.contains("[not-verified]"), "{said}");
    let said = stage.down(0, "2")?;
    assert!(said.contains("nothing to do") && said.contains("[drift]"), "{said}");
    Ok(())
}

async fn interrupted(ctx: Ctx) -> Outcome {
    let stage = Stage::new(&ctx, false).await?;
    stage.stepback.ends(0, "migrate up --yes")?;
    stage.by_hand("DELETE FROM stepback_fingerprint").await?;
    let said = stage.stepback.ends(0, "migrate up --yes")?;
    assert!(said.out.contains("record the schema's fingerprint"), "{}", said.out);
    let said = stage.stepback.ends(0, "migrate up --yes")?;
    assert!(said.out.contains("nothing to do"), "{}", said.out);
    Ok(())
}
