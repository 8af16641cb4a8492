//! Going back to where a run started, with a run that has a plan of its own (LAWS W5).
//!
//! In this order: the new plan's objects; its `RunOpened`, which names the run that it aborts; both rows in one
//! transaction; the halted run's last entry. Before the rows change, the halted run is the open one and nothing has
//! happened; from then on the new run is, and is resumed like any other.

use stepback_core::journal::{RunState, What};
use stepback_core::model::{DatabaseIdentity, DeadPod, JournalPlace, RunId, RunRow};
use stepback_core::plan::{Plan, Seen, plan_abort, without_dead};

use super::carry::replayed;
use super::resume::{check_fit, unfit};
use super::{Coordinator, Finished, Held, RoadError, Unfit};
use crate::journal::{JournalError, Stored};
use crate::run::{Listen, RunError, Stop, append};

/// A run that another one takes over from.
pub(super) struct Aborted {
    pub(super) run: RunId,
    pub(super) place: JournalPlace,
}

/// What whoever aborts a run has accepted.
#[derive(Clone, Debug, Default)]
pub struct Consent {
    /// That the target release may have written data since.
    pub writes: bool,
    /// That the run's database is this one now (LAWS D13).
    pub rebind: Option<DatabaseIdentity>,
    /// Pods of its workloads that are dead (LAWS W14).
    pub dead: Vec<DeadPod>,
    /// Nobody: the run goes back by itself.
    pub by_itself: bool,
}

/// The plan of an abort, which says where nobody asked for it.
fn plan_back(halted: &Plan, state: &RunState, seen: &Seen, consent: &Consent) -> Result<Plan, RoadError> {
    let plan = plan_abort(halted, state, seen, consent.writes).map_err(RoadError::Refused)?;
    let mut plan = match consent.dead.as_slice() {
        [] => plan,
        dead => without_dead(plan, dead),
    };
    if consent.by_itself {
        plan.title.push_str(" (onFailure)");
        plan.id = plan.compute_id().map_err(RunError::Plan)?;
    }
    Ok(plan)
}

impl Coordinator {
    /// The plan that would take the run back to where it started, and the run. Changes nothing.
    ///
    /// # Errors
    /// [`RoadError::Refused`] with everything that forbids it; [`RoadError::Unfit`] where it is not the run, the database
    /// or the cluster that its plan was made for.
    pub async fn plan_abort(&self, run: Option<&RunId>, consent: &Consent) -> Result<(RunRow, Plan), RoadError> {
        let seen = self.database.look().await?;
        let row = self.find_run(run, &seen).await?;
        let (stored, state) = self.read_halted(&row).await?;
        check_fit(&row, &stored, &seen, consent.rebind.as_ref())?;
        self.check_cluster(&row, &stored.plan).await?;
        let seen = self.look(&stored.plan.workloads()).await?;
        let plan = plan_back(&stored.plan, &state, &seen, consent)?;
        Ok((row, plan))
    }

    async fn read_halted(&self, row: &RunRow) -> Result<(Stored, RunState), RoadError> {
        let stored = match self.journals.open(&row.journal)?.read(&row.run).await {
            Err(JournalError::NotFound(_)) => return Err(unfit(&row.run, Unfit::JournalGone(row.journal.clone()))),
            stored => stored?,
        };
        let state = replayed(&row.run, &stored.entries, &stored.plan)?;
        let why = if state.is_over() {
            Unfit::Closed
        } else if let Some(aborted) = &state.aborts {
            Unfit::IsAbort(aborted.clone())
        } else if state.newer_format {
            Unfit::NewerFormat
        } else if row.closes_itself {
            Unfit::HoldsNothing
        } else {
            return Ok((stored, state));
        };
        Err(unfit(&row.run, why))
    }

    /// Takes a run back to where it started, as was planned.
    ///
    /// # Errors
    /// As [`Coordinator::plan_abort`]; [`RoadError::Unfit`] where the plan would be another one by now.
    pub async fn abort(
        &self,
        row: &RunRow,
        planned: &Plan,
        consent: &Consent,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        let stored = self.journals.open(&row.journal)?.read(&row.run).await?;
        let held = self.take_leases_of(&stored, &stop, listener).await?;
        let leaving = stop.clone();
        let aborted = self.abort_held(&held, &row.run, planned, consent, stop, listener).await;
        self.release_leaving(&leaving).await;
        aborted
    }

    async fn abort_held(
        &self,
        held: &Held,
        run: &RunId,
        planned: &Plan,
        consent: &Consent,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        let seen = self.database.look().await?;
        let row = self.find_run(Some(run), &seen).await?;
        let (stored, state) = self.read_halted(&row).await?;
        check_fit(&row, &stored, &seen, consent.rebind.as_ref())?;
        if stop.is_asked() {
            return Err(RoadError::Stopped);
        }
        // What a dead coordinator has sent must not arrive behind our look (LAWS W6).
        self.stamp_takeover(held, run, &stored.plan, &state).await?;
        let seen = self.look(&stored.plan.workloads()).await?;
        let now = plan_back(&stored.plan, &state, &seen, consent)?;
        if now.steps != planned.steps {
            return Err(unfit(run, Unfit::Changed));
        }
        let aborted = Aborted {
            run: run.clone(),
            place: row.journal,
        };
        self.open_and_execute(held, now, Some(aborted), stop, listener).await
    }

    /// The last entry of a run that another one has taken over from, where it is missing.
    pub(super) async fn record_hand_over(
        &self,
        held: &Held,
        from: &RunId,
        place: &JournalPlace,
        to: &RunId,
    ) -> Result<(), RoadError> {
        let journal = self.journals.open(place)?;
        let stored = journal.read(from).await?;
        let mut state = replayed(from, &stored.entries, &stored.plan)?;
        if !state.is_over() {
            append(
                &*journal,
                &mut state,
                held.token,
                What::RunHandedOver { to: to.clone() },
            )
            .await?;
        }
        Ok(())
    }
}
