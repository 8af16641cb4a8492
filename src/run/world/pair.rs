//! The step that writes on a revision which release it is (LAWS W1).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use stepback_core::model::{Failure, Observed, Pairing, SeenWorkload, Stamp, TemplateRef, WorkloadRef};
use stepback_core::workload::{observe_pairing, revision_to_pair};

use super::World;

use crate::cluster::{ClusterError, Parts};

/// The workloads of which the cluster has refused to have a revision paired, and its words, for as long as one process
/// carries a run out: the next one tries again.
#[derive(Debug, Default)]
pub struct Unpaired(Mutex<BTreeMap<WorkloadRef, String>>);

impl Unpaired {
    fn said_of(&self, workload: &WorkloadRef) -> Option<String> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(workload).cloned()
    }

    fn keep(&self, workload: &WorkloadRef, said: String) {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert(workload.clone(), said);
    }
}

impl World<'_> {
    /// Whether the revision is paired. Nobody is held up by a right that is missing, or a policy that has something against it,
    /// only to remember what was done.
    pub(super) async fn observe_pairing(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        template: &TemplateRef,
        pairing: &Pairing,
    ) -> Result<Observed, Failure> {
        let observed = observe_pairing(&self.look_for(workload, template).await?, uid, template, pairing);
        if observed != Observed::Untouched {
            return Ok(observed);
        }
        if let Some(said) = self.unpaired.said_of(workload) {
            return Ok(Observed::Done(format!("no revision is paired: {said}")));
        }
        let missing = self.cluster()?.missing_pairing_rights(&workload.namespace).await;
        let missing = missing.map_err(|error| error.to_failure())?;
        Ok(if missing.is_empty() {
            observed
        } else {
            Observed::Done(format!("no revision is paired: this role {}", missing.join(", ")))
        })
    }

    /// The revision that is to be paired: the template's own, or whichever the controller has made of it.
    async fn look_for(&self, workload: &WorkloadRef, template: &TemplateRef) -> Result<SeenWorkload, Failure> {
        match &template.revision {
            Some(name) => self.look_at(workload, Parts::revisions(&[name.as_str()])).await,
            None => self.look_at(workload, Parts::ALL).await,
        }
    }

    /// Pairs the revision that the pods were started from, which by now has a name.
    pub(super) async fn pair(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        template: &TemplateRef,
        pairing: &Pairing,
        stamp: &Stamp,
    ) -> Result<(), Failure> {
        let seen = self.look_for(workload, template).await?;
        let Some(revision) = revision_to_pair(&seen, template) else {
            return Ok(());
        };
        let named = TemplateRef {
            revision: revision.metadata.name.clone(),
            images: template.images.clone(),
        };
        let paired = self.cluster()?.pair(workload, uid, &named, pairing, stamp).await;
        match paired {
            Err(error @ (ClusterError::Refused(_) | ClusterError::Forbidden(_))) => {
                self.unpaired.keep(workload, error.to_string());
                Ok(())
            }
            paired => paired.map_err(|error| error.to_failure()),
        }
    }
}
