//! From a journal's place to the journal.

use std::sync::Arc;

use stepback_core::model::JournalPlace;

use super::{ClusterJournal, DatabaseJournal, FileJournal, Journal, JournalError, Journals};
use crate::database::Database;

/// The places that this process can reach.
pub struct Places {
    /// The database, for journals in its tables.
    pub database: Arc<dyn Database>,
    /// The cluster, for journals in its ConfigMaps, when one is connected.
    pub cluster: Option<kube::Client>,
}

impl Journals for Places {
    fn open(&self, place: &JournalPlace) -> Result<Arc<dyn Journal>, JournalError> {
        match place {
            JournalPlace::Database => Ok(Arc::new(DatabaseJournal::new(Arc::clone(&self.database)))),
            JournalPlace::Cluster(namespace) => match &self.cluster {
                Some(client) => Ok(Arc::new(ClusterJournal::new(client.clone(), namespace))),
                None => Err(JournalError::Unreachable(format!(
                    "it is kept in namespace {namespace}, and no cluster is connected"
                ))),
            },
            JournalPlace::File(path) => Ok(Arc::new(FileJournal::new(path))),
        }
    }
}
