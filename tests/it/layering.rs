//! Who may use whom: the table of ARCHITECTURE.md, kept by reading the source.
//!
//! What `core` may not do it cannot: the crate is not among its dependencies, and that list is checked here too.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::support::{
    runner::{Case, Outcome, fail, root, sync_case},
    source::uses,
};

pub fn cases() -> Vec<Case> {
    vec![
        sync_case("layering::modules_use_only_what_they_may", |_ctx| modules()),
        sync_case("layering::the_crates_depend_on_what_is_listed", |_ctx| dependencies()),
        sync_case("layering::no_file_holds_two_ideas", |_ctx| lengths()),
        sync_case("layering::the_scan_sees_what_the_compiler_would", |_ctx| scan()),
        sync_case("layering::a_breach_is_found", |_ctx| breaches()),
    ]
}

/// A top module of the root package, the crates it never uses, and the other modules it never uses.
const NEVER: &[(&str, &[&str], &[&str])] = &[
    ("database", &["kube"], &["cluster", "journal", "run", "cli"]),
    ("cluster", &["sqlx"], &["database", "journal", "run", "cli"]),
    ("journal", &[], &["run", "cli"]),
    ("probe", &["sqlx", "kube"], &["journal", "run"]),
    ("run", &["sqlx", "kube"], &["cli", "live"]),
];

/// What only the outermost modules use, and which those are.
const ONLY: &[(&str, &[&str])] = &[
    ("anyhow", &["cli", "main"]),
    ("println!", &["cli", "main"]),
    ("print!", &["cli", "main"]),
    ("stepback_sandbox", &["cli"]),
];

const CORE_DEPENDENCIES: &[&str] = &[
    "flate2",
    "jiff",
    "k8s-openapi",
    "maud",
    "semver",
    "serde",
    "serde-saphyr",
    "serde_json",
    "sha2",
    "sqlparser",
    "strsim",
    "thiserror",
];

const SANDBOX_DEPENDENCIES: &[&str] = &[
    "futures",
    "http",
    "http-body-util",
    "hyper",
    "hyper-util",
    "jiff",
    "json-patch",
    "k8s-openapi",
    "kube",
    "rustix",
    "serde",
    "serde_json",
    "sha2",
    "sqlx",
    "thiserror",
    "tokio",
    "tokio-tungstenite",
    "tracing",
    "ulid",
];

/// More lines than this say that a file holds two ideas.
const LINES: usize = 450;

/// The files that may be longer, and why one idea takes that many lines.
const LONG: &[(&str, &str)] = &[];

/// What is wrong with a file, by its path below `src/`.
fn breaches_of(path: &Path, text: &str) -> Vec<String> {
    let mut words: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let krate = match words[0] {
        "core" | "sandbox" => words.remove(0),
        _ => "",
    };
    let file = words.pop().unwrap_or_default().trim_end_matches(".rs");
    if !matches!(file, "mod" | "lib") {
        words.push(file);
    }
    let uses = uses(text, &words);
    let place = if krate.is_empty() {
        words.first().copied().unwrap_or("lib")
    } else {
        krate
    };
    let mut found = vec![];
    for (name, places) in ONLY {
        if uses.names.contains(*name) && !places.contains(&place) {
            found.push(format!("{}: {name} is for {} only", path.display(), places.join(", ")));
        }
    }
    if krate == "sandbox" && (uses.names.contains("stepback") || uses.names.contains("stepback_core")) {
        found.push(format!("{}: the sandbox uses nothing of ours", path.display()));
    }
    if krate.is_empty() && file == "lib" && text.lines().any(|line| line.trim_start().starts_with("pub use")) {
        found.push(format!(
            "{}: a re-export would hide from which module a name comes",
            path.display()
        ));
    }
    for (module, crates, modules) in NEVER.iter().filter(|(module, ..)| krate.is_empty() && *module == place) {
        let crates = crates.iter().filter(|name| uses.names.contains(**name));
        let modules = modules.iter().filter(|name| uses.modules.contains(**name));
        found.extend(
            crates
                .chain(modules)
                .map(|name| format!("{}: {module} never uses {name}", path.display())),
        );
        if uses.modules.contains("*") {
            found.push(format!(
                "{}: a glob or an alias of the crate's root hides what is used",
                path.display()
            ));
        }
    }
    found
}

