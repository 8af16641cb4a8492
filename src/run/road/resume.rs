//! Joining the road part-way, with entries read back; and closing what a dead coordinator left.

use std::sync::Arc;

use stepback_core::journal::{Entry, HaltKind, Outcome, RunState, StepState, What};
use stepback_core::model::{DatabaseIdentity, DeadPod, RunId, RunRow, RunStatus, SeenDatabase, StepId};
use stepback_core::plan::{Plan, is_other_cluster};

use super::carry::{Recorder, replayed};
use super::{Coordinator, Finished, Held, RoadError, Unfit};
use crate::journal::{Journal, JournalError, Stored};
use crate::run::{Ending, Event, Listen, RunError, Stop, append};

/// How often a takeover is tried against what arrives from whoever was taken over.
const TAKEOVERS: u32 = 5;

/// What whoever resumes a run knows of the world and says.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The database that the run may be bound to anew, where this is that one and not the one that it is bound to (LAWS D13).
    pub rebind: Option<DatabaseIdentity>,
    /// Pods of its workloads that are dead ([`Coordinator::find_dead`]).
    pub dead: Vec<DeadPod>,
}

/// What a takeover has come to.
enum Taken {
    /// The run was over.
    Over(Box<Finished>),
    /// It is this process's.
    Open(Box<Ours>),
}

/// A run that has been taken over.
struct Ours {
    row: RunRow,
    plan: Plan,
    entries: Vec<Entry>,
    state: RunState,
}

impl Coordinator {
    /// Continues the run that is not closed, or the one that is named. Everything of the database that has passed is observed
    /// again by every resume, so a ledger that is behind the journal halts it.
    ///
    /// # Errors
    /// [`RoadError::NoRun`] where there is none; [`RoadError::Unfit`] where it is not the run, the database or the
    /// cluster that the plan was made for.
    pub async fn resume(
        &self,
        run: Option<&RunId>,
        said: &Said,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        let seen = self.database.look().await?;
        let row = self.find_run(run, &seen).await?;
        let journal = self.journals.open(&row.journal)?;
        let stored = match journal.read(&row.run).await {
            Err(JournalError::NotFound(_)) => return Err(unfit(&row.run, Unfit::JournalGone(row.journal))),
            stored => stored?,
        };
        check_fit(&row, &stored, &seen, said.rebind.as_ref())?;
        self.check_cluster(&row, &stored.plan).await?;
        let held = self.take_leases_of(&stored, &stop, listener).await?;
        let resumed = self
            .resume_held(&held, row, &*journal, said, stop.clone(), listener)
            .await;
        self.release_leaving(&stop).await;
        self.or_turn_back(resumed?, stop, listener).await
    }

    async fn resume_held(
        &self,
        held: &Held,
        row: RunRow,
        journal: &dyn Journal,
        said: &Said,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        // What a sleeper had in hand may arrive between our look at the journal and our first entry. Behind that it can
        // write no more, and a stamp keeps it from going on: it has an entry or two to send.
        let mut tries = 1..TAKEOVERS;
        let taken = loop {
            match self.take_over(held, &row, journal, said, listener).await {
                Err(RoadError::Run(RunError::Journal(JournalError::Grown(_)))) if tries.next().is_some() => {}
                taken => break taken?,
            }
        };
        match taken {
            Taken::Over(finished) => Ok(*finished),
            Taken::Open(ours) => {
                let Ours {
                    row,
                    plan,
                    entries,
                    state,
                } = *ours;
                let step = state.current().unwrap_or(StepId(0));
                self.remove_dead(held, &row.run, &plan, &entries, step).await?;
                self.execute_and_close(held, row, plan, entries, state, journal, stop, listener)
                    .await
            }
        }
    }

