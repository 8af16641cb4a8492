//! The seam to Kubernetes.
//!
//! Responsible for: what a cluster must be able to do and promise. Not for: judging health (core), waiting for it
//! (`probe`). `run`, `probe` and `cli` use it through [`Cluster`].

mod error;
mod kube;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use stepback_core::model::{
    ClusterPlace, LookAround, Pairing, PodEvent, Removal, SeenAround, SeenCluster, SeenWorkload, Stamp, TemplateRef,
    Token, UpdateStrategy, WorkloadRef,
};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::kube::is_admission;
pub use self::kube::{ConnectTo, FoundWorkload, KubeCluster, connect};
pub use error::ClusterError;

/// A byte stream to a port of a pod.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exited {
    /// Its exit status.
    pub code: i32,
    /// The end of what it said: standard error, or standard output where it wrote nothing there.
    pub said: String,
}

/// Which log of a container is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOf {
    /// Of the process that runs, or ran last.
    Now {
        /// At most so many lines.
        lines: u32,
    },
    /// Of the process before it.
    Before {
        /// At most so many lines.
        lines: u32,
    },
}

/// Replica counts of one move.
#[derive(Clone, Copy, Debug)]
pub struct Counts<'a> {
    /// The count before.
    pub from: i32,
    /// The count after; the same where a workload is only to be held at it.
    pub to: i32,
    /// What it was before anything was borrowed.
    pub original: i32,
    /// The template that new pods must come from, where there will be new ones.
    pub template: Option<&'a TemplateRef>,
}

impl Counts<'_> {
    /// A move by which no pod is made, or of whatever template there is.
    pub fn of(from: i32, to: i32, original: i32) -> Self {
        Self {
            from,
            to,
            original,
            template: None,
        }
    }
}

/// What is asked for of a workload beside its own object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// Its pods.
    pub pods: Pods<'a>,
    /// Its revisions.
    pub revisions: Revisions<'a>,
}

impl<'a> Parts<'a> {
    /// Everything.
    pub const ALL: Self = Self {
        pods: Pods::All,
        revisions: Revisions::All,
    };

    /// These revisions, and no pods.
    pub fn revisions(names: &'a [&'a str]) -> Self {
        Self {
            pods: Pods::None,
            revisions: Revisions::Named(names),
        }
    }

    /// These pods beside the rest.
    #[must_use]
    pub fn and(self, pods: Pods<'a>) -> Self {
        Self { pods, ..self }
    }
}

/// Which pods of a workload.
#[derive(Clone, Copy, Debug, Default)]
pub enum Pods<'a> {
    /// None of them.
    #[default]
    None,
    /// The one of this name.
    Named(&'a str),
    /// All of them.
    All,
}

/// Which revisions of a workload.
#[derive(Clone, Copy, Debug)]
pub enum Revisions<'a> {
    /// Those of these names, as far as they are there.
    Named(&'a [&'a str]),
    /// All of them.
    All,
}

impl Default for Revisions<'_> {
    fn default() -> Self {
        Self::Named(&[])
    }
}

/// What is followed of a workload beside its own object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Follow<'a> {
    /// Its pods.
    pub pods: bool,
    /// One of its revisions. Its data never change: it is read when following begins, and again where it was not there.
    pub revision: Option<&'a str>,
}

