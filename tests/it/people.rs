//! What people ask for beside the road itself: reports in other forms, completions, manual pages.

use std::{fs, process::Command};

use crate::support::{
    binary::Binary,
    runner::{Case, Ctx, NotPassed, Outcome, root, sync_case},
};

pub fn cases() -> Vec<Case> {
    vec![
        sync_case("people::a_report_has_every_form", |ctx| forms(&ctx)),
        sync_case("people::a_form_that_a_command_does_not_have_is_refused_first", |ctx| {
            wrong_form(&ctx)
        }),
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
