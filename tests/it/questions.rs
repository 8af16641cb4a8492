//! The one question that is asked before something is changed, on a terminal.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::binary::Binary;
use crate::support::runner::{Case, Ctx, NotPassed, Outcome, case};

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "questions::ctrl_c_at_the_question_says_that_nothing_was_touched",
            ctrl_c,
        ),
        case("questions::who_answers_no_or_nothing_has_touched_nothing", no),
    ]
}

/// Types at the question of a `migrate up`; gives the exit code and all that the terminal has shown.
fn answer(ctx: &Ctx, typed: &[u8]) -> Result<(Option<i32>, String), NotPassed> {
    let stepback = Binary::with_migrations(
        ctx.dir(),
        &[
            ("1_a.up.sql", "CREATE TABLE a (id integer);"),
            ("1_a.down.sql", "DROP TABLE a;"),
        ],
    )?;
    let of_program = stepback.command(&["migrate", "up"]);
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = File::options()
        .read(true)
        .write(true)
        .open(OsStr::from_bytes(name.as_bytes()))?;
    // util-linux's `setsid` makes it the terminal of a session: what is typed there can be a signal.
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", "--wait"])
        .arg(of_program.get_program())
        .args(of_program.get_args())
        .current_dir(ctx.dir())
        .envs(of_program.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("TERM", "dumb");
    command
        .stdin(slave.try_clone()?)
        .stdout(slave.try_clone()?)
        .stderr(slave);
    let mut child = command.spawn()?;
    // Only the child still has that end: when it ends, so does what can be read.
    drop(command);
    let mut terminal = File::from(master);
    let mut shown = Vec::new();
    let mut piece = [0; 1024];
    let mut typed = Some(typed);
    while let Ok(count @ 1..) = terminal.read(&mut piece) {
        shown.extend_from_slice(&piece[..count]);
        if String::from_utf8_lossy(&shown).contains("[y/N] ")
            && let Some(typed) = typed.take()
        {
            terminal.write_all(typed)?;
        }
    }
    let code = child.wait()?.code();
    Ok((code, String::from_utf8_lossy(&shown).replace('\r', "")))
}

async fn ctrl_c(ctx: Ctx) -> Outcome {
    let (code, shown) = answer(&ctx, b"\x03")?;
    assert_eq!(code, Some(130), "{shown}");
    let (_, after) = shown.split_once("[y/N] ").unwrap_or_default();
    assert!(after.contains("\nerror: interrupted at the question\n"), "{shown}");
    assert!(after.contains("now:     nothing was touched\n"), "{shown}");
    assert!(!ctx.dir().join("a.db").exists(), "the database was made");
    Ok(())
}

async fn no(ctx: Ctx) -> Outcome {
    // Ctrl-D, and an answer.
    for typed in [b"\x04".as_slice(), b"n\n"] {
        let (code, shown) = answer(&ctx, typed)?;
        assert_eq!(code, Some(2), "{shown}");
        let (_, after) = shown.split_once("[y/N] ").unwrap_or_default();
        assert!(after.contains("\nerror: not confirmed\n"), "{shown}");
        std::fs::remove_dir_all(ctx.dir().join("migrations"))?;
    }
    Ok(())
}
