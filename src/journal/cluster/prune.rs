//! Removing finished runs.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams};
use stepback_core::journal::What;
use stepback_core::model::RunId;

use super::{ClusterJournal, objects};
use crate::journal::JournalError;

impl ClusterJournal {
    /// Removes the oldest finished runs of an app until `keep` are left, and returns which. Runs that are not over, and
    /// runs whose journal cannot be read, stay.
    ///
    /// # Errors
    /// When the cluster cannot be asked, or does not allow it; what was removed until then is gone.
    pub(super) async fn forget(&self, app: &str, keep: usize) -> Result<Vec<RunId>, JournalError> {
        let params = ListParams::default().labels(&objects::first_parts());
        let plans = self.maps.list_metadata(&params).await;
        let plans = plans.map_err(|error| self.unread(&error))?;
        let mut listed = BTreeSet::new();
        let mut of_app = BTreeSet::new();
        for map in &plans.items {
            let Some(run) = objects::run_of(&map.metadata) else {
                continue;
            };
            if objects::app_of(&map.metadata) == Some(app) {
                of_app.insert(run.clone());
            }
            listed.insert(run);
        }
        let mut by_run: BTreeMap<RunId, Vec<_>> = BTreeMap::new();
        for map in self.list(&objects::all_segments()).await? {
            if let Some(run) = objects::run_of(&map.metadata) {
                by_run.entry(run).or_default().push(map);
            }
        }
        let mut finished: Vec<RunId> = by_run
            .into_iter()
            .filter(|(run, maps)| is_over(run, maps))
            .map(|(run, _)| run)
            .collect();
        // A ULID sorts by the time at which it was made; the newest come first and stay.
        finished.reverse();
        let mut old = Vec::new();
        let mut kept = 0;
        for run in finished {
            if !listed.contains(&run) {
                // Its removal was cut off.
                old.push(run);
            } else if of_app.contains(&run) {
                kept += 1;
                if kept > keep {
                    old.push(run);
                }
            }
        }
        for run in &old {
            let params = ListParams::default().labels(&objects::of_run(run));
            let maps = self.maps.list_metadata(&params).await;
            let maps = maps.map_err(|error| self.unread(&error))?;
            // The plan goes first, from its first part on, and the newest segment last: cut off anywhere, the run is
            // not listed any more, but still known to be over.
            let mut maps = maps.items;
            maps.sort_by_key(|map| objects::place_of(&map.metadata));
            let names = maps.into_iter().filter_map(|map| map.metadata.name);
            for name in names {
                match self.maps.delete(&name, &DeleteParams::default()).await {
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    Err(error) => return Err(self.unread(&error)),
                }
            }
        }
        Ok(old)
    }
}

/// Whether the newest segment ends with the end of the run.
fn is_over(run: &RunId, maps: &[ConfigMap]) -> bool {
    let newest = maps.iter().max_by_key(|map| objects::place_of(&map.metadata));
    let segment = newest.and_then(|map| objects::segment(run, map.clone()).ok());
    let entry = segment.and_then(|mut segment| segment.entries.pop());
    entry.is_some_and(|entry| matches!(entry.what, What::RunClosed { .. } | What::RunHandedOver { .. }))
}