/// Every Rust file below `src/`, by its path from there.
fn sources() -> io::Result<Vec<(PathBuf, String)>> {
    fn collect(dir: &Path, base: &Path, into: &mut Vec<(PathBuf, String)>) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                collect(&path, base, into)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(base).expect("it was found below the base");
                into.push((below.to_owned(), fs::read_to_string(&path)?));
            }
        }
        Ok(())
    }
    let base = root().join("src");
    let mut files = vec![];
    collect(&base, &base, &mut files)?;
    files.sort();
    Ok(files)
}

fn modules() -> Outcome {
    let files = sources()?;
    assert!(files.len() > 3, "the source was not found");
    let found: Vec<String> = files.iter().flat_map(|(path, text)| breaches_of(path, text)).collect();
    if found.is_empty() {
        Ok(())
    } else {
        fail(found.join("\n"))
    }
}

fn lengths() -> Outcome {
    let mut wrong = vec![];
    for (path, text) in sources()? {
        let lines = text.lines().count();
        let listed = LONG.iter().any(|(long, _why)| Path::new(long) == path);
        if lines > LINES && !listed {
            wrong.push(format!("src/{} has {lines} lines: two ideas? Split it", path.display()));
        } else if lines <= LINES && listed {
            wrong.push(format!("src/{} is short now: take it off the list", path.display()));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        fail(wrong.join("\n"))
    }
}

/// The names in the `[dependencies]` of a manifest, those for one target and for build scripts included.
fn dependencies_in(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut listing = false;
    for line in manifest
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            let table = |header: &str| {
                let table = header.rsplit('.').next().unwrap_or_default();
                matches!(table, "dependencies" | "build-dependencies")
            };
            listing = table(header);
            if let Some((before, name)) = header.rsplit_once('.').filter(|(before, _)| table(before)) {
                assert!(!before.is_empty());
                names.insert(name.to_owned());
            }
        } else if listing {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            names.insert(name.trim_matches('"').to_owned());
        }
    }
    names
}

fn dependencies() -> Outcome {
    for (manifest, allowed) in [
        ("src/core/Cargo.toml", CORE_DEPENDENCIES),
        ("src/sandbox/Cargo.toml", SANDBOX_DEPENDENCIES),
    ] {
        let found = dependencies_in(&fs::read_to_string(root().join(manifest))?);
        let allowed: BTreeSet<String> = allowed.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(found, allowed, "{manifest} and the list in tests/it/layering.rs differ");
    }
    let manifest = "[dependencies]\na = 1\nb.workspace = true # c\n[dependencies.d]\nversion = 1\n[dev-dependencies]\ne = 1\n\
                    [target.'cfg(unix)'.dependencies]\nf = { version = 1 }\n[build-dependencies]\ng=1\n";
    let expected = ["a", "b", "d", "f", "g"].map(String::from);
    assert_eq!(dependencies_in(manifest), BTreeSet::from(expected));
    Ok(())
}

