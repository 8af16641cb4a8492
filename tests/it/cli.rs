//! The command line on SQLite: the real binary, its exit codes, and what it leaves behind.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sqlx::{Column as _, Connection as _, Row as _, sqlite::SqliteConnection};

use crate::support::{
    binary::{Binary, Ran},
    runner::{Case, Ctx, NotPassed, Outcome, case, fail, root, sync_case},
};

pub fn cases() -> Vec<Case> {
    vec![
        case("cli::every_catalog_goes_up_down_and_up_again", catalogs),
        case("cli::up_down_and_goto_say_and_do_the_same", up_down_goto),
        case("cli::a_rollback_works_with_an_empty_folder", rollback_without_files),
        case(
            "cli::a_missing_empty_or_edited_down_refuses_and_touches_nothing",
            refusals,
        ),
        case("cli::looking_creates_nothing", looking),
        case("cli::a_failing_script_halts_and_closes_the_run", halts),
        sync_case("cli::wrong_usage_ends_with_2", |ctx| usage(&ctx)),
        sync_case("cli::what_cannot_be_reached_ends_with_6", |ctx| unreachable(&ctx)),
        sync_case("cli::an_app_file_is_refused_with_every_mistake", |ctx| app_file(&ctx)),
        sync_case("cli::no_secret_is_ever_shown", |ctx| secrets(&ctx)),
        sync_case("cli::json_is_versioned_and_alone_on_standard_output", |ctx| json(&ctx)),
        sync_case("cli::new_writes_a_pair_that_up_refuses_until_it_is_filled", |ctx| {
            new(&ctx)
        }),
        sync_case("cli::help_of_every_command", |ctx| help(&ctx)),
        sync_case("cli::a_reader_that_goes_away_is_no_error", |ctx| broken_pipe(&ctx)),
    ]
}

pub const CREATE: &str = "20240101090000";
pub const CUSTOMER: &str = "20240115120000";
pub const PRODUCT: &str = "20240220103000";
pub const PAYMENTS: &str = "20240301090000";

/// An app file of the shop without workloads, whose folder is `folder`.
pub fn shop(dir: &Path, folder: &str) -> Result<Binary, NotPassed> {
    let releases = [("1.3.0", PAYMENTS), ("1.2.0", CUSTOMER), ("1.1.0", CREATE)];
    let releases: String = releases
        .iter()
        .map(|(release, schema)| format!("    - {{ version: {release}, schema: \"{schema}\", images: {{}} }}\n"))
        .collect();
    let text = format!(
        "apiVersion: stepback.dev/v1\nkind: App\nmetadata: {{ name: shop }}\nspec:\n  database:\n    \
         url: {{ env: DATABASE_URL }}\n    migrations: {folder}\n  releases:\n{releases}"
    );
    fs::write(dir.join("stepback.yaml"), text)?;
    Ok(Binary::in_dir(dir).env("DATABASE_URL", "sqlite://shop.db"))
}

pub fn shop_migrations() -> PathBuf {
    root().join("testdata/apps/shop/migrations")
}

/// A copy of the shop's migrations that a test may change.
fn copied_migrations(dir: &Path) -> Result<PathBuf, NotPassed> {
    let to = dir.join("migrations");
    fs::create_dir(&to)?;
    for file in fs::read_dir(shop_migrations())? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(to)
}

pub async fn open(path: &Path) -> Result<SqliteConnection, NotPassed> {
    Ok(SqliteConnection::connect(&format!("sqlite://{}", path.display())).await?)
}

