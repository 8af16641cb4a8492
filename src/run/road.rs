//! The road of a run: prepare, take the lease, look again, open, carry out, close; and joining it again part-way.
//!
//! Opening goes in this order: plan objects; run row `opening`; `RunOpened`; row `open`, fenced; only then a step. A
//! row that is `opening` did nothing. Closing: `RunClosed`, then the row; where the two differ, the journal wins.

use std::sync::Arc;
use std::time::Duration;

use stepback_core::journal::{By, Entry, FORMAT, HaltKind, Outcome, RunState, StepState, What};
use stepback_core::model::{RunId, RunRow, RunStatus, SeenDatabase, Stamp, StepId, Token, WorkloadRef, annotation};
use stepback_core::plan::{Plan, Refusals, Request, Seen, plan};

use super::{Ending, Event, Execution, Listen, RunError, Stop, World, append, execute, look};
use crate::cluster::{Cluster, ClusterError};
use crate::database::{Database, DbError, LeaseRequest};
use crate::journal::{Journal, JournalError, Journals};

/// Who acts on what.
pub struct Coordinator {
    /// The database.
    pub database: Arc<dyn Database>,
    /// The cluster, when workloads take part.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Where journals are.
    pub journals: Arc<dyn Journals>,
    /// Who acts.
    pub by: By,
}

/// A run that this process has carried out, as far as it came.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The run.
    pub run: RunId,
    /// Its plan.
    pub plan: Plan,
    /// Its whole journal, as this process knows it.
    pub entries: Vec<Entry>,
    /// How it ended.
    pub ending: Ending,
}

/// Why a run could not be started, continued or closed.
#[derive(Debug, thiserror::Error)]
pub enum RoadError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Carrying out.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The plan is refused, now that the lease is held.
    #[error("the plan is refused")]
    Refused(Refusals),
    /// The world is not the one that the plan was made for.
    #[error("the world has changed since the plan was made: {}", .0.join(", "))]
    Changed(Vec<String>),
    /// Another run is not closed.
    #[error("run {} ({}) is not closed", .0.run, .0.title)]
    RunOpen(Box<RunRow>),
    /// There is nothing to resume.
    #[error("there is no run to resume here")]
    NoRun,
    /// The run cannot be resumed as it is; nothing was touched.
    #[error("run {run} cannot be resumed: {message}")]
    Unfit {
        /// Which run.
        run: RunId,
        /// Why not.
        message: String,
    },
}

/// The right to act, held in both places.
struct Held {
    token: Token,
}

impl Coordinator {
    /// Reads everything that a plan needs. Creates nothing.
    ///
    /// # Errors
    /// When database or cluster cannot be read.
    pub async fn look(&self, workloads: &[WorkloadRef]) -> Result<Seen, RoadError> {
        look(&*self.database, self.cluster.as_deref(), workloads).await
    }

    /// Carries a plan out, after making sure that the world is still the one that it was made for.
    ///
    /// # Errors
    /// Before the run is open: nothing but our own tables, captured scripts and the lease was touched.
    pub async fn start(
        &self,
        request: &Request<'_>,
        planned: &Plan,
        workloads: &[WorkloadRef],
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        self.database.prepare().await?;
        let above = self.highest_stamp(workloads).await?;
        let held = self.take_leases(planned, above).await?;
        let started = self
            .start_held(&held, request, planned, workloads, stop, listener)
            .await;
        self.release().await;
        started
    }

    async fn start_held(
        &self,
        held: &Held,
        request: &Request<'_>,
        planned: &Plan,
        workloads: &[WorkloadRef],
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        self.close_leftover(held, self.database.look().await?).await?;
        let used = planned.scripts();
        let captured: Vec<_> = request
            .catalog
            .migrations()
            .iter()
            .filter(|migration| used.iter().any(|script| script.migration.version == migration.version))
            .cloned()
            .collect();
        self.database.stage(held.token, &captured).await?;
        let seen = self.look(workloads).await?;
        let now = plan(request, &seen).map_err(RoadError::Refused)?;
        let changed: Vec<String> = planned
            .world
            .keys()
            .chain(now.world.keys())
            .filter(|part| planned.world.get(*part) != now.world.get(*part))
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        if !changed.is_empty() {
            return Err(RoadError::Changed(changed));
        }
        self.open_and_execute(held, now, stop, listener).await
    }

