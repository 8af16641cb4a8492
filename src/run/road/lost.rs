//! Closing a run that can neither be continued nor taken back: its journal is lost, or a workload of it is.
//!
//! Responsible for: making sure that it is so, and closing the run where the database is concerned. It runs no script, moves
//! no row of the ledger, and starts, stops or points no pod: what the run has undone and borrowed stays as it is, is written on
//! the database and the workloads, and the next plan goes on from there (LAWS W7). Losing the journal loses history only.

use stepback_core::model::{
    Digest, JournalPlace, MigrationSet, PlanId, RunId, RunRow, RunStatus, SeenDatabase, Stamp, StepId, WorkloadRef,
    annotation,
};
use stepback_core::plan::RunLimits;

use super::lease::Claim;
use super::resume::{other_ledger, unfit};
use super::{Coordinator, Held, RoadError, Unfit};
use crate::journal::{JournalError, Stored};
use crate::run::over_status::over_status;
use crate::run::{Listen, Stop};

/// A run that nothing else can be done with, and what closing it leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The run.
    pub run: RunId,
    /// What is lost.
    pub what: WhatIsLost,
    /// Its row, as the database has it, or as it is going to be written.
    pub row: RunRow,
    /// The migrations that are applied, which stay so.
    pub applied: MigrationSet,
    /// The workloads that bear its stamp.
    pub held: Vec<StillHeld>,
}

/// Why a run can neither be continued nor taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhatIsLost {
    /// There is no journal of it where the database says that it is.
    Journal,
    /// The journal cannot be read, or is not the one that the database knows.
    Readable(String),
    /// The journal is there, but these workloads are gone, or others of the same name.
    Workloads(Vec<WorkloadRef>),
    /// The database has no row of it: it was restored from before the run.
    Row,
}

/// A workload that bears the stamp of a lost run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StillHeld {
    /// Which.
    pub workload: WorkloadRef,
    /// Its UID.
    pub uid: String,
    /// Its replica count.
    pub replicas: i32,
    /// Its replica count before the run.
    pub original: i32,
    /// Whether replica count or update strategy are not what they were before the run.
    pub borrowed: bool,
}

/// What is to be told of a workload of a run that was closed so.
const LINE: &str = "was closed without its journal; to go on from here: stepback rollback --to RELEASE";

impl Coordinator {
    /// Makes sure that the run is lost, and says what there is of it. `workloads` are those that may bear its stamp. Changes
    /// nothing.
    ///
    /// # Errors
    /// [`RoadError::Unfit`] where it can be continued or taken back, is closed, or is another database's.
    pub async fn find_lost(&self, run: &RunId, workloads: &[WorkloadRef]) -> Result<Lost, RoadError> {
        let seen = self.database.look().await?;
        let row = match &seen.open_run {
            Some(row) if row.run == *run => Some(row.clone()),
            _ => self.closed_row(run, &seen).await?,
        };
        if row.as_ref().is_some_and(|row| row.status == RunStatus::Closed) {
            return Err(unfit(run, Unfit::Closed));
        }
        if let Some(row) = row.as_ref().filter(|row| row.ledger != seen.database.ledger.table) {
            return Err(unfit(run, other_ledger(row.ledger.clone(), &seen)));
        }
        let held = self.still_held(run, workloads).await?;
        let (what, row) = match row {
            Some(row) => (self.what_is_lost(&row).await?, row),
            None => (WhatIsLost::Row, self.row_of_another(run, &seen, &held).await?),
        };
        let applied = seen.applied();
        let run = run.clone();
        Ok(Lost {
            run,
            what,
            row,
            applied,
            held,
        })
    }

    async fn closed_row(&self, run: &RunId, seen: &SeenDatabase) -> Result<Option<RunRow>, RoadError> {
        if !seen.prepared {
            return Ok(None);
        }
        Ok(self.database.runs().await?.into_iter().find(|row| row.run == *run))
    }

