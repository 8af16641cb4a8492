//! Who manages a workload from outside, and whether it acts just now.

/// Somebody who sets a workload back to what they hold, as far as the workload itself names them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnerRef {
    /// An Application of Argo CD.
    ArgoCd {
        /// The namespace that it lies in.
        namespace: String,
        /// Its name.
        app: String,
    },
    /// A Kustomization of Flux.
    Kustomization {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A HelmRelease of Flux.
    HelmRelease {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A release of Helm.
    Helm {
        /// The namespace of its records.
        namespace: String,
        /// Its name.
        release: String,
    },
}

/// What an owner does just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerState {
    /// Nothing keeps it from acting by itself.
    Acts,
    /// It does nothing by itself; how that was said, in a few words.
    Paused(String),
    /// An operation of it is under way, or died half-way; its name for that.
    Pending(String),
}
