//! A run that stands still, or has gone back by itself, in words.

use stepback_core::journal::HaltKind;
use stepback_core::model::RunId;

use super::runs::as_it_stands;
use super::{Exit, Explained, Halted};

pub(super) fn of_halt(halted: &Halted) -> Explained {
    let Halted {
        run,
        halt,
        step,
        compares,
        now,
        closed,
        aborts,
        holds,
        back,
        past,
        again,
    } = halted;
    let exit = if halt.kind == HaltKind::Interrupted {
        Exit::Interrupted
    } else {
        Exit::Halted
    };
    let what = match halt.kind {
        HaltKind::Interrupted => "was interrupted",
        HaltKind::Failed => "failed",
        HaltKind::Unhealthy => "did not become healthy",
        HaltKind::TimedOut => "was not done within its limit",
        HaltKind::Doubtful => "is in doubt",
        HaltKind::Foreign if *compares => "found the schema different",
        HaltKind::Foreign => "met a change by somebody else",
    };
    let heading = match (halt.step, step) {
        (Some(number), Some(does)) => format!("step {number} ({does}) {what}"),
        _ => format!("the run {what}"),
    };
    let mut explained = Explained::new(exit, heading)
        .because([&halt.message])
        .because(back)
        .now(now);
    explained.evidence.clone_from(&halt.evidence);
    let explained = halt.hint.iter().fold(explained, |explained, hint| explained.hint(hint));
    let explained = if *compares && halt.kind == HaltKind::Foreign {
        explained.hint(
            "what is listed was made while the run went, most likely by its own scripts: mend the schema, and it is compared \
             again",
        )
    } else {
        explained
    };
    if *closed {
        explained.hint(format!(
            "the run is closed: there is nothing to resume; correct the cause, then {again}"
        ))
    } else {
        let explained = explained.hint(format!("to continue: stepback resume {run}"));
        if *aborts || !*holds {
            return explained.hint(as_it_stands(run));
        }
        match past {
            None => explained.hint(format!("to go back to where it started: stepback abort {run}")),
            Some(cost) => explained.hint(cost).hint(format!(
                "to go back all the same: stepback abort --accept-writes-since {run}"
            )),
        }
    }
}

/// A halt that nothing is left of: the run has gone back by itself.
pub(super) fn of_turned_back(halted: &Halted, by: &RunId) -> Explained {
    let mut explained = of_halt(halted);
    explained.hints.clear();
    explained.hints.extend(halted.halt.hint.clone());
    explained
        .now(format!(
            "it has gone back by itself (onFailure: abort): schema and workloads are what they were before run {}",
            halted.run
        ))
        .hint("correct the cause, and type the same again; there is nothing to resume")
        .hint(format!(
            "to see what was done: stepback report {}, and then {by}",
            halted.run
        ))
}