/// A cluster with workloads in it.
///
/// # Guarantees
/// - Looking changes nothing.
/// - Each write carries its stamp in the same patch as its effect, under the `resourceVersion` that it was decided on,
///   and is refused with [`ClusterError::Fenced`] where a higher token is written on the object (LAWS W6). Decided
///   means: the object as it is under that version was seen to be the one that the write expects.
/// - Between that look and the write, the cluster Lease is seen to carry our token still, else
///   [`ClusterError::Fenced`]: a rival who has finished leaves no stamp, and the workload may look as it did before.
///   A rival who comes later changes the version first.
/// - Replicas are patched on the object, never through `/scale`, which carries no stamp (LAWS W9).
/// - No method tries again by itself, and no `Ok` of a write is the proof of it: the caller looks afterwards.
///
/// # Assumptions
/// - Writes are made by whoever holds the database's lease and this cluster's Lease.
///
/// # After a crash
/// What was borrowed is written on the borrowed object (LAWS W7); the stamp tells which step wrote last.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// How it is reached, where that is known.
    fn place(&self) -> Option<ClusterPlace> {
        None
    }

    /// Reads the workloads, their pods and revisions.
    async fn look(&self, workloads: &[WorkloadRef]) -> Result<SeenCluster, ClusterError>;

    /// Reads the workload's own object, and these parts of it; what was not asked for may be missing from what comes back.
    ///
    /// One object is read in a moment, where a consistent list waits for the API server's cache: up to 0.1 s since
    /// Kubernetes 1.31, and nearly always so long where nothing of the kind has changed for a while, as revisions do not.
    async fn look_at(&self, workload: &WorkloadRef, parts: Parts<'_>) -> Result<SeenWorkload, ClusterError> {
        let _ = parts;
        let mut seen = self.look(std::slice::from_ref(workload)).await?;
        let found = seen.workloads.pop();
        found.ok_or_else(|| ClusterError::Unreachable(format!("{workload} was asked for and not answered")))
    }

    /// What is followed of the workload as it is now, and again after every change to it; by watching. The stream ends
    /// only with an error.
    fn changes(
        &self,
        workload: &WorkloadRef,
        follow: Follow<'_>,
    ) -> BoxStream<'static, Result<SeenWorkload, ClusterError>>;

    /// Sets `spec.replicas` from one count to another, and writes the original one on the object in the same patch.
    ///
    /// # Errors
    /// [`ClusterError::Changed`] when the count is neither, or the template is not the one that pods are to start from.
    async fn scale(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        counts: Counts<'_>,
        stamp: &Stamp,
    ) -> Result<(), ClusterError>;

    /// Sets the pod template: a revision's data as a strategic merge patch, or images on the present template.
    async fn repoint(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        to: &TemplateRef,
        stamp: &Stamp,
    ) -> Result<(), ClusterError>;

    /// Sets `spec.updateStrategy` from `from` to `to`, and writes `original` on the object in the same patch.
    ///
    /// # Errors
    /// [`ClusterError::Changed`] when the strategy is neither.
    async fn update_strategy(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        from: &UpdateStrategy,
        to: &UpdateStrategy,
        original: &UpdateStrategy,
        stamp: &Stamp,
    ) -> Result<(), ClusterError>;

    /// Deletes a pod of the workload, under the UID and the `resourceVersion` with which it was seen to be one that is
    /// to go. A delete carries no stamp: what fences a sleeper's is that [`Cluster::stamp_pod`] changes that version.
    /// Nothing happens where there is no such pod, where it is on its way out, or where one that is to stay has its name.
    /// One that is said to be dead is removed also from its way out, and without its node's word.
    async fn remove_pod(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        pod: &str,
        removal: &Removal,
        stamp: &Stamp,
    ) -> Result<(), ClusterError>;

    /// Changes the version of a pod that is to go: what a takeover does to one whose removal may be in flight (LAWS W6), once
    /// it has stamped the workload. A pod that is to stay is left as it is, and nothing of ours stays on one that is not.
    async fn stamp_pod(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        pod: &str,
        removal: &Removal,
        stamp: &Stamp,
    ) -> Result<(), ClusterError>;

    /// Writes on a revision of the workload, which must have these images, that it is this release (LAWS W1). It stays there
    /// on purpose; copies of our marks that the controller made of the workload's are taken off in the same patch.
    ///
    /// The stamp is asked of the workload, and the write is made under the revision's `resourceVersion`. A sleeper's that
    /// comes late all the same says what was true before it fell asleep.
    async fn pair(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        revision: &TemplateRef,
        pairing: &Pairing,
        stamp: &Stamp,
    ) -> Result<(), ClusterError>;

    /// Removes our annotations and our field ownership together, unstamped (LAWS W9).
    async fn give_back(&self, workload: &WorkloadRef, uid: &str, stamp: &Stamp) -> Result<(), ClusterError>;

    /// Writes the stamp and the state line, and nothing else: what a takeover does first (LAWS W6).
    async fn stamp(&self, workload: &WorkloadRef, uid: &str, stamp: &Stamp, state: &str) -> Result<(), ClusterError>;

    /// Takes the cluster Lease of this name with the token that the database issued, and keeps it alive in the
    /// background. A Lease that is held by a lower token is waited out for `wait`.
    async fn acquire(
        &self,
        namespace: &str,
        name: &str,
        holder: &str,
        token: Token,
        life: Duration,
        wait: Duration,
    ) -> Result<(), ClusterError>;

    /// Gives the cluster Lease back; nothing happens when it is not ours any more.
    async fn release(&self) -> Result<(), ClusterError>;

    /// Opens a byte stream to a port of a pod.
    ///
    /// # Errors
    /// [`ClusterError::NotListening`] where the pod was reached and refuses; through a port-forward the refusal may come
    /// later, as a stream that ends at once.
    async fn dial(&self, namespace: &str, pod: &str, port: u16) -> Result<Box<dyn Wire>, ClusterError>;

    /// Runs a command in a container of a pod, the pod's default one where none is named, and waits for its end. Whoever
    /// stops waiting ends the connection; the command may go on.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] when it could not be started.
    async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        command: &[String],
    ) -> Result<Exited, ClusterError>;

    /// The last lines of a container's log: of the process that runs, or of the one before it.
    async fn log(&self, namespace: &str, pod: &str, container: &str, of: LogOf) -> Result<Vec<String>, ClusterError>;

    /// What was recorded of this very pod, oldest first.
    async fn events(&self, namespace: &str, pod: &str, uid: &str) -> Result<Vec<PodEvent>, ClusterError>;

    /// Reads what lies around a workload, and asks the API server for a pod without making it. Of Secrets only the
    /// metadata is read. What must not be read is told in the answer; it is no error.
    async fn look_around(&self, at: &LookAround) -> Result<SeenAround, ClusterError>;

    /// What of the right to run commands in pods is missing, a sentence each.
    async fn missing_exec_rights(&self, namespace: &str) -> Result<Vec<String>, ClusterError>;

    /// Workloads that may have been meant where this one does not exist: those of its namespace, and those of its name
    /// elsewhere. For a hint alone: what may not be looked at is left out.
    async fn similar(&self, _workload: &WorkloadRef) -> Vec<WorkloadRef> {
        Vec::new()
    }

    /// What of the verbs that a plan needs is not allowed, a sentence each; `dials` says whether it asks pods over the
    /// network.
    async fn missing_rights(&self, namespace: &str, dials: bool) -> Result<Vec<String>, ClusterError>;

    /// What of pairing revisions is not allowed, a sentence each: a run goes on without it.
    async fn missing_pairing_rights(&self, _namespace: &str) -> Result<Vec<String>, ClusterError> {
        Ok(Vec::new())
    }

    /// What of looking at a pod that fails its gate is not allowed, a sentence each: a run goes on without it.
    async fn missing_evidence_rights(&self, _namespace: &str) -> Result<Vec<String>, ClusterError> {
        Ok(Vec::new())
    }
}

/// Whether our annotations or field ownership are left on a workload.
pub fn is_given_back(seen: &SeenWorkload) -> bool {
    let Some(set) = &seen.set else { return true };
    let annotated = stepback_core::model::annotation::ALL
        .iter()
        .any(|name| seen.annotation(name).is_some());
    let owned = set
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .any(|entry| entry.manager.as_deref() == Some(MANAGER));
    !annotated && !owned
}

/// The name under which we write fields.
pub const MANAGER: &str = "stepback";
