//! Removing runs that are over, and what is left of runs that never began.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams};
use stepback_core::journal::{Entry, What};
use stepback_core::model::{RunId, RunStatus};
use stepback_core::plan::Plan;

use super::{ClusterJournal, objects};
use crate::journal::{JournalError, Pruning};

/// What becomes of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is over: the newest ones stay.
    Over,
    /// It never began, and nobody is left who could begin it.
    NeverBegan,
    /// It is not over, or not ours to judge.
    Stays,
}

impl ClusterJournal {
    /// As [`crate::journal::Journal::prune`] says. Runs that are not over, and runs whose journal cannot be read, stay.
    ///
    /// # Errors
    /// When the cluster cannot be asked, or does not allow it; what was removed until then is gone.
    pub(super) async fn forget(&self, pruning: &Pruning<'_>) -> Result<Vec<RunId>, JournalError> {
        let params = ListParams::default().labels(&objects::first_parts());
        let plans = self.maps.list_metadata(&params).await;
        let plans = plans.map_err(|error| self.unread(&error))?;
        let mut listed = BTreeSet::new();
        let mut of_app = BTreeSet::new();
        for map in &plans.items {
            let Some(run) = objects::run_of(&map.metadata) else {
                continue;
            };
            if objects::app_of(&map.metadata) == Some(pruning.app) {
                of_app.insert(run.clone());
            }
            listed.insert(run);
        }
        let mut by_run: BTreeMap<RunId, Vec<_>> = of_app.iter().map(|run| (run.clone(), Vec::new())).collect();
        for map in self.list(&objects::all_segments()).await? {
            if let Some(run) = objects::run_of(&map.metadata) {
                by_run.entry(run).or_default().push(map);
            }
        }
        let mut old = Vec::new();
        let mut kept = 0;
        // A ULID sorts by the time at which it was made; the newest come first and stay.
        for (run, maps) in by_run.into_iter().rev() {
            let fate = match maps.is_empty() {
                true => self.fate_of_plan(&run, pruning).await?,
                false => fate_of(&run, &maps, pruning),
            };
            if fate == Fate::Stays {
                continue;
            }
            if !listed.contains(&run) {
                // Its removal was cut off.
                old.push(run);
            } else if of_app.contains(&run) {
                kept += usize::from(fate == Fate::Over);
                if fate == Fate::NeverBegan || kept > pruning.keep {
                    old.push(run);
                }
            }
        }
        for run in &old {
            self.remove(run).await?;
        }
        Ok(old)
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        let params = ListParams::default().labels(&objects::of_run(run));
        let maps = self.maps.list_metadata(&params).await;
        let mut maps = maps.map_err(|error| self.unread(&error))?.items;
        // The plan goes first, from its first part on, and the newest segment last: cut off anywhere, the run is
        // not listed any more, but still known to be over.
        maps.sort_by_key(|map| objects::place_of(&map.metadata));
        let names = maps.into_iter().filter_map(|map| map.metadata.name);
        for name in names {
            match self.maps.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(self.unread(&error)),
            }
        }
        Ok(())
    }

    /// What becomes of a plan that no entry was ever written to. Whoever made one for this ledger had its lease then, and
    /// has it no more; one for another ledger or database may be about to be opened there.
    async fn fate_of_plan(&self, run: &RunId, pruning: &Pruning<'_>) -> Result<Fate, JournalError> {
        if let Some(known) = fate_of_row(run, pruning) {
            return Ok(known);
        }
        let maps = self.list(&objects::of_run(run)).await?;
        let plan = objects::read_plan(run, &maps);
        let is_ours = |plan: Plan| {
            let (theirs, ours) = (plan.database, pruning.database);
            theirs.identity.own == ours.identity.own && theirs.ledger == ours.ledger
        };
        let is_ours = plan.is_ok_and(is_ours);
        Ok(if is_ours { Fate::NeverBegan } else { Fate::Stays })
    }
}

/// What the database says of a run; `None` where it has no row of it.
fn fate_of_row(run: &RunId, pruning: &Pruning<'_>) -> Option<Fate> {
    let row = pruning.rows.iter().find(|row| row.run == *run)?;
    Some(match row.status {
        // Somebody who could not reach the journal has closed it.
        RunStatus::Closed => Fate::Over,
        _ => Fate::Stays,
    })
}

/// What becomes of a run with these segments.
fn fate_of(run: &RunId, maps: &[ConfigMap], pruning: &Pruning<'_>) -> Fate {
    let newest = maps.iter().max_by_key(|map| objects::place_of(&map.metadata));
    let segment = newest.and_then(|map| objects::segment(run, map.clone()).ok());
    let entries = segment.map(|segment| segment.entries).unwrap_or_default();
    let ends = |entry: &Entry| matches!(entry.what, What::RunClosed { .. } | What::RunHandedOver { .. });
    if entries.last().is_some_and(ends) {
        return Fate::Over;
    }
    fate_of_row(run, pruning).unwrap_or(match entries.as_slice() {
        // An abort gets its row when it takes over, from a run on this ledger: this one died before that.
        [
            Entry {
                what: What::RunOpened {
                    aborts: Some(aborted), ..
                },
                ..
            },
        ] if pruning
            .rows
            .iter()
            .any(|row| row.run == *aborted && row.ledger == pruning.database.ledger.table) =>
        {
            Fate::NeverBegan
        }
        _ => Fate::Stays,
    })
}
