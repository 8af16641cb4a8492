//! Every error that a user can meet says what happened, what state things are in now, and what to type or do next.

use std::path::PathBuf;

use stepback_core::journal::{Halt, HaltKind};
use stepback_core::model::{
    DatabaseIdentity, Digest, Finding, JournalPlace, LeaseSeen, MigrationId, PlanId, RunRow, RunStatus, StepId, Token,
    Version, WorkloadKind, WorkloadRef,
};
use stepback_core::plan::{Accepted, SavedPlanError};

use super::*;
use crate::run::Unfit;

/// One example of each variant. One that is not in the list does not compile.
macro_rules! every {
    ($of:ident { $($variant:ident = $example:expr,)* }) => {{
        fn is_listed(error: &$of) -> &'static str {
            match error {
                $($of::$variant { .. } => stringify!($variant),)*
            }
        }
        let examples: Vec<$of> = vec![$($example),*];
        let listed: Vec<&str> = examples.iter().map(is_listed).collect();
        assert_eq!(listed, [$(stringify!($variant)),*], "an example stands in another's place");
        examples
    }};
}

mod seams;

use seams::{cluster_errors, database_errors, journal_errors};

fn run() -> RunId {
    RunId("01J8ZQ4T3KX2M9".to_owned())
}

fn row() -> RunRow {
    RunRow {
        ledger: "stepback.ledger".to_owned(),
        run: run(),
        plan: PlanId(Digest::of("plan")),
        app: Some("shop".to_owned()),
        journal: JournalPlace::Cluster("shop".to_owned()),
        status: RunStatus::Halted,
        title: "rollback 1.3.0 -> 1.2.0".to_owned(),
        closes_itself: false,
        token: Token { number: 1, nonce: 2 },
    }
}

fn migration() -> MigrationId {
    MigrationId {
        version: Version::parse("3").expect("it is a version"),
        name: "orders".to_owned(),
    }
}

fn refusals() -> Refusals {
    let finding = Finding::refusal(
        "read-only",
        "the database",
        "it refuses writes",
        "connect to the primary",
    );
    Refusals::judge(vec![finding], &Accepted::default()).expect_err("a refusal refuses")
}

fn text() -> String {
    "as it was told".to_owned()
}

fn unfit() -> Vec<Unfit> {
    let identity = || Box::new(DatabaseIdentity::default());
    every!(Unfit {
        OtherPlan = Unfit::OtherPlan {
            found: PlanId(Digest::of("found")),
            known: PlanId(Digest::of("known"))
        },
        OtherDatabase = Unfit::OtherDatabase {
            was: identity(),
            is: identity()
        },
        OtherLedger = Unfit::OtherLedger {
            was: text(),
            is: text(),
        },
        Elsewhere = Unfit::Elsewhere,
        JournalGone = Unfit::JournalGone(JournalPlace::Database),
        WorkloadGone = Unfit::WorkloadGone(text()),
        NotLost = Unfit::NotLost,
        OtherCluster = Unfit::OtherCluster,
        Unknown = Unfit::Unknown,
        Closed = Unfit::Closed,
        NewerFormat = Unfit::NewerFormat,
        IsAbort = Unfit::IsAbort(run()),
        HoldsNothing = Unfit::HoldsNothing,
        Changed = Unfit::Changed,
    })
}

fn workload() -> WorkloadRef {
    WorkloadRef {
        kind: WorkloadKind::StatefulSet,
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
    }
}

fn road_errors() -> Vec<RoadError> {
    let mut errors = every!(RoadError {
        Database = RoadError::Database(DbError::Fenced),
        Cluster = RoadError::Cluster(ClusterError::Unreachable(text())),
        Journal = RoadError::Journal(JournalError::Fenced(run())),
        Run = RoadError::Run(RunError::Journal(JournalError::Unknown(text()))),
        Refused = RoadError::Refused(refusals()),
        Changed = RoadError::Changed(Vec::new()),
        RunOpen = RoadError::RunOpen(Box::new(row())),
        UnderWay = RoadError::UnderWay {
            row: Box::new(row()),
            holder: text()
        },
        WorkloadHeld = RoadError::WorkloadHeld {
            workload: workload(),
            run: run(),
            line: None
        },
        NoStamp = RoadError::NoStamp {
            workload: workload(),
            text: text()
        },
        ForgedToken = RoadError::ForgedToken {
            elsewhere: 9,
            here: 1
        },
        Stopped = RoadError::Stopped,
        NoRun = RoadError::NoRun,
        Unfit = RoadError::Unfit {
            run: run(),
            why: Unfit::Closed
        },
    });
    errors.extend(unfit().into_iter().map(|why| RoadError::Unfit { run: run(), why }));
    errors
}

