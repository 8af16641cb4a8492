//! A real Kubernetes API behind [`Cluster`].
//!
//! Responsible for: the client, and which file does what: `connect` finds the cluster, `look` reads and `watch` watches
//! it, `around` reads what lies around a workload, `write` makes stamped writes, `pair` one to a revision, `pods` removes
//! pods, `lease` holds the
//! cluster Lease, `dial` opens streams to pods, `exec` runs commands in them, `record` reads their logs and events,
//! `rights` asks what is allowed, `limit` gives up a server that is silent, `failure` says what went wrong. Not for:
//! deciding anything. `cli` makes one, everybody else sees the trait.

mod around;
mod connect;
mod dial;
mod exec;
mod failure;
mod find;
mod lease;
mod limit;
mod look;
mod owner;
mod pair;
mod pods;
mod record;
mod rights;
mod watch;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use kube::api::PatchParams;
use stepback_core::model::{
    ClusterPlace, LookAround, Pairing, PodEvent, Removal, SeenAround, SeenCluster, SeenWorkload, Stamp, TemplateRef,
    Token, UpdateStrategy, WorkloadRef,
};
use tokio::sync::Mutex;

use super::{Cluster, ClusterError, Counts, Exited, Follow, LogOf, MANAGER, Parts, Wire};

pub use connect::{ConnectTo, connect};
pub(crate) use failure::is_admission;
pub use find::FoundWorkload;

/// A cluster behind a Kubernetes API server.
///
/// Dropping it stops the heartbeat of the cluster Lease, which then expires; [`Cluster::release`] gives it back at once.
pub struct KubeCluster {
    client: kube::Client,
    default_namespace: String,
    /// Where the API server is and how it was found, for messages.
    place: Option<ClusterPlace>,
    reach: dial::Reach,
    held: Mutex<Option<lease::Held>>,
}

/// How every patch of ours is sent: its fields are owned under our name (LAWS W9).
fn as_us() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

impl KubeCluster {
    /// A cluster that this client talks to. The client should not try requests again by itself: [`connect`] makes one
    /// that does not. A request that is not answered within 30 s is given up: [`ClusterError::Unreachable`].
    pub fn new(client: kube::Client, default_namespace: impl Into<String>) -> Self {
        Self::with_limit(client, default_namespace, limit::REQUEST)
    }

    /// The same with another limit on each request. Watches and streams to pods are limited until they begin.
    pub fn with_limit(client: kube::Client, default_namespace: impl Into<String>, request: Duration) -> Self {
        Self {
            client: limit::limited(client, request),
            default_namespace: default_namespace.into(),
            place: None,
            reach: dial::Reach::Outside,
            held: Mutex::new(None),
        }
    }

    fn at(mut self, place: ClusterPlace, reach: dial::Reach) -> Self {
        self.place = Some(place);
        self.reach = reach;
        self
    }

    /// The first call that talks to the server says which one did not answer.
    fn name_server(&self, error: ClusterError) -> ClusterError {
        match (error, &self.place) {
            (ClusterError::Unreachable(why), Some(place)) => {
                ClusterError::Unreachable(format!("{}: {why}", place.server))
            }
            (error, _) => error,
        }
    }

    /// The namespace of what names none: that of the context, or of the pod that this runs in.
    pub fn default_namespace(&self) -> &str {
        &self.default_namespace
    }

    fn writer<'a>(
        &'a self,
        lease: Option<&'a lease::Held>,
        workload: &'a WorkloadRef,
        uid: &'a str,
        stamp: &'a Stamp,
    ) -> write::Writer<'a> {
        write::Writer {
            client: &self.client,
            lease,
            workload,
            uid,
            stamp,
        }
    }

    /// The client, for the journal that lies in the same cluster; its requests have the same limit.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }
}

#[async_trait]
impl Cluster for KubeCluster {
    fn place(&self) -> Option<ClusterPlace> {
        self.place.clone()
    }

    async fn look(&self, workloads: &[WorkloadRef]) -> Result<SeenCluster, ClusterError> {
        let looked = look::look(&self.client, &self.default_namespace, workloads).await;
        let mut seen = looked.map_err(|error| self.name_server(error))?;
        seen.place.clone_from(&self.place);
        Ok(seen)
    }

    async fn look_at(&self, workload: &WorkloadRef, parts: Parts<'_>) -> Result<SeenWorkload, ClusterError> {
        let looked = look::look_at(&self.client, workload, parts).await;
        looked.map_err(|error| self.name_server(error))
    }

