//! Finding the comparison that a run did not pass before it was over, so that the same command typed again makes it.

use stepback_core::journal::{RunState, StepState};
use stepback_core::model::{RunRow, RunStatus};
use stepback_core::plan::{Action, Seen, Step};

use super::{Coordinator, RoadError};

/// How many of the newest runs are asked: those that did nothing say nothing.
const ASKED: usize = 5;

impl Coordinator {
    /// The comparison of the run that led to the migrations which are applied, where it was over before that one passed.
    /// Asked only where the schema differs from how it was recorded: elsewhere it would hold.
    pub(super) async fn find_unverified(&self, seen: &Seen) -> Result<Option<Action>, RoadError> {
        let differs = |recorded: &stepback_core::model::Fingerprint| {
            recorded.is_comparable(&seen.fingerprint) && !recorded.differences(&seen.fingerprint).is_empty()
        };
        if !seen.recorded.as_ref().is_some_and(differs) {
            return Ok(None);
        }
        let runs = self.database.runs().await?;
        let ledger = &seen.database.database.ledger.table;
        for row in runs.iter().filter(|row| row.ledger == *ledger).take(ASKED) {
            // One that stays open is for `resume`.
            if row.status != RunStatus::Closed && !row.closes_itself {
                return Ok(None);
            }
            if let Some((steps, state)) = self.steps_of(row).await {
                let passed = |step: &&Step| state.step(step.id) == Some(StepState::Passed);
                let Some(stopped_at) = steps.iter().find(|step| !passed(step)) else {
                    return Ok(None);
                };
                match &stopped_at.action {
                    Action::Verify { schema, .. } if *schema == seen.database.applied() => {
                        return Ok(Some(stopped_at.action.clone()));
                    }
                    _ if state.step(steps[0].id) == Some(StepState::Pending) => {}
                    _ => return Ok(None),
                }
            }
        }
        Ok(None)
    }

    /// The steps of a run and where they are; `None` where its journal cannot be read from here.
    async fn steps_of(&self, row: &RunRow) -> Option<(Vec<Step>, RunState)> {
        let journal = self.journals.open(&row.journal).ok()?;
        let stored = journal.read(&row.run).await.ok()?;
        let state = stored.state(&row.run).ok()??;
        Some((stored.plan.steps, state)).filter(|(steps, _)| !steps.is_empty())
    }
}
