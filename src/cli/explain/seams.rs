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
        DbError::Refused { hint: None, .. } => {
            explained.hint("the server's log says more; mend what it names, and type the same again")
        }
        DbError::Fenced => explained
            .now("this process has written nothing since")
            .hint("to see who acts now: stepback status"),
        DbError::Script { .. } | DbError::Check { .. } | DbError::Limit { .. } => {
            let hint = error.to_failure().hint;
            explained
                .now("nothing of that migration was kept; those before it stand")
                .hint(hint.unwrap_or_else(|| "see what is applied (stepback migrate status), and correct it".to_owned()))
        }
        DbError::Archive { .. } => explained.hint(
            "what runs is what was captured, and this is not: find out who changed it; where the right script is known, \
             stepback migrate capture --replace VERSION --reason TEXT",
        ),
        DbError::Own { .. } => explained.hint(
            "find out who changed them, and restore them from a backup; where a newer version of stepback has made them, \
             use that one",
        ),
        DbError::Driver { .. } => explained
            .now("what was done before that stands; to see where things are: stepback status")
            .hint("where the message names nothing that can be mended, please report it with what you typed"),
    }
}

pub(super) fn of_cluster(error: &ClusterError) -> Explained {
    let exit = match error {
        // It passes by itself: whoever tries again later, a Job too, may get through.
        ClusterError::Unreachable(_) | ClusterError::NoConfig { .. } | ClusterError::Conflict { .. } => {
            Exit::Unreachable
        }
        ClusterError::Held { .. } | ClusterError::Fenced { .. } => Exit::Locked,
        _ => Exit::Refused,
    };
    let explained = Explained::new(exit, error);
    let who_writes = "`kubectl get -o yaml --show-managed-fields` says who";
    match error {
        ClusterError::Unreachable(_) => explained.hint(
            "is it the cluster that is meant, and can it be reached from here (VPN)? `kubectl get nodes` asks the same one; \
             another is named with --context or --kubeconfig",
        ),
        ClusterError::NoConfig { hint, .. } => explained.hint(hint),
        ClusterError::Forbidden(_) => explained.hint(
            "have that right granted (`kubectl auth can-i --list` says which ones there are), or name another user's \
             context with --context",
        ),
        ClusterError::NotListening { .. } => {
            explained.hint("check the port of the probe in the app file, and that the pod's container serves it")
        }
        ClusterError::Conflict { .. } => explained.hint(format!(
            "somebody keeps writing to it ({who_writes}): make them stop, and type the same again"
        )),
        ClusterError::Changed { .. } => explained.hint(format!(
            "{who_writes}; set it back, or leave it if it is as it should be, and type the same again"
        )),
        ClusterError::Gone { .. } => explained.hint(
            "check the workload's name and namespace in the app file, and --context; where it was made anew, type the same \
             again",
        ),
        ClusterError::Refused(_) => explained.hint(
            "the message names what will not have it, such as an admission policy or a quota: change that, and type the \
             same again",
        ),
        ClusterError::Held { .. } => explained.hint("wait until it is done, or look at what it does: stepback status"),
        ClusterError::Fenced { .. } => explained
            .now("this process has written nothing since")
            .hint("to see who acts now: stepback status"),
    }
}

pub(super) fn of_journal(error: &JournalError) -> Explained {
    let exit = match error {
        JournalError::Fenced(_) | JournalError::Grown(_) => Exit::Locked,
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
        JournalError::Unknown(_) => explained
            .now("at most our own tables were touched")
            .hint("type the same again: what has arrived is looked for first"),
        JournalError::Unreachable(_) => explained.hint(
            "it lies where the run was opened: check DATABASE_URL, and --context and --kubeconfig, and that both can be \
             reached from here",
        ),
        JournalError::Fenced(run) => explained
            .now("this process has written nothing since")
            .hint(format!("to follow it: stepback report {run}")),
        JournalError::Grown(run) => explained
            .now("this process has written nothing to it")
            .hint(format!("to continue the run: stepback resume {run}")),
        JournalError::TooLarge { .. } => explained
            .hint("go back in smaller parts: to a release in between, or stepback migrate down --to VERSION"),
        JournalError::Occupied { run, .. } => explained.hint(format!("to continue it: stepback resume {run}")),
        JournalError::Forbidden(_) => explained.hint(
            "the journal is kept in ConfigMaps of the workload's namespace: have the right granted (deploy/job has the \
             least Role that works), or name another user's context with --context",
        ),
        JournalError::Refused(_) => explained.hint(
            "the message names what will not have it, such as an admission policy, a quota, or a namespace that is being \
             deleted: change that, and type the same again; an open run stays as it is meanwhile",
        ),
        JournalError::Damaged { run, .. } => explained
            .hint("nothing of a damaged journal is run; restore its ConfigMaps or file where you can")
            .hint(format!(
                "to close the run as it stands: stepback abort --journal-lost {run}"
            )),
    }
}