fn saved_plan_errors() -> Vec<SavedPlanError> {
    let what = text;
    every!(SavedPlanError {
        Torn = SavedPlanError::Torn { what: what() },
        Other = SavedPlanError::Other { what: what() },
        Newer = SavedPlanError::Newer {
            found: 2,
            known: 1,
            program: "stepback 2.0.0".to_owned()
        },
        Edited = SavedPlanError::Edited,
        Unfit = SavedPlanError::Unfit { what: what() },
        NoBody = SavedPlanError::NoBody { script: text() },
    })
}

fn load_errors() -> Vec<LoadError> {
    let path = || PathBuf::from("stepback.yaml");
    let source = || std::io::Error::other("as the system says");
    let app = stepback_core::appfile::AppFile::parse("kind: Nothing\n", "stepback.yaml").expect_err("it is none");
    let file = [("wrong.sql".to_owned(), Vec::new())];
    let engine = stepback_core::model::Engine::Sqlite;
    let catalog = stepback_core::catalog::Catalog::read(&file, engine).expect_err("it has no migration's name");
    let unmatched = app.errors().to_vec();
    let mut errors = every!(LoadError {
        Io = LoadError::Io {
            doing: "read",
            path: path(),
            source: source()
        },
        NoAppFile = LoadError::NoAppFile {
            path: path(),
            near: None
        },
        NoFolder = LoadError::NoFolder(path()),
        App = LoadError::App(app),
        Unmatched = LoadError::Unmatched(unmatched),
        Catalog = LoadError::Catalog {
            folder: path(),
            errors: catalog
        },
        Saved = LoadError::Saved {
            path: path(),
            error: SavedPlanError::Edited
        },
        NotOver = LoadError::NotOver(path()),
        Exists = LoadError::Exists(path()),
        NoVariable = LoadError::NoVariable("DATABASE_URL".to_owned()),
        Secret = LoadError::Secret {
            name: "shop".to_owned(),
            key: "url".to_owned()
        },
        Url = LoadError::Url {
            from: "--url".to_owned(),
            why: text()
        },
        Layout = LoadError::Layout("goose".to_owned()),
        DataDir = LoadError::DataDir {
            path: path(),
            source: source()
        },
        Ledger = LoadError::Ledger("goose".to_owned()),
    });
    let path = PathBuf::from("back.plan");
    let saved = saved_plan_errors().into_iter();
    errors.extend(saved.map(|error| LoadError::Saved {
        path: path.clone(),
        error,
    }));
    errors
}

fn halts() -> Vec<CliError> {
    let kinds = every!(HaltKind {
        Interrupted = HaltKind::Interrupted,
        Failed = HaltKind::Failed,
        Unhealthy = HaltKind::Unhealthy,
        TimedOut = HaltKind::TimedOut,
        Doubtful = HaltKind::Doubtful,
        Foreign = HaltKind::Foreign,
    });
    let halted = |kind, closed| {
        CliError::Halted(Box::new(Halted {
            run: run(),
            halt: Halt {
                step: Some(StepId(1)),
                kind,
                message: text(),
                hint: None,
                evidence: None,
            },
            step: Some("revert 3_orders".to_owned()),
            compares: false,
            now: "step 1 started, not done".to_owned(),
            closed,
            again: "type the same again".to_owned(),
            aborts: false,
            holds: true,
            back: Vec::new(),
            past: None,
        }))
    };
    kinds
        .into_iter()
        .flat_map(|kind| [halted(kind, false), halted(kind, true)])
        .collect()
}

fn cli_errors() -> Vec<CliError> {
    let mut errors = every!(CliError {
        Usage = CliError::Usage {
            message: text(),
            hint: text()
        },
        NoDatabase = CliError::NoDatabase(PathBuf::from("stepback.yaml")),
        NotAsked = CliError::NotAsked,
        Declined = CliError::Declined,
        AskedToStop = CliError::AskedToStop,
        Refused = CliError::Refused(refusals()),
        NoWorkload = CliError::NoWorkload {
            refusals: refusals(),
            hint: text()
        },
        Stale = CliError::Stale {
            file: PathBuf::from("back.plan"),
            changes: Vec::new(),
            again: "stepback plan --to 1.2.0".to_owned()
        },
        Overtaken = CliError::Overtaken {
            changes: Vec::new(),
            again: "to go on to where it was going: stepback migrate goto 2".to_owned()
        },
        NoRun = CliError::NoRun,
        Halted = halts().remove(0),
        TurnedBack = match halts().remove(0) {
            CliError::Halted(halted) => CliError::TurnedBack { halted, by: run() },
            other => other,
        },
        Fenced = CliError::Fenced(run()),
        NotContinued = CliError::NotContinued {
            run: run(),
            source: Box::new(RoadError::Stopped)
        },
        Unconfirmed = CliError::unconfirmed(&run(), CliError::NotAsked),
        BrokeOff = CliError::BrokeOff {
            run: run(),
            source: Box::new(RoadError::Stopped)
        },
    });
    errors.extend(halts());
    for source in road_errors() {
        let source = Box::new(source);
        errors.push(CliError::NotContinued { run: run(), source });
    }
    for source in road_errors() {
        let source = Box::new(source);
        errors.push(CliError::BrokeOff { run: run(), source });
    }
    errors
}