    async fn open_and_execute(
        &self,
        held: &Held,
        plan: Plan,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        let run = RunId(ulid::Ulid::generate().to_string());
        let journal = self.journals.open(&plan.journal)?;
        let mut row = RunRow {
            run: run.clone(),
            plan: plan.id,
            app: plan.app.clone(),
            journal: plan.journal.clone(),
            status: RunStatus::Opening,
            title: plan.title.clone(),
            closes_itself: !plan.has_workload_steps(),
            token: held.token,
        };
        journal.create(&run, &plan, held.token).await?;
        self.database.write_run(held.token, &row).await?;
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
            },
        };
        let state = RunState::open(&opened, plan.steps.len()).map_err(RunError::from)?;
        super::append::write(&*journal, &state, &opened).await?;
        row.status = RunStatus::Open;
        self.database.write_run(held.token, &row).await?;
        listener.hear(Event::Entry(opened.clone()));
        self.execute_and_close(held, row, plan, vec![opened], state, &*journal, stop, listener)
            .await
    }

    #[expect(clippy::too_many_arguments, reason = "the state of a run, handed on once")]
    async fn execute_and_close(
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
        Ok(Finished {
            run: row.run,
            plan,
            entries,
            ending,
        })
    }

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

    /// The highest token that is written on a workload: a lease must be issued above it.
    async fn highest_stamp(&self, workloads: &[WorkloadRef]) -> Result<u64, RoadError> {
        let Some(cluster) = self.cluster.as_ref().filter(|_| !workloads.is_empty()) else {
            return Ok(0);
        };
        let seen = cluster.look(workloads).await?;
        let stamps = seen
            .workloads
            .iter()
            .filter_map(|seen| seen.annotation(annotation::STAMP)?.parse::<Stamp>().ok());
        Ok(stamps.map(|stamp| stamp.token.number).max().unwrap_or(0))
    }

    /// The database's lease first, because it issues the token; then the cluster's (LAWS W6).
    async fn take_leases(&self, plan: &Plan, above: u64) -> Result<Held, RoadError> {
        let life = Duration::from_millis(plan.limits.lease_ms);
        let wait = Duration::from_millis(plan.limits.lock_ms);
        let holder = self.by.to_string();
        let mut request = LeaseRequest {
            holder: holder.clone(),
            life,
            wait,
            above,
        };
        let (Some(planned), Some(cluster)) = (&plan.cluster, &self.cluster) else {
            let token = self.database.acquire(&request).await?;
            return Ok(Held { token });
        };
        let name = format!("stepback-{}", plan.app.as_deref().unwrap_or("app"));
        loop {
            let token = self.database.acquire(&request).await?;
            match cluster
                .acquire(&planned.namespace, &name, &holder, token, life, wait)
                .await
            {
                Ok(()) => return Ok(Held { token }),
                // The cluster has seen a higher token than the database remembers: it may have been restored from a
                // backup. A token must be above every one seen anywhere, so it is issued again.
                Err(ClusterError::Fenced { token: seen, .. }) if seen.number > request.above => {
                    self.release().await;
                    request.above = seen.number;
                }
                Err(error) => {
                    self.release().await;
                    return Err(error.into());
                }
            }
        }
    }

    /// Gives both leases back, in reverse. What cannot be given back dies by itself.
    async fn release(&self) {
        if let Some(cluster) = &self.cluster
            && let Err(error) = cluster.release().await
        {
            tracing::warn!(%error, "the cluster lease could not be given back; it ends by itself");
        }
        if let Err(error) = self.database.release().await {
            tracing::warn!(%error, "the lease could not be given back; it ends by itself");
        }
    }

    /// A takeover first stamps its token on every workload of the plan, so that a sleeper's write meets it (LAWS W6).
    async fn stamp_takeover(&self, held: &Held, run: &RunId, plan: &Plan, state: &RunState) -> Result<(), RoadError> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let step = state.current().unwrap_or(StepId(0));
        for (workload, uid) in plan.workload_uids() {
            let given_back = plan.steps.iter().any(|step| {
                matches!(&step.action, stepback_core::plan::Action::GiveBack { workload: other, .. } if *other == workload)
                    && matches!(state.step(step.id), Some(StepState::Applied | StepState::Passed))
            });
            // What was given back must stay free of our marks; a sleeper's write to it meets the cluster Lease.
            if given_back {
                continue;
            }
            let stamp = Stamp {
                run: run.clone(),
                step,
                token: held.token,
            };
            let line = format!("run {run}: resumed at step {step}; to continue: stepback resume {run}");
            cluster.stamp(&workload, &uid, &stamp, &line).await?;
        }
        Ok(())
    }

    /// Closes what a dead coordinator left where that is safe: a run that was still opening, one that closes itself,
    /// or one whose journal is closed already. Any other run that is not closed forbids a new one.
    async fn close_leftover(&self, held: &Held, seen: SeenDatabase) -> Result<(), RoadError> {
        let Some(mut row) = seen.open_run else { return Ok(()) };
        let journal = self.journals.open(&row.journal)?;
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

fn replayed(run: &RunId, entries: &[Entry], plan: &Plan) -> Result<RunState, RoadError> {
    let state = RunState::replay(entries, plan.steps.len()).map_err(|illegal| JournalError::illegal(run, &illegal))?;
    state.ok_or(RoadError::NoRun)
}

/// Keeps every entry that is heard, for the report, and passes everything on.
struct Recorder<'a> {
    entries: &'a mut Vec<Entry>,
    listener: &'a mut dyn Listen,
}

impl Listen for Recorder<'_> {
    fn hear(&mut self, event: Event) {
        if let Event::Entry(entry) = &event {
            self.entries.push(entry.clone());
        }
        self.listener.hear(event);
    }
}