/// The definition and the rows of every table, view, index and trigger that is not ours.
pub async fn dump(path: &Path) -> Result<BTreeMap<String, Vec<String>>, NotPassed> {
    let mut connection = open(path).await?;
    let objects = sqlx::query(
        "SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'stepback%' AND name NOT LIKE \
         'sqlite_%' AND tbl_name NOT LIKE 'stepback%' ORDER BY name",
    )
    .fetch_all(&mut connection)
    .await?;
    let mut dump = BTreeMap::new();
    for object in objects {
        let (kind, name, sql): (String, String, String) = (object.get(0), object.get(1), object.get(2));
        let mut lines = vec![sql];
        if kind == "table" {
            let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT * FROM \"{name}\"")))
                .fetch_all(&mut connection)
                .await?;
            for row in rows {
                let cells = row.columns().iter().map(|column| {
                    let at = column.ordinal();
                    let text = row.try_get_unchecked::<Option<String>, _>(at);
                    text.map(|text| format!("{}={}", column.name(), text.as_deref().unwrap_or("NULL")))
                });
                lines.push(cells.collect::<Result<Vec<_>, _>>()?.join(" "));
            }
        }
        dump.insert(format!("{kind} {name}"), lines);
    }
    Ok(dump)
}

/// Every file of a directory, byte for byte.
pub fn files(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, NotPassed> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            files.insert(path.clone(), fs::read(&path)?);
        }
    }
    Ok(files)
}

pub fn contains(ran: &Ran, what: &str) -> Outcome {
    // Lines are wrapped, so blanks are not compared.
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain(&ran.out).contains(what) || plain(&ran.err).contains(what) {
        return Ok(());
    }
    fail(format_args!(
        "stepback {} did not say {what:?}\n--- stdout\n{}--- stderr\n{}",
        ran.typed, ran.out, ran.err
    ))
}

async fn catalogs(ctx: Ctx) -> Outcome {
    let folders = fs::read_dir(root().join("testdata/catalogs"))?;
    let mut folders: Vec<PathBuf> = folders
        .filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.is_dir()))
        .collect();
    folders.push(shop_migrations());
    assert!(folders.len() > 4, "the catalogs were not found");
    for (number, folder) in folders.iter().enumerate() {
        let db = ctx.fresh_file(&format!("{number}.db"));
        let stepback = Binary::in_dir(ctx.dir());
        let place = format!("--url sqlite://{number}.db --dir {} --yes", folder.display());
        stepback.ends(0, &format!("migrate up {place}"))?;
        let above = dump(&db).await?;
        assert!(!above.is_empty(), "{} made nothing", folder.display());
        stepback.ends(0, &format!("migrate down --to 0 --data-loss accept {place}"))?;
        assert_eq!(dump(&db).await?, BTreeMap::new(), "{} left something", folder.display());
        stepback.ends(0, &format!("migrate up {place}"))?;
        assert_eq!(
            dump(&db).await?,
            above,
            "{} is another one the second time",
            folder.display()
        );
        // One at a time, each down from the archive, with no file in sight.
        let empty = ctx.dir().join("empty");
        fs::create_dir_all(&empty)?;
        let place = format!("--url sqlite://{number}.db --dir {} --yes", empty.display());
        while !dump(&db).await?.is_empty() {
            stepback.ends(0, &format!("migrate down --data-loss accept {place}"))?;
        }
    }
    Ok(())
}

