//! Whether another run is in the way of a new one: asked before the lease is waited for, and again once it is held.
//!
//! A rollback that is under way is never waited for by a plan that was made beside it: what it leaves, pods of an older
//! release above all, is another world than the one that was shown and agreed to.

use stepback_core::model::{RunId, RunStatus, SeenDatabase};
use stepback_core::plan::{Change, Plan};

use super::{Coordinator, RoadError};

impl Coordinator {
    /// Sees that no run that is not closed is in the way of another one. A run without workloads that is under way is not:
    /// it is waited for. Changes nothing.
    ///
    /// # Errors
    /// [`RoadError::UnderWay`] where somebody is at it, [`RoadError::RunOpen`] where it stands still.
    pub async fn see_way_free(&self, seen: &SeenDatabase) -> Result<(), RoadError> {
        let Some(row) = &seen.open_run else { return Ok(()) };
        match seen.lease.as_ref().filter(|lease| lease.is_alive()) {
            // What is being opened may come to nothing; it is looked at again under the lease.
            Some(_) if row.closes_itself || row.status == RunStatus::Opening => Ok(()),
            Some(lease) => Err(RoadError::UnderWay {
                row: Box::new(row.clone()),
                holder: lease.holder.clone(),
            }),
            None => self.judge_leftover(seen.clone()).await.map(drop),
        }
    }

    /// The newest run of this ledger that acted on workloads, for a plan that does not; `None` where there was none.
    pub(super) async fn newest_with_workloads(
        &self,
        planned: &Plan,
        seen: &SeenDatabase,
    ) -> Result<Option<RunId>, RoadError> {
        if planned.has_workload_steps() || !seen.prepared {
            return Ok(None);
        }
        let ledger = &seen.database.ledger.table;
        let runs = self.database.runs().await?.into_iter();
        let mut took = runs.filter(|row| row.ledger == *ledger && !row.closes_itself);
        Ok(took.next().map(|row| row.run))
    }

    /// A rollback that began and ended while the lease was waited for. Whoever plans for the workloads too compares them;
    /// whoever plans for the schema alone would change it under the pods that were just started.
    pub(super) async fn carried_out_since(
        &self,
        before: Option<&RunId>,
        planned: &Plan,
        seen: &SeenDatabase,
    ) -> Result<Option<Change>, RoadError> {
        let now = self.newest_with_workloads(planned, seen).await?;
        Ok(now.filter(|now| Some(now) != before).map(|run| Change {
            part: "runs".to_owned(),
            what: format!("run {run} was carried out meanwhile, and acted on workloads: stepback report {run}"),
        }))
    }
}
