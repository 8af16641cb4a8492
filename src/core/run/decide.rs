//! The next move of a run: a table, in the order in which its rows are asked.
//!
//! | step is | and the world says | then |
//! |---|---|---|
//! | applied or passed, touches the database, run was resumed | (not asked) | look again; not done: halt (LAWS D13) |
//! | pending | (not asked) | record started |
//! | started | (not asked) | observe |
//! | started | done | record applied |
//! | started | doubtful, or changed by someone else | halt, and say what a person must look at |
//! | started | untouched or partial, not performed by this process yet | perform, then observe |
//! | started | partial, more done than last time | perform the rest |
//! | started | untouched or partial, no progress | next attempt while trying can help and the limit lasts, else halt |
//! | applied | (not asked) | settle |
//! | applied | settled: healthy / failed / timed out / stopped | record passed / halt / halt / halt (interrupted) |
//! | applied | settled: a pod that is to be gone is left standing | remove it under the intent that is on disk, and settle |
//!
//! A look that fails is tried again while that can help and the limit lasts. Once somebody asks to stop, what is known is
//! still written down, what was performed just now is looked at, and nothing else is begun.

use super::Facts;
use crate::journal::{Halt, HaltKind, Outcome, RunState, StepState, What};
use crate::model::{Observed, Settled, StepId};
use crate::plan::Plan;

/// The next thing to do: exactly one call of a seam, or the end.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// Append this to the journal.
    Record(What),
    /// Look whether the step has happened.
    Observe(StepId),
    /// Look again at a step that was applied or passed before this process began (LAWS D13).
    Recheck(StepId),
    /// Carry the step, or the rest of it, out.
    Perform(StepId),
    /// Wait for the step's gate.
    Settle(StepId),
    /// Remove the pod that is to be gone, and that the controller leaves standing.
    Remove(StepId),
    /// Wait a moment before the next try of the step.
    Pause(StepId),
    /// Nothing is left to do: the run is closed or halted, or another coordinator has taken over.
    Finish,
}

/// Decides the next move. Pure: same inputs, same move.
pub fn decide(plan: &Plan, state: &RunState, facts: &Facts) -> Move {
    if state.is_over() || state.halted.is_some() {
        return Move::Finish;
    }
    if [&facts.failure, &facts.look_failure]
        .into_iter()
        .flatten()
        .any(|failure| failure.fenced)
    {
        // Another coordinator acts. Our token writes nothing more, not even a halt.
        return Move::Finish;
    }
    match undisturbed(plan, state, facts) {
        // What was carried out just now is looked at once more: an effect that is committed must not be told as undone.
        Move::Observe(step) if facts.stop && is_to_be_seen(state, facts, step) => Move::Observe(step),
        // What is already known is still written down; what would begin anything is not begun any more.
        Move::Record(What::StepStarted { .. })
        | Move::Observe(_)
        | Move::Recheck(_)
        | Move::Perform(_)
        | Move::Settle(_)
        | Move::Remove(_)
        | Move::Pause(_)
            if facts.stop =>
        {
            interrupted(state.current())
        }
        next => next,
    }
}

/// Whether this very process has carried the step out, nothing spoke against it, and nobody has looked since.
fn is_to_be_seen(state: &RunState, facts: &Facts, step: StepId) -> bool {
    let Some(StepState::Started { attempt }) = state.step(step) else {
        return false;
    };
    facts.performed == Some(attempt) && facts.failure.is_none() && facts.look_failure.is_none()
}

/// The next move when nobody asked us to stop.
fn undisturbed(plan: &Plan, state: &RunState, facts: &Facts) -> Move {
    if state.resumed {
        if let Some((step, seen)) = &facts.undone {
            return Move::Record(halt_undone(*step, seen));
        }
        // A step that was applied but had not passed is among them: nobody observes it any more before its gate.
        let unchecked = plan.steps.iter().find(|step| {
            matches!(state.step(step.id), Some(StepState::Applied | StepState::Passed))
                && step.action.touches_database()
                && !facts.rechecked.contains(&step.id)
        });
        if let Some(step) = unchecked {
            return look(step.id, facts, Move::Recheck(step.id));
        }
    }
    let Some(step) = state.current() else {
        return Move::Record(What::RunClosed { outcome: Outcome::Done });
    };
    match state.step(step).unwrap_or(StepState::Pending) {
        StepState::Pending => Move::Record(What::StepStarted { step, attempt: 1 }),
        StepState::Started { attempt } => decide_started(step, attempt, facts),
        StepState::Applied => decide_applied(step, facts),
        // Not reached: `current` is the first step that has not passed.
        StepState::Passed => Move::Finish,
    }
}

