//! Databases that sqlx migrates: what its own migrator says of what we did to its ledger, and of its lock.

mod late;
mod place;
mod two_apps;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{Migrate as _, MigrateError};
use stepback::database::{ConnectOptions, DbError, LeaseRequest, LedgerChoice, connect};
use stepback_core::catalog::{Catalog, Migration, Script};
use stepback_core::model::{Direction, MigrationId, RunId, ScriptRef, Stamp, StepId, UrlSource};

use crate::support::binary::Ran;
use crate::support::runner::{Case, Ctx, NotPassed, Outcome, case, fail, root};

use two_apps::{First, d16_one_lock, d16_two_apps};

use late::captured_late;
use place::{App, CREATE, CUSTOMER, Connection, Engine, PAYMENTS, PRODUCT};

type Tell = fn(Ctx, Engine) -> futures::future::BoxFuture<'static, Outcome>;

macro_rules! on_each_engine {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), (|ctx, engine| Box::pin($name(ctx, engine))) as Tell)),*]
    };
}

#[rustfmt::skip]
const ON_EACH_ENGINE: &[(&str, Tell)] = on_each_engine![
    a_captured_app_goes_back_without_files_and_sqlx_agrees,
    our_rows_are_sqlxs_rows,
    d3_what_was_staged_undoes_an_upgrade_that_nobody_captured,
    d3_a_redo_by_sqlx_makes_a_capture_stale_until_it_is_replaced,
    a_rollback_and_another_upgrade_need_no_replacement,
    what_cannot_be_trusted_is_refused_and_touches_nothing,
    a_folder_of_simple_migrations_asks_whose_ledger_it_is,
    the_page_about_sqlx_is_true,
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, tell) in ON_EACH_ENGINE {
        for (engine, title) in [(Engine::Sqlite, "sqlite"), (Engine::Postgres, "postgres")] {
            cases.push(case(format!("sqlx_app::{name}::{title}"), async move |ctx| {
                tell(ctx, engine).await
            }));
        }
    }
    for (engine, name) in [(Engine::Sqlite, "sqlite"), (Engine::Postgres, "postgres")] {
        for (first, ledger) in [(First::OfOurs, "own_and_sqlx"), (First::OfSqlx, "two_of_sqlx")] {
            let title = format!("sqlx_app::d16_two_apps_of_one_database_do_not_mix::{name}_{ledger}");
            cases.push(case(title, async move |ctx| d16_two_apps(ctx, engine, first).await));
        }
    }
    cases.push(case(
        "sqlx_app::d1_what_sqlx_applies_before_a_capture_has_its_lock_is_not_the_earlier_releases",
        captured_late,
    ));
    cases.push(case("sqlx_app::d16_sqlxs_lock_is_left_to_its_holder", d16_one_lock));
    cases.push(case(
        "sqlx_app::d14_sqlx_waits_while_we_work_and_we_poll_while_it_does",
        lock,
    ));
    cases
}

const DOWN: &str = "--data-loss accept --yes";

fn says(ran: &Ran, what: &str) -> Outcome {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain(&ran.out).contains(what) || plain(&ran.err).contains(what) {
        return Ok(());
    }
    fail(format_args!(
        "stepback {} did not say {what:?}\n{}{}",
        ran.typed, ran.out, ran.err
    ))
}

/// The app at 1.3.0, migrated by sqlx alone.
async fn at_1_3_0(ctx: &Ctx, engine: Engine) -> Result<App, NotPassed> {
    let app = App::new(ctx, engine).await?;
    app.migrate(&app.folder("1.3.0")).await??;
    Ok(app)
}

async fn a_captured_app_goes_back_without_files_and_sqlx_agrees(ctx: Ctx, engine: Engine) -> Outcome {
    let app = App::new(&ctx, engine).await?;
    let stepback = app.binary();
    // How the schema of 1.2.0 looks is recorded here, and compared after the way back.
    app.migrate(&app.folder("1.2.0")).await??;
    stepback.ends(0, "migrate capture --dir 1.2.0")?;
    app.migrate(&app.folder("1.3.0")).await??;
    says(
        &stepback.ends(0, "migrate capture --dir 1.3.0")?,
        &format!("captured {PAYMENTS}_create_payments"),
    )?;
    let (ledger, installed) = (app.ledger().await?, app.installed().await?);
    let missing = app.migrate(&app.folder("1.2.0")).await?;
    assert!(matches!(missing, Err(MigrateError::VersionMissing(_))), "{missing:?}");

    let down = stepback.ends(0, &format!("migrate down --to {CUSTOMER} --dir empty {DOWN}"))?;
    assert!(!down.out.contains("fingerprint-unknown"), "{}", down.out);
    assert_eq!(app.applied().await?, [CREATE, CUSTOMER]);
    // sqlx validates what is applied, and finds nothing to run.
    app.migrate(&app.folder("1.2.0")).await??;
    assert_eq!(app.ledger().await?, ledger[..2]);
    assert_eq!(
        app.installed().await?,
        installed[..2],
        "the rows that stay are as they were"
    );
    // And with the newer folder it runs exactly what was undone.
    app.migrate(&app.folder("1.3.0")).await??;
    assert_eq!(app.ledger().await?, ledger);
    assert_eq!(app.installed().await?[..2], installed[..2]);
    Ok(())
}

