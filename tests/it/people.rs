//! What people ask for beside the road itself: reports in other forms, completions, manual pages.

use std::{fs, process::Command};

use sqlx::Connection as _;
use stepback::{
    journal::{FileJournal, Journal as _},
    live::Lines,
    run::{Event, Listen as _},
};
use stepback_core::{
    journal::{By, Entry, FORMAT, What},
    model::{MigrationSet, RunId, StepId, Token},
    plan::{Action, Gate, Step},
};

use crate::{
    cli::contains,
    contract_journal::plan_of,
    support::{
        binary::Binary,
        runner::{Case, Ctx, NotPassed, Outcome, case, root, sync_case},
    },
};

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "people::a_hint_that_is_typed_as_it_stands_does_what_it_says",
            hint_as_typed,
        ),
        sync_case("people::a_report_has_every_form", |ctx| forms(&ctx)),
        sync_case("people::a_form_that_a_command_does_not_have_is_refused_first", |ctx| {
            wrong_form(&ctx)
        }),
        sync_case("people::status_shows_the_database_while_the_cluster_is_down", |ctx| {
            half_a_status(&ctx)
        }),
        sync_case("people::on_a_terminal_the_step_under_way_is_drawn", |ctx| drawn(&ctx)),
        sync_case("people::runs_say_when_by_whom_and_how_they_ended", |ctx| runs(&ctx)),
        case("people::runs_and_reports_need_no_database", without_database),
        sync_case("people::a_reason_for_waiting_is_said_once", |_ctx| said_once()),
        sync_case("people::a_step_that_another_process_began_is_said_too", |_ctx| {
            going_on()
        }),
        sync_case("people::progress_is_wrapped_on_a_terminal", |_ctx| wrapped()),
        sync_case("people::a_halt_says_once_why_and_how_far", |ctx| halted(&ctx)),
        sync_case("people::migrate_status_names_what_was_edited", |ctx| edited(&ctx)),
        sync_case("people::what_new_writes_is_not_forgotten", |ctx| new(&ctx)),
        sync_case("people::every_shell_completes_every_command", |ctx| completions(&ctx)),
        sync_case("people::every_command_has_a_manual_page", |ctx| manual(&ctx)),
    ]
}

/// A database that has been migrated up.
fn migrated(ctx: &Ctx) -> Result<Binary, NotPassed> {
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", "sqlite://shop.db");
    let folder = root().join("testdata/apps/shop/migrations");
    stepback.ends(0, &format!("migrate up --yes --dir {}", folder.display()))?;
    Ok(stepback)
}

fn forms(ctx: &Ctx) -> Outcome {
    let stepback = migrated(ctx)?;
    let page = stepback.ends(0, "report -o html")?.out;
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"),
        "{page}"
    );
    assert!(page.contains("apply 4 migrations"), "{page}");
    let markdown = stepback.ends(0, "report -o markdown")?.out;
    assert!(
        markdown.starts_with("# migrate up nothing -> 20240301090000: done\n"),
        "{markdown}"
    );
    assert!(
        markdown.contains("| apply 4 migrations, 20240101090000 to 20240301090000 |"),
        "{markdown}"
    );
    Ok(())
}

fn wrong_form(ctx: &Ctx) -> Outcome {
    let stepback = migrated(ctx)?;
    let ran = stepback.ends(2, "migrate down --yes --data-loss accept -o html")?;
    assert!(ran.err.contains("no answer of the form html"), "{}", ran.err);
    assert!(ran.err.contains("nothing was touched"), "{}", ran.err);
    assert!(stepback.ends(0, "status")?.out.contains("4 migrations applied"));
    Ok(())
}