    /// Makes the run this process's own: its stamps on the workloads, its token in the database, its entry in the journal.
    async fn take_over(
        &self,
        held: &Held,
        row: &RunRow,
        journal: &dyn Journal,
        said: &Said,
        listener: &mut dyn Listen,
    ) -> Result<Taken, RoadError> {
        // Both are read again under the lease, and compared again: the journal may have grown, and whoever may write
        // where it is kept could have put another plan there while we waited (LAWS W8).
        let seen = self.database.look().await?;
        let stored = journal.read(&row.run).await?;
        let open = seen.open_run.clone().filter(|open| open.run == row.run);
        let mut row = match open {
            Some(open) => open,
            // Another coordinator has brought it to its end meanwhile.
            None => self
                .database
                .runs()
                .await?
                .into_iter()
                .find(|known| known.run == row.run)
                .ok_or_else(|| unfit(&row.run, Unfit::Unknown))?,
        };
        let rebound = check_fit(&row, &stored, &seen, said.rebind.as_ref())?;
        let mut entries = stored.entries;
        let mut state = replayed(&row.run, &entries, &stored.plan)?;
        row.token = held.token;
        if let Some(outcome) = state.closed {
            row.status = RunStatus::Closed;
            self.database.write_run(held.token, &row).await?;
            return Ok(Taken::Over(Box::new(Finished {
                run: row.run,
                plan: stored.plan,
                entries,
                ending: Ending::Closed(outcome),
                back: None,
                past: None,
            })));
        }
        if state.newer_format {
            return Err(unfit(&row.run, Unfit::NewerFormat));
        }
        if let Some(aborted) = &state.aborts {
            // Its coordinator may have died between the two journals.
            self.record_hand_over(held, aborted, &row.journal, &row.run).await?;
        }
        self.stamp_takeover(held, &row.run, &stored.plan, &state).await?;
        row.status = RunStatus::Open;
        self.database.write_run(held.token, &row).await?;
        let by = self.by.clone();
        let rebound = rebound.map(Box::new);
        let dead = said.dead.clone();
        let resumed = What::RunResumed { by, rebound, dead };
        let entry = append(journal, &mut state, held.token, resumed).await?;
        Recorder {
            entries: &mut entries,
            listener,
        }
        .hear(Event::Entry(entry));
        Ok(Taken::Open(Box::new(Ours {
            row,
            plan: stored.plan,
            entries,
            state,
        })))
    }

    pub(super) async fn check_cluster(&self, row: &RunRow, plan: &Plan) -> Result<(), RoadError> {
        if let (Some(_), Some(cluster)) = (&plan.cluster, &self.cluster) {
            let found = cluster.look(&plan.workloads()).await?;
            if is_other_cluster(plan, &found) {
                return Err(unfit(&row.run, Unfit::OtherCluster));
            }
        }
        Ok(())
    }

    pub(super) async fn find_run(&self, run: Option<&RunId>, seen: &SeenDatabase) -> Result<RunRow, RoadError> {
        match (run, &seen.open_run) {
            (None, Some(row)) => Ok(row.clone()),
            (Some(run), Some(row)) if row.run == *run => Ok(row.clone()),
            (None, None) => Err(RoadError::NoRun),
            (Some(run), _) => {
                let rows = self.database.runs().await?;
                let why = match rows.into_iter().find(|row| row.run == *run) {
                    None => Unfit::Unknown,
                    Some(known) if known.status == RunStatus::Closed => Unfit::Closed,
                    Some(known) => other_ledger(known.ledger, seen),
                };
                Err(unfit(run, why))
            }
        }
    }

    /// What a dead coordinator left and may be closed: a run that was still opening, one that closes itself, or one whose
    /// journal is closed already. Any other run that is not closed forbids a new one. Changes nothing.
    pub(super) async fn judge_leftover(&self, seen: SeenDatabase) -> Result<Option<Leftover>, RoadError> {
        let Some(row) = seen.open_run else { return Ok(None) };
        let (journal, stored) = match self.read_leftover(&row).await {
            Ok(read) => read,
            // Whatever is to be read of it: its row says that no step of it can have begun.
            Err(_) if row.status == RunStatus::Opening => return Ok(Some(Leftover { row, journal: None })),
            // Whether it is over cannot be read from here, or by this program, so it is not: to continue it is the way on.
            Err(JournalError::Unreachable(_) | JournalError::Newer { .. }) => {
                return Err(RoadError::RunOpen(Box::new(row)));
            }
            Err(error) => return Err(error.into()),
        };
        let state = match &stored {
            Some(stored) => stored.state(&row.run)?,
            None => None,
        };
        if leaves_nothing(&row, state.as_ref()) {
            let unended = state.filter(|state| !state.is_over() && !state.newer_format);
            let journal = unended.map(|state| (journal, state));
            return Ok(Some(Leftover { row, journal }));
        }
        Err(RoadError::RunOpen(Box::new(row)))
    }

    async fn read_leftover(&self, row: &RunRow) -> Result<(Arc<dyn Journal>, Option<Stored>), JournalError> {
        let journal = self.journals.open(&row.journal)?;
        match journal.read(&row.run).await {
            Ok(stored) => Ok((journal, Some(stored))),
            Err(JournalError::NotFound(_)) => Ok((journal, None)),
            Err(error) => Err(error),
        }
    }