fn scan() -> Outcome {
    let place = ["database", "ledger", "goose"];
    let modules = |text: &str| Vec::from_iter(uses(text, &place).modules);
    for (text, expected) in [
        ("use crate::journal::Entry;", vec!["journal"]),
        ("fn f() -> stepback::run::X { crate::cli::y() }", vec!["cli", "run"]),
        (
            "use crate::{database::{self, ledger::A}, journal as j, run};",
            vec!["database", "journal", "run"],
        ),
        ("use super::super::super::journal;", vec!["journal"]),
        (
            "use super::super::{super::{cluster, live::X}, archive};",
            vec!["cluster", "live"],
        ),
        ("use super::super::journal; use super::run; use self::cli::x;", vec![]),
        ("mod tests { use super::super::super::journal; }", vec![]),
        (
            "mod tests { mod deep {} use super::super::super::super::journal; } use super::super::super::run;",
            vec!["journal", "run"],
        ),
        ("use crate::*;", vec!["*"]),
        ("use crate as all; use super::super::super::{self as all};", vec!["*"]),
        ("use super::*; mod tests { use super::*; }", vec![]),
        (
            "// use crate::run;\n/* crate::cli /* crate::live */ crate::run */",
            vec![],
        ),
        (
            r##"let a = "crate::run \" crate::cli"; let b = r#"crate::live" "#; let c = '"'; crate::probe::x()"##,
            vec!["probe"],
        ),
        (
            "fn f<'a>(x: &'a str) { let c = '\\''; let d = 'c'; crate::load::x() }",
            vec!["load"],
        ),
        ("pub(crate) fn f(self) -> Self { crate::r#run::x() }", vec!["run"]),
        ("let journal = 1; stepback_core::journal::replay()", vec![]),
    ] {
        assert_eq!(modules(text), expected, "{text}");
    }
    let names = uses("println!(\"anyhow\"); let x != y; // kube", &[]).names;
    assert_eq!(Vec::from_iter(names), ["let", "println!", "x", "y"]);
    Ok(())
}

fn breaches() -> Outcome {
    for (path, text, expected) in [
        (
            "database/postgres.rs",
            "use kube::Client;",
            "database/postgres.rs: database never uses kube",
        ),
        (
            "database.rs",
            "use crate::journal::Journal;",
            "database.rs: database never uses journal",
        ),
        (
            "cluster/mod.rs",
            "fn f() { sqlx::query(1) }",
            "cluster/mod.rs: cluster never uses sqlx",
        ),
        (
            "cluster/owner/helm.rs",
            "use super::super::super::run;",
            "cluster/owner/helm.rs: cluster never uses run",
        ),
        (
            "journal/file.rs",
            "use crate::{run::X};",
            "journal/file.rs: journal never uses run",
        ),
        ("probe/sql.rs", "use sqlx::Row;", "probe/sql.rs: probe never uses sqlx"),
        ("run/mod.rs", "use crate::live;", "run/mod.rs: run never uses live"),
        (
            "run/mod.rs",
            "use crate::*;",
            "run/mod.rs: a glob or an alias of the crate's root hides what is used",
        ),
        (
            "load/mod.rs",
            "use anyhow::Result;",
            "load/mod.rs: anyhow is for cli, main only",
        ),
        (
            "core/plan/step.rs",
            "println!()",
            "core/plan/step.rs: println! is for cli, main only",
        ),
        (
            "live/mod.rs",
            "use stepback_sandbox::Api;",
            "live/mod.rs: stepback_sandbox is for cli only",
        ),
        (
            "sandbox/api.rs",
            "use stepback_core::model;",
            "sandbox/api.rs: the sandbox uses nothing of ours",
        ),
        (
            "lib.rs",
            "pub use journal::Journal;",
            "lib.rs: a re-export would hide from which module a name comes",
        ),
    ] {
        assert_eq!(breaches_of(Path::new(path), text), [expected], "{path}: {text}");
    }
    for (path, text) in [
        (
            "cli/demo.rs",
            "use stepback_sandbox::Api; use anyhow::Result; fn f() { println!() }",
        ),
        ("main.rs", "use anyhow::Result; use stepback::cli;"),
        ("core/journal/entry.rs", "use crate::run::decide;"),
        ("cluster/kube.rs", "use kube::Client; use super::Cluster;"),
    ] {
        assert_eq!(breaches_of(Path::new(path), text), [""; 0], "{path}: {text}");
    }
    Ok(())
}
