//! The one place that turns an error into words and an exit code.
//!
//! Every message answers four questions: what happened, where and why, what state things are in now, what to do next.

mod halts;
mod hidden;
mod seams;

use std::io;
use std::path::PathBuf;

use serde::Serialize;
use stepback_core::journal::Halt;
use stepback_core::model::{Evidence, Finding, RunId};
use stepback_core::plan::{Change, Refusals};
use stepback_core::report::{Kind, Page, Paint, write_evidence, write_findings};

use super::Exit;
use super::options::Output;
use super::terminal::Terminal;
use crate::cluster::ClusterError;
use crate::database::DbError;
use crate::journal::JournalError;
use crate::load::LoadError;
use crate::run::{RoadError, RunError};
use halts::{of_halt, of_turned_back};
use seams::{of_cluster, of_database, of_journal};

mod runs;
mod saved;

const UNTOUCHED: &str = "nothing was touched";

/// Where a database's URL comes from, in this order.
const USUAL_PLACES: &str = "--url, the app file's url, else DATABASE_URL";

/// What only the command line can find wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// Typed in a way that means nothing.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to type.
        hint: String,
    },
    /// Nothing says where the database is.
    #[error("it is not known which database is meant")]
    NoDatabase(PathBuf),
    /// Nobody can be asked, and `--yes` was not typed.
    #[error("this changes things, and there is no terminal to ask on")]
    NotAsked,
    /// Somebody was asked and said no.
    #[error("not confirmed")]
    Declined,
    /// Somebody was asked, and pressed Ctrl-C.
    #[error("interrupted at the question")]
    AskedToStop,
    /// The plan is refused.
    #[error("the plan is refused")]
    Refused(Refusals),
    /// The plan is refused, for a workload that does not exist among others.
    #[error("the plan is refused")]
    NoWorkload {
        /// Everything that forbids it.
        refusals: Refusals,
        /// The workloads that may have been meant.
        hint: String,
    },
    /// A saved plan was made for another world.
    #[error("the world has changed since {} was saved", file.display())]
    Stale {
        /// The file.
        file: PathBuf,
        /// What is not as it was.
        changes: Vec<Change>,
        /// What to type for a new plan.
        again: String,
    },
    /// The world has changed since a plan was made which counts from what is applied: planned again, it goes further.
    #[error("the world has changed since the plan was made")]
    Overtaken {
        /// What is not as it was.
        changes: Vec<Change>,
        /// What to type to come to where it was going.
        again: String,
    },
    /// No journal of a run lies there.
    #[error("there are no runs there")]
    NoRun,
    /// The run stands still.
    #[error("{}", .0.halt.message)]
    Halted(Box<Halted>),
    /// The run halted, and has gone back by itself.
    #[error("{}", halted.halt.message)]
    TurnedBack {
        /// What halted.
        halted: Box<Halted>,
        /// The run that took it back.
        by: RunId,
    },
    /// Another coordinator has taken over.
    #[error("another coordinator has taken over run {0}")]
    Fenced(RunId),
    /// The run could not be continued: it stands as it did.
    #[error("{source}")]
    NotContinued {
        /// Which run.
        run: RunId,
        /// Why not.
        source: Box<RoadError>,
    },
    /// What was to be done with a run was not confirmed: it stands as it did.
    #[error("{source}")]
    Unconfirmed {
        /// Which run.
        run: RunId,
        /// Why not.
        source: Box<CliError>,
    },
    /// The run broke off after it was opened.
    #[error("run {run} broke off")]
    BrokeOff {
        /// Which run.
        run: RunId,
        /// Why.
        #[source]
        source: Box<RoadError>,
    },
}

