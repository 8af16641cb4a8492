//! What is kept of a pod whose gate did not hold.

use serde::{Deserialize, Serialize};

/// What was to be read of a pod when its gate failed, as sentences for people. Small: it goes into the journal
/// (LAWS W10). Made by [`crate::workload::evidence_of`] and cut to size by [`crate::workload::bounded`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Evidence {
    /// The pod, or the workload where there is no pod.
    pub of: String,
    /// Its conditions that do not hold, and the state of its containers.
    pub state: Vec<String>,
    /// What was recorded of it, oldest first.
    pub events: Vec<String>,
    /// The ends of its containers' logs.
    pub logs: Vec<LogTail>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

/// The end of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogTail {
    /// The container.
    pub container: String,
    /// Whether it is that of the process before the last restart.
    pub before_restart: bool,
    /// Its last lines.
    pub lines: Vec<String>,
}