async fn up_down_goto(ctx: Ctx) -> Outcome {
    let db = ctx.fresh_file("shop.db");
    let stepback = shop(ctx.dir(), &shop_migrations().display().to_string())?;
    let applied = async |versions: &[&str]| -> Outcome {
        let mut connection = open(&db).await?;
        let rows = sqlx::query("SELECT version FROM stepback_ledger ORDER BY sequence");
        let rows = rows.fetch_all(&mut connection).await?;
        let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(rows, versions);
        Ok(())
    };
    contains(&stepback.ends(2, "migrate up")?, "type the same with --yes")?;
    assert!(!db.exists(), "what was not confirmed made a file");
    contains(&stepback.ends(0, &format!("migrate up --to {CUSTOMER} --yes"))?, "done")?;
    applied(&[CREATE, CUSTOMER]).await?;
    contains(&stepback.ends(0, "migrate up --yes")?, "apply 2 migrations")?;
    let all = [CREATE, CUSTOMER, PRODUCT, PAYMENTS];
    applied(&all).await?;
    contains(&stepback.ends(0, "migrate up")?, "nothing to do")?;
    contains(&stepback.ends(0, "status")?, "shop 1.3.0")?;
    contains(
        &stepback.ends(0, "migrate status")?,
        &format!("applied {PAYMENTS}_create_payments"),
    )?;

    contains(&stepback.ends(3, "migrate down --yes")?, "data-loss")?;
    applied(&all).await?;
    stepback.ends(0, "migrate down --yes --data-loss accept")?;
    applied(&all[..3]).await?;
    contains(
        &stepback.ends(0, "migrate status")?,
        &format!("pending {PAYMENTS}_create_payments"),
    )?;
    stepback.ends(0, "migrate down -n 2 --yes --data-loss accept")?;
    applied(&all[..1]).await?;
    contains(
        &stepback.ends(3, &format!("migrate down --to {PRODUCT} --yes --data-loss accept"))?,
        "migrate goto",
    )?;
    stepback.ends(0, &format!("migrate goto {PAYMENTS} --yes"))?;
    applied(&all).await?;
    stepback.ends(0, &format!("migrate goto {CUSTOMER} --yes --data-loss accept"))?;
    applied(&all[..2]).await?;
    contains(&stepback.ends(3, "migrate goto 7 --yes --data-loss accept")?, "refused")?;
    stepback.ends(0, "migrate goto 0 --yes --data-loss accept")?;
    applied(&[]).await?;
    contains(&stepback.ends(0, "runs")?, "migrate up")?;
    contains(&stepback.ends(0, "report")?, ": done")?;
    contains(&stepback.ends(0, "resume")?, "nothing to resume")
}

async fn rollback_without_files(ctx: Ctx) -> Outcome {
    let db = ctx.fresh_file("shop.db");
    fs::create_dir(ctx.dir().join("empty"))?;
    let stepback = shop(ctx.dir(), "empty")?;
    stepback.ends(0, &format!("migrate up --yes --dir {}", shop_migrations().display()))?;
    let mut connection = open(&db).await?;
    sqlx::query("INSERT INTO orders (id, product, quantity, customer) VALUES (1, 'tea', 3, 'Ada')")
        .execute(&mut connection)
        .await?;
    connection.close().await?;

    contains(&stepback.ends(0, "status")?, "1.2.0 undoes 2 migrations")?;
    contains(
        &stepback.ends(0, "plan --to 1.2.0 --data-loss accept --sql")?,
        "| DROP TABLE payments;",
    )?;
    stepback.ends(2, "rollback --to 1.2.0 --data-loss accept")?;
    stepback.ends(0, "rollback --to 1.2.0 --data-loss accept --yes")?;
    let after = dump(&db).await?;
    assert!(!after.contains_key("table payments"), "{after:?}");
    assert_eq!(
        after["table orders"][1..],
        ["id=1 item=tea quantity=3 customer=Ada"],
        "the order survives, and its column has its old name"
    );
    contains(&stepback.ends(0, "status")?, "shop 1.2.0")?;
    contains(&stepback.ends(0, "rollback --to 1.2.0")?, "nothing to do")?;
    contains(&stepback.ends(0, "report")?, "rollback 1.3.0 -> 1.2.0: done")
}