fn half_a_status(ctx: &Ctx) -> Outcome {
    let stepback = migrated(ctx)?;
    fs::copy(
        root().join("testdata/apps/shop/stepback.yaml"),
        ctx.dir().join("stepback.yaml"),
    )?;
    // Nothing listens on port 1.
    let file = r#"{apiVersion: v1, kind: Config, current-context: a, users: [{name: u, user: {}}],
        clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}], contexts: [{name: a, context: {cluster: c, user: u}}]}"#;
    fs::write(ctx.dir().join("kubeconfig"), file)?;
    for (option, why) in [
        ("--kubeconfig kubeconfig", "Connection refused"),
        ("--kubeconfig kubeconfig --context nowhere", "context \"nowhere\""),
        ("--kubeconfig not-there", "not-there"),
    ] {
        let ran = stepback.ends(6, &format!("status {option}"))?;
        for said in [
            "20240301090000, 4 migrations applied",
            "workload not known:",
            why,
            "1.2.0 undoes 2 migrations",
        ] {
            contains(&ran, said)?;
        }
        assert!(ran.err.contains("nothing was touched"), "{}", ran.err);
        let json = stepback.ends(6, &format!("status -o json {option}"))?.out;
        let json: serde_json::Value = serde_json::from_str(&json)?;
        assert_eq!(
            (&json["kind"], &json["applied"]),
            (&"Status".into(), &4.into()),
            "one document"
        );
        assert!(json["clusterUnknown"].is_string(), "{json}");
    }
    Ok(())
}

fn runs(ctx: &Ctx) -> Outcome {
    let stepback = migrated(ctx)?;
    stepback.ends(0, "migrate down --to 0 --yes --data-loss accept")?;
    let listed = stepback.ends(0, "runs")?.out;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 4, "{listed}");
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d ").to_string();
    assert!(lines[0].starts_with(&now), "{listed}");
    assert!(lines[0].contains("Z  done in "), "{listed}");
    assert!(lines[0].ends_with("  migrate 20240301090000 -> nothing"), "{listed}");
    assert!(lines.iter().any(|line| line.ends_with("  by tester@here")), "{listed}");
    let json: serde_json::Value = serde_json::from_str(&stepback.ends(0, "runs -o json -n 1")?.out)?;
    assert_eq!(
        (json["items"].as_array().map(Vec::len), &json["more"]),
        (Some(1), &1.into())
    );
    assert_eq!(json["items"][0]["outcome"], "done");
    let run = json["items"][0]["run"].as_str().unwrap_or_default();
    // The beginning of its name is enough.
    contains(
        &stepback.ends(0, &format!("report {}", &run[..24].to_lowercase()))?,
        "migrate 20240301090000 -> nothing: done",
    )
}

async fn without_database(ctx: Ctx) -> Outcome {
    let plan = plan_of("rollback 1.3.0 -> 1.2.0");
    let (run, token) = (
        RunId("01J8ZQ4T3KX2M9V6B1C5D7E8F0".to_owned()),
        Token { number: 1, nonce: 7 },
    );
    let journal = FileJournal::new(ctx.dir().join("run.journal"));
    journal.create(&run, &plan, token).await?;
    let by = By {
        user: "ada".to_owned(),
        host: "laptop".to_owned(),
        process: 7,
        program: "stepback 0.1.0".to_owned(),
    };
    let opened = Entry {
        format: FORMAT,
        sequence: 1,
        at: "2026-11-23T03:04:05Z".parse()?,
        token,
        previous: String::new(),
        what: What::RunOpened {
            run: run.clone(),
            plan: plan.id,
            by,
            aborts: None,
        },
    };
    journal.append(&run, &opened).await?;
    // Nothing says where a database is.
    let stepback = Binary::in_dir(ctx.dir());
    let listed = stepback.ends(0, "runs --journal file:run.journal")?.out;
    assert_eq!(
        listed,
        "2026-11-23 03:04Z  unfinished              rollback 1.3.0 -> 1.2.0\n                   \
         01J8ZQ4T3KX2M9V6B1C5D7E8F0  by ada@laptop\n"
    );
    let report = stepback.ends(0, "report --journal file:run.journal")?;
    contains(&report, "opened 2026-11-23 03:04:05Z by ada@laptop")?;
    contains(
        &stepback.ends(2, "runs --journal file:nothing")?,
        "there are no runs there",
    )?;
    contains(
        &stepback.ends(2, "report 01J9 --journal file:run.journal")?,
        "stepback runs",
    )
}

