//! What can go wrong with a database. An error says whether trying again can help; it never decides what happened.

use stepback_core::model::{Failure, LeaseSeen, MigrationId, RunRow};

/// An error of the seam.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No connection, or it was lost.
    #[error("cannot reach the database {database}: {message}")]
    Unreachable {
        /// The database, redacted.
        database: String,
        /// What the driver says.
        message: String,
    },
    /// The server is there, or the file's folder is, and does not let us in: wrong user, password or name.
    #[error("cannot get into the database {database}: {message}")]
    NoEntry {
        /// The database, redacted.
        database: String,
        /// What the server or the system says.
        message: String,
        /// What to check.
        hint: String,
    },
    /// The URL, or the name of the state schema, cannot be used.
    #[error("{message}")]
    Url {
        /// What is wrong with it; it never repeats what may be a secret.
        message: String,
        /// How to write it.
        hint: String,
    },
    /// The lease is held by another coordinator.
    #[error("another coordinator holds the lease: {} (token {}, {})", .0.holder, .0.token, heard(.0))]
    Held(Box<LeaseSeen>),
    /// The ledger's own tool is migrating, or has left its lock behind.
    #[error("the migration lock of {tool} is held by {holder}")]
    ToolLock {
        /// The tool.
        tool: &'static str,
        /// Who holds it.
        holder: String,
    },
    /// Our token is not the lease's any more: another coordinator has taken over.
    #[error("another coordinator has taken over; this one does nothing more")]
    Fenced,
    /// Another run on this ledger is not closed.
    #[error("run {} ({}) is not closed", .0.run, .0.title)]
    RunOpen(Box<RunRow>),
    /// Which table is the ledger must be said.
    #[error("{message}")]
    LedgerUnclear {
        /// What there is.
        message: String,
        /// How to say it.
        hint: String,
    },
    /// A script failed, and nothing of it stays.
    #[error("{migration} failed: {message}")]
    Script {
        /// Which migration.
        migration: MigrationId,
        /// What the server says, with the statement's line where that is known.
        message: String,
        /// Whether trying again can help: a lock that was not free, a deadlock, a serialization failure.
        retry: bool,
    },
    /// A check of ours inside a script's transaction failed, and nothing of the script stays.
    #[error("{migration} was rolled back: {message}")]
    Check {
        /// Which migration.
        migration: MigrationId,
        /// What was found.
        message: String,
        /// What to do about it, where that is more than to look at what is applied.
        hint: Option<&'static str>,
    },
    /// A migration took longer than it may (LAWS D17), and nothing of it stays.
    #[error("{migration} was ended and rolled back: {message}")]
    Limit {
        /// Which migration.
        migration: MigrationId,
        /// Which limit passed, and where in the script that was, if it is known.
        message: String,
    },
    /// The archive does not hold what it should.
    #[error("the archive {message}")]
    Archive {
        /// What is wrong, with its subject.
        message: String,
    },
    /// The server or the file refuses writes or lacks a right.
    #[error("the database refuses: {message}")]
    Refused {
        /// What the server says.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The role that connects lacks a right.
    #[error("the database refuses: {message}")]
    Forbidden {
        /// What the server says.
        message: String,
        /// Who must grant what.
        hint: String,
    },
    /// A lock or the file was busy for longer than the limit.
    #[error("the database was busy for longer than the limit: {message}")]
    Busy {
        /// What the server says, and who blocks where that is known.
        message: String,
    },
    /// What our own tables hold is not what they should.
    #[error("stepback's own tables: {message}")]
    Own {
        /// What is wrong.
        message: String,
    },
    /// Anything else that the driver reports.
    #[error("{doing}: {message}")]
    Driver {
        /// What was being done.
        doing: &'static str,
        /// What the driver says.
        message: String,
    },
}

/// What to do about a migration that took too long.
const LONGER: &str = "make it faster, or see what it waited for, and resume; where it may take longer, raise that limit under \
    `spec.limits` in the app file: it holds for runs that are planned after that";

/// What to do about a migration that a check of ours did not let through.
const LOOK: &str = "see what is applied (`stepback migrate status`), and correct what the message names";

#[expect(clippy::cast_precision_loss, reason = "for display; heartbeats are not 2^52 ms old")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// When a holder was heard last.
fn heard(lease: &LeaseSeen) -> String {
    match lease.ahead_ms {
        0 => format!("last heartbeat {:.1} s ago", seconds(lease.age_ms)),
        ahead => format!(
            "last heartbeat {:.1} s in the future: the clock was set back; without another it ends after {:.0} s of waiting",
            seconds(ahead),
            seconds(lease.life_ms)
        ),
    }
}

impl DbError {
    /// A migration that is to be bound to the ledger, which does not show it.
    pub(super) fn not_applied(migration: &stepback_core::catalog::Migration) -> Self {
        Self::Check {
            migration: MigrationId {
                version: migration.version.clone(),
                name: migration.name.clone(),
            },
            message: "the ledger does not show it with this up script".to_owned(),
            hint: None,
        }
    }

    /// Whether trying again can help.
    pub fn can_retry(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Busy { .. } | Self::ToolLock { .. } | Self::Script { retry: true, .. }
        )
    }

    /// The error as plain data for the journal.
    pub fn to_failure(&self) -> Failure {
        let hint = match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::LedgerUnclear { hint, .. }
            | Self::Forbidden { hint, .. }
            | Self::NoEntry { hint, .. }
            | Self::Url { hint, .. } => Some(hint.clone()),
            Self::Script { migration, .. } => {
                Some(format!("nothing of {migration} was kept; correct what it ran into"))
            }
            Self::Check { hint, .. } => Some(hint.unwrap_or(LOOK).to_owned()),
            Self::Limit { .. } => Some(LONGER.to_owned()),
            _ => None,
        };
        Failure {
            message: self.to_string(),
            hint,
            retry: self.can_retry(),
            fenced: matches!(self, Self::Fenced),
        }
    }
}
