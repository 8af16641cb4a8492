//! Joining the road part-way, with entries read back; and closing what a dead coordinator left.

use stepback_core::journal::{HaltKind, Outcome, RunState, What};
use stepback_core::model::{RunId, RunRow, RunStatus, SeenDatabase, WorkloadRef};

use super::carry::{Recorder, replayed};
use super::{Coordinator, Finished, Held, RoadError};
use crate::journal::{Journal, JournalError};
use crate::run::{Ending, Event, Listen, Stop, append};

impl Coordinator {
    /// Continues the run that is not closed, or the one that is named.
    ///
    /// # Errors
    /// [`RoadError::NoRun`] where there is none; [`RoadError::Unfit`] where it is not the run, the database or the
    /// cluster that the plan was made for.
    pub async fn resume(
        &self,
        run: Option<&RunId>,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        let seen = self.database.look().await?;
        let row = self.find_run(run, &seen).await?;
        let journal = self.journals.open(&row.journal)?;
        let stored = match journal.read(&row.run).await {
            // A row that is `opening` did nothing: its journal may not be there.
            Err(JournalError::NotFound(_)) if row.status == RunStatus::Opening => return Err(RoadError::NoRun),
            stored => stored?,
        };
        let unfit = |message: String| RoadError::Unfit {
            run: row.run.clone(),
            message,
        };
        if stored.plan.id != row.plan {
            return Err(unfit(format!(
                "its journal holds plan {}, but the database knows it as plan {}",
                stored.plan.id, row.plan
            )));
        }
        if stored.plan.database.identity != seen.database.identity {
            return Err(unfit(
                "this is not the database that it was opened on: it was restored, failed over or cloned since"
                    .to_owned(),
            ));
        }
        let workloads: Vec<WorkloadRef> = stored.plan.workloads();
        if let (Some(planned), Some(cluster)) = (&stored.plan.cluster, &self.cluster) {
            let found = cluster.look(&workloads).await?;
            if found.uid != planned.uid {
                return Err(unfit("this is not the cluster that it was opened on".to_owned()));
            }
        }
        let newest = stored.entries.last().map_or(0, |entry| entry.token.number);
        let above = self.highest_stamp(&workloads).await?.max(newest);
        self.say_who_holds(std::time::Duration::from_millis(stored.plan.limits.lock_ms), listener)
            .await?;
        let held = self.take_leases(&stored.plan, above).await?;
        let resumed = self.resume_held(&held, row, &*journal, stop, listener).await;
        self.release().await;
        resumed
    }

    async fn resume_held(
        &self,
        held: &Held,
        mut row: RunRow,
        journal: &dyn Journal,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        // Read again under the lease: the journal that was read before it may have grown.
        let stored = journal.read(&row.run).await?;
        let mut entries = stored.entries;
        let mut state = replayed(&row.run, &entries, &stored.plan)?;
        row.token = held.token;
        if let Some(outcome) = state.closed {
            row.status = RunStatus::Closed;
            self.database.write_run(held.token, &row).await?;
            return Ok(Finished {
                run: row.run,
                plan: stored.plan,
                entries,
                ending: Ending::Closed(outcome),
            });
        }
        if state.newer_format {
            let message = "its journal has a newer format than this program writes".to_owned();
            return Err(RoadError::Unfit { run: row.run, message });
        }
        self.stamp_takeover(held, &row.run, &stored.plan, &state).await?;
        row.status = RunStatus::Open;
        self.database.write_run(held.token, &row).await?;
        let resumed = What::RunResumed { by: self.by.clone() };
        let entry = append(journal, &mut state, held.token, resumed).await?;
        Recorder {
            entries: &mut entries,
            listener,
        }
        .hear(Event::Entry(entry));
        self.execute_and_close(held, row, stored.plan, entries, state, journal, stop, listener)
            .await
    }

    async fn find_run(&self, run: Option<&RunId>, seen: &SeenDatabase) -> Result<RunRow, RoadError> {
        match (run, &seen.open_run) {
            (None, Some(row)) => Ok(row.clone()),
            (Some(run), Some(row)) if row.run == *run => Ok(row.clone()),
            (None, None) => Err(RoadError::NoRun),
            (Some(run), _) => {
                let rows = self.database.runs().await?;
                let known = rows.into_iter().find(|row| row.run == *run);
                let message = match known {
                    Some(_) => "it is closed already",
                    None => "this database does not know it",
                };
                Err(RoadError::Unfit {
                    run: run.clone(),
                    message: message.to_owned(),
                })
            }
        }
    }

    /// Closes what a dead coordinator left where that is safe: a run that was still opening, one that closes itself,
    /// or one whose journal is closed already. Any other run that is not closed forbids a new one.
    pub(super) async fn close_leftover(&self, held: &Held, seen: SeenDatabase) -> Result<(), RoadError> {
        let Some(mut row) = seen.open_run else { return Ok(()) };
        let journal = match self.journals.open(&row.journal) {
            Ok(journal) => journal,
            // Whether it is over cannot be read from here, so it is not: to continue it is the way on.
            Err(JournalError::Unreachable(_)) => return Err(RoadError::RunOpen(Box::new(row))),
            Err(error) => return Err(error.into()),
        };
        let stored = match journal.read(&row.run).await {
            Ok(stored) => Some(stored),
            Err(JournalError::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let state = match &stored {
            Some(stored) => RunState::replay(&stored.entries, stored.plan.steps.len())
                .map_err(|illegal| JournalError::illegal(&row.run, &illegal))?,
            None => None,
        };
        let doubtful = state
            .as_ref()
            .and_then(|state| state.halted.as_ref())
            .is_some_and(|halt| halt.kind == HaltKind::Doubtful);
        match state {
            Some(state) if state.is_over() => {}
            _ if row.status == RunStatus::Opening || (row.closes_itself && !doubtful) => {
                if let Some(mut state) = state {
                    append(
                        &*journal,
                        &mut state,
                        held.token,
                        What::RunResumed { by: self.by.clone() },
                    )
                    .await?;
                    append(
                        &*journal,
                        &mut state,
                        held.token,
                        What::RunClosed {
                            outcome: Outcome::Stopped,
                        },
                    )
                    .await?;
                }
            }
            _ => return Err(RoadError::RunOpen(Box::new(row))),
        }
        row.status = RunStatus::Closed;
        row.token = held.token;
        self.database.write_run(held.token, &row).await?;
        Ok(())
    }
}
