//! Runs of the real binary on SQLite that meet signals, `kill -9` and one another.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    time::Duration,
};

use sqlx::{
    Connection as _, Row as _,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

use crate::support::{
    binary::Binary,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail, root},
    servers::Postgres,
};

pub fn cases() -> Vec<Case> {
    vec![
        case("cli_runs::a_signal_halts_between_two_migrations_with_130", signal),
        case("cli_runs::a_terminal_that_is_closed_halts_with_130", hangup),
        case(
            "cli_runs::a_signal_in_a_down_tells_what_was_done_and_how_to_go_on",
            signal_in_the_last,
        ),
        case("cli_runs::in_the_folder_of_an_app_the_run_is_that_apps", of_this_app),
        case("cli_runs::of_two_downs_the_second_is_not_led_one_further", two_downs),
        case("cli_runs::a_killed_run_is_resumed_with_nothing_but_the_url", killed),
        case(
            "cli_runs::of_several_at_once_one_acts_and_nothing_happens_twice",
            several,
        ),
        case(
            "cli_runs::on_postgres_the_shop_goes_up_and_back_without_files",
            postgres,
        ),
        case(
            "cli_runs::d4_a_writer_whose_heartbeat_cannot_be_written_is_at_work",
            writer_at_work,
        ),
        case("cli_runs::d13_a_run_is_not_resumed_on_a_clone_of_its_database", cloned),
        case(
            "cli_runs::a_run_that_can_neither_pass_nor_go_back_is_closed_as_it_stands",
            as_it_stands,
        ),
        case(
            "cli_runs::d16_without_an_app_file_our_tables_are_found_where_they_are",
            state_schema,
        ),
    ]
}

/// `resume` and `migrate` with nothing but the URL meet what was done with the app file, at one ledger and one lease.
async fn state_schema(ctx: Ctx) -> Outcome {
    let url = Postgres::shared().await?.fresh_database("state").await?;
    let folder = ctx.dir().join("migrations");
    fs::create_dir(&folder)?;
    fs::write(folder.join("1_a.up.sql"), "CREATE TABLE a (id integer);")?;
    fs::write(folder.join("1_a.down.sql"), "DROP TABLE a;")?;
    let file = "apiVersion: stepback.dev/v1\nkind: App\nmetadata: { name: shop }\nspec:\n  database:\n    \
                url: { env: DATABASE_URL }\n    stateSchema: ops\n";
    fs::write(ctx.dir().join("stepback.yaml"), file)?;
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", &url);
    stepback.ends(0, "migrate up --yes")?;
    fs::remove_file(ctx.dir().join("stepback.yaml"))?;
    let ran = stepback.ends(0, "runs")?;
    assert!(ran.out.contains("migrate up"), "{}{}", ran.out, ran.err);
    let ran = stepback.ends(0, "migrate up --yes")?;
    assert!(ran.out.contains("nothing to do"), "{}{}", ran.out, ran.err);
    stepback.ends(0, &format!("migrate down --url {url} --data-loss accept --yes"))?;
    let mut connection = sqlx::PgConnection::connect(&url).await?;
    let asked = "SELECT (SELECT count(*) FROM ops.lease) * 10 + count(*) FROM pg_namespace WHERE nspname = 'stepback'";
    let found: i64 = sqlx::query(asked).fetch_one(&mut connection).await?.get(0);
    assert_eq!(found, 10, "one lease, and no second set of tables");

    // An app file that does not say it is no other case.
    fs::write(
        ctx.dir().join("stepback.yaml"),
        file.replace("    stateSchema: ops\n", ""),
    )?;
    stepback.ends(0, "migrate up --yes")?;
    let held = "SELECT (SELECT count(*) FROM ops.ledger) * 10 + count(*) FROM pg_namespace WHERE nspname = 'stepback'";
    let found: i64 = sqlx::query(held).fetch_one(&mut connection).await?.get(0);
    assert_eq!(found, 10, "the ledger that is there, and no second one");

    // Nobody makes a second set by a slip, whichever ledger is meant.
    let refused = |typed: &str, why: &str| -> Outcome {
        let ran = stepback.ends(3, typed)?;
        let said = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(why) && said.contains("--state-schema ops"), "{said}");
        Ok(())
    };
    for ledger in ["stepback", "sqlx"] {
        let typed = format!("--state-schema stepback migrate up --ledger {ledger} --yes");
        refused(&typed, "in schema ops, and not in stepback")?;
    }
    let found: i64 = sqlx::query(held).fetch_one(&mut connection).await?.get(0);
    assert_eq!(found, 10, "nothing was made");

    // Made by hand it is another set, but of another tool's ledger there is one lease.
    let sql = stepback
        .ends(0, "--state-schema stepback init --sql --engine postgres")?
        .out;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
    let other = ctx.dir().join("other");
    fs::create_dir(&other)?;
    fs::write(other.join("2_b.up.sql"), "CREATE TABLE b (id integer);")?;
    fs::write(other.join("2_b.down.sql"), "DROP TABLE b;")?;
    stepback.ends(0, "--state-schema ops migrate up --ledger sqlx --dir other --yes")?;
    refused(
        "--state-schema stepback migrate down --ledger sqlx --dir other --data-loss accept --yes",
        "kept for the ledger public._sqlx_migrations",
    )?;
    stepback.ends(
        0,
        "--state-schema ops migrate down --ledger sqlx --data-loss accept --yes",
    )?;

    // Several: which one must be said.
    stepback.ends(3, "migrate status")?;
    let ran = stepback.ends(3, "runs")?;
    assert!(
        ran.err.contains("ops, stepback") && ran.err.contains("--state-schema"),
        "{}",
        ran.err
    );
    let ran = stepback.ends(0, "--state-schema ops runs")?;
    assert!(ran.out.contains("migrate down"), "{}", ran.out);
    Ok(())
}