    pub(super) async fn still_held(&self, run: &RunId, workloads: &[WorkloadRef]) -> Result<Vec<StillHeld>, RoadError> {
        let Some(cluster) = self.cluster.as_ref().filter(|_| !workloads.is_empty()) else {
            return Ok(Vec::new());
        };
        let seen = cluster.look(workloads).await?.workloads;
        let held = seen.into_iter().filter_map(|seen| {
            let stamp: Stamp = seen.annotation(annotation::STAMP)?.parse().ok()?;
            let uid = seen.uid()?.to_owned();
            (stamp.run == *run).then(|| StillHeld {
                borrowed: seen.replicas() != seen.original_replicas()
                    || seen.update_strategy() != seen.original_update_strategy(),
                replicas: seen.replicas(),
                original: seen.original_replicas(),
                workload: seen.workload,
                uid,
            })
        });
        Ok(held.collect())
    }

    /// What is lost of an open run; an error where nothing is.
    async fn what_is_lost(&self, row: &RunRow) -> Result<WhatIsLost, RoadError> {
        let stored = match self.journals.open(&row.journal)?.read(&row.run).await {
            Ok(stored) => stored,
            Err(JournalError::NotFound(_)) => return Ok(WhatIsLost::Journal),
            Err(JournalError::Damaged { message, .. }) => return Ok(WhatIsLost::Readable(message)),
            Err(error) => return Err(error.into()),
        };
        if stored.plan.id != row.plan || stored.plan.compute_id().ok() != Some(row.plan) {
            let why = format!("it holds another plan than {}, which the database knows", row.plan);
            return Ok(WhatIsLost::Readable(why));
        }
        match stored.state(&row.run) {
            Err(JournalError::Damaged { message, .. }) => return Ok(WhatIsLost::Readable(message)),
            state => drop(state?),
        }
        let gone = self.replaced(&stored).await?;
        if gone.is_empty() {
            return Err(unfit(&row.run, Unfit::NotLost));
        }
        Ok(WhatIsLost::Workloads(gone))
    }

    /// The workloads of the plan that are gone, or others of the same name.
    async fn replaced(&self, stored: &Stored) -> Result<Vec<WorkloadRef>, RoadError> {
        let Some(cluster) = &self.cluster else {
            return Ok(Vec::new());
        };
        let planned = stored.plan.workload_uids();
        let seen = cluster.look(&stored.plan.workloads()).await?.workloads;
        let gone = seen
            .into_iter()
            .filter(|seen| planned.get(&seen.workload).map(String::as_str) != seen.uid());
        Ok(gone.map(|seen| seen.workload).collect())
    }

