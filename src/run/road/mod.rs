//! The road of a run: prepare, take the lease, look again, open, carry out, close; and joining it again part-way.
//!
//! Opening goes in this order: plan objects; run row `opening`; `RunOpened`; row `open`, fenced; only then a step. A
//! row that is `opening` did nothing. Closing: `RunClosed`, then the row; where the two differ, the journal wins.

mod abort;
mod capture;
mod carry;
mod dead;
mod lease;
mod lost;
mod opening;
mod resume;
mod stands;
mod turn;
mod unfit;
mod unverified;
mod way;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::try_join_all;
use stepback_core::journal::{By, Entry};
use stepback_core::model::{RunId, RunRow, SeenDatabase, StepId, Token, WorkloadRef};
use stepback_core::plan::{
    Change, Goal, Plan, Refusals, Request, Seen, changes, compared_schema, is_at, look_around, other_steps, plan,
    refuse_rights,
};

use self::lease::highest_stamp;
use super::look::complete;
use super::{Ending, Listen, RunError, Stop, look};
use crate::cluster::{Cluster, ClusterError};
use crate::database::{Database, DbError};
use crate::journal::{JournalError, Journals};
use crate::probe::{Seams, try_probes};

pub use abort::Consent;
pub use lost::{Lost, StillHeld, WhatIsLost};
pub use resume::{Said, bound_to, leaves_nothing};
pub use stands::Standing;
pub use turn::Back;
pub use unfit::Unfit;

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
    /// Where it halted and was to go back by itself: what came of that. Where it is the abort, the run that it took back.
    pub back: Option<Back>,
    /// Where it halted, the step since which the target may have written data: aborting is not free any more (LAWS W5).
    pub past: Option<StepId>,
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
    #[error("the world has changed since the plan was made")]
    Changed(Vec<Change>),
    /// Another run is not closed.
    #[error("run {} ({}) is not closed", .0.run, .0.title)]
    RunOpen(Box<RunRow>),
    /// Another run that acts on workloads is being carried out.
    #[error("run {} ({}) is under way: {holder} holds the lease", row.run, row.title)]
    UnderWay {
        /// Its row.
        row: Box<RunRow>,
        /// Who is at it.
        holder: String,
    },
    /// A workload bears the stamp of a run that this database does not know as closed (LAWS W7).
    #[error("{workload} is in the hands of run {run}, which is not closed")]
    WorkloadHeld {
        /// Which workload.
        workload: WorkloadRef,
        /// Whose stamp it bears.
        run: RunId,
        /// What its state line says.
        line: Option<String>,
    },
    /// A workload bears something in the place of a stamp that no coordinator has written.
    #[error(
        "{workload} bears an annotation {} of {text:?}, which is no stamp",
        stepback_core::model::annotation::STAMP
    )]
    NoStamp {
        /// Which workload.
        workload: WorkloadRef,
        /// What stands there.
        text: String,
    },
    /// A stamp, a journal entry or the cluster's Lease names a token that no coordinator can have had.
    #[error(
        "a stamp, a journal entry or the Lease names the token {elsewhere}; those of this database have reached {here}, so \
         that nobody can have been given it"
    )]
    ForgedToken {
        /// The token.
        elsewhere: u64,
        /// The highest one that the database knows.
        here: u64,
    },
    /// Somebody asked to stop before the run was opened; nothing was touched.
    #[error("interrupted before anything was begun")]
    Stopped,
    /// There is nothing to resume.
    #[error("there is no run to resume here")]
    NoRun,
    /// The run cannot be continued or taken back as it is; nothing was touched.
    #[error("run {run} {why}")]
    Unfit {
        /// Which run.
        run: RunId,
        /// Why not.
        why: Unfit,
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

    /// Reads everything that this request needs, looks around the workloads (LAWS W3, W13, W14) and tries the probes (LAWS
    /// W17). Creates nothing.
    ///
    /// # Errors
    /// When database or cluster cannot be read. A probe that does not get through is no error.
    pub async fn look_for(&self, request: &Request<'_>, workloads: &[WorkloadRef]) -> Result<Seen, RoadError> {
        let mut seen = match self.look(workloads).await {
            Err(RoadError::Cluster(ClusterError::Forbidden(why))) => {
                return Err(self.name_missing_rights(request, workloads, why).await);
            }
            looked => looked?,
        };
        let found = seen.cluster.as_ref().map_or(&[][..], |cluster| &cluster.workloads);
        self.see_workloads_free(&seen.database, found).await?;
        if !matches!(request.goal, Goal::Up(_)) {
            seen.unverified = self.find_unverified(&seen).await?;
        }
        if let Some(schema) = compared_schema(request, &seen) {
            seen.compared = self.database.recorded_fingerprint(&schema).await?;
        }
        if let (Goal::Release(_), Some(app), Some(cluster), Some(found)) =
            (&request.goal, request.app, self.cluster.as_deref(), &seen.cluster)
        {
            let seams = Seams {
                cluster,
                database: &*self.database,
            };
            let dials = app.probes.iter().any(|probe| probe.ask.dials());
            // None of these waits for another: they are asked in one go.
            let rights = namespaces_of(workloads).into_iter().map(|namespace| async move {
                tokio::try_join!(
                    cluster.missing_rights(namespace, dials),
                    cluster.missing_pairing_rights(namespace),
                    cluster.missing_evidence_rights(namespace),
                )
            });
            let questions = look_around(request, &found.workloads);
            let around = questions.iter().map(|question| cluster.look_around(question));
            let probes = async { Ok(try_probes(seams, app, &found.workloads).await) };
            let (rights, around, probes) = tokio::try_join!(try_join_all(rights), try_join_all(around), probes)?;
            for (missing, pairing, evidence) in rights {
                seen.missing_rights.extend(missing);
                seen.missing_pairing.extend(pairing);
                seen.missing_evidence.extend(evidence);
            }
            seen.around = around;
            seen.probes = probes;
        }
        Ok(seen)
    }

    /// All rights that are missing, where the first of them already forbade to look; else what that look was told.
    async fn name_missing_rights(&self, request: &Request<'_>, workloads: &[WorkloadRef], why: String) -> RoadError {
        let dials = request
            .app
            .is_some_and(|app| app.probes.iter().any(|probe| probe.ask.dials()));
        let mut missing = Vec::new();
        for namespace in namespaces_of(workloads) {
            if let Some(cluster) = &self.cluster
                && let Ok(found) = cluster.missing_rights(namespace, dials).await
            {
                missing.extend(found);
            }
        }
        match refuse_rights(&missing) {
            Some(refusals) => RoadError::Refused(refusals),
            None => RoadError::Cluster(ClusterError::Forbidden(why)),
        }
    }

    /// The same for whoever has just read the database and asks nothing of the cluster: nothing is read twice, nor more
    /// than the request needs.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn look_on(&self, request: &Request<'_>, database: SeenDatabase) -> Result<Seen, RoadError> {
        let is_there = match &request.goal {
            Goal::UpTo(release) => is_at(request.app, request.catalog, &database, release),
            _ => false,
        };
        let mut seen = complete(&*self.database, database, !is_there).await?;
        if !matches!(request.goal, Goal::Up(_)) {
            seen.unverified = self.find_unverified(&seen).await?;
        }
        Ok(seen)
    }

    /// Carries a plan out, and no other, after making sure that the world is still the one that it was made for.
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
        let looked = async {
            let database = self.database.look().await?;
            let found = self.look_at(workloads).await?;
            self.see_workloads_free(&database, &found).await?;
            self.see_way_free(&database).await?;
            let newest = self.newest_with_workloads(planned, &database).await?;
            Ok::<_, RoadError>((found, newest))
        };
        let (found, newest) = unless_stopped(&stop, looked).await?;
        self.database.prepare().await?;
        let held = self
            .take_leases(planned, highest_stamp(&found), &stop, listener)
            .await?;
        let started = self
            .start_held(
                &held,
                newest.as_ref(),
                request,
                planned,
                workloads,
                stop.clone(),
                listener,
            )
            .await;
        self.release_leaving(&stop).await;
        self.or_turn_back(started?, stop, listener).await
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what was asked for, and what was seen before, handed on once"
    )]
    async fn start_held(
        &self,
        held: &Held,
        newest: Option<&RunId>,
        request: &Request<'_>,
        planned: &Plan,
        workloads: &[WorkloadRef],
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Finished, RoadError> {
        let looked = async {
            let before = self.database.look().await?;
            let found = self.look_at(workloads).await?;
            self.see_workloads_free(&before, &found).await?;
            self.judge_leftover(before).await
        };
        let leftover = unless_stopped(&stop, looked).await?;
        let used = planned.scripts();
        let captured: Vec<_> = request
            .catalog
            .migrations()
            .iter()
            .filter(|migration| used.iter().any(|script| script.migration.version == migration.version))
            .cloned()
            .collect();
        self.database.stage(held.token, &captured).await?;
        let seen = unless_stopped(&stop, self.look_for(request, workloads)).await?;
        let now = plan(request, &seen).map_err(RoadError::Refused)?;
        let mut changed = changes(planned, &seen, request.catalog);
        changed.extend(other_steps(planned, &now));
        changed.extend(self.carried_out_since(newest, planned, &seen.database).await?);
        if !changed.is_empty() {
            return Err(RoadError::Changed(changed));
        }
        let mut carried = planned.clone();
        if carried.database.identity != now.database.identity {
            // Our own tables were made just now, and with them this database got an id of ours.
            carried.database.identity = now.database.identity;
            carried.id = carried.compute_id().map_err(RunError::Plan)?;
        }
        // What was asked for while all this was looked at must not open a run that stands in everybody's way.
        if stop.is_asked() {
            return Err(RoadError::Stopped);
        }
        if let Some(leftover) = leftover {
            self.close_leftover(held, leftover).await?;
        }
        self.open_and_execute(held, carried, None, stop, listener).await
    }
}

/// Looking ends at once when somebody asks to stop, whoever does not answer: nothing was touched.
///
/// # Errors
/// [`RoadError::Stopped`], and those of looking.
pub async fn unless_stopped<T, E: From<RoadError>>(
    stop: &Stop,
    looking: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut stop = stop.clone();
    tokio::select! {
        biased;
        () = stop.asked() => Err(RoadError::Stopped.into()),
        looked = looking => looked,
    }
}

fn namespaces_of(workloads: &[WorkloadRef]) -> BTreeSet<&str> {
    workloads.iter().map(|workload| workload.namespace.as_str()).collect()
}
