//! The step that writes on a revision which release it is (LAWS W1).

use stepback_core::model::{Failure, Observed, Pairing, SeenWorkload, Stamp, TemplateRef, WorkloadRef};
use stepback_core::workload::{observe_pairing, revision_to_pair};

use super::World;
use crate::cluster::Parts;

impl World<'_> {
    /// Whether the revision is paired. Nobody is held up by a right that is missing only to remember what was done.
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
        paired.map_err(|error| error.to_failure())
    }
}
