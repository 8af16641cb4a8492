//! The test suite's own rules: no file forgotten, no name twice, and a skip that is never taken for a pass.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::support::runner::{AllowedSkips, Case, NotPassed, Outcome, case, fail, root, skip, sync_case};

pub fn cases() -> Vec<Case> {
    vec![
        sync_case("suite::every_file_is_registered", |_ctx| every_file_is_registered()),
        sync_case("suite::names_are_unique_and_begin_with_their_module", |_ctx| names()),
        sync_case("suite::a_case_ends_as_it_says", |_ctx| ends()),
        sync_case("suite::a_case_has_a_limit", |_ctx| limits()),
        sync_case("suite::a_case_has_a_directory_of_its_own_while_it_runs", |_ctx| {
            directories()
        }),
        sync_case("suite::a_skip_is_allowed_by_pattern_only", |_ctx| skips()),
    ]
}

/// The names of the modules that lie in a directory, from its files and folders.
fn modules_in(dir: &Path, but: &[&str]) -> Result<BTreeSet<String>, std::io::Error> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
            .to_owned();
        let is_module = path.extension().is_some_and(|ext| ext == "rs") || path.join("mod.rs").exists();
        if is_module && !but.contains(&stem.as_str()) {
            names.insert(stem);
        }
    }
    Ok(names)
}

fn every_file_is_registered() -> Outcome {
    let it = root().join("tests/it");
    let on_disk = modules_in(&it, &["main", "support"])?;
    let registered: BTreeSet<String> = crate::subjects()
        .into_iter()
        .map(|subject| subject.name.to_owned())
        .collect();
    assert_eq!(on_disk, registered, "tests/it/ and the list in tests/it/main.rs differ");

    // Support files hold no cases, so only the compiler can miss them; and it does, silently, without a `mod` line.
    let text = fs::read_to_string(it.join("support/mod.rs"))?;
    for name in modules_in(&it.join("support"), &["mod"])? {
        if !text
            .lines()
            .any(|line| line.trim_end().ends_with(&format!("mod {name};")))
        {
            return fail(format_args!(
                "tests/it/support/{name}.rs has no `mod` line in tests/it/support/mod.rs"
            ));
        }
    }
    Ok(())
}

fn names() -> Outcome {
    let mut seen = BTreeSet::new();
    for subject in crate::subjects() {
        if subject.cases.is_empty() {
            return fail(format_args!("module {} registers no case", subject.name));
        }
        for case in subject.cases {
            let name = case.name().to_owned();
            assert!(
                name.starts_with(&format!("{}::", subject.name)),
                "{name} stands in module {}",
                subject.name
            );
            assert!(seen.insert(name.clone()), "two cases are called {name}");
        }
    }
    Ok(())
}

fn skips() -> Outcome {
    let text = "# a comment\n\nservers::mysql8_*   # why\ncontract::one\n";
    let ci = AllowedSkips::parse(text, true);
    assert!(ci.allow("servers::mysql8_starts"));
    assert!(ci.allow("contract::one"));
    assert!(!ci.allow("contract::one_more"));
    assert!(!ci.allow("servers::mariadb_starts"));
    assert!(!ci.allow("a comment"));
    assert!(
        AllowedSkips::parse("", false).allow("anything"),
        "on a developer's machine a skip is told, not failed"
    );
    Ok(())
}

fn failure(case: Case) -> String {
    match case.perform() {
        Err(NotPassed::Failed(message)) => message,
        other => panic!("it should have failed, and ended with {other:?}"),
    }
}

fn ends() -> Outcome {
    assert!(case("x", |_ctx| async { Ok(()) }).perform().is_ok());
    let skipped = case("x", |_ctx| async { skip("no such server") }).perform();
    assert!(matches!(skipped, Err(NotPassed::Skipped(why)) if why == "no such server"));
    assert_eq!(failure(sync_case("x", |_ctx| fail("as asked"))), "as asked");
    let with_error = case("x", |_ctx| async {
        "x".parse::<u8>()?;
        Ok(())
    });
    assert_eq!(failure(with_error), "invalid digit found in string");
    // Not `panic!`, which would print a backtrace in the middle of a run that passes.
    let panicking = case("x", |_ctx| async {
        std::panic::resume_unwind(Box::new("as if by panic!"))
    });
    assert_eq!(failure(panicking), "panicked: as if by panic!");
    Ok(())
}

fn limits() -> Outcome {
    let waiting = case("x", |_ctx| std::future::pending()).limit(Duration::from_millis(20));
    assert_eq!(failure(waiting), "not done within its limit of 20ms");
    let (release, hold) = mpsc::channel::<()>();
    let hanging = sync_case("x", move |_ctx| {
        assert!(hold.recv().is_err(), "the sender is dropped, never used");
        Ok(())
    });
    let message = failure(hanging.limit(Duration::from_millis(20)));
    assert!(message.contains("does not yield"), "{message}");
    drop(release);
    Ok(())
}

fn directories() -> Outcome {
    let (tell, told) = mpsc::channel::<PathBuf>();
    let writes = sync_case("x", move |ctx| {
        assert_eq!(ctx.name(), "x");
        assert_eq!(thread::current().name(), Some("x"));
        fs::write(ctx.fresh_file("a.db"), "")?;
        tell.send(ctx.dir().to_owned())?;
        Ok(())
    });
    assert!(writes.perform().is_ok());
    let dir = told.recv()?;
    assert!(!dir.exists(), "{} was left behind", dir.display());
    Ok(())
}