/// A run that stands still.
#[derive(Debug)]
pub(super) struct Halted {
    /// Which.
    pub(super) run: RunId,
    /// Why.
    pub(super) halt: Halt,
    /// What the step does.
    pub(super) step: Option<String>,
    /// Whether that step compares the schema, and so finds what the run itself has made of it.
    pub(super) compares: bool,
    /// How far it is.
    pub(super) now: String,
    /// Whether it closed itself: there is nothing to resume.
    pub(super) closed: bool,
    /// What to do then to come to where it was going.
    pub(super) again: String,
    /// Whether it is itself the abort of a run.
    pub(super) aborts: bool,
    /// Whether a workload takes part: without one there is nothing to give back, and it is not aborted.
    pub(super) holds: bool,
    /// What came of going back by itself.
    pub(super) back: Vec<String>,
    /// Where aborting it is not free any more, what it costs.
    pub(super) past: Option<String>,
}

/// An error in words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explained {
    /// What happened.
    error: String,
    /// Why, a cause each.
    because: Vec<String>,
    /// What was to be read of the pod that did not become healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Box<Evidence>>,
    /// What state things are in.
    now: String,
    /// What to do.
    hints: Vec<String>,
    /// Everything that was found, where a plan is refused.
    findings: Vec<Finding>,
    #[serde(serialize_with = "as_number")]
    exit_code: Exit,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_number<S: serde::Serializer>(exit: &Exit, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u8(*exit as u8)
}

impl Explained {
    fn new(exit: Exit, error: impl ToString) -> Self {
        Self {
            error: error.to_string(),
            because: Vec::new(),
            evidence: None,
            now: UNTOUCHED.to_owned(),
            hints: Vec::new(),
            findings: Vec::new(),
            exit_code: exit,
        }
    }

    fn because(mut self, causes: impl IntoIterator<Item = impl ToString>) -> Self {
        self.because.extend(causes.into_iter().map(|cause| cause.to_string()));
        self
    }

    fn hint(mut self, hint: impl ToString) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    fn now(mut self, now: impl ToString) -> Self {
        self.now = now.to_string();
        self
    }

    fn write(&self, page: &mut Page<'_>) -> io::Result<()> {
        page.labelled("error: ", Some(Paint::Red), &self.error)?;
        write_findings(page, &self.findings)?;
        for because in &self.because {
            page.labelled("  because: ", Some(Paint::Bold), because)?;
        }
        if let Some(evidence) = &self.evidence {
            write_evidence(page, evidence)?;
        }
        if !self.now.is_empty() {
            page.labelled("  now:     ", Some(Paint::Bold), &self.now)?;
        }
        for hint in &self.hints {
            page.labelled("  hint:    ", Some(Paint::Bold), hint)?;
        }
        Ok(())
    }
}

/// Says what went wrong, on standard error; for a program also as the answer. Gives the exit code.
pub(super) fn tell(terminal: &Terminal, error: &anyhow::Error) -> Exit {
    let explained = explain(error).without_urls().where_given(&terminal.given);
    terminal.tell(|page| explained.write(page));
    if terminal.output == Output::Json {
        // What cannot be written any more has been said on standard error.
        drop(terminal.answer(Kind::Error, &explained, |_| Ok(())));
    }
    explained.exit_code
}

/// As [`tell`], beside an answer that was given as far as it goes.
pub(super) fn tell_beside(terminal: &Terminal, error: &anyhow::Error) -> Exit {
    let explained = explain(error).without_urls();
    terminal.tell(|page| explained.write(page));
    explained.exit_code
}

fn explain(error: &anyhow::Error) -> Explained {
    if let Some(error) = error.downcast_ref::<CliError>() {
        of_cli(error)
    } else if let Some(error) = error.downcast_ref::<LoadError>() {
        of_load(error)
    } else if let Some(error) = error.downcast_ref::<RoadError>() {
        of_road(error)
    } else if let Some(error) = error.downcast_ref::<DbError>() {
        of_database(error)
    } else if let Some(error) = error.downcast_ref::<ClusterError>() {
        of_cluster(error)
    } else if let Some(error) = error.downcast_ref::<JournalError>() {
        of_journal(error)
    } else {
        Explained::new(Exit::Internal, error)
            .because(error.chain().skip(1))
            .now("")
            .hint("this should not happen; please report it with what you typed")
    }
}