/// How many runs are listed.
fn listed(stepback: &Binary, typed: &str) -> Result<usize, NotPassed> {
    let list: serde_json::Value = serde_json::from_str(&stepback.ends(0, typed)?.out)?;
    Ok(list["items"].as_array().map_or(0, Vec::len))
}

/// A run of another app, whose URL is left over in the shell, is not carried on in the folder of this one.
async fn of_this_app(ctx: Ctx) -> Outcome {
    let stepback = cannot_pass(&ctx)?;
    stepback.ends(4, "migrate down --data-loss accept --yes")?;
    stepback.ends(0, "migrate up --to 1 --url sqlite://p.db --yes")?;
    assert_eq!(
        listed(&stepback, "runs -o json")?,
        3,
        "without an app file, DATABASE_URL's"
    );

    let app = "apiVersion: stepback.dev/v1\nkind: App\nmetadata: { name: shop }\nspec:\n  database:\n    url: ";
    for (file, url) in [
        ("stepback.yaml", "\"sqlite://p.db\""),
        ("named.yaml", "{ env: SHOP_URL }"),
    ] {
        fs::write(ctx.dir().join(file), format!("{app}{url}\n"))?;
    }
    let stepback = Binary::in_dir(ctx.dir())
        .env("DATABASE_URL", "sqlite://a.db")
        .env("SHOP_URL", "sqlite://p.db");
    for named in ["", "--config named.yaml "] {
        for command in ["resume", "abort --yes"] {
            let ran = stepback.ends(0, &format!("{named}{command}"))?;
            assert!(ran.out.contains("every run is closed"), "{}{}", ran.out, ran.err);
        }
        assert_eq!(listed(&stepback, &format!("{named}runs -o json"))?, 1);
        let report = stepback.ends(0, &format!("{named}report"))?;
        assert!(report.out.contains("migrate up"), "{}", report.out);
    }
    assert_eq!(
        listed(&stepback, "runs --url sqlite://a.db -o json")?,
        3,
        "--url is above all"
    );

    // It is also the way to a run of a database that nothing here names.
    let other = "--url sqlite://a.db";
    for (code, command) in [(4, "resume"), (3, "abort --yes")] {
        stepback.ends(code, &format!("{command} {other}"))?;
        stepback.ends(2, &format!("{command} {other} --journal cluster:shop"))?;
    }
    let list: serde_json::Value = serde_json::from_str(&stepback.ends(0, &format!("runs {other} -o json"))?.out)?;
    let run = list["items"][0]["run"].as_str().unwrap_or_default();
    stepback.ends(3, &format!("abort --journal-lost {run} {other} --yes"))?;
    stepback.ends(0, &format!("abort --as-it-stands {run} {other} --yes"))?;
    Ok(())
}

