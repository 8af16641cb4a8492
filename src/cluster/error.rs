//! What can go wrong with a cluster. An error says whether trying again can help; it never decides what happened.

use stepback_core::model::{Failure, Token};

/// An error of the seam.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No connection, or it was lost: whether a write took effect is not known.
    #[error("cannot reach the cluster: {0}")]
    Unreachable(String),
    /// Nothing says which cluster is meant, or what says it cannot be used.
    #[error("it is not known which cluster is meant: {message}")]
    NoConfig {
        /// What was looked for, and where.
        message: String,
        /// How to say it.
        hint: String,
    },
    /// The pod was reached, and nobody listens there.
    #[error("nobody listens on port {port} of {object}")]
    NotListening {
        /// Which pod.
        object: String,
        /// The port.
        port: u16,
    },
    /// The object changed between our look and our write; nothing was written.
    #[error("{object} changed while it was being written; nothing of ours was")]
    Conflict {
        /// Which object.
        object: String,
    },
    /// A higher token is written on the object: another coordinator has taken over.
    #[error("another coordinator has taken over {object} (token {token}); this one does nothing more")]
    Fenced {
        /// Which object.
        object: String,
        /// The token found there.
        token: Token,
    },
    /// The cluster Lease is held by another.
    #[error("the cluster lease {name} is held by {holder}")]
    Held {
        /// The lease, with its namespace.
        name: String,
        /// Who holds it.
        holder: String,
    },
    /// The object does not exist, or is another one of the same name.
    #[error("{object} is gone: {message}")]
    Gone {
        /// Which object.
        object: String,
        /// What was found instead.
        message: String,
    },
    /// Somebody else changed what we were to change.
    #[error("{object} was changed by somebody else: {message}")]
    Changed {
        /// Which object.
        object: String,
        /// How.
        message: String,
    },
    /// A right is missing.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// The API server refused the write.
    #[error("the API server refused: {0}")]
    Refused(String),
}

impl ClusterError {
    /// Whether trying again can help.
    pub fn can_retry(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Conflict { .. })
    }

    /// The error as plain data for the journal.
    pub fn to_failure(&self) -> Failure {
        let hint = match self {
            Self::Forbidden(_) => Some("give the role that runs stepback this right, then resume".to_owned()),
            Self::NoConfig { hint, .. } => Some(hint.clone()),
            Self::Unreachable(_) => Some(
                "see whether the API server answers (`kubectl get nodes`), and resume when it does; nothing is lost by \
                 waiting"
                    .to_owned(),
            ),
            Self::Conflict { .. } => Some(
                "find out who keeps writing to it (`kubectl get -o yaml --show-managed-fields`), make them stop, and \
                 resume"
                    .to_owned(),
            ),
            Self::Changed { .. } => Some(
                "find out who changed it (`kubectl get -o yaml --show-managed-fields`); set it back, or leave it if it \
                 is as it should be, and resume"
                    .to_owned(),
            ),
            Self::Gone { .. } => Some(
                "find out who removed it (`kubectl get events`); a run is not carried on on another object of the same \
                 name: what is left to be done then is said by `stepback resume`"
                    .to_owned(),
            ),
            Self::Refused(_) => Some(
                "the message names what will not have it, such as an admission policy or a quota: change that, and \
                 resume"
                    .to_owned(),
            ),
            Self::NotListening { .. } | Self::Fenced { .. } | Self::Held { .. } => None,
        };
        Failure {
            message: self.to_string(),
            hint,
            retry: self.can_retry(),
            fenced: matches!(self, Self::Fenced { .. }),
        }
    }
}