fn of_cli(error: &CliError) -> Explained {
    match error {
        CliError::Usage { hint, .. } => Explained::new(Exit::Usage, error).hint(hint),
        CliError::NoDatabase(app_file) => Explained::new(Exit::Usage, error)
            .because([format!(
                "there is no app file {}, no --url, and DATABASE_URL is not set",
                app_file.display()
            )])
            .hint("name the database with --url URL or in DATABASE_URL, or the app file with --config FILE"),
        CliError::NotAsked => Explained::new(Exit::Usage, error).hint("to go ahead, type the same with --yes"),
        CliError::Declined => Explained::new(Exit::Usage, error).hint("to go ahead after all, type the same again"),
        CliError::AskedToStop => {
            Explained::new(Exit::Interrupted, error).hint("to go ahead after all, type the same again")
        }
        CliError::Refused(refusals) => of_refusals(refusals),
        CliError::NoWorkload { refusals, hint } => of_refusals(refusals).hint(hint),
        CliError::Stale { changes, again, .. } => Explained::new(Exit::Refused, error)
            .because(changes)
            .hint(format!("to make a new plan: {again}")),
        CliError::Overtaken { changes, again } => Explained::new(Exit::Refused, error)
            .because(changes)
            .hint("what was meant may be done already, and the same again would count from what is applied now")
            .hint(again),
        CliError::NoRun => Explained::new(Exit::Usage, error)
            .hint("is it the right place? see DATABASE_URL or --url; with --journal also --context and --kubeconfig"),
        CliError::Halted(halted) => of_halt(halted),
        CliError::TurnedBack { halted, by } => of_turned_back(halted, by),
        CliError::Fenced(run) => Explained::new(Exit::Locked, error)
            .now("this process has written nothing since")
            .hint(format!("to follow it: stepback report {run}")),
        CliError::NotContinued { run, source } => {
            let inner = of_road(source);
            if inner.now != UNTOUCHED {
                return inner;
            }
            inner.now(runs::stands_as_it_did(run))
        }
        CliError::Unconfirmed { run, source } => of_cli(source).now(runs::stands_as_it_did(run)),
        CliError::BrokeOff { run, source } => {
            let inner = of_road(source);
            let mut explained = Explained::new(Exit::Halted, error)
                .because([inner.error])
                .because(inner.because)
                .now("what its journal says has happened; nothing was started after that")
                .hint(format!("to continue: stepback resume {run}"));
            if matches!(inner.exit_code, Exit::Locked | Exit::Interrupted) {
                explained.exit_code = inner.exit_code;
            }
            explained
        }
    }
}

fn of_refusals(refusals: &Refusals) -> Explained {
    let mut explained = Explained::new(Exit::Refused, "the plan is refused");
    explained.findings = refusals.findings().to_vec();
    explained
}

