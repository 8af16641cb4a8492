//! A run that cannot be continued or taken back as it is, and the command that leads out of it.

use stepback_core::model::RunId;

use super::super::rebind::describe;
use super::{CliError, Exit, Explained, USUAL_PLACES};
use crate::run::{RoadError, Unfit};

impl CliError {
    /// That a run could not be continued, and stands as it did.
    pub(in crate::cli) fn not_continued(run: RunId, source: RoadError) -> Self {
        let source = Box::new(source);
        Self::NotContinued { run, source }
    }

    /// That nobody confirmed what was to be done with a run, which stands as it did.
    pub(in crate::cli) fn unconfirmed(run: &RunId, source: Self) -> Self {
        let source = Box::new(source);
        Self::Unconfirmed {
            run: run.clone(),
            source,
        }
    }

    /// That a run broke off after it was opened.
    pub(in crate::cli) fn broke_off(run: RunId, source: RoadError) -> Self {
        let source = Box::new(source);
        Self::BrokeOff { run, source }
    }
}

pub(super) fn of_unfit(error: &RoadError, run: &RunId, why: &Unfit) -> Explained {
    let explained = Explained::new(Exit::Refused, error);
    let report = format!("to see it: stepback report {run}");
    let stands = as_it_stands(run);
    match why {
        Unfit::Unknown => {
            let explained = explained.hint(format!(
                "is it the right database ({USUAL_PLACES})? to see the runs of this one: stepback runs"
            ));
            if !is_an_id(run) {
                return explained.hint("type a run's id as it is printed there");
            }
            explained.hint(format!(
                "where the database was restored from before the run: stepback abort --journal-lost {run}"
            ))
        }
        Unfit::IsAbort(_) => explained
            .hint(format!("to continue it: stepback resume {run}"))
            .hint(stands),
        Unfit::HoldsNothing => explained
            .hint(format!("correct what stopped it, then: stepback resume {run}"))
            .hint(stands)
            .hint(report),
        Unfit::Changed => explained.hint(format!("to see the new plan: stepback abort {run}")),
        Unfit::NewerFormat => explained
            .hint("use the version that `stepback report` names, or a newer one")
            .hint(report),
        Unfit::OtherDatabase { was, is } => explained
            .because([
                format!("it was opened on {}", describe(was)),
                format!("this is {}", describe(is)),
            ])
            .hint(format!("check {USUAL_PLACES}; every other database refuses"))
            .hint(format!(
                "where this one has taken that one's place: stepback resume {run} --rebind, or stepback abort {run} --rebind"
            )),
        Unfit::OtherLedger { .. } => explained.hint("to see the runs of every ledger: stepback runs"),
        Unfit::Elsewhere => explained
            .hint(format!(
                "check {USUAL_PLACES}: the run can be continued on its own database"
            ))
            .hint(report),
        Unfit::JournalGone(_) => explained
            .hint("check --context and --kubeconfig: is this the cluster that it was opened on?")
            .hint(format!(
                "where the journal is lost for good: stepback abort --journal-lost {run}"
            )),
        Unfit::WorkloadGone(_) => explained
            .hint("what the run has begun cannot be carried on or taken back on another object")
            .hint(format!("to close it as it stands: stepback abort --journal-lost {run}")),
        Unfit::NotLost => explained
            .hint(format!("to continue it: stepback resume {run}"))
            .hint(format!(
                "to go back to where it started, while that is free: stepback abort {run}"
            ))
            .hint(stands),
        Unfit::OtherPlan { .. } => explained
            .because(["somebody has changed the journal, so nothing of it is run"])
            .hint(format!("to close it as it stands: stepback abort --journal-lost {run}")),
        Unfit::OtherCluster => explained.hint("check --context and --kubeconfig").hint(format!(
            "where that cluster is lost for good: stepback abort --journal-lost {run}"
        )),
        Unfit::Closed => explained.hint(report),
    }
}

/// Whether a coordinator can have given this id: what is none was typed with a slip, and no run of it is lost.
fn is_an_id(run: &RunId) -> bool {
    run.0.len() == 26 && run.0.bytes().all(|is| is.is_ascii_digit() || is.is_ascii_uppercase())
}

/// Somebody is at another run.
pub(super) fn of_under_way(error: &RoadError, run: &RunId) -> Explained {
    Explained::new(Exit::Locked, error)
        .hint(format!("to follow it: stepback report {run}"))
        .hint("once it is over, look at stepback status: things may be other than they were; then type the same again")
        .hint(format!("where its coordinator is dead: stepback resume {run}"))
}

/// The way out of a run that can neither pass nor go back.
pub(super) fn as_it_stands(run: &RunId) -> String {
    format!("where neither can succeed, to close it as it stands: stepback abort --as-it-stands {run}")
}

pub(super) fn stands_as_it_did(run: &RunId) -> String {
    format!("run {run} stands as it did: this process has begun no step of it; stepback status says where it is")
}