async fn our_rows_are_sqlxs_rows(ctx: Ctx, engine: Engine) -> Outcome {
    let app = at_1_3_0(&ctx, engine).await?;
    let stepback = app.binary();
    let by_sqlx = app.ledger().await?;
    assert!(by_sqlx.iter().all(|row| row.ends_with(" timed")), "{by_sqlx:?}");
    stepback.ends(0, "migrate capture --dir 1.3.0")?;
    stepback.ends(0, &format!("migrate down --to 0 --dir empty {DOWN}"))?;
    assert_eq!(app.ledger().await?, [""; 0]);
    // sqlx's table is empty, and still the ledger.
    stepback.ends(0, "migrate up --dir 1.3.0 --yes")?;
    assert_eq!(app.ledger().await?, by_sqlx);
    let installed = app.installed().await?;
    app.migrate(&app.folder("1.3.0")).await??;
    assert_eq!(app.installed().await?, installed);

    // Nor does sqlx find anything wrong with a table that we made.
    stepback.ends(0, &format!("migrate down --to 0 --dir empty {DOWN}"))?;
    app.run("DROP TABLE _sqlx_migrations").await?;
    stepback.ends(0, "migrate up --ledger sqlx --dir 1.2.0 --yes")?;
    assert_eq!(app.ledger().await?, by_sqlx[..2]);
    app.migrate(&app.folder("1.3.0")).await??;
    assert_eq!(app.ledger().await?, by_sqlx);
    app.undo(&app.folder("1.3.0"), CREATE).await?;
    assert_eq!(app.applied().await?, [CREATE]);
    Ok(())
}

async fn d3_what_was_staged_undoes_an_upgrade_that_nobody_captured(ctx: Ctx, engine: Engine) -> Outcome {
    let app = App::new(&ctx, engine).await?;
    let stepback = app.binary();
    app.migrate(&app.folder("1.2.0")).await??;
    let staged = stepback.ends(0, "migrate capture --stage --dir 1.3.0")?;
    says(&staged, &format!("captured {CUSTOMER}_add_customer"))?;
    says(&staged, &format!("staged {PAYMENTS}_create_payments"))?;
    app.migrate(&app.folder("1.3.0")).await??;
    stepback.ends(0, &format!("migrate down --to {CUSTOMER} --dir empty {DOWN}"))?;
    assert_eq!(app.applied().await?, [CREATE, CUSTOMER]);
    app.migrate(&app.folder("1.2.0")).await??;

    // What sqlx applied is not what was staged: nobody knows its down.
    let payments = app.folder("1.3.0").join(format!("{PAYMENTS}_create_payments.up.sql"));
    let edited = format!("{}\n-- edited", fs::read_to_string(&payments)?);
    fs::write(&payments, edited)?;
    app.migrate(&app.folder("1.3.0")).await??;
    let refused = stepback.ends(3, &format!("migrate down --dir empty {DOWN}"))?;
    says(&refused, "down-unknown")?;
    assert_eq!(app.applied().await?, [CREATE, CUSTOMER, PRODUCT, PAYMENTS]);
    Ok(())
}

async fn d3_a_redo_by_sqlx_makes_a_capture_stale_until_it_is_replaced(ctx: Ctx, engine: Engine) -> Outcome {
    let app = at_1_3_0(&ctx, engine).await?;
    let stepback = app.binary();
    app.age().await?;
    stepback.ends(0, "migrate capture --dir 1.3.0")?;
    app.undo(&app.folder("1.3.0"), PRODUCT).await?;
    app.migrate(&app.folder("1.3.0")).await??;

    let ledger = app.installed().await?;
    says(
        &stepback.ends(3, &format!("migrate down --dir empty {DOWN}"))?,
        "stale-capture",
    )?;
    says(
        &stepback.ends(3, "migrate capture --dir 1.3.0")?,
        "--replace 20240301090000",
    )?;
    assert_eq!(app.installed().await?, ledger);
    let replace = format!("migrate capture --dir 1.3.0 --replace {PAYMENTS} --reason redone");
    says(&stepback.ends(0, &replace)?, &format!("replaced {PAYMENTS}"))?;
    let (archive, replacement) = match engine {
        Engine::Sqlite => ("stepback_archive", "stepback_replacement"),
        Engine::Postgres => ("stepback.archive", "stepback.replacement"),
    };
    let revisions = format!("SELECT CAST(revision AS text) FROM {archive} WHERE version = '{PAYMENTS}' ORDER BY 1");
    assert_eq!(app.rows(&revisions).await?, ["1", "2"], "nothing is overwritten");
    assert_eq!(
        app.rows(&format!("SELECT reason FROM {replacement}")).await?,
        ["redone"]
    );
    stepback.ends(0, &format!("migrate down --dir empty {DOWN}"))?;
    assert_eq!(app.applied().await?, [CREATE, CUSTOMER, PRODUCT]);
    Ok(())
}

