//! `init`: whatever it finds, what it writes loads; and the SQL of our own tables is enough for a DBA.

use std::fs;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use stepback_core::appfile::AppFile;

use crate::cli::{contains, dump, files, open, shop_migrations};
use crate::support::{
    binary::Binary,
    runner::{Case, Ctx, NotPassed, Outcome, case, sync_case},
    servers::Postgres,
};

pub fn cases() -> Vec<Case> {
    vec![
        case("init::what_is_there_is_written_down_and_loads", found),
        sync_case("init::where_nothing_is_there_examples_are", |ctx| nothing(&ctx)),
        sync_case("init::no_secret_and_no_address_is_written_down", |ctx| secrets(&ctx)),
        case("init::other_tools_ledgers_are_named", ledgers),
        case("init::sqlites_tables_can_be_made_beforehand", sqlite_tables),
        case("init::d15_postgres_tables_can_be_made_by_a_dba", postgres_tables),
        sync_case("init::the_engine_of_the_sql_must_be_known", |ctx| engine(&ctx)),
    ]
}

fn written(ctx: &Ctx) -> Result<(String, AppFile), NotPassed> {
    let text = fs::read_to_string(ctx.dir().join("stepback.yaml"))?;
    let app = AppFile::parse(&text, "stepback.yaml")?;
    Ok((text, app))
}

async fn found(ctx: Ctx) -> Outcome {
    let dir = ctx.dir();
    fs::create_dir_all(dir.join("db/migrations"))?;
    for file in fs::read_dir(shop_migrations())? {
        let file = file?;
        fs::copy(file.path(), dir.join("db/migrations").join(file.file_name()))?;
    }
    let stepback = Binary::in_dir(dir).env("DATABASE_URL", "sqlite://shop.db");
    stepback.ends(0, "migrate up --yes --dir db/migrations")?;
    let database = fs::read(dir.join("shop.db"))?;
    let ran = stepback.ends(0, "init --name Shop.app")?;
    for said in [
        "wrote stepback.yaml",
        "4 migrations applied by stepback",
        "Found: 4 migrations, the newest 20240301090000_create_payments.",
        "The cluster was not looked at",
        "then: stepback status",
    ] {
        contains(&ran, said)?;
    }
    assert_eq!(
        fs::read(dir.join("shop.db"))?,
        database,
        "it looked, and touched something"
    );
    let (text, app) = written(&ctx)?;
    assert_eq!(
        (app.name.as_str(), app.database.migrations.as_str()),
        ("shop-app", "db/migrations")
    );
    contains(&stepback.ends(0, "status")?, "4 migrations applied")?;

    // What is there is never overwritten.
    fs::write(dir.join("stepback.yaml"), format!("{text}# mine\n"))?;
    let before = files(dir)?;
    contains(&stepback.ends(2, "init")?, "stepback.yaml is already there")?;
    contains(
        &stepback.ends(2, "init --config stepback.yaml")?,
        "nothing is ever overwritten",
    )?;
    assert_eq!(files(dir)?, before);

    // Elsewhere, and with a URL that may be written down.
    fs::create_dir(dir.join("deploy"))?;
    stepback.ends(
        0,
        "init --config deploy/shop.yaml --dir db/migrations --url sqlite://shop.db -o json",
    )?;
    let text = fs::read_to_string(dir.join("deploy/shop.yaml"))?;
    let app = AppFile::parse(&text, "shop.yaml")?;
    assert!(
        app.database.migrations.ends_with("/db/migrations"),
        "{}",
        app.database.migrations
    );
    assert!(text.contains("url: \"sqlite://shop.db\""), "{text}");
    contains(
        &stepback.ends(0, "status --config deploy/shop.yaml")?,
        "4 migrations applied",
    )
}

fn nothing(ctx: &Ctx) -> Outcome {
    let ran = Binary::in_dir(ctx.dir()).ends(0, "init")?;
    for said in [
        "DATABASE_URL is not set",
        "No migrations folder was found",
        "The cluster was not looked at",
    ] {
        contains(&ran, said)?;
    }
    let (text, app) = written(ctx)?;
    assert!(
        app.workloads.is_empty() && app.releases.is_empty() && app.probes.is_empty(),
        "{text}"
    );
    assert!(
        text.contains("# - { kind: StatefulSet, namespace: production, name: shop }"),
        "{text}"
    );
    Ok(())
}

fn secrets(ctx: &Ctx) -> Outcome {
    // Nothing listens on port 1.
    let url = "postgres://augusta:s3cret@127.0.0.1:1/shop";
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", url);
    for typed in ["init", &format!("init --url {url}")] {
        let ran = stepback.ends(0, typed)?;
        contains(&ran, "The database could not be looked at")?;
        let (text, _) = written(ctx)?;
        for shown in [&ran.out, &ran.err, &text] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        assert!(!text.contains("127.0.0.1") && !text.contains("augusta"), "{text}");
        assert!(text.contains("url: { env: DATABASE_URL }"), "{text}");
        fs::remove_file(ctx.dir().join("stepback.yaml"))?;
    }
    Ok(())
}

