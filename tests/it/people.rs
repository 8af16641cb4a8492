//! What people ask for beside the road itself: reports in other forms, completions, manual pages.

use std::{fs, process::Command};

use crate::{
    cli::contains,
    support::{
        binary::Binary,
        runner::{Case, Ctx, NotPassed, Outcome, root, sync_case},
    },
};

pub fn cases() -> Vec<Case> {
    vec![
        sync_case("people::a_report_has_every_form", |ctx| forms(&ctx)),
        sync_case("people::a_form_that_a_command_does_not_have_is_refused_first", |ctx| {
            wrong_form(&ctx)
        }),
        sync_case("people::status_shows_the_database_while_the_cluster_is_down", |ctx| {
            half_a_status(&ctx)
        }),
        sync_case("people::on_a_terminal_the_step_under_way_is_drawn", |ctx| drawn(&ctx)),
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
