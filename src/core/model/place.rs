//! Where a cluster was reached: what a person knows it by, beside its UID; and which one a run acts on.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::RunId;

/// How a cluster was reached, for people: no decision hangs on it, because two laptops name the same cluster in two ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterPlace {
    /// The context of the kubeconfig; `None`: the account of the pod that this ran in.
    pub context: Option<String>,
    /// The API server's address, without anything in it that can be a secret.
    pub server: String,
}

impl fmt::Display for ClusterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.context {
            Some(context) => write!(f, "context {context} ({})", self.server),
            None => write!(f, "in-cluster account ({})", self.server),
        }
    }
}

/// The cluster and the workloads that a run acts on, as the database of its ledger remembers them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    /// The run.
    pub run: RunId,
    /// What it does, for people.
    pub title: String,
    /// The app, when there is one.
    pub app: Option<String>,
    /// The UID of the cluster, as in [`SeenCluster::uid`](super::SeenCluster::uid).
    pub cluster: String,
    /// How it was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<ClusterPlace>,
    /// The UID of each workload by its kind, namespace and name.
    pub workloads: BTreeMap<String, String>,
}
