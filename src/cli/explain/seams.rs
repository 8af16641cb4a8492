//! The errors of the three seams in words: database, cluster, journal.

use super::Explained;
use crate::cli::Exit;
use crate::cluster::ClusterError;
use crate::database::DbError;
use crate::journal::JournalError;

pub(super) fn of_database(error: &DbError) -> Explained {
    let exit = match error {
        DbError::Unreachable { .. } | DbError::NoEntry { .. } => Exit::Unreachable,
        DbError::Url { .. } => Exit::Usage,
        // Somebody is writing for longer than we wait: most likely another run.
        DbError::Busy { .. } | DbError::Held(_) | DbError::ToolLock { .. } | DbError::Fenced | DbError::RunOpen(_) => {
            Exit::Locked
        }
        DbError::Refused { .. }
        | DbError::Archive { .. }
        | DbError::Own { .. }
        | DbError::LedgerUnclear { .. }
        | DbError::Forbidden { .. } => Exit::Refused,
        DbError::Script { .. } | DbError::Check { .. } | DbError::Limit { .. } => Exit::Halted,
        DbError::Driver { .. } => Exit::Internal,
    };
    let explained = Explained::new(exit, error);
    match error {
        DbError::Unreachable { .. } => explained.hint(
            "check host and port of the URL, and that the server runs; one inside the cluster is reached through \
             `kubectl port-forward`",
        ),
        DbError::Held(_) => explained.hint("wait until it is done, or look at what it does: stepback status"),
        DbError::ToolLock { .. } => explained.hint(
            "wait until the app has migrated; a session that idles with the lock has left it behind, and can be ended with \
             pg_terminate_backend",
        ),
        DbError::RunOpen(row) => explained.hint(format!("to continue it: stepback resume {}", row.run)),
        DbError::Busy { .. } => explained.hint("find out who holds the lock, and try again"),
        DbError::Refused { hint: Some(hint), .. }
        | DbError::NoEntry { hint, .. }
        | DbError::Url { hint, .. }
        | DbError::LedgerUnclear { hint, .. }
        | DbError::Forbidden { hint, .. } => explained.hint(hint),
        _ => explained,
    }
}

pub(super) fn of_cluster(error: &ClusterError) -> Explained {
    let exit = match error {
        ClusterError::Unreachable(_) | ClusterError::NoConfig { .. } => Exit::Unreachable,
        ClusterError::Held { .. } | ClusterError::Fenced { .. } => Exit::Locked,
        _ => Exit::Refused,
    };
    let explained = Explained::new(exit, error);
    let failure = error.to_failure();
    match (error, failure.hint) {
        (ClusterError::Unreachable(_), _) => {
            explained.hint(
            "is it the cluster that is meant, and can it be reached from here (VPN)? `kubectl get nodes` asks the same one; \
             another is named with --context or --kubeconfig",
        )
        }
        (ClusterError::Forbidden(_), _) => explained.hint(
            "have that right granted (`kubectl auth can-i --list` says which ones there are), or name another user's \
             context with --context",
        ),
        (_, Some(hint)) => explained.hint(hint),
        _ => explained,
    }
}

pub(super) fn of_journal(error: &JournalError) -> Explained {
    let exit = match error {
        JournalError::Fenced(_) => Exit::Locked,
        JournalError::Unknown(_) | JournalError::Unreachable(_) => Exit::Unreachable,
        JournalError::NotFound(_) => Exit::Usage,
        _ => Exit::Refused,
    };
    let explained = Explained::new(exit, error);
    match error {
        JournalError::NotFound(_) => explained.hint("to see which runs there are: stepback runs"),
        JournalError::Newer { .. } => {
            explained.hint("continue it with the version of stepback that began it, or a newer one")
        }
        JournalError::Unknown(_) => explained.now("at most our own tables were touched"),
        JournalError::Damaged { run, .. } => explained
            .hint("nothing of a damaged journal is run; restore its ConfigMaps or file where you can")
            .hint(format!(
                "to close the run as it stands: stepback abort --journal-lost {run}"
            )),
        _ => explained,
    }
}