/// What the comparison after the downs needs is deleted meanwhile: no command that repeats it or takes it back can help.
async fn as_it_stands(ctx: Ctx) -> Outcome {
    let stepback = cannot_pass(&ctx)?;
    let words = |ran: &str| ran.split_whitespace().collect::<Vec<_>>().join(" ");
    let halted = words(&stepback.ends(4, "migrate down --data-loss accept --yes")?.err);
    let (_, typed) = halted.split_once("stepback abort --as-it-stands ").unwrap_or_default();
    let run = typed.split(' ').next().unwrap_or_default();
    assert!(
        !run.is_empty() && !halted.contains(&format!("stepback abort {run}")),
        "{halted}"
    );
    // None of these can end it, and each says what can.
    for (code, typed) in [
        (4, "resume".to_owned()),
        (5, "migrate up --yes".to_owned()),
        (3, "abort --yes".to_owned()),
        (3, format!("abort --journal-lost {run} --yes")),
    ] {
        let ran = words(&stepback.ends(code, &typed)?.err);
        assert!(
            ran.contains(&format!("stepback abort --as-it-stands {run}")),
            "{typed}: {ran}"
        );
    }
    let asked = words(&stepback.ends(2, &format!("abort --as-it-stands {run}"))?.err);
    for said in ["no longer recorded", "0 of 1 passed", "no script is run", "--yes"] {
        assert!(asked.contains(said) || said.starts_with('0'), "{said}: {asked}");
    }
    let closed = stepback.ends(0, &format!("abort --as-it-stands {run} --yes"))?;
    assert!(closed.out.contains("is closed"), "{}", closed.out);
    let report = stepback.ends(0, &format!("report {run}"))?;
    assert!(report.out.contains("stopped"), "{}", report.out);
    stepback.ends(3, &format!("abort --as-it-stands {run} --yes"))?;
    stepback.ends(0, "migrate up --yes")?;
    Ok(())
}

/// Two migrations that are applied; what the newest one's down leaves cannot be compared.
fn cannot_pass(ctx: &Ctx) -> Result<Binary, NotPassed> {
    let stepback = Binary::with_migrations(
        ctx.dir(),
        &[
            ("1_a.up.sql", "CREATE TABLE a (id integer);"),
            ("1_a.down.sql", "DROP TABLE a;"),
            ("2_b.up.sql", "CREATE TABLE b (id integer);"),
            ("2_b.down.sql", "DROP TABLE b;\nDELETE FROM stepback_fingerprint;"),
        ],
    )?;
    stepback.ends(0, "migrate up --to 1 --yes")?;
    stepback.ends(0, "migrate up --yes")?;
    Ok(stepback)
}

/// Three migrations, of which the newest one's down takes seconds, longer than a batch, and leaves what it can be told by.
fn slow_migrations(ctx: &Ctx) -> Result<Binary, NotPassed> {
    let slow = "INSERT INTO tally SELECT 3;\n\
                WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 16000000)\n\
                INSERT INTO tally SELECT max(x) FROM n;\nDROP TABLE c;\n";
    let stepback = Binary::with_migrations(
        ctx.dir(),
        &[
            ("1_tally.up.sql", "CREATE TABLE tally (x integer);"),
            ("1_tally.down.sql", "DROP TABLE tally;"),
            ("2_b.up.sql", "CREATE TABLE b (id integer);"),
            ("2_b.down.sql", "INSERT INTO tally SELECT 2;\nDROP TABLE b;"),
            ("3_c.up.sql", "CREATE TABLE c (id integer);"),
            ("3_c.down.sql", slow),
        ],
    )?;
    stepback.ends(0, "migrate up --yes")?;
    // From here on there is no file but the database.
    fs::remove_dir_all(ctx.dir().join("migrations"))?;
    Ok(stepback)
}

const DOWN: &[&str] = &["migrate", "down", "--to", "1", "--data-loss", "accept", "--yes"];

/// Starts the slow down, and waits until its first step has begun.
fn start_down(stepback: &Binary) -> Result<(Child, impl Iterator<Item = String> + use<>), NotPassed> {
    let mut child = stepback
        .command(DOWN)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let Some(stderr) = child.stderr.take() else {
        return fail("its standard error is not piped");
    };
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    match lines.find(|line| line.starts_with("step 1/")) {
        Some(_) => Ok((child, lines)),
        None => fail("it ended before its first step"),
    }
}

fn send(signal: &str, child: &Child) -> Outcome {
    let sent = std::process::Command::new("kill")
        .args(["-s", signal, &child.id().to_string()])
        .status()?;
    if sent.success() {
        Ok(())
    } else {
        fail(format_args!("kill -s {signal}: {sent}"))
    }
}