async fn ledgers(ctx: Ctx) -> Outcome {
    let file = ctx.fresh_file("theirs.db");
    fs::write(&file, "")?;
    let mut connection = open(&file).await?;
    sqlx::raw_sql("CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY)")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", "sqlite://theirs.db");
    contains(&stepback.ends(0, "init")?, "stepback has applied nothing there yet")?;
    assert!(written(&ctx)?.0.contains("_sqlx_migrations, which is what sqlx keeps"));
    Ok(())
}

async fn sqlite_tables(ctx: Ctx) -> Outcome {
    let dir = ctx.dir();
    for name in ["made", "ours"] {
        fs::write(dir.join(format!("{name}.db")), "")?;
    }
    let sql = Binary::in_dir(dir).ends(0, "init --sql --engine sqlite")?.out;
    let mut connection = open(&dir.join("made.db")).await?;
    // Twice is once.
    for _ in 0..2 {
        sqlx::raw_sql(AssertSqlSafe(sql.clone()))
            .execute(&mut connection)
            .await?;
    }
    let ids: Vec<(String,)> = sqlx::query_as("SELECT id FROM stepback_identity")
        .fetch_all(&mut connection)
        .await?;
    assert!(ids.len() == 1 && ids[0].0.len() == 32, "{ids:?}");
    let folder = shop_migrations();
    let up = |name: &str| {
        let stepback = Binary::in_dir(dir).env("DATABASE_URL", format!("sqlite://{name}.db"));
        stepback.ends(0, &format!("migrate up --yes --dir {}", folder.display()))
    };
    up("made")?;
    up("ours")?;
    let again: Vec<(String,)> = sqlx::query_as("SELECT id FROM stepback_identity")
        .fetch_all(&mut connection)
        .await?;
    assert_eq!(again, ids, "the database has another id now");
    assert_eq!(dump(&dir.join("made.db")).await?, dump(&dir.join("ours.db")).await?);
    let schema = async |name: &str| -> Result<Vec<(String,)>, NotPassed> {
        let mut connection = open(&dir.join(name)).await?;
        let sql = "SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY 1";
        Ok(sqlx::query_as(sql).fetch_all(&mut connection).await?)
    };
    assert_eq!(schema("made.db").await?, schema("ours.db").await?);
    Ok(())
}

/// A role that may make nothing but the app's tables, once a DBA has run what was printed.
async fn postgres_tables(ctx: Ctx) -> Outcome {
    let url = Postgres::shared().await?.fresh_database("init_sql").await?;
    let role = format!("runner_{}", url.rsplit('_').next().unwrap_or_default());
    let sql = Binary::in_dir(ctx.dir()).ends(0, "init --sql --engine postgres")?.out;
    let rights: String = sql
        .lines()
        .filter_map(|line| line.strip_prefix("--   GRANT"))
        .map(|line| format!("GRANT{}\n", line.replace(" TO role;", &format!(" TO {role};"))))
        .collect();
    assert_eq!(rights.lines().count(), 3, "{sql}");
    let mut dba = PgConnection::connect(&url).await?;
    for sql in [
        &sql,
        &sql,
        &format!("CREATE ROLE {role} LOGIN; GRANT USAGE, CREATE ON SCHEMA public TO {role}"),
        &rights,
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut dba).await?;
    }
    let runner = url.replacen("postgres:hidden-word", &format!("{role}:hidden-word"), 1);
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", runner);
    stepback.ends(0, &format!("migrate up --yes --dir {}", shop_migrations().display()))?;
    stepback.ends(
        0,
        &format!("migrate down --yes --data-loss accept --dir {}", ctx.dir().display()),
    )?;
    let (ids,): (i64,) = sqlx::query_as("SELECT count(*) FROM stepback.identity")
        .fetch_one(&mut dba)
        .await?;
    assert_eq!(ids, 1);
    sqlx::raw_sql(AssertSqlSafe(format!("DROP OWNED BY {role}; DROP ROLE {role}")))
        .execute(&mut dba)
        .await?;
    Ok(())
}

fn engine(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir());
    contains(
        &stepback.ends(2, "init --sql")?,
        "stepback init --sql --engine postgres",
    )?;
    contains(&stepback.ends(2, "init --engine sqlite")?, "--sql")?;
    let of_url = stepback.ends(0, "init --sql --url postgres://shop@db/shop")?.out;
    assert_eq!(of_url, stepback.ends(0, "init --sql --engine postgres")?.out);
    fs::write(
        ctx.dir().join("stepback.yaml"),
        "apiVersion: stepback.dev/v1\nkind: App\nmetadata: { name: a }\nspec:\n  database: { url: postgres://db/shop, \
         stateSchema: ops }\n",
    )?;
    let named = stepback.ends(0, "init --sql")?.out;
    assert!(
        named.contains("CREATE SCHEMA IF NOT EXISTS \"ops\";") && !named.contains("{schema}"),
        "{named}"
    );
    Ok(())
}