/// Reasons that come and go, such as those of two pods in turn, fill no page.
fn said_once() -> Outcome {
    let plan = plan_of("rollback 1.3.0 -> 1.2.0");
    let mut said = Vec::new();
    let mut lines = Lines::new(&mut said, &plan, false);
    for step in [1, 1, 2] {
        for reason in ["shop-0 is not ready", "shop-1 is not ready", "shop-0 is not ready"] {
            lines.hear(Event::Waiting {
                step: StepId(step),
                reason: reason.to_owned(),
            });
        }
    }
    for _ in 0..3 {
        lines.hear(Event::Held {
            reason: "bob holds the lease".to_owned(),
        });
    }
    drop(lines);
    let said = String::from_utf8(said)?;
    assert_eq!(
        said,
        "step 1/0  waiting: shop-0 is not ready\nstep 1/0  waiting: shop-1 is not ready\n\
         step 2/0  waiting: shop-0 is not ready\nstep 2/0  waiting: shop-1 is not ready\n\
         waiting: bob holds the lease\n"
    );
    Ok(())
}

fn halted(ctx: &Ctx) -> Outcome {
    let stepback = Binary::with_migrations(
        ctx.dir(),
        &[
            ("1_a.up.sql", "CREATE TABLE a (id integer);"),
            ("1_a.down.sql", "DROP TABLE a; DROP TABLE not_there;"),
            ("2_b.up.sql", "CREATE TABLE b (id integer);"),
            ("2_b.down.sql", "DROP TABLE b;"),
        ],
    )?;
    stepback.ends(0, "migrate up --yes")?;
    let ran = stepback.ends(4, "migrate down --to 0 --yes --data-loss accept")?;
    contains(&ran, "now: step 1 started, 1 of 2 migrations done")?;
    assert_eq!(ran.err.matches("no such table").count(), 1, "{}", ran.err);
    contains(&stepback.ends(0, "runs")?, "stopped at step 1 of 1")?;
    // Where the run stands still instead of having closed itself.
    let file = format!("sqlite://{}", ctx.dir().join("a.db").display());
    let reopen = "UPDATE stepback_run SET status = 'halted', closes_itself = 0 WHERE title = 'migrate 2 -> nothing';
        DELETE FROM stepback_journal WHERE sequence = (SELECT max(sequence) FROM stepback_journal) AND line LIKE '%runClosed%'";
    let reopened = tokio::runtime::Runtime::new()?.block_on(async {
        let mut connection = sqlx::SqliteConnection::connect(&file).await?;
        sqlx::raw_sql(reopen).execute(&mut connection).await?;
        connection.close().await
    });
    reopened?;
    let ran = stepback.ends(0, "status")?;
    contains(
        &ran,
        "step 1 of 1 (revert 2 migrations, 2 to 1): 1 of 2 migrations done",
    )?;
    let json: serde_json::Value = serde_json::from_str(&stepback.ends(0, "status -o json")?.out)?;
    assert_eq!(json["standing"]["migrations"]["done"], 1, "{json}");
    Ok(())
}