fn of_load(error: &LoadError) -> Explained {
    let exit = match error {
        LoadError::DataDir { .. } => Exit::Unreachable,
        _ => Exit::Usage,
    };
    let explained = Explained::new(exit, error);
    match error {
        LoadError::DataDir { source, .. } => explained.because([source]).hint(
            "check --data-dir, that the volume is mounted there, and that this user may read it; where a fresh volume \
             does not have the directory yet, say --allow-empty",
        ),
        LoadError::Io { source, .. } => explained
            .because([source])
            .hint("check the path, and that this user may use it"),
        LoadError::NoAppFile { near, .. } => match near {
            Some(near) => explained.hint(format!("there is one elsewhere: --config {}", near.display())),
            None => explained
                .hint("name it with --config FILE, or write a first one with `stepback init`")
                .hint("for the schema alone: stepback migrate … --url URL --dir FOLDER"),
        },
        LoadError::NoFolder(_) => explained.hint("name the migrations folder with --dir FOLDER"),
        LoadError::App(errors) => explained
            .because(errors.errors())
            .hint("correct what is named; all that the file may hold: stepback schema"),
        LoadError::Unmatched(errors) => explained
            .because(errors)
            .hint("give the folder of the release that this app file is of with --dir FOLDER"),
        LoadError::Catalog { errors, .. } => explained
            .because(errors.errors())
            .hint("correct what is named, or name another folder or layout with --dir and --layout"),
        LoadError::Saved { path, error } => saved::of_saved(explained, path, error),
        LoadError::NotOver(_) => explained.hint("give --out another name; only a saved plan is ever replaced"),
        LoadError::Exists(_) => {
            explained.hint("nothing is ever overwritten: give another name, or move that file away")
        }
        LoadError::NoVariable(name) => explained.hint(format!(
            "set it: export {name}=sqlite://FILE, or name another with --url"
        )),
        LoadError::Secret { name, key } => explained.hint(format!(
            "read it into the environment: DATABASE_URL=\"$(kubectl get secret {name} -o \
             go-template='{{{{.data.{key} | base64decode}}}}')\", and write {{env: DATABASE_URL}} in the app file"
        )),
        LoadError::Url { .. } => explained.hint("write sqlite://FILE or postgres://USER@HOST/DATABASE"),
        LoadError::Layout(_) => explained.hint(
            "layouts that are read are `stepback` (VERSION_name.up.sql, VERSION_name.down.sql) and `sqlx`: see --layout",
        ),
        LoadError::Ledger(_) => explained.hint("ledgers that are read are `stepback` and `sqlx`: see --ledger"),
    }
}

fn of_road(error: &RoadError) -> Explained {
    match error {
        RoadError::Database(error) => of_database(error),
        RoadError::Cluster(error) => of_cluster(error),
        RoadError::Journal(error) => of_journal(error),
        RoadError::Run(inner) => Explained::new(
            match inner {
                RunError::Unrecorded => Exit::Interrupted,
                _ => Exit::Halted,
            },
            inner,
        )
        .now("what the journal says has happened")
        .hint("to continue: stepback resume"),
        RoadError::Refused(refusals) => of_refusals(refusals),
        RoadError::Changed(changes) => Explained::new(Exit::Refused, error)
            .because(changes)
            .hint("look at the new plan, and type the same again"),
        RoadError::RunOpen(row) => Explained::new(Exit::Locked, error)
            .hint(format!("to continue it: stepback resume {}", row.run))
            .hint(if row.closes_itself {
                runs::as_it_stands(&row.run)
            } else {
                format!(
                    "to go back to where it started, while that is free: stepback abort {}",
                    row.run
                )
            })
            .hint(format!("to see what it did: stepback report {}", row.run)),
        RoadError::UnderWay { row, .. } => runs::of_under_way(error, &row.run),
        RoadError::WorkloadHeld { run, line, .. } => {
            let hint = format!("is it the right database ({USUAL_PLACES})? to continue it: stepback resume {run}");
            let held = Explained::new(Exit::Locked, error).now("nothing was touched");
            let lost = format!(
                "where the database was restored from before that run, or its journal is lost: stepback abort \
                 --journal-lost {run}"
            );
            held.because(line).hint(hint).hint(lost)
        }
        RoadError::Stopped => Explained::new(Exit::Interrupted, error).hint("to begin, type the same again"),
        RoadError::NoStamp { workload, .. } => {
            Explained::new(Exit::Refused, error).hint(remove_stamp(&workload.to_string()))
        }
        RoadError::ForgedToken { .. } => Explained::new(Exit::Refused, error)
            .hint(remove_stamp("the workload"))
            .hint("a journal that somebody has edited: stepback abort --journal-lost RUN closes its run as it stands"),
        RoadError::NoRun => Explained::new(Exit::Refused, error)
            .hint("a run that was only being opened has done nothing: type the command that began it once more"),
        RoadError::Unfit { run, why } => runs::of_unfit(error, run, why),
    }
}

fn remove_stamp(workload: &str) -> String {
    format!(
        "find out who wrote it (metadata.managedFields), then take the annotation {} off {workload}",
        stepback_core::model::annotation::STAMP
    )
}

#[cfg(test)]
mod tests;