    /// The row of a run that this database does not know, though a workload bears its stamp. Where the journal says that it
    /// is another database's run, it is not this one's to close.
    async fn row_of_another(&self, run: &RunId, seen: &SeenDatabase, held: &[StillHeld]) -> Result<RunRow, RoadError> {
        let Some(first) = held.first() else {
            return Err(unfit(run, Unfit::Unknown));
        };
        let journal = JournalPlace::Cluster(first.workload.namespace.clone());
        let stored = match self.journals.open(&journal)?.read(run).await {
            Ok(stored) => Some(stored),
            Err(JournalError::NotFound(_) | JournalError::Damaged { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let plan = stored.map(|stored| stored.plan);
        let (theirs, ours) = (
            plan.as_ref().map(|plan| &plan.database.identity),
            &seen.database.identity,
        );
        if theirs.is_some_and(|theirs| theirs.system != ours.system || (seen.prepared && theirs.own != ours.own)) {
            return Err(unfit(run, Unfit::Elsewhere));
        }
        let ledger = &seen.database.ledger;
        if let Some(plan) = plan.as_ref().filter(|plan| plan.database.ledger != *ledger) {
            return Err(unfit(run, other_ledger(plan.database.ledger.table.clone(), seen)));
        }
        Ok(RunRow {
            run: run.clone(),
            ledger: ledger.table.clone(),
            plan: plan.as_ref().map_or(PlanId(Digest::of(b"")), |plan| plan.id),
            app: plan.as_ref().and_then(|plan| plan.app.clone()),
            journal,
            status: RunStatus::Closed,
            title: plan.map_or_else(|| "a run that was lost".to_owned(), |plan| plan.title),
            closes_itself: false,
            token: stepback_core::model::Token { number: 0, nonce: 0 },
        })
    }

    /// Closes a lost run, as it was shown.
    ///
    /// # Errors
    /// As [`Coordinator::find_lost`]; [`Unfit::Changed`] where it is another story by now.
    pub async fn close_lost(
        &self,
        lost: &Lost,
        workloads: &[WorkloadRef],
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<RunRow, RoadError> {
        // A database from before our tables were made has none.
        self.database.prepare().await?;
        let limits = RunLimits::default();
        let namespace = match &lost.row.journal {
            JournalPlace::Cluster(namespace) => Some(namespace.as_str()),
            _ => lost.held.first().map(|held| held.workload.namespace.as_str()),
        };
        let claim = Claim {
            limits,
            app: lost.row.app.as_deref(),
            namespace,
        };
        let above = self.highest_stamp(workloads).await?.max(lost.row.token.number);
        let held = self.take(&claim, above, &stop, listener).await?;
        let closed = self.close_held(&held, lost, workloads).await;
        self.release().await;
        closed
    }

    async fn close_held(&self, held: &Held, lost: &Lost, workloads: &[WorkloadRef]) -> Result<RunRow, RoadError> {
        let now = self.find_lost(&lost.run, workloads).await?;
        if now != *lost {
            return Err(unfit(&lost.run, Unfit::Changed));
        }
        let stamp = self.mark_closed(held, &lost.run, &lost.held, LINE).await?;
        self.give_back_unborrowed(&lost.held, &stamp).await?;
        if let WhatIsLost::Workloads(_) = &lost.what {
            self.end_journal_of(held, &lost.row).await?;
        }
        let row = RunRow {
            status: RunStatus::Closed,
            token: held.token,
            ..lost.row.clone()
        };
        self.database.write_run(held.token, &row).await?;
        Ok(row)
    }

    /// Says of the workloads that bear a run's stamp that it is closed, with a stamp of ours, which is given back: what a
    /// sleeper has sent must not arrive behind the end (LAWS W6).
    pub(super) async fn mark_closed(
        &self,
        held: &Held,
        run: &RunId,
        workloads: &[StillHeld],
        how: &str,
    ) -> Result<Stamp, RoadError> {
        let stamp = Stamp {
            run: run.clone(),
            step: StepId(0),
            token: held.token,
        };
        let line = format!("run {run} {how}");
        for still in workloads {
            let Some(cluster) = &self.cluster else { continue };
            over_status(|| cluster.stamp(&still.workload, &still.uid, &stamp, &line)).await?;
        }
        Ok(stamp)
    }

    /// Takes everything of ours off the workloads of which nothing is borrowed (LAWS W9): what was recorded of them would be
    /// believed long after somebody has scaled them.
    pub(super) async fn give_back_unborrowed(&self, workloads: &[StillHeld], stamp: &Stamp) -> Result<(), RoadError> {
        for still in workloads.iter().filter(|still| !still.borrowed) {
            let Some(cluster) = &self.cluster else { continue };
            over_status(|| cluster.give_back(&still.workload, &still.uid, stamp)).await?;
        }
        Ok(())
    }

    /// Ends a journal that is there.
    async fn end_journal_of(&self, held: &Held, row: &RunRow) -> Result<(), RoadError> {
        let journal = self.journals.open(&row.journal)?;
        let stored = journal.read(&row.run).await?;
        let mut state = super::carry::replayed(&row.run, &stored.entries, &stored.plan)?;
        if !state.is_over() {
            self.end_journal(held, &*journal, &mut state).await?;
        }
        Ok(())
    }
}
