//! `--pod-dead`: a pod whose node says nothing any more, and whose machine somebody knows to be off (LAWS W14).

use std::collections::BTreeSet;

use clap::Args;
use stepback_core::model::DeadPod;
use stepback_core::plan::Plan;
use stepback_core::report::write_findings;

use super::terminal::Terminal;
use crate::run::{Coordinator, RoadError};

/// Pods that are known to be dead.
#[derive(Args)]
#[command(next_help_heading = "Way back")]
pub(super) struct DeadArgs {
    /// Remove by force the pod with this UID, whose node the cluster has lost touch with: its machine is known to be off;
    /// may be given several times
    #[arg(long, value_name = "UID")]
    pod_dead: Vec<String>,
}

impl DeadArgs {
    pub(super) fn uids(&self) -> BTreeSet<String> {
        self.pod_dead.iter().cloned().collect()
    }
}

/// Finds the pods of a run's workloads that are said to be dead, and says what comes of it.
///
/// # Errors
/// Where the node of one of them is in touch with the cluster; nothing was touched.
pub(super) async fn find_dead(
    terminal: &Terminal,
    coordinator: &Coordinator,
    plan: &Plan,
    uids: &BTreeSet<String>,
) -> Result<Vec<DeadPod>, RoadError> {
    let (dead, findings) = coordinator.find_dead(plan, uids).await?;
    if !findings.is_empty() {
        terminal.tell(|page| write_findings(page, &findings));
    }
    Ok(dead)
}