/// Runs a command on a terminal of its own, and gives everything that was drawn there.
fn on_a_terminal(ctx: &Ctx, term: &str, typed: &str) -> Result<String, NotPassed> {
    let command = format!("{} {typed}", env!("CARGO_BIN_EXE_stepback"));
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .current_dir(ctx.dir())
        .env("TERM", term)
        .env("DATABASE_URL", "sqlite://shop.db")
        .stdin(std::process::Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    Ok(text)
}

fn drawn(ctx: &Ctx) -> Outcome {
    let folder = root().join("testdata/apps/shop/migrations");
    let up = format!("migrate up --yes --dir {}", folder.display());
    let down = "migrate down --to 0 --yes --data-loss accept";
    let text = on_a_terminal(ctx, "xterm-256color", &up)?;
    for said in ["of 4 migrations and pods", "of at most 10 min", "1/2 "] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(
        !text.contains("step 1/2  done"),
        "the plain lines are for elsewhere: {text}"
    );
    // Terminals that cannot draw, and whoever does not want it, get plain lines.
    let text = on_a_terminal(ctx, "dumb", down)?;
    assert!(
        text.contains("step 1/1  done in ") && !text.contains('\u{1b}'),
        "{text}"
    );
    let text = on_a_terminal(ctx, "xterm", &format!("{up} --quiet"))?;
    assert!(!text.contains("migrations and pods"), "{text}");
    Ok(())
}

fn edited(ctx: &Ctx) -> Outcome {
    let stepback = Binary::with_migrations(
        ctx.dir(),
        &[
            ("1_a.up.sql", "CREATE TABLE a (id INTEGER);"),
            ("1_a.down.sql", "DROP TABLE a;"),
        ],
    )?
    .env("DATABASE_URL", "sqlite://shop.db");
    stepback.ends(0, "migrate up --yes")?;
    assert!(!stepback.ends(0, "migrate status")?.out.contains("edited"));
    fs::write(
        ctx.dir().join("migrations/1_a.up.sql"),
        "CREATE TABLE a (id INTEGER, b TEXT);",
    )?;
    let listed = stepback.ends(0, "migrate status")?.out;
    assert!(listed.contains("  edited   1_a\n"), "{listed}");
    assert!(listed.contains("restore the file"), "{listed}");
    fs::write(ctx.dir().join("migrations/1_a.up.sql"), "CREATE TABLE a (id INTEGER);")?;
    fs::write(ctx.dir().join("migrations/1_a.down.sql"), "DROP TABLE a; -- x")?;
    let listed = stepback.ends(0, "migrate status")?.out;
    assert!(listed.contains("  applied  1_a  down edited\n"), "{listed}");
    let refused = stepback.ends(3, "migrate down --data-loss accept --yes")?;
    assert!(refused.err.contains("[down-edited]"), "{}", refused.err);
    Ok(())
}

/// As `migrate new --help` says.
fn new(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir()).env("DATABASE_URL", "sqlite://shop.db");
    let written = stepback.ends(0, "migrate new add customer")?.out;
    let up = written.lines().next().unwrap_or_default().to_owned();
    let empty = stepback.ends(2, "migrate up --yes")?;
    assert!(empty.err.contains("the up script is empty"), "{}", empty.err);
    fs::write(ctx.dir().join(up), "CREATE TABLE customer (id INTEGER);")?;
    let warned = stepback.ends(0, "migrate up --yes")?;
    assert!(warned.err.contains("[no-way-back]"), "{}", warned.err);
    let back = stepback.ends(3, "migrate down --yes --data-loss accept")?;
    assert!(back.err.contains("[down-empty]"), "{}", back.err);
    // It has no statement that could destroy anything.
    let back = stepback.ends(3, "migrate down --yes")?;
    assert!(!back.err.contains("[data-loss]"), "{}", back.err);
    Ok(())
}

/// A resumed step has its line before it is done: a migration may take an hour.
fn going_on() -> Outcome {
    let mut plan = plan_of("rollback 1.3.0 -> 1.2.0");
    let release = "1.2.0".parse()?;
    let schema = MigrationSet::default();
    plan.steps.push(Step {
        id: StepId(1),
        action: Action::RecordRelease { release, schema },
        gate: Gate::None,
        limit_ms: 1000,
    });
    let mut said = Vec::new();
    let mut lines = Lines::new(&mut said, &plan, false);
    for _ in 0..2 {
        lines.hear(Event::Performing(StepId(1)));
    }
    drop(lines);
    let expected = "step 1/1  record the pairing of release 1.2.0 (going on)\n";
    assert_eq!(String::from_utf8_lossy(&said), expected);
    Ok(())
}

/// Nothing leaves the screen, and what follows stands under its text.
fn wrapped() -> Outcome {
    let plan = plan_of("rollback 1.3.0 -> 1.2.0");
    let mut said = Vec::new();
    let mut lines = Lines::new(&mut said, &plan, false).within(Some(40));
    lines.hear(Event::Waiting {
        step: StepId(1),
        reason: "pod shop-0 is not ready (ContainersNotReady), and nobody knows why".into(),
    });
    drop(lines);
    let expected = "step 1/0  waiting: pod shop-0 is not\n          ready (ContainersNotReady),\n          and nobody knows \
                    why\n";
    assert_eq!(String::from_utf8_lossy(&said), expected);
    Ok(())
}