async fn a_rollback_and_another_upgrade_need_no_replacement(ctx: Ctx, engine: Engine) -> Outcome {
    let app = at_1_3_0(&ctx, engine).await?;
    let stepback = app.binary();
    app.age().await?;
    stepback.ends(0, "migrate capture --dir 1.3.0")?;
    let down = format!("migrate down --to {CUSTOMER} --dir empty {DOWN}");
    stepback.ends(0, &down)?;
    app.migrate(&app.folder("1.3.0")).await??;
    // We undid them ourselves, so that whoever applies the same scripts again makes nothing stale.
    stepback.ends(0, &down)?;
    app.migrate(&app.folder("1.3.0")).await??;
    says(
        &stepback.ends(0, "migrate capture --dir 1.3.0")?,
        &format!("captured {PAYMENTS}"),
    )?;
    stepback.ends(0, &down)?;
    assert_eq!(app.applied().await?, [CREATE, CUSTOMER]);
    Ok(())
}

async fn what_cannot_be_trusted_is_refused_and_touches_nothing(ctx: Ctx, engine: Engine) -> Outcome {
    let app = at_1_3_0(&ctx, engine).await?;
    let stepback = app.binary();
    stepback.ends(0, "migrate capture --dir 1.3.0")?;
    let refused = async |code: &str| -> Outcome {
        let before = app.ledger().await?;
        says(&stepback.ends(3, &format!("migrate down --dir empty {DOWN}"))?, code)?;
        assert_eq!(app.ledger().await?, before);
        Ok(())
    };
    let row = format!("WHERE version = {PAYMENTS}");
    app.run(&format!("UPDATE _sqlx_migrations SET success = false {row}"))
        .await?;
    refused("ledger-dirty").await?;
    let double = "UPDATE _sqlx_migrations SET success = true, checksum = checksum || checksum";
    app.run(&format!("{double} {row}")).await?;
    refused("up-differs").await?;

    let own = match engine {
        Engine::Sqlite => "stepback_ledger",
        Engine::Postgres => "stepback.ledger",
    };
    let insert = format!(
        "INSERT INTO {own} (version, name, up_sha256, applied_at) VALUES ('1', 'a', '{:064}', '')",
        0
    );
    app.run(&insert).await?;
    refused("--ledger stepback, or --ledger sqlx").await?;
    stepback.ends(3, "migrate status")?;
    says(&stepback.ends(0, "migrate status --ledger sqlx --dir empty")?, PAYMENTS)?;
    let of_ours = stepback.ends(0, "migrate status --ledger stepback --dir empty")?;
    assert!(!of_ours.out.contains(PAYMENTS), "{}", of_ours.out);
    Ok(())
}

async fn a_folder_of_simple_migrations_asks_whose_ledger_it_is(ctx: Ctx, engine: Engine) -> Outcome {
    let app = App::new(&ctx, engine).await?;
    let stepback = app.binary();
    fs::create_dir(app.folder("simple"))?;
    fs::write(
        app.folder("simple").join("0001_create_a.sql"),
        "CREATE TABLE a (i int);\n",
    )?;
    let up = "migrate up --dir simple --yes";
    says(&stepback.ends(3, up)?, "ledger-unclear")?;
    stepback.ends(0, &format!("{up} --ledger sqlx"))?;
    app.migrate(&app.folder("simple")).await??;
    assert_eq!(app.applied().await?, ["1"]);
    says(
        &stepback.ends(3, &format!("migrate down --dir empty {DOWN}"))?,
        "down-missing",
    )?;
    Ok(())
}