    /// Closes what was left, when a run is about to be opened in its place.
    pub(super) async fn close_leftover(&self, held: &Held, leftover: Leftover) -> Result<RunRow, RoadError> {
        let Leftover { mut row, journal } = leftover;
        if let Some((journal, mut state)) = journal {
            self.end_journal(held, &*journal, &mut state).await?;
        }
        row.status = RunStatus::Closed;
        row.token = held.token;
        self.database.write_run(held.token, &row).await?;
        Ok(row)
    }

    /// The last entries of a journal that is not over, and that nobody continues.
    pub(super) async fn end_journal(
        &self,
        held: &Held,
        journal: &dyn Journal,
        state: &mut RunState,
    ) -> Result<(), RoadError> {
        let by = self.by.clone();
        let resumed = What::RunResumed {
            by,
            rebound: None,
            dead: Vec::new(),
        };
        let closed = What::RunClosed {
            outcome: Outcome::Stopped,
        };
        for what in [resumed, closed] {
            append(journal, state, held.token, what).await?;
        }
        Ok(())
    }
}

/// Whether a run that is not closed may be closed by the next one: it never began, its journal is over, or it leaves
/// nothing half-way and closes itself. What a newer program has left is closed by one that can write its journal.
pub fn leaves_nothing(row: &RunRow, state: Option<&RunState>) -> bool {
    let Some(state) = state else {
        return row.status == RunStatus::Opening || row.closes_itself;
    };
    let halted = state.halted.as_ref();
    let is_doubtful = halted.is_some_and(|halt| halt.kind == HaltKind::Doubtful);
    // A database that was restored to the moment of the opening says so of a run that has long begun.
    let never_began = row.status == RunStatus::Opening && state.steps.iter().all(|step| *step == StepState::Pending);
    state.is_over() || never_began || (row.closes_itself && !is_doubtful && !state.newer_format)
}

/// A run that a dead coordinator left, and that may be closed.
pub(super) struct Leftover {
    row: RunRow,
    /// Its journal and what that says, where it is not over and can be ended.
    journal: Option<(Arc<dyn Journal>, RunState)>,
}

/// Whether the journal's plan is the one that the database knows, and the database the one that the run is bound to; or the
/// one that it may be bound to anew, which is then given (LAWS D13, W8).
pub(super) fn check_fit(
    row: &RunRow,
    stored: &Stored,
    seen: &SeenDatabase,
    rebind: Option<&DatabaseIdentity>,
) -> Result<Option<DatabaseIdentity>, RoadError> {
    let computed = stored.plan.compute_id().map_err(RunError::Plan)?;
    if stored.plan.id != row.plan || computed != row.plan {
        let (found, known) = (computed, row.plan);
        return Err(unfit(&row.run, Unfit::OtherPlan { found, known }));
    }
    if stored.plan.database.ledger != seen.database.ledger {
        let was = stored.plan.database.ledger.table.clone();
        return Err(unfit(&row.run, other_ledger(was, seen)));
    }
    let (was, is) = (bound_to(stored), &seen.database.identity);
    if was == is {
        return Ok(None);
    }
    // Our own id is copied with the database, wherever it is restored or cloned: another one is another database.
    if was.own != is.own {
        return Err(unfit(&row.run, Unfit::Elsewhere));
    }
    if rebind == Some(is) {
        return Ok(Some(is.clone()));
    }
    let (was, is) = (Box::new(was.clone()), Box::new(is.clone()));
    Err(unfit(&row.run, Unfit::OtherDatabase { was, is }))
}

/// The database that a run is bound to: the one that it was opened on, or the one that it was bound to last.
pub fn bound_to(stored: &Stored) -> &DatabaseIdentity {
    let rebound = stored.entries.iter().rev().find_map(|entry| match &entry.what {
        What::RunResumed { rebound, .. } => rebound.as_deref(),
        _ => None,
    });
    rebound.unwrap_or(&stored.plan.database.identity)
}

/// That a run is on this ledger of the database, and not on the one that was looked at (LAWS D16).
pub(super) fn other_ledger(was: String, seen: &SeenDatabase) -> Unfit {
    let is = seen.database.ledger.table.clone();
    Unfit::OtherLedger { was, is }
}

pub(super) fn unfit(run: &RunId, why: Unfit) -> RoadError {
    RoadError::Unfit { run: run.clone(), why }
}