async fn refusals(ctx: Ctx) -> Outcome {
    let payments = format!("{PAYMENTS}_create_payments.down.sql");
    let refused =
        |name: &str, spoil: &dyn Fn(&Path) -> Outcome, then: &dyn Fn(&Path) -> Outcome, code: &str| -> Outcome {
            let dir = ctx.dir().join(name);
            fs::create_dir(&dir)?;
            let folder = copied_migrations(&dir)?;
            spoil(&folder.join(&payments))?;
            let stepback = shop(&dir, "migrations")?;
            stepback.ends(0, "migrate up --yes")?;
            then(&folder.join(&payments))?;
            let before = files(&dir)?;
            for typed in [
                "migrate down --yes --data-loss accept",
                "migrate down -n 3 --yes --data-loss accept",
                "migrate goto 0 --yes --data-loss accept",
                "plan --to 1.2.0 --data-loss accept",
                "rollback --to 1.2.0 --yes --data-loss accept",
            ] {
                contains(&stepback.ends(3, typed)?, code)?;
                assert_eq!(files(&dir)?, before, "{name}: {typed} touched something");
            }
            Ok(())
        };
    let nothing = |_: &Path| Ok(());
    refused("missing", &|down| Ok(fs::remove_file(down)?), &nothing, "down-missing")?;
    refused(
        "empty",
        &|down| Ok(fs::write(down, "-- nothing\n;\n")?),
        &nothing,
        "down-empty",
    )?;
    refused(
        "edited",
        &nothing,
        &|down| Ok(fs::write(down, "DROP TABLE orders;")?),
        "down-edited",
    )?;

    // What was captured and then changed in the archive is not run either.
    let db = ctx.dir().join("empty/shop.db");
    let dir = ctx.dir().join("tampered");
    fs::create_dir(&dir)?;
    fs::create_dir(dir.join("none"))?;
    let stepback = shop(&dir, "none")?;
    stepback.ends(0, &format!("migrate up --yes --dir {}", shop_migrations().display()))?;
    let mut connection = open(&dir.join("shop.db")).await?;
    let changed = sqlx::query("UPDATE stepback_archive SET down_sha256 = up_sha256")
        .execute(&mut connection)
        .await?;
    assert_eq!(changed.rows_affected(), 4);
    connection.close().await?;
    let before = files(&dir)?;
    contains(
        &stepback.ends(3, "rollback --to 1.2.0 --yes --data-loss accept")?,
        "archive-damaged",
    )?;
    assert_eq!(files(&dir)?, before);
    assert!(db.exists());
    Ok(())
}

async fn looking(ctx: Ctx) -> Outcome {
    let db = ctx.fresh_file("shop.db");
    let stepback = shop(ctx.dir(), &shop_migrations().display().to_string())?;
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", db.display())).await?;
    sqlx::query("CREATE TABLE orders (id integer)")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    let before = files(ctx.dir())?;
    for typed in ["status", "migrate status", "runs", "resume", "status -o json"] {
        stepback.ends(0, typed)?;
        assert_eq!(files(ctx.dir())?, before, "{typed} touched something");
    }
    Ok(())
}

async fn halts(ctx: Ctx) -> Outcome {
    let db = ctx.fresh_file("a.db");
    let stepback = Binary::with_migrations(
        ctx.dir(),
        &[
            ("1_a.up.sql", "CREATE TABLE a (id integer);"),
            ("1_a.down.sql", "DROP TABLE a;"),
            ("2_b.up.sql", "CREATE TABLE b (id integer);"),
            ("2_b.down.sql", "DROP TABLE b; DROP TABLE not_there;"),
        ],
    )?;
    stepback.ends(0, "migrate up --yes")?;
    let before = dump(&db).await?;
    let ran = stepback.ends(4, "migrate down --to 0 --yes --data-loss accept")?;
    for said in [
        "not_there",
        "step 1 started, not done",
        "nothing of 2_b was kept",
        "nothing to resume",
    ] {
        contains(&ran, said)?;
    }
    assert_eq!(dump(&db).await?, before, "a script that failed left something");
    contains(&stepback.ends(0, "report")?, "stopped")?;
    // The run closed itself, so it is in nobody's way.
    let mut connection = open(&db).await?;
    sqlx::query("CREATE TABLE not_there (id integer)")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    stepback.ends(0, "migrate down --to 0 --yes --data-loss accept")?;
    assert_eq!(dump(&db).await?, BTreeMap::new());
    Ok(())
}

fn usage(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir());
    for (typed, said) in [
        ("", "Usage"),
        ("migrat up", "migrate"),
        ("rollback", "--to"),
        ("rollback --to latest", "there is no app file stepback.yaml"),
        ("rollback --to 1.2.0", "there is no app file stepback.yaml"),
        ("status", "DATABASE_URL is not set"),
        ("status --url nonsense", "sqlite://FILE"),
        (
            "migrate up --url sqlite://a.db",
            "there is no migrations folder migrations",
        ),
        ("migrate down -n 0 --url sqlite://a.db", "1.."),
        ("migrate down -n 1 --to 0 --url sqlite://a.db", "cannot be used with"),
    ] {
        contains(&stepback.ends(2, typed)?, said)?;
    }
    assert_eq!(files(ctx.dir())?, BTreeMap::new());
    Ok(())
}

