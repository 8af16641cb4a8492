//! Opening a run, carrying it out, closing it.

use stepback_core::journal::{Entry, FORMAT, HaltKind, Outcome, RunState, What};
use stepback_core::model::{Bound, MigrationSet, RunId, RunRow, RunStatus, StepId};
use stepback_core::plan::{Plan, point_of_no_easy_return};

use super::abort::Aborted;
use super::{Coordinator, Finished, Held, RoadError};
use crate::journal::{Journal, JournalError, Pruning};
use crate::run::append::{Patience, write};
use crate::run::{Ending, Event, Execution, Listen, RunError, Stop, Unpaired, World, append, execute};

/// How many finished runs of an app keep their journal.
const KEPT_RUNS: usize = 10;

impl Coordinator {
    pub(super) async fn open_and_execute(
        &self,
        held: &Held,
        plan: Plan,
        aborted: Option<Aborted>,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        let run = RunId(ulid::Ulid::generate().to_string());
        let journal = self.journals.open(&plan.journal)?;
        let mut row = RunRow {
            run: run.clone(),
            ledger: plan.database.ledger.table.clone(),
            plan: plan.id,
            app: plan.app.clone(),
            journal: plan.journal.clone(),
            status: RunStatus::Opening,
            title: plan.title.clone(),
            closes_itself: !plan.has_workload_steps(),
            token: held.token,
        };
        journal.create(&run, &plan, held.token).await?;
        // A run that aborts another has its row from the moment when that one's is closed, and is open then.
        if aborted.is_none() {
            self.database.write_run(held.token, &row).await?;
        }
        // Whoever plans the next one is told where this one acted.
        if let Some(bound) = Bound::of(&run, &plan) {
            self.database.bind(held.token, &bound).await?;
        }
        let opened = Entry {
            format: FORMAT,
            sequence: 1,
            at: jiff::Timestamp::now(),
            token: held.token,
            previous: String::new(),
            what: What::RunOpened {
                run: run.clone(),
                plan: plan.id,
                by: self.by.clone(),
                aborts: aborted.as_ref().map(|aborted| aborted.run.clone()),
            },
        };
        let state = RunState::open(&opened, plan.steps.len()).map_err(RunError::from)?;
        write(&*journal, &state, &opened, Patience::brief()).await?;
        row.status = RunStatus::Open;
        // Heard as soon as there is a run to continue, whatever fails then.
        match aborted {
            None => {
                listener.hear(Event::Entry(opened.clone()));
                self.database.write_run(held.token, &row).await?;
            }
            Some(aborted) => {
                self.database.hand_over(held.token, &aborted.run, &row).await?;
                listener.hear(Event::Entry(opened.clone()));
                self.record_hand_over(held, &aborted.run, &aborted.place, &run).await?;
            }
        }
        self.execute_and_close(held, row, plan, vec![opened], state, &*journal, stop, listener)
            .await
    }

    #[expect(clippy::too_many_arguments, reason = "the state of a run, handed on once")]
    pub(super) async fn execute_and_close(
        &self,
        held: &Held,
        mut row: RunRow,
        plan: Plan,
        mut entries: Vec<Entry>,
        state: RunState,
        journal: &dyn Journal,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        let mut heard = Recorder {
            entries: &mut entries,
            listener,
        };
        let execution = Execution {
            plan: &plan,
            state,
            token: held.token,
            journal,
            world: World {
                database: &*self.database,
                cluster: self.cluster.as_deref(),
                unpaired: Unpaired::default(),
            },
            stop,
        };
        let ending = execute(execution, &mut heard).await?;
        row.status = match &ending {
            Ending::Fenced => {
                return Ok(Finished {
                    run: row.run,
                    plan,
                    entries,
                    ending,
                    back: None,
                    past: None,
                });
            }
            Ending::Closed(_) => RunStatus::Closed,
            Ending::Halted(halt) if row.closes_itself && halt.kind != HaltKind::Doubtful => {
                // Nothing is left half-way that `resume` would be needed for: correct and run again.
                let mut state = replayed(&row.run, &entries, &plan)?;
                let closed = What::RunClosed {
                    outcome: Outcome::Stopped,
                };
                let entry = append(journal, &mut state, held.token, closed).await?;
                Recorder {
                    entries: &mut entries,
                    listener,
                }
                .hear(Event::Entry(entry));
                RunStatus::Closed
            }
            Ending::Halted(_) => RunStatus::Halted,
        };
        self.database.write_run(held.token, &row).await?;
        if row.status == RunStatus::Closed {
            // Room for the next runs (LAWS W10). What cannot be removed now is removed by a later one.
            if let Err(error) = self.prune(&plan, journal).await {
                tracing::debug!(%error, "old journals could not be removed");
            }
        }
        let past = match row.status {
            RunStatus::Halted => self.find_past(&row.run, &plan, &entries).await,
            _ => None,
        };
        Ok(Finished {
            run: row.run,
            plan,
            entries,
            ending,
            back: None,
            past,
        })
    }
}

impl Coordinator {
    /// The step since which the target may have written data. Only where a walk's downs have begun does the ledger decide
    /// it; where that cannot be read, whoever is to choose is told the worse of the two.
    async fn find_past(&self, run: &RunId, plan: &Plan, entries: &[Entry]) -> Option<StepId> {
        let state = replayed(run, entries, plan).ok()?;
        let undone = point_of_no_easy_return(plan, &state, &MigrationSet::default());
        if undone == point_of_no_easy_return(plan, &state, &plan.from.schema) {
            return undone;
        }
        match self.database.ledger().await {
            Ok(ledger) => {
                let versions = ledger.into_iter().map(|row| row.migration.version);
                point_of_no_easy_return(plan, &state, &MigrationSet(versions.collect()))
            }
            Err(_) => undone,
        }
    }

    /// Removes journals that nobody needs any more. Only for whoever holds the lease.
    async fn prune(&self, plan: &Plan, journal: &dyn Journal) -> Result<(), RoadError> {
        let rows = self.database.runs().await?;
        let pruning = Pruning {
            app: plan.app.as_deref().unwrap_or_default(),
            keep: KEPT_RUNS,
            rows: &rows,
            database: &plan.database,
        };
        let removed = journal.prune(&pruning).await?;
        tracing::debug!(?removed, "old journals were removed");
        Ok(())
    }
}

pub(super) fn replayed(run: &RunId, entries: &[Entry], plan: &Plan) -> Result<RunState, RoadError> {
    let state = RunState::replay(entries, plan.steps.len()).map_err(|illegal| JournalError::illegal(run, &illegal))?;
    state.ok_or(RoadError::NoRun)
}

/// Keeps every entry that is heard, for the report, and passes everything on.
pub(super) struct Recorder<'a> {
    pub(super) entries: &'a mut Vec<Entry>,
    pub(super) listener: &'a mut dyn Listen,
}

impl Listen for Recorder<'_> {
    fn hear(&mut self, event: Event) {
        if let Event::Entry(entry) = &event {
            self.entries.push(entry.clone());
        }
        self.listener.hear(event);
    }
}
