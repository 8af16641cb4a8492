//! Pods on a lost node of which somebody says that they are dead (LAWS W14).
//!
//! Responsible for: seeing that the word can be true, and removing them by force where a run goes on. Whoever resumes says it
//! in the journal first; from there on it is every later process's word too, so that a crash between the two loses nothing.
//! A plan and an abort have steps for it instead. Not for: judging what is known of nodes (core).

use std::collections::BTreeSet;

use futures::future::try_join_all;
use stepback_core::journal::{Entry, What};
use stepback_core::model::{DeadPod, Finding, LookAround, Removal, RunId, SeenWorkload, Stamp, StepId};
use stepback_core::plan::{Plan, find_dead};

use super::{Coordinator, Held, RoadError};
use crate::run::over_status::over_status;

impl Coordinator {
    /// The pods of the run's workloads that these UIDs name, and what is to be said of it. Changes nothing.
    ///
    /// # Errors
    /// [`RoadError::Refused`] where the node of one of them is in touch with the cluster.
    pub async fn find_dead(
        &self,
        plan: &Plan,
        uids: &BTreeSet<String>,
    ) -> Result<(Vec<DeadPod>, Vec<Finding>), RoadError> {
        let Some(cluster) = self.cluster.as_ref().filter(|_| !uids.is_empty()) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let seen = self.look_at(&plan.workloads()).await?;
        let asked = seen.iter().map(nodes_of);
        let asked: Vec<LookAround> = asked.collect();
        let around = try_join_all(asked.iter().map(|question| cluster.look_around(question))).await?;
        find_dead(&seen, &around, uids).map_err(RoadError::Refused)
    }

    /// Removes by force what the journal says is dead, as far as it is still there.
    pub(super) async fn remove_dead(
        &self,
        held: &Held,
        run: &RunId,
        plan: &Plan,
        entries: &[Entry],
        step: StepId,
    ) -> Result<(), RoadError> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let said = entries.iter().flat_map(|entry| match &entry.what {
            What::RunResumed { dead, .. } => dead.as_slice(),
            _ => &[],
        });
        let stamp = Stamp {
            run: run.clone(),
            step,
            token: held.token,
        };
        let uids = plan.workload_uids();
        for dead in said {
            let Some(uid) = uids.get(&dead.workload) else { continue };
            let removal = Removal::Dead(dead.uid.clone());
            over_status(|| cluster.remove_pod(&dead.workload, uid, &dead.pod, &removal, &stamp)).await?;
        }
        Ok(())
    }
}

/// The question for the nodes of a workload's pods, and nothing else.
fn nodes_of(seen: &SeenWorkload) -> LookAround {
    let nodes = seen.pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
    LookAround {
        workload: seen.workload.clone(),
        objects: BTreeSet::new(),
        nodes: nodes.filter(|node| !node.is_empty()).collect(),
        owners: BTreeSet::new(),
        labels: BTreeSet::new(),
        pod: None,
    }
}
