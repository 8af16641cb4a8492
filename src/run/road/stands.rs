//! Closing a run as it stands, though nothing of it is lost: where it can neither pass nor go back, somebody says so.
//!
//! Responsible for: what is left of it, and closing it. As with a run that is lost, no script is run, no row of the ledger
//! moves, and no pod is started, stopped or pointed anywhere. What is borrowed stays written on the workload, for the next
//! plan to give back (LAWS W7); where nothing is, nothing of ours stays on it (LAWS W9).

use stepback_core::journal::RunState;
use stepback_core::model::{MigrationSet, RunId, RunRow, RunStatus};

use super::carry::replayed;
use super::lost::StillHeld;
use super::resume::{check_fit, unfit};
use super::{Coordinator, Held, RoadError, Unfit};
use crate::journal::Stored;
use crate::run::{Listen, Stop};

/// A run that is to be closed as it stands, and what that leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its row.
    pub row: RunRow,
    /// Why it halted last; `None` where its coordinator ended without a word.
    pub halt: Option<String>,
    /// How many of its steps have passed, and how many it has.
    pub passed: (usize, usize),
    /// The migrations that are applied, which stay so.
    pub applied: MigrationSet,
    /// The workloads that bear its stamp.
    pub held: Vec<StillHeld>,
}

/// What is to be told of a workload of a run that was closed so.
const LINE: &str = "was closed as it stands; to go on from here: stepback rollback --to RELEASE";

impl Coordinator {
    /// What closing the run as it stands would leave. Changes nothing.
    ///
    /// # Errors
    /// [`RoadError::Unfit`] where it is closed, or is not the run, the database or the cluster that its plan was made for.
    pub async fn find_standing(&self, run: &RunId) -> Result<Standing, RoadError> {
        let (standing, ..) = self.read_standing(run).await?;
        Ok(standing)
    }

    async fn read_standing(&self, run: &RunId) -> Result<(Standing, Stored, RunState), RoadError> {
        let seen = self.database.look().await?;
        let row = self.find_run(Some(run), &seen).await?;
        let stored = self.journals.open(&row.journal)?.read(run).await?;
        check_fit(&row, &stored, &seen, None)?;
        self.check_cluster(&row, &stored.plan).await?;
        let state = replayed(run, &stored.entries, &stored.plan)?;
        if state.newer_format {
            return Err(unfit(run, Unfit::NewerFormat));
        }
        let passed = stored.plan.steps.iter().take_while(|step| {
            use stepback_core::journal::StepState::Passed;
            matches!(state.step(step.id), Some(Passed))
        });
        let standing = Standing {
            halt: state.halted.as_ref().map(|halt| halt.message.clone()),
            passed: (passed.count(), stored.plan.steps.len()),
            applied: seen.applied(),
            held: self.still_held(run, &stored.plan.workloads()).await?,
            row,
        };
        Ok((standing, stored, state))
    }

    /// Closes a run as it stands, as it was shown.
    ///
    /// # Errors
    /// As [`Coordinator::find_standing`]; [`Unfit::Changed`] where it is another story by now, such as after somebody has
    /// gone on with it.
    pub async fn close_standing(
        &self,
        shown: &Standing,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<RunRow, RoadError> {
        let (_, stored, _) = self.read_standing(&shown.row.run).await?;
        let held = self.take_leases_of(&stored, &stop, listener).await?;
        let closed = self.close_standing_held(&held, shown).await;
        self.release().await;
        closed
    }

    async fn close_standing_held(&self, held: &Held, shown: &Standing) -> Result<RunRow, RoadError> {
        let run = &shown.row.run;
        let (now, _, mut state) = self.read_standing(run).await?;
        if now != *shown {
            return Err(unfit(run, Unfit::Changed));
        }
        let stamp = self.mark_closed(held, run, &now.held, LINE).await?;
        self.give_back_unborrowed(&now.held, &stamp).await?;
        if let Some(aborted) = &state.aborts {
            // Its coordinator may have died between the two journals.
            self.record_hand_over(held, aborted, &now.row.journal, run).await?;
        }
        // Where it is over, only its row was left.
        if !state.is_over() {
            let journal = self.journals.open(&now.row.journal)?;
            self.end_journal(held, &*journal, &mut state).await?;
        }
        let row = RunRow {
            status: RunStatus::Closed,
            token: held.token,
            ..now.row
        };
        self.database.write_run(held.token, &row).await?;
        Ok(row)
    }
}