fn unreachable(ctx: &Ctx) -> Outcome {
    copied_migrations(ctx.dir())?;
    let stepback = shop(ctx.dir(), &shop_migrations().display().to_string())?;
    for typed in [
        "status",
        "migrate status",
        "plan --to 1.2.0",
        "rollback --to 1.2.0 --yes --data-loss accept",
        "migrate down --yes",
        "resume",
        "abort",
        "runs",
        "status --url sqlite:///not/there/a.db",
        "migrate up --yes --url sqlite:///not/there/a.db --dir migrations",
    ] {
        let before = files(ctx.dir())?;
        let ran = stepback.ends(6, typed)?;
        contains(&ran, "nothing was touched")?;
        assert_eq!(files(ctx.dir())?, before, "{typed} touched something");
    }
    fs::write(ctx.dir().join("shop.db"), "this is a text, and no database at all")?;
    contains(&stepback.ends(6, "status")?, "is this file a SQLite database?")
}

fn app_file(ctx: &Ctx) -> Outcome {
    fs::write(
        ctx.dir().join("stepback.yaml"),
        "apiVersion: stepback.dev/v1\nkind: App\nmetadata: { name: Shop }\nspec:\n  databse: {}\n",
    )?;
    let ran = Binary::in_dir(ctx.dir()).ends(2, "status")?;
    for said in [
        "did you mean `database`?",
        "stepback.yaml:3:",
        "spec.database is missing",
    ] {
        contains(&ran, said)?;
    }
    Ok(())
}

fn secrets(ctx: &Ctx) -> Outcome {
    // Nothing listens on port 1.
    let url = "postgres://shop:s3cret@127.0.0.1:1/shop?password=s3cret";
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", url);
    for typed in [
        "status -vvv",
        "status -o json",
        "runs --log-format json -vv",
        &format!("migrate status --url {url}"),
        &format!("resume --journal {url}"),
    ] {
        let ran = stepback.ends(6, typed)?;
        assert!(
            !ran.out.contains("s3cret") && !ran.err.contains("s3cret"),
            "{typed}: {} {}",
            ran.out,
            ran.err
        );
    }
    // Nor where none belongs, with or without its `//`.
    let stepback = Binary::in_dir(ctx.dir());
    for url in [url, "postgres:shop:s3cret@127.0.0.1:1/shop"] {
        for (code, typed) in [
            (2, "migrate up"),
            (2, "status"),
            (2, ""),
            (2, "status --color"),
            (2, "rollback --to"),
            (2, "migrate up --dir"),
            (2, "status --config"),
            (6, "report --url sqlite://none.db"),
        ] {
            let ran = stepback.ends(code, &format!("{typed} {url}"))?;
            assert!(
                !format!("{ran:?}").replace(&ran.typed, "").contains("s3cret"),
                "{ran:?}"
            );
            if ran.err.contains("(hidden)") {
                contains(&ran, "a URL belongs behind --url")?;
            }
        }
    }
    for typed in ["--url", "--url=", "--journal"] {
        let typed = if typed.ends_with('=') {
            typed.to_owned()
        } else {
            format!("{typed} ")
        };
        let ran = stepback.ends(2, &format!("resume {typed}postgres:shop:s3cret@127.0.0.1:1/shop"))?;
        assert!(!ran.err.contains("s3cret"), "{}", ran.err);
        contains(&ran, "lacks the // behind `postgres:`")?;
    }
    Ok(())
}

