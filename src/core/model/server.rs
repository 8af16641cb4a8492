//! What of a database's server matters to a run beside the database itself: what it does with what was committed, and to
//! whom it sends it on.

use serde::{Deserialize, Serialize};

/// What was seen of the server. Empty where there is none, or nothing of this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenServer {
    /// Settings with which a crash of the server or its machine can take back or damage what was committed (LAWS D13), as
    /// they are: `fsync = off`.
    pub weak: Vec<String>,
    /// Who is sent the rows of tables that do not exist yet (LAWS D16).
    pub replication: Replication,
}

/// Who is sent the rows of tables that somebody makes in a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Replication {
    /// These; nobody where both are empty.
    To {
        /// The publications that take in every table, or every one of the schema that our own tables live in.
        publications: Vec<String>,
        /// The logical replication slots of this database.
        slots: Vec<LogicalSlot>,
    },
    /// This may not be read. The sentence says what.
    Unknown(String),
}

impl Default for Replication {
    fn default() -> Self {
        Self::To {
            publications: Vec::new(),
            slots: Vec::new(),
        }
    }
}

/// A logical replication slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogicalSlot {
    /// Its name.
    pub name: String,
    /// What decodes the log for it. `pgoutput` alone sends nothing but what a publication names.
    pub plugin: String,
}