    fn changes(
        &self,
        workload: &WorkloadRef,
        follow: Follow<'_>,
    ) -> BoxStream<'static, Result<SeenWorkload, ClusterError>> {
        watch::changes(self.client.clone(), workload.clone(), follow)
    }

    async fn scale(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        counts: Counts<'_>,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        let held = self.held.lock().await;
        self.writer(held.as_ref(), workload, uid, stamp).scale(counts).await
    }

    async fn repoint(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        to: &TemplateRef,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        let held = self.held.lock().await;
        self.writer(held.as_ref(), workload, uid, stamp).repoint(to).await
    }

    async fn update_strategy(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        from: &UpdateStrategy,
        to: &UpdateStrategy,
        original: &UpdateStrategy,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        let held = self.held.lock().await;
        let strategies = write::Strategies { from, to, original };
        self.writer(held.as_ref(), workload, uid, stamp)
            .update_strategy(strategies)
            .await
    }

    async fn remove_pod(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        pod: &str,
        removal: &Removal,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        let held = self.held.lock().await;
        self.writer(held.as_ref(), workload, uid, stamp)
            .remove_pod(pod, removal)
            .await
    }

    async fn stamp_pod(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        pod: &str,
        removal: &Removal,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        let held = self.held.lock().await;
        self.writer(held.as_ref(), workload, uid, stamp)
            .stamp_pod(pod, removal)
            .await
    }

    async fn pair(
        &self,
        workload: &WorkloadRef,
        uid: &str,
        revision: &TemplateRef,
        pairing: &Pairing,
        stamp: &Stamp,
    ) -> Result<(), ClusterError> {
        let held = self.held.lock().await;
        self.writer(held.as_ref(), workload, uid, stamp)
            .pair(revision, pairing)
            .await
    }

    async fn give_back(&self, workload: &WorkloadRef, uid: &str, stamp: &Stamp) -> Result<(), ClusterError> {
        let held = self.held.lock().await;
        self.writer(held.as_ref(), workload, uid, stamp).give_back().await
    }

    async fn stamp(&self, workload: &WorkloadRef, uid: &str, stamp: &Stamp, state: &str) -> Result<(), ClusterError> {
        let held = self.held.lock().await;
        self.writer(held.as_ref(), workload, uid, stamp).stamp(state).await
    }

    async fn acquire(
        &self,
        namespace: &str,
        name: &str,
        holder: &str,
        token: Token,
        life: Duration,
        wait: Duration,
    ) -> Result<(), ClusterError> {
        // One Lease at a time: the one held before is given back, not left to expire.
        self.release().await?;
        let claim = lease::Claim::new(&self.client, namespace, name, holder, token, life);
        let held = claim.acquire(wait).await?;
        *self.held.lock().await = Some(held);
        Ok(())
    }

    async fn release(&self) -> Result<(), ClusterError> {
        match self.held.lock().await.take() {
            Some(held) => held.release().await,
            None => Ok(()),
        }
    }

    async fn dial(&self, namespace: &str, pod: &str, port: u16) -> Result<Box<dyn Wire>, ClusterError> {
        self.reach.dial(&self.client, namespace, pod, port).await
    }

    async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        command: &[String],
    ) -> Result<Exited, ClusterError> {
        exec::run(&self.client, namespace, pod, container, command).await
    }

    async fn log(&self, namespace: &str, pod: &str, container: &str, of: LogOf) -> Result<Vec<String>, ClusterError> {
        record::log(&self.client, namespace, pod, container, of).await
    }

    async fn events(&self, namespace: &str, pod: &str, uid: &str) -> Result<Vec<PodEvent>, ClusterError> {
        record::events(&self.client, namespace, pod, uid).await
    }

    async fn look_around(&self, at: &LookAround) -> Result<SeenAround, ClusterError> {
        around::look(&self.client, at).await
    }

    async fn missing_exec_rights(&self, namespace: &str) -> Result<Vec<String>, ClusterError> {
        rights::missing_for_exec(&self.client, namespace).await
    }

    async fn missing_pairing_rights(&self, namespace: &str) -> Result<Vec<String>, ClusterError> {
        rights::missing_for_pairing(&self.client, namespace).await
    }

    async fn missing_evidence_rights(&self, namespace: &str) -> Result<Vec<String>, ClusterError> {
        rights::missing_for_evidence(&self.client, namespace).await
    }

    async fn similar(&self, workload: &WorkloadRef) -> Vec<WorkloadRef> {
        find::similar(&self.client, workload).await
    }

    async fn missing_rights(&self, namespace: &str, dials: bool) -> Result<Vec<String>, ClusterError> {
        rights::missing(&self.client, namespace, dials && self.reach == dial::Reach::Outside).await
    }
}