fn decide_started(step: StepId, attempt: u32, facts: &Facts) -> Move {
    let first_time = facts.performed != Some(attempt);
    match &facts.observed {
        None => look(step, facts, Move::Observe(step)),
        Some(Observed::Done(seen)) => Move::Record(What::StepApplied {
            step,
            seen: seen.clone(),
        }),
        Some(Observed::Doubtful(why)) => halt(
            step,
            HaltKind::Doubtful,
            why.clone(),
            Some("look at the database or workload yourself before you resume".to_owned()),
        ),
        Some(Observed::Foreign(why)) => halt(step, HaltKind::Foreign, why.clone(), None),
        Some(Observed::Untouched) if first_time => Move::Perform(step),
        Some(Observed::Partial(seen)) if first_time || facts.progress.is_none_or(|before| seen.done > before) => {
            Move::Perform(step)
        }
        Some(Observed::Untouched | Observed::Partial(_)) => match &facts.failure {
            // Each attempt is an entry: without a pause, a quick failure would fill the journal.
            Some(failure) if failure.retry && !facts.out_of_time && !facts.paused => Move::Pause(step),
            Some(failure) if failure.retry && !facts.out_of_time => Move::Record(What::StepStarted {
                step,
                attempt: attempt + 1,
            }),
            Some(failure) => halt(step, HaltKind::Failed, failure.message.clone(), failure.hint.clone()),
            None => halt(
                step,
                HaltKind::Failed,
                "it was carried out and nothing changed".to_owned(),
                None,
            ),
        },
    }
}

/// Looks, unless looking has failed: then pauses and tries again while that can help and the limit lasts.
fn look(step: StepId, facts: &Facts, how: Move) -> Move {
    match &facts.look_failure {
        None => how,
        Some(failure) if failure.retry && facts.paused => how,
        Some(failure) if failure.retry && !facts.out_of_time => Move::Pause(step),
        Some(failure) => halt(step, HaltKind::Failed, failure.message.clone(), failure.hint.clone()),
    }
}

fn decide_applied(step: StepId, facts: &Facts) -> Move {
    match &facts.settled {
        None => Move::Settle(step),
        Some(Settled::Healthy(seen)) => Move::Record(What::StepPassed {
            step,
            seen: seen.clone(),
        }),
        Some(Settled::Failed(why)) => halt_unhealthy(step, HaltKind::Unhealthy, why, facts),
        // A person looks first, as at a step that somebody else has changed.
        Some(Settled::Foreign(why)) => halt(step, HaltKind::Foreign, why.clone(), None),
        Some(Settled::TimedOut(why)) => halt_unhealthy(step, HaltKind::TimedOut, why, facts),
        Some(Settled::LeftStanding(why)) => remove(step, why, facts),
        Some(Settled::Stopped(why)) => {
            let message = format!("it was asked to stop while its gate was waited for; last seen: {why}");
            halt(step, HaltKind::Interrupted, message, None)
        }
    }
}

/// A pod that is to be gone and is left standing is removed: its step's beginning is on disk, a removal that finds nothing
/// to remove changes nothing, and the gate decides. A controller that goes by an older list may make it anew.
fn remove(step: StepId, why: &str, facts: &Facts) -> Move {
    match &facts.failure {
        Some(failure) if !failure.retry => halt(step, HaltKind::Failed, failure.message.clone(), failure.hint.clone()),
        Some(failure) if facts.out_of_time => {
            halt_unhealthy(step, HaltKind::TimedOut, &format!("{why}; {}", failure.message), facts)
        }
        None if facts.removed && facts.out_of_time => halt_unhealthy(step, HaltKind::TimedOut, why, facts),
        _ if facts.removed && !facts.paused => Move::Pause(step),
        _ => Move::Remove(step),
    }
}

fn interrupted(step: Option<StepId>) -> Move {
    Move::Record(What::RunHalted {
        halt: Halt {
            step,
            kind: HaltKind::Interrupted,
            message: "it was asked to stop".to_owned(),
            hint: None,
            evidence: None,
        },
    })
}

fn halt(step: StepId, kind: HaltKind, message: String, hint: Option<String>) -> Move {
    Move::Record(What::RunHalted {
        halt: Halt {
            step: Some(step),
            kind,
            message,
            hint,
            evidence: None,
        },
    })
}

fn halt_unhealthy(step: StepId, kind: HaltKind, why: &str, facts: &Facts) -> Move {
    Move::Record(What::RunHalted {
        halt: Halt {
            step: Some(step),
            kind,
            message: why.to_owned(),
            hint: None,
            evidence: facts.evidence.clone(),
        },
    })
}

fn halt_undone(step: StepId, seen: &Observed) -> What {
    let found = match seen {
        Observed::Untouched => "nothing of it is there any more".to_owned(),
        Observed::Partial(progress) => format!("only {} of {} are there", progress.done, progress.of),
        Observed::Done(seen) | Observed::Doubtful(seen) | Observed::Foreign(seen) => seen.clone(),
    };
    What::RunHalted {
        halt: Halt {
            step: Some(step),
            kind: HaltKind::Foreign,
            message: format!("step {step} was done, but the database no longer shows it: {found}"),
            hint: Some(
                "the database may have been restored or failed over to an older state; compare it with the report \
                 before anything else"
                    .to_owned(),
            ),
            evidence: None,
        },
    }
}

#[cfg(test)]
mod tests;