const COMMANDS: &[&str] = &[
    "status",
    "plan",
    "rollback",
    "resume",
    "migrate",
    "runs",
    "report",
    "completions",
    "man",
];

fn completions(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stepback.ends(0, &format!("completions {shell}"))?.out;
        for command in COMMANDS {
            assert!(script.contains(command), "{shell} does not complete {command}");
        }
        assert!(!script.contains("sandbox-shop"), "{shell} completes a hidden command");
    }
    // The shell itself reads it.
    let script = ctx.dir().join("stepback.bash");
    fs::write(&script, stepback.ends(0, "completions bash")?.out)?;
    let asked = format!(
        "source {}; COMP_WORDS=(stepback roll); COMP_CWORD=1; _stepback stepback roll stepback; echo \"${{COMPREPLY[*]}}\"",
        script.display()
    );
    let answer = Command::new("bash").args(["--norc", "-c", &asked]).output()?;
    assert_eq!(String::from_utf8(answer.stdout)?.trim(), "rollback");
    Ok(())
}

fn manual(ctx: &Ctx) -> Outcome {
    let stepback = Binary::in_dir(ctx.dir());
    let written = stepback.ends(0, "man pages/man1")?.out;
    for command in COMMANDS {
        let name = format!("stepback-{command}.1");
        assert!(written.contains(&name), "{written}");
        let page = fs::read_to_string(ctx.dir().join("pages/man1").join(&name))?;
        for part in [".SH NAME", ".SH SYNOPSIS", ".SH EXAMPLES", ".SH \"SEE ALSO\""] {
            assert!(page.contains(part), "{name} has no {part}:\n{page}");
        }
    }
    assert!(written.contains("stepback-migrate-up.1"), "{written}");
    let page = stepback.ends(0, "man")?.out;
    assert!(page.contains(".SH \"EXIT CODES\""), "{page}");
    assert!(page.contains("130"), "{page}");
    Ok(())
}

/// Nothing but the command line said where database and folder are: the hint says it too.
async fn hint_as_typed(ctx: Ctx) -> Outcome {
    let dir = ctx.dir();
    let scripts = dir.join("my scripts");
    fs::create_dir(&scripts)?;
    fs::write(scripts.join("1_a.up.sql"), "CREATE TABLE a (id integer);")?;
    fs::write(scripts.join("1_a.down.sql"), "DROP TABLE a;")?;
    fs::write(scripts.join("2_b.up.sql"), "INSERT INTO a VALUES (1);")?;
    fs::write(scripts.join("2_b.down.sql"), "DELETE FROM nowhere;")?;
    let stepback = Binary::in_dir(dir);
    let place = ["--url", "sqlite://elsewhere.db", "--dir", "my scripts", "--yes"];
    let up = stepback
        .command(&[["migrate", "up"].as_slice(), &place].concat())
        .output()?;
    assert!(up.status.success(), "{up:?}");
    let down = [["migrate", "down", "--data-loss", "accept"].as_slice(), &place].concat();
    let down = stepback.command(&down).output()?;
    assert_eq!(down.status.code(), Some(4), "{down:?}");
    let said = String::from_utf8_lossy(&down.stderr).into_owned();
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let command = "stepback migrate goto --url sqlite://elsewhere.db --dir 'my scripts' 1";
    assert!(said.contains(command), "{said}");
    // The way back is still wrong, but it is the way that was meant.
    let again = [
        "migrate",
        "goto",
        "--url",
        "sqlite://elsewhere.db",
        "--dir",
        "my scripts",
        "1",
    ];
    let again = stepback
        .command(&[again.as_slice(), &["--data-loss", "accept", "--yes"]].concat())
        .output()?;
    assert_eq!(again.status.code(), Some(4), "{again:?}");
    let runs = stepback
        .command(&["runs", "--url", "sqlite://elsewhere.db", "-o", "json"])
        .output()?;
    let runs: serde_json::Value = serde_json::from_slice(&runs.stdout)?;
    assert_eq!(runs["items"].as_array().map(Vec::len), Some(3), "{runs:#}");
    Ok(())
}
