//! The journal in ConfigMaps of the workload's namespace (LAWS W8, W10).
//!
//! Responsible for: plans in immutable parts, entries in segments, each append under the version of the segment that
//! was seen last, so that an older coordinator's append fails. Not for: what an entry means. `objects` says how a run
//! lies in ConfigMaps, `append` how entries get there, `prune` how finished runs go away.

mod append;
mod objects;
mod prune;

use std::collections::HashMap;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams};
use kube::core::Status;
use kube::{Api, Client};
use stepback_core::journal::Entry;
use stepback_core::model::{RunId, Token};
use stepback_core::plan::Plan;
use tokio::sync::Mutex;

use super::{Journal, JournalError, Pruning, Stored, stored};
use crate::cluster::is_admission;
use append::Tail;

/// The name under which we write ConfigMaps.
const MANAGER: &str = "stepback";

/// A journal in the ConfigMaps of one namespace.
pub struct ClusterJournal {
    maps: Api<ConfigMap>,
    namespace: String,
    /// What is known of the newest segment of each run that this process writes.
    tails: Mutex<HashMap<RunId, Tail>>,
}

impl ClusterJournal {
    /// The journals of this namespace. The client should not try requests again by itself.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            maps: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            tails: Mutex::new(HashMap::new()),
        }
    }

    async fn list(&self, labels: &str) -> Result<Vec<ConfigMap>, JournalError> {
        let listed = self.maps.list(&ListParams::default().labels(labels)).await;
        Ok(listed.map_err(|error| self.unread(&error))?.items)
    }

    /// What a failed read means: nothing was written.
    fn unread(&self, error: &kube::Error) -> JournalError {
        let object = format!("ConfigMaps in namespace {}", self.namespace);
        let refused = match error {
            kube::Error::Api(status) => refusal(status, &object),
            _ => None,
        };
        refused.unwrap_or_else(|| JournalError::Unreachable(format!("{object}: {error}")))
    }
}

/// What an answer means that was given instead of an effect, and that will be given again; `None` where it may pass.
fn refusal(status: &Status, object: &str) -> Option<JournalError> {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    // Answered with 403, but no right is missing; so are quotas, policies and webhooks.
    let ending = causes.any(|cause| cause.reason == "NamespaceTerminating");
    match status.code {
        401 | 403 if !ending && !is_admission(&status.message) => Some(JournalError::Forbidden(status.message.clone())),
        400..=428 => Some(JournalError::Refused(format!("{object}: {}", status.message))),
        _ => None,
    }
}

#[async_trait]
impl Journal for ClusterJournal {
    async fn create(&self, run: &RunId, plan: &Plan, _token: Token) -> Result<(), JournalError> {
        let parts = objects::plan_parts(run, plan)?;
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        // The first part last: a run is listed by it, and then all of its plan is there.
        for part in parts.iter().rev() {
            let name = part.metadata.name.as_deref().unwrap_or_default();
            match self.maps.create(&params, part).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    let found = self.maps.get_opt(name).await.map_err(|error| self.unread(&error))?;
                    let same = found
                        .is_some_and(|found| found.binary_data == part.binary_data && found.immutable == Some(true));
                    if !same {
                        return Err(objects::damaged(run, format!("ConfigMap {name} holds another plan")));
                    }
                }
                Err(error) => {
                    let object = format!("ConfigMap {name}");
                    let refused = match &error {
                        kube::Error::Api(status) => refusal(status, &object),
                        _ => None,
                    };
                    return Err(refused.unwrap_or_else(|| JournalError::Unknown(format!("{object}: {error}"))));
                }
            }
        }
        Ok(())
    }

    async fn append(&self, run: &RunId, entry: &Entry) -> Result<(), JournalError> {
        // One append at a time in this process; others are kept apart by the segment's version.
        let mut tails = self.tails.lock().await;
        let tail = tails.remove(run);
        let tail = self.append_behind(run, entry, tail).await?;
        tails.insert(run.clone(), tail);
        Ok(())
    }

    async fn read(&self, run: &RunId) -> Result<Stored, JournalError> {
        let maps = self.list(&objects::of_run(run)).await?;
        if maps.is_empty() {
            return Err(JournalError::NotFound(run.clone()));
        }
        let plan = objects::read_plan(run, &maps)?;
        let entries: Vec<Entry> = objects::segments(run, maps)?
            .into_iter()
            .flat_map(|segment| segment.entries)
            .collect();
        stored(run, plan, entries, None)
    }

    async fn runs(&self) -> Result<Vec<RunId>, JournalError> {
        let params = ListParams::default().labels(&objects::first_parts());
        let listed = self.maps.list_metadata(&params).await;
        let listed = listed.map_err(|error| self.unread(&error))?;
        let mut runs: Vec<RunId> = listed
            .items
            .iter()
            .filter_map(|map| objects::run_of(&map.metadata))
            .collect();
        // ULIDs sort by the time at which they were made.
        runs.sort_by(|one, other| other.cmp(one));
        runs.dedup();
        Ok(runs)
    }

    async fn prune(&self, pruning: &Pruning<'_>) -> Result<Vec<RunId>, JournalError> {
        self.forget(pruning).await
    }
}