async fn rows(ctx: &Ctx, sql: &'static str) -> Result<Vec<String>, NotPassed> {
    let path = ctx.dir().join("a.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await?;
    let rows = sqlx::query(sql).fetch_all(&mut connection).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

const LEDGER: &str = "SELECT version FROM stepback_ledger ORDER BY sequence";
const TALLY: &str = "SELECT CAST(x AS text) FROM tally";

/// Waits until a transaction has been writing for longer than our own short ones take: until the slow script runs.
async fn until_the_script_runs(ctx: &Ctx) -> Outcome {
    let options = SqliteConnectOptions::new()
        .filename(ctx.dir().join("a.db"))
        .busy_timeout(Duration::ZERO);
    let mut rival = SqliteConnection::connect_with(&options).await?;
    let mut refused = 0;
    while refused < 20 {
        match sqlx::raw_sql("BEGIN IMMEDIATE; ROLLBACK").execute(&mut rival).await {
            Ok(_) => refused = 0,
            Err(_) => refused += 1,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn signal(ctx: Ctx) -> Outcome {
    let stepback = slow_migrations(&ctx)?;
    let (mut child, lines) = start_down(&stepback)?;
    until_the_script_runs(&ctx).await?;
    send("TERM", &child)?;
    let said: Vec<String> = lines.collect();
    assert_eq!(child.wait()?.code(), Some(130), "{said:#?}");
    assert!(
        said.iter().any(|line| line.starts_with("stopping after the move")),
        "{said:#?}"
    );
    let ledger = rows(&ctx, LEDGER).await?;
    assert_eq!(
        ledger,
        ["1", "2"],
        "the migration in flight was finished, and the next one not begun"
    );
    assert!(
        said.iter().any(|line| line.contains("stepback migrate goto 1")),
        "{said:#?}"
    );
    // The run has closed itself.
    stepback.ends(0, "resume --yes")?;
    stepback.ends(0, "migrate goto 1 --yes --data-loss accept")?;
    assert_eq!(rows(&ctx, LEDGER).await?, ["1"]);
    assert_eq!(
        rows(&ctx, TALLY).await?,
        ["3", "16000000", "2"],
        "each down exactly once"
    );
    Ok(())
}

/// The kernel says that the terminal is gone, and so does the shell; and nobody reads any more what is said.
async fn hangup(ctx: Ctx) -> Outcome {
    let stepback = slow_migrations(&ctx)?;
    let (mut child, lines) = start_down(&stepback)?;
    until_the_script_runs(&ctx).await?;
    drop(lines);
    for _ in 0..2 {
        send("HUP", &child)?;
    }
    assert_eq!(child.wait()?.code(), Some(130));
    assert_eq!(rows(&ctx, LEDGER).await?, ["1", "2"], "the move in flight was finished");
    let report = stepback.ends(0, "report")?;
    assert!(report.out.contains("stopped"), "{}", report.out);
    stepback.ends(0, "resume --yes")?;
    Ok(())
}

/// Two want the newest undone at the same time: whoever comes second is not led one further.
async fn two_downs(ctx: Ctx) -> Outcome {
    let stepback = slow_migrations(&ctx)?;
    // On a machine that is busy, the first takes longer than a lease is waited for.
    fs::create_dir(ctx.dir().join("migrations"))?;
    let file = "apiVersion: stepback.dev/v1\nkind: App\nmetadata: { name: tally }\nspec:\n  database:\n    \
                url: { env: DATABASE_URL }\n  limits: { lock: 5m }\n";
    fs::write(ctx.dir().join("stepback.yaml"), file)?;
    let down = || {
        let mut command = stepback.command(&["migrate", "down", "--data-loss", "accept", "--yes"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
    };
    let first = down()?;
    until_the_script_runs(&ctx).await?;
    let second = down()?;
    let mut lost = 0;
    for child in [first, second] {
        let ended = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        if ended.status.success() {
            continue;
        }
        lost += 1;
        assert_eq!(ended.status.code(), Some(3), "{said}");
        assert!(!said.contains("type the same again"), "{said}");
        assert!(said.contains("stepback migrate goto 2"), "{said}");
    }
    assert_eq!(lost, 1);
    assert_eq!(rows(&ctx, LEDGER).await?, ["1", "2"]);
    Ok(())
}

/// One migration is to be undone, and is: typed again, the same command would undo the next one.
async fn signal_in_the_last(ctx: Ctx) -> Outcome {
    let stepback = slow_migrations(&ctx)?;
    let mut child = stepback
        .command(&["migrate", "down", "--data-loss", "accept", "--yes"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    until_the_script_runs(&ctx).await?;
    send("INT", &child)?;
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("it is piped"), &mut said)?;
    assert_eq!(child.wait()?.code(), Some(130), "{said}");
    assert_eq!(rows(&ctx, LEDGER).await?, ["1", "2"], "the move in flight was finished");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = words(&said);
    assert!(!said.contains("started, not done"), "{said}");
    assert!(!said.contains("type the same again"), "{said}");
    assert!(said.contains("stepback migrate goto 2"), "{said}");
    let report = stepback.ends(0, "report")?;
    assert!(
        words(&report.out).contains("1 of 1 in the ledger") || !report.out.contains("started"),
        "{}",
        report.out
    );
    let again = stepback.ends(0, "migrate goto 2 --yes --data-loss accept")?;
    assert!(again.out.contains("nothing to do"), "{}", again.out);
    // The archive has it, but not what belongs between: that is no success.
    for forward in ["goto 3", "down --to 3 --data-loss accept"] {
        let refused = stepback.ends(3, &format!("migrate {forward} --yes"))?;
        assert!(refused.err.contains("up-missing"), "{}", refused.err);
    }
    assert_eq!(rows(&ctx, LEDGER).await?, ["1", "2"]);
    Ok(())
}

async fn killed(ctx: Ctx) -> Outcome {
    let stepback = slow_migrations(&ctx)?;
    let (mut child, _lines) = start_down(&stepback)?;
    child.kill()?;
    child.wait()?;
    let status = stepback.ends(0, "status")?;
    assert!(status.out.contains("stepback resume"), "{}", status.out);
    // The dead one's lease still lives, and is waited out.
    assert!(status.out.contains("lease    held by"), "{}", status.out);
    // Another directory, as another machine would: no app file, no folder.
    let elsewhere = ctx.dir().join("elsewhere");
    fs::create_dir(&elsewhere)?;
    let url = format!("sqlite://{}", ctx.dir().join("a.db").display());
    let resumed = Binary::in_dir(&elsewhere).ends(0, &format!("resume --yes --journal {url}"))?;
    assert!(resumed.out.contains(": done"), "{}", resumed.out);
    assert_eq!(rows(&ctx, LEDGER).await?, ["1"]);
    assert_eq!(
        rows(&ctx, TALLY).await?,
        ["3", "16000000", "2"],
        "each down exactly once"
    );
    let report = stepback.ends(0, "report")?;
    assert!(report.out.contains("ended without a word"), "{}", report.out);
    Ok(())
}

async fn several(ctx: Ctx) -> Outcome {
    let stepback = slow_migrations(&ctx)?;
    let spawn = |_| {
        stepback
            .command(DOWN)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let children = (0..4).map(spawn).collect::<Result<Vec<_>, _>>()?;
    let mut acted = 0;
    for child in children {
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) if String::from_utf8_lossy(&output.stdout).contains(": done") => acted += 1,
            // Done by another while this one waited, or not got at all.
            Some(0 | 5) => {}
            code => return fail(format_args!("{code:?}: {said}")),
        }
    }
    assert_eq!(acted, 1);
    assert_eq!(rows(&ctx, LEDGER).await?, ["1"]);
    assert_eq!(
        rows(&ctx, TALLY).await?,
        ["3", "16000000", "2"],
        "each down exactly once"
    );
    Ok(())
}

async fn postgres(ctx: Ctx) -> Outcome {
    let server = Postgres::shared().await?;
    let url = server.fresh_database("cli").await?;
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", &url);
    let folder = root().join("testdata/apps/shop/migrations");
    stepback.ends(0, &format!("migrate up --yes --dir {}", folder.display()))?;
    let mut connection = sqlx::PgConnection::connect(&url).await?;
    sqlx::query("INSERT INTO orders (id, product, quantity, customer) VALUES (1, 'tea', 3, 'Ada')")
        .execute(&mut connection)
        .await?;
    let ran = stepback.ends(0, "migrate goto 20240115120000 --data-loss accept --yes -v")?;
    assert!(ran.err.contains("| DROP TABLE payments;"), "{}", ran.err);
    let item: String = sqlx::query("SELECT item FROM orders WHERE id = 1")
        .fetch_one(&mut connection)
        .await?
        .get(0);
    assert_eq!(item, "tea", "the order survives, and its column has its old name");
    let status = stepback.ends(0, "migrate status")?;
    assert!(status.out.contains("2 migrations applied"), "{}", status.out);
    stepback.ends(0, "migrate down --to 0 --data-loss accept --yes")?;
    let runs = stepback.ends(0, "runs")?;
    assert_eq!(runs.out.matches("  done in ").count(), 3, "{}", runs.out);
    for typed in ["report -v", "report -o json", "migrate status -vvv", "runs -o json"] {
        let said = stepback.ends(0, typed)?;
        assert!(
            !format!("{said:?}").contains("hidden-word"),
            "{typed} shows the password"
        );
    }
    assert!(
        !format!("{ran:?}").contains("hidden-word"),
        "the run shows the password"
    );
    Ok(())
}

/// Somebody's script takes longer than the lease lives: nothing can be written meanwhile, heartbeats neither.
async fn writer_at_work(ctx: Ctx) -> Outcome {
    let folder = ctx.dir().join("migrations");
    fs::create_dir(&folder)?;
    for name in ["1_a", "2_b"] {
        fs::write(
            folder.join(format!("{name}.up.sql")),
            format!("CREATE TABLE t{name} (id integer);"),
        )?;
        fs::write(folder.join(format!("{name}.down.sql")), format!("DROP TABLE t{name};"))?;
    }
    let file = "apiVersion: stepback.dev/v1\nkind: App\nmetadata: { name: shop }\nspec:\n  database:\n    \
                url: { env: DATABASE_URL }\n  limits: { lock: 1s, lockWait: 300ms }\n";
    fs::write(ctx.dir().join("stepback.yaml"), file)?;
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", "sqlite://a.db");
    stepback.ends(0, "migrate up --to 1 --yes")?;
    let options = SqliteConnectOptions::new().filename(ctx.dir().join("a.db"));
    let mut writer = SqliteConnection::connect_with(&options).await?;
    sqlx::raw_sql("UPDATE stepback_lease SET released = 0, heartbeat_ms = 0; BEGIN IMMEDIATE; CREATE TABLE slow (i)")
        .execute(&mut writer)
        .await?;
    let ran = stepback.ends(0, "status")?;
    assert!(ran.out.contains("held by"), "{}", ran.out);
    let ran = stepback.ends(5, "migrate up --yes")?;
    assert!(ran.err.contains("holds the lease"), "{}", ran.err);
    // Gone without a word: the lease is silent, and nobody writes.
    drop(writer);
    stepback.ends(0, "migrate up --yes")?;
    Ok(())
}

/// A database that was cloned from one with an open run is not the one that the run was opened on.
async fn cloned(ctx: Ctx) -> Outcome {
    let server = Postgres::shared().await?;
    let url = server.fresh_database("original").await?;
    let folder = ctx.dir().join("migrations");
    fs::create_dir(&folder)?;
    fs::write(folder.join("1_a.up.sql"), "CREATE TABLE a (id integer);")?;
    fs::write(folder.join("1_a.down.sql"), "DROP TABLE a;")?;
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", &url);
    stepback.ends(0, "migrate up --yes")?;
    let mut connection = sqlx::PgConnection::connect(&url).await?;
    sqlx::raw_sql("UPDATE stepback.run SET status = 'halted'; UPDATE stepback.lease SET released = true")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    let (base, name) = url.rsplit_once('/').unwrap_or_default();
    let mut admin = sqlx::PgConnection::connect(&server.url("postgres")).await?;
    let clone = format!("CREATE DATABASE {name}_clone TEMPLATE {name}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(clone)).execute(&mut admin).await?;
    let on_clone = Binary::in_dir(ctx.dir()).env("DATABASE_URL", format!("{base}/{name}_clone"));
    let ran = on_clone.ends(3, "resume")?;
    assert!(
        ran.err.contains("was opened on another database") && ran.err.contains("cloned"),
        "{}",
        ran.err
    );
    // Its pods may be stopped: who is asked and does not answer is told how it stands.
    let ran = on_clone.ends(2, "resume --rebind")?;
    assert!(ran.err.contains("stands as it did"), "{}", ran.err);
    let ran = stepback.ends(0, "resume")?;
    assert!(!ran.err.contains("another database"), "{}", ran.err);
    Ok(())
}