fn check(error: anyhow::Error) {
    let debug = format!("{error:?}");
    let explained = explain(&error);
    assert!(!explained.error.is_empty(), "{debug}: what happened");
    assert!(!explained.now.is_empty(), "{debug}: what state things are in now");
    let remedies = explained.findings.iter().map(|finding| &finding.remedy);
    let mut next = explained.hints.iter().chain(remedies).peekable();
    assert!(next.peek().is_some(), "{debug}: what to do next");
    for hint in next {
        assert!(!hint.is_empty() && !hint.ends_with('.'), "{debug}: {hint:?}");
    }
    assert_ne!(explained.exit_code, Exit::Done, "{debug}");
}

/// LAWS W7: a Job gives up at what stays as it is, and tries again what passes.
#[test]
fn what_passes_by_itself_is_not_refused() {
    for error in cluster_errors() {
        let is_refused = matches!(super::seams::of_cluster(&error).exit_code, Exit::Refused);
        assert!(!(is_refused && error.can_retry()), "{error:?}");
    }
}

/// Its pods may be stopped, and its downs committed.
#[test]
fn of_a_run_that_cannot_be_continued_nobody_says_that_nothing_was_touched() {
    for source in road_errors() {
        let told = explain(&anyhow::Error::from(CliError::not_continued(run(), source)));
        assert!(!told.now.contains("nothing was touched"), "{} {}", told.error, told.now);
    }
}

/// Whatever was to be done with it: who wants it aborted is not told that it cannot be resumed.
#[test]
fn why_a_run_is_unfit_is_said_of_the_run_and_not_of_a_command() {
    for why in unfit().into_iter().filter(|why| !matches!(why, Unfit::IsAbort(_))) {
        let said = why.to_string();
        assert!(!said.contains("resume"), "{said}");
    }
}

/// Nor of one that nobody has confirmed to take back.
#[test]
fn what_was_not_confirmed_leaves_the_run_as_it_stood() {
    let told = explain(&CliError::unconfirmed(&run(), CliError::NotAsked).into());
    assert!(told.now.contains("stands as it did"), "{}", told.now);
    assert!(told.hints[0].contains("--yes"), "{:?}", told.hints);
}

#[test]
fn no_hint_writes_over_a_file_that_is_no_saved_plan() {
    let hints = |path: &str, error| {
        let path = PathBuf::from(path);
        explain(&LoadError::Saved { path, error }.into()).hints.join(" ")
    };
    let torn = || SavedPlanError::Torn { what: text() };
    for error in [torn(), SavedPlanError::Other { what: text() }] {
        let hints = hints("stepback.yaml", error);
        assert!(!hints.contains("--out stepback.yaml"), "{hints}");
    }
    assert!(hints("back.plan", torn()).contains("--out back.plan"));
}

#[test]
fn only_of_an_id_that_a_run_can_have_is_the_journal_lost() {
    let hints = |run: &str| {
        let unfit = RoadError::Unfit {
            run: RunId(run.to_owned()),
            why: Unfit::Unknown,
        };
        explain(&unfit.into()).hints.join(" ")
    };
    assert!(!hints("bla").contains("--journal-lost"));
    assert!(hints("01J8ZQ4T3KX2M9V6B1C5D7E8F0").contains("--journal-lost"));
}

#[test]
fn every_error_says_what_to_do_next() {
    cluster_errors().into_iter().for_each(|error| check(error.into()));
    journal_errors().into_iter().for_each(|error| check(error.into()));
    database_errors().into_iter().for_each(|error| check(error.into()));
    road_errors().into_iter().for_each(|error| check(error.into()));
    load_errors().into_iter().for_each(|error| check(error.into()));
    cli_errors().into_iter().for_each(|error| check(error.into()));
}

/// What the journal of a halted run keeps, beside how to resume it.
#[test]
fn what_halts_a_run_says_what_to_do_about_it() {
    // Another coordinator acts, or nothing was ever begun: there is no halt of ours.
    let halts = |error: &ClusterError| {
        !matches!(
            error,
            ClusterError::Fenced { .. } | ClusterError::Held { .. } | ClusterError::NotListening { .. }
        )
    };
    for error in cluster_errors().iter().filter(|error| halts(error)) {
        assert!(error.to_failure().hint.is_some(), "{error:?}");
    }
}
