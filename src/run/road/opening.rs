//! A run that was only being opened: its coordinator died before the first step could begin, so it has touched nothing.
//!
//! Responsible for: closing such a run when somebody asks for it by `resume` or `abort`. Whoever opens another run closes it
//! on the way (`judge_leftover`). Not for: telling whether its coordinator is dead; the lease does.

use stepback_core::model::{RunRow, RunStatus, SeenDatabase};
use stepback_core::plan::RunLimits;

use super::lease::Claim;
use super::{Coordinator, Held, RoadError};
use crate::run::{Listen, Stop};

impl Coordinator {
    /// Closes a run that was only being opened, once the lease says that nobody opens it any more. `None`: meanwhile it was
    /// opened after all, or closed, and this has changed nothing.
    ///
    /// # Errors
    /// Where the lease is another's for longer than one waits: then that one may be opening it.
    pub async fn close_unopened(
        &self,
        row: &RunRow,
        stop: Stop,
        listener: &mut dyn Listen,
    ) -> Result<Option<RunRow>, RoadError> {
        // It wrote to no workload, so the database's lease is enough: without it no step of it can begin.
        let claim = Claim {
            limits: RunLimits::default(),
            app: row.app.as_deref(),
            namespace: None,
        };
        let held = self.take(&claim, row.token.number, &stop, listener).await?;
        let closed = self.close_unopened_held(&held, row).await;
        self.release().await;
        closed
    }

    async fn close_unopened_held(&self, held: &Held, row: &RunRow) -> Result<Option<RunRow>, RoadError> {
        let seen = self.database.look().await?;
        if !is_unopened(&seen, row) {
            return Ok(None);
        }
        match self.judge_leftover(seen).await {
            Ok(Some(leftover)) => Ok(Some(self.close_leftover(held, leftover).await?)),
            // Its journal says that it began: the database is older than that.
            Ok(None) | Err(RoadError::RunOpen(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether this run is the one that is not closed, and was only being opened.
fn is_unopened(seen: &SeenDatabase, row: &RunRow) -> bool {
    let open = seen.open_run.as_ref();
    open.is_some_and(|open| open.run == row.run && open.status == RunStatus::Opening)
}
