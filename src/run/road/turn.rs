//! A run that halts goes back by itself, where its plan says so (`onFailure: abort`) and while that is free (LAWS W5).
//!
//! Responsible for: when a halt is one that a way back helps, and what becomes of it otherwise: the run stands as it halted,
//! and says why it did not go back. Not for: going back itself, which is an abort like any other.

use stepback_core::journal::{Halt, HaltKind, RunState};
use stepback_core::plan::better_than_found;

use super::{Consent, Coordinator, Finished, RoadError};
use crate::run::{Ending, Event, Listen, Stop};

/// What going back by itself came to.
#[derive(Clone, Debug)]
pub enum Back {
    /// The run was not taken back and stands as it halted: everything that speaks against it.
    Not(Vec<String>),
    /// This is the abort of the run that halted.
    Of(Box<Finished>),
}

impl Coordinator {
    /// What has ended; or, where it has halted and is to go back by itself, the abort of it. The lease has been given back:
    /// the abort needs a token of its own.
    ///
    /// # Errors
    /// When the abort took over and broke off.
    pub(super) async fn or_turn_back(
        &self,
        finished: Finished,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        let halt = match &finished.ending {
            Ending::Halted(halt) if finished.plan.turns_back && can_turn(halt) && !stop.is_asked() => halt.clone(),
            _ => return Ok(finished),
        };
        let state = RunState::replay(&finished.entries, finished.plan.steps.len());
        if let Some(better) = state
            .ok()
            .flatten()
            .and_then(|state| better_than_found(&finished.plan, &state))
        {
            return Ok(Finished {
                back: Some(Back::Not(vec![better])),
                ..finished
            });
        }
        let consent = Consent {
            by_itself: true,
            ..Consent::default()
        };
        let (row, plan) = match self.plan_abort(Some(&finished.run), &consent).await {
            Ok(planned) => planned,
            Err(error) => return Ok(stays(finished, &error)),
        };
        listener.hear(Event::TurningBack {
            run: finished.run.clone(),
            halt: Box::new(halt),
            plan: Box::new(plan.clone()),
        });
        match self.abort(&row, &plan, &consent, stop, listener).await {
            Ok(aborted) => Ok(Finished {
                back: Some(Back::Of(Box::new(finished))),
                ..aborted
            }),
            Err(RoadError::Stopped) => Ok(finished),
            Err(error) => {
                let open = self.database.look().await.ok().and_then(|seen| seen.open_run);
                match open {
                    Some(open) if open.run == finished.run => Ok(stays(finished, &error)),
                    _ => Err(error),
                }
            }
        }
    }
}

/// Whether going back is what helps: not where somebody asked to stop, and not where a person must look first.
fn can_turn(halt: &Halt) -> bool {
    match halt.kind {
        HaltKind::Failed | HaltKind::Unhealthy | HaltKind::TimedOut => true,
        HaltKind::Interrupted | HaltKind::Doubtful | HaltKind::Foreign => false,
    }
}

fn stays(finished: Finished, error: &RoadError) -> Finished {
    let why = match error {
        RoadError::Refused(refusals) => refusals
            .refusing()
            .map(|finding| format!("[{}] {}", finding.code, finding.message))
            .collect(),
        error => vec![error.to_string()],
    };
    Finished {
        back: Some(Back::Not(why)),
        ..finished
    }
}