/// Every command of the page, in order.
async fn the_page_about_sqlx_is_true(ctx: Ctx, engine: Engine) -> Outcome {
    let app = App::new(&ctx, engine).await?;
    fs::rename(app.folder("1.3.0"), app.folder("migrations"))?;
    fs::rename(app.folder("1.2.0"), app.folder("old-migrations"))?;
    app.migrate(&app.folder("old-migrations")).await??;
    let page = fs::read_to_string(root().join("docs/sqlx.md"))?;
    let mut ran = 0;
    for command in page.lines() {
        if let Some(folder) = command.strip_prefix("sqlx migrate run --source ") {
            app.migrate(&app.folder(folder)).await??;
        } else if let Some(typed) = command.strip_prefix("stepback ") {
            app.binary().ends(0, typed)?;
        } else {
            continue;
        }
        ran += 1;
    }
    assert_eq!(
        ran,
        page.matches("\nstepback ").count() + page.matches("\nsqlx migrate run").count()
    );
    assert!(ran >= 7, "{ran}");
    assert_eq!(app.applied().await?, [CREATE, CUSTOMER, PRODUCT, PAYMENTS]);
    Ok(())
}

fn options() -> ConnectOptions {
    ConnectOptions {
        source: UrlSource::Env("DATABASE_URL".to_owned()),
        state_schema: "stepback".to_owned(),
        ledger: LedgerChoice::Auto,
        lock_wait: Duration::from_secs(5),
        statement: Duration::from_secs(60),
        step: Duration::from_secs(60),
        create: false,
        by: "a test".to_owned(),
    }
}

async fn lock(ctx: Ctx) -> Outcome {
    let app = App::new(&ctx, Engine::Postgres).await?;
    app.migrate(&app.folder("1.2.0")).await??;
    let database = connect(&app.url, options())?;
    database.prepare().await?;
    let request = LeaseRequest {
        holder: "a test".to_owned(),
        life: Duration::from_secs(60),
        wait: Duration::ZERO,
        above: 0,
    };

    // sqlx is at work: its lock is polled for, and its holder named.
    let Connection::Postgres(mut holder) = app.connect().await? else {
        return fail("this is PostgreSQL");
    };
    holder.lock().await?;
    let refused = database.acquire(&request).await;
    assert!(
        matches!(&refused, Err(DbError::ToolLock { holder, .. }) if holder.contains("postgres")),
        "{refused:?}"
    );
    assert!(
        database.look().await?.lease.is_none_or(|lease| lease.released),
        "the lease was not given back"
    );
    holder.unlock().await?;

    // We are at work: a pod of the app that starts waits, although our lock's session was ended meanwhile.
    let token = database.acquire(&request).await?;
    let held = "SELECT l.mode FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted \
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    app.run(&held.replace("l.mode", "pg_terminate_backend(l.pid)")).await?;
    while !app.rows(held).await?.is_empty() {}
    let script = migration_of(&app, CREATE)?;
    database.stage(token, std::slice::from_ref(&script)).await?;
    let down = ScriptRef {
        migration: MigrationId {
            version: script.version.clone(),
            name: script.name.clone(),
        },
        direction: Direction::Down,
        sha256: script.down.as_ref().map(Script::sha256).unwrap_or(script.up.sha256()),
        up_sha256: script.up.sha256(),
    };
    let stamp = Stamp {
        run: RunId("01J8ZQ5W3N6M2R0XQ4T1V7B9CD".to_owned()),
        step: StepId(1),
        token,
    };
    database.advance(Direction::Down, &[down], &stamp).await?;
    assert_eq!(app.rows(held).await?, ["ExclusiveLock"], "taken again");
    let app = Arc::new(app);
    let starting = tokio::spawn({
        let app = Arc::clone(&app);
        async move {
            app.migrate(&app.folder("1.3.0"))
                .await
                .map(|migrated| migrated.map_err(|error| error.to_string()))
        }
    });
    let waiting = held.replace("AND l.granted", "AND NOT l.granted");
    while app.rows(&waiting).await?.is_empty() {}
    assert!(!starting.is_finished());
    assert_eq!(app.applied().await?, [CUSTOMER]);
    database.release().await?;
    assert_eq!(starting.await??, Ok(()));
    assert_eq!(app.applied().await?, [CREATE, CUSTOMER, PRODUCT, PAYMENTS]);
    Ok(())
}

fn migration_of(app: &App, version: &str) -> Result<Migration, NotPassed> {
    let mut files = Vec::new();
    for file in fs::read_dir(app.folder("1.3.0"))? {
        let file = file?;
        files.push((file.file_name().to_string_lossy().into_owned(), fs::read(file.path())?));
    }
    let catalog = Catalog::read(&files, stepback_core::model::Engine::Postgres)?;
    let version = version.parse()?;
    match catalog.find(&version) {
        Some(migration) => Ok(migration.clone()),
        None => fail("the folder does not hold it"),
    }
}
