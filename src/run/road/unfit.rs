//! Why a run cannot be continued or taken back as it is.

use stepback_core::model::{DatabaseIdentity, JournalPlace, PlanId, RunId};

/// Why a run cannot be continued or taken back as it is. Nothing was touched. Each is said behind the run's id, whatever
/// was to be done with it: resumed, aborted or looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The journal's plan is not the one that the database knows (LAWS W8).
    #[error("has another plan in its journal than the database knows: {found} there, {known} here")]
    OtherPlan {
        /// The id of what the journal holds.
        found: PlanId,
        /// The id in the run's row.
        known: PlanId,
    },
    /// The database is not the one that the run was opened on (LAWS D13).
    #[error("was opened on another database than this one, which was restored, failed over or cloned since")]
    OtherDatabase {
        /// What tells the one apart that it was opened on, or last bound to.
        was: Box<DatabaseIdentity>,
        /// What tells this one apart.
        is: Box<DatabaseIdentity>,
    },
    /// It is on another ledger of this database (LAWS D16).
    #[error("is on the ledger {was}, and this is {is}")]
    OtherLedger {
        /// The full name of the ledger that it is on.
        was: String,
        /// The full name of this one.
        is: String,
    },
    /// It is another database's run.
    #[error("is another database's: it was opened on one with another id")]
    Elsewhere,
    /// There is no journal where the database says that it is.
    #[error("has no journal where the database says that it is: {}", gone(.0))]
    JournalGone(JournalPlace),
    /// A workload of it is gone, or another one of the same name.
    #[error("has lost a workload: {0}")]
    WorkloadGone(String),
    /// Its journal and its workloads are there.
    #[error("is not lost: its journal can be read, and its workloads are those that it was opened on")]
    NotLost,
    /// The cluster is not the one that the run was opened on (LAWS D13).
    #[error("was opened on another cluster than this one")]
    OtherCluster,
    /// No row of the run is here.
    #[error("cannot be found: this database does not know it")]
    Unknown,
    /// The run is over.
    #[error("is closed already")]
    Closed,
    /// A newer program has written to the journal.
    #[error("has a journal of a newer format than this program writes")]
    NewerFormat,
    /// An abort is not aborted.
    #[error("cannot be aborted: it is itself the abort of run {0}, and can only be resumed")]
    IsAbort(RunId),
    /// A run that holds nothing is not aborted.
    #[error("cannot be aborted: no workload takes part in it, so it holds nothing")]
    HoldsNothing,
    /// What it takes to abort it is not what was shown.
    #[error("was not touched: the world has changed since that was planned")]
    Changed,
}

fn gone(place: &JournalPlace) -> String {
    match place {
        JournalPlace::Cluster(namespace) => {
            format!("namespace {namespace} of this cluster holds none")
        }
        JournalPlace::File(path) => format!("there is none in {path}"),
        JournalPlace::Database => "the database holds none".to_owned(),
    }
}