fn json(ctx: &Ctx) -> Outcome {
    let stepback = shop(ctx.dir(), &shop_migrations().display().to_string())?;
    let read = |code: i32, typed: &str| -> Result<serde_json::Value, NotPassed> {
        let value: serde_json::Value = serde_json::from_str(&stepback.ends(code, typed)?.out)?;
        assert_eq!(value["apiVersion"], "stepback.dev/v1", "{typed}");
        Ok(value)
    };
    let report = read(0, "migrate up --yes -o json")?;
    assert_eq!((&report["kind"], &report["state"]), (&"Report".into(), &"done".into()));
    assert_eq!(read(0, "migrate up -o json")?["steps"], serde_json::json!([]));
    let status = read(0, "status -o json")?;
    assert_eq!(
        (&status["kind"], &status["schema"]),
        (&"Status".into(), &PAYMENTS.into())
    );
    assert_eq!(read(0, "plan --to 1.2.0 --data-loss accept -o json")?["kind"], "Plan");
    let refused = read(3, "plan --to 1.2.0 -o json")?;
    assert_eq!((&refused["kind"], &refused["exitCode"]), (&"Error".into(), &3.into()));
    assert_eq!(refused["findings"][0]["code"], "data-loss");
    let runs = read(0, "runs -o json")?;
    assert_eq!(runs["items"][0]["status"], "closed");
    assert_eq!(read(0, "report -o json")?["run"], runs["items"][0]["run"]);
    assert_eq!(read(0, "resume -o json")?["items"], serde_json::json!([]));
    for typed in [
        "migrate down --yes --data-loss accept --log-format json",
        "migrate down --log-format json",
        "status --url sqlite://other.db --log-format json",
    ] {
        let ran = stepback.run(typed)?;
        assert!(!ran.err.is_empty(), "{typed}");
        for line in ran.err.lines() {
            let line: serde_json::Value = serde_json::from_str(line)?;
            assert!(line["fields"]["message"].is_string(), "{typed}: {line}");
        }
    }
    assert_eq!(read(6, "status -o json --url sqlite://other.db")?["exitCode"], 6);
    Ok(())
}

fn new(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", "sqlite://a.db");
    let ran = stepback.ends(0, "migrate new Add customer --dir migrations")?;
    let written: Vec<&str> = ran.out.lines().collect();
    assert_eq!(written.len(), 2, "{}", ran.out);
    assert!(written[0].ends_with("_add_customer.up.sql") && written[1].ends_with("_add_customer.down.sql"));
    contains(&stepback.ends(2, "migrate up --yes")?, "the up script is empty")?;
    fs::write(ctx.dir().join(written[0]), "CREATE TABLE customer (id integer);")?;
    stepback.ends(0, "migrate up --yes")?;
    contains(
        &stepback.ends(3, "migrate down --yes --data-loss accept")?,
        "down-empty",
    )
}

fn help(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir());
    let mut text = String::new();
    let fills = ["", "demo"];
    for command in [
        "",
        "init",
        "status",
        "plan",
        "rollback",
        "apply",
        "resume",
        "abort",
        "migrate",
        "migrate up",
        "migrate down",
        "migrate goto",
        "migrate status",
        "migrate new",
        "guard",
        "runs",
        "report",
        "schema",
        "completions",
        "man",
        "demo",
        "sandbox",
    ] {
        let typed = format!("{command} --help");
        let ran = stepback.ends(0, &typed)?;
        text.push_str(&format!("$ stepback {}\n{}\n", typed.trim(), ran.out));
        if fills.contains(&command) {
            continue;
        }
        // A paragraph with line breaks of its own that is wider than a terminal is broken twice, and looks torn.
        let wide = Binary::in_dir(ctx.dir()).env("COLUMNS", "120").ends(0, &typed)?.out;
        let about = wide.split("\nUsage:").next().unwrap_or_default();
        for line in about.lines().skip_while(|line| !line.is_empty()) {
            assert!(line.chars().count() <= 80, "{typed}: {line}");
        }
    }
    insta::assert_snapshot!("help", text);
    contains(
        &stepback.ends(0, "--version")?,
        concat!("stepback ", env!("CARGO_PKG_VERSION")),
    )
}

fn broken_pipe(ctx: &Ctx) -> Outcome {
    let stepback = shop(ctx.dir(), &shop_migrations().display().to_string())?;
    stepback.ends(0, "migrate up --yes")?;
    for typed in ["status", "plan --to 1.1.0 --data-loss accept --sql", "--help"] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let arguments: Vec<&str> = typed.split_whitespace().collect();
        let status = stepback.command(&arguments).stdout(writer).status()?;
        assert_eq!(status.code(), Some(0), "{typed}");
    }
    Ok(())
}
