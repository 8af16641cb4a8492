//! One pod on this node, from its binding to its end: lends it an address, runs its containers, reports its status, and
//! deletes it when everything of it has ended.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    stream::{BoxStream, SelectAll, unfold},
};
use k8s_openapi::{
    api::core::v1::{Binding, ContainerStatus, ObjectReference, Pod, PodStatus},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::{
    Shared,
    container::{self, Container, Restart},
    status,
};
use crate::{
    record::{Kind, now},
    shop,
};

/// The grace period of a pod that names none.
const GRACE: Duration = Duration::from_secs(30);
/// How long to wait before a call that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// The pod as last seen; `None` once it is gone from the server.
pub(super) type Seen = watch::Receiver<Option<Arc<Pod>>>;

/// Accompanies a pod until it is gone. Dropping this kills its processes.
pub(super) async fn accompany(shared: Arc<Shared>, mut seen: Seen) {
    let Some(pod) = seen.borrow_and_update().clone() else {
        return;
    };
    let api: Api<Pod> = Api::namespaced(shared.client.clone(), &pod.namespace().unwrap_or_default());
    let worker = Worker { shared, api, pod, seen };
    worker.run().await;
}

struct Worker {
    shared: Arc<Shared>,
    api: Api<Pod>,
    pod: Arc<Pod>,
    seen: Seen,
}

/// The pod's containers while they live.
struct Running {
    tasks: JoinSet<()>,
    states: Vec<watch::Receiver<ContainerStatus>>,
    stop: watch::Sender<Option<Duration>>,
}

impl Running {
    fn statuses(&self) -> Vec<ContainerStatus> {
        self.states.iter().map(|state| state.borrow().clone()).collect()
    }

    /// Tells all containers to end, or to end sooner than they were told before.
    fn end_within(&self, grace: Duration) {
        self.stop.send_if_modified(|order| {
            let sooner = order.is_none_or(|before| grace < before);
            if sooner {
                *order = Some(grace);
            }
            sooner
        });
    }
}

impl Worker {
    async fn run(mut self) {
        if self.is_terminating() {
            // Nothing of it runs here: it was another kubelet's, or it was never started.
            return self.remove().await;
        }
        if self.node().is_none() && !self.bind().await {
            return;
        }
        let Some(lent) = self.shared.addresses.lend(&ports(&self.pod)) else {
            let message = "no address in 127.0.0.0/8 has the pod's ports free";
            return self
                .shared
                .recorder
                .say(&*self.pod, Kind::Warning, "FailedCreatePodSandBox", message)
                .await;
        };
        let address = IpAddr::V4(lent.address);
        let restart = match self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        };
        let mut running = self.start(address, restart);
        self.live(&mut running, address, restart).await;
        self.shared
            .logs
            .forget(&self.pod.namespace().unwrap_or_default(), &self.pod.name_any());
    }

    fn node(&self) -> Option<&str> {
        self.pod.spec.as_ref()?.node_name.as_deref()
    }

    fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Binds the pod to this node. False when somebody else did, or it is gone.
    async fn bind(&self) -> bool {
        let name = self.pod.name_any();
        let node = &self.shared.options.node;
        let target = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.clone()),
            ..ObjectReference::default()
        };
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            namespace: self.pod.namespace(),
            uid: self.pod.uid(),
            ..ObjectMeta::default()
        };
        let binding = Binding { metadata, target };
        loop {
            match self
                .api
                .create_subresource::<_, Value>("binding", &name, &PostParams::default(), &binding)
                .await
            {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
                    return false;
                }
                Err(error) => {
                    tracing::debug!(pod = name, %error, "a pod could not be bound yet");
                    sleep(RETRY).await;
                }
            }
        }
        let message = format!(
            "Successfully assigned {}/{name} to {node}",
            self.pod.namespace().unwrap_or_default()
        );
        self.shared
            .recorder
            .say(&*self.pod, Kind::Normal, "Scheduled", &message)
            .await;
        true
    }

    fn start(&self, address: IpAddr, restart: Restart) -> Running {
        let (stop, stopped) = watch::channel(None);
        let mut running = Running {
            tasks: JoinSet::new(),
            states: Vec::new(),
            stop,
        };
        let before = self
            .pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_deref());
        for spec in self.pod.spec.iter().flat_map(|spec| &spec.containers) {
            // A container that an earlier kubelet ran is started once more.
            let earlier = before
                .unwrap_or_default()
                .iter()
                .find(|status| status.name == spec.name);
            let was_started = earlier.is_some_and(|status| status.container_id.is_some());
            let count = earlier.map_or(0, |status| status.restart_count) + i32::from(was_started);
            let (state, states) = watch::channel(container::unstarted(spec, count));
            running.states.push(states);
            let container = Container {
                shared: Arc::clone(&self.shared),
                pod: Arc::clone(&self.pod),
                spec: spec.clone(),
                address,
                restart,
                stop: stopped.clone(),
                state,
            };
            running.tasks.spawn(container.run());
        }
        running
    }

    /// Reports what changes, until the pod is gone from the server.
    async fn live(&mut self, running: &mut Running, address: IpAddr, restart: Restart) {
        let started = self
            .pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.clone())
            .unwrap_or_else(now);
        let mut changes: SelectAll<_> = running.states.iter().map(|state| changes_of(state.clone())).collect();
        let mut sent: Option<PodStatus> = None;
        loop {
            let mut unsent = false;
            if self.was_ended_by_others(sent.as_ref()) {
                running.end_within(GRACE);
            } else {
                let next = self.status(sent.as_ref(), running, address, restart, &started);
                if sent.as_ref() != Some(&next) {
                    unsent = !self.report(&next).await;
                    if !unsent {
                        sent = Some(next);
                    }
                }
            }
            if self.is_terminating() && running.tasks.is_empty() && !unsent {
                return self.remove().await;
            }
            let again = async {
                // What could not be sent is sent again; what was sent needs no clock.
                if unsent {
                    sleep(RETRY).await
                } else {
                    std::future::pending().await
                }
            };
            tokio::select! {
                changed = self.seen.changed() => {
                    let pod = self.seen.borrow_and_update().clone();
                    match (changed, pod) {
                        (Ok(()), Some(pod)) => self.pod = pod,
                        _ => return self.end(running, Duration::ZERO).await,
                    }
                    if self.is_terminating() {
                        running.end_within(grace(&self.pod));
                    }
                }
                Some(()) = changes.next() => {}
                Some(_) = running.tasks.join_next() => {}
                () = again => {}
            }
        }
    }

    fn phase(&self) -> Option<&str> {
        self.pod.status.as_ref()?.phase.as_deref()
    }

    /// Whether somebody else has set a phase that ends the pod. Then its containers end, and the phase stays as it is.
    fn was_ended_by_others(&self, sent: Option<&PodStatus>) -> bool {
        let phase = self.phase();
        matches!(phase, Some("Failed" | "Succeeded")) && phase != sent.and_then(|sent| sent.phase.as_deref())
    }

    /// What there is to report now.
    fn status(
        &self,
        sent: Option<&PodStatus>,
        running: &Running,
        address: IpAddr,
        restart: Restart,
        started: &Time,
    ) -> PodStatus {
        let containers = running.statuses();
        let phase = match (self.is_terminating(), running.tasks.is_empty()) {
            (true, true) => status::final_phase(&containers),
            // While its containers end one after the other the pod itself is still there.
            (true, false) => self.phase().unwrap_or("Running"),
            (false, _) => status::phase(&containers, restart),
        };
        status::compose(&self.pod, sent, phase, address, started, containers)
    }

    async fn end(&self, running: &mut Running, grace: Duration) {
        running.end_within(grace);
        while running.tasks.join_next().await.is_some() {}
    }

    /// Sends a status. False when it has to be sent again.
    async fn report(&self, status: &PodStatus) -> bool {
        let patch = json!({ "metadata": { "uid": self.pod.uid() }, "status": status });
        let name = self.pod.name_any();
        match self
            .api
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Ok(_) => true,
            // Gone, or another pod by now: the watch will say so.
            Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => true,
            Err(error) => {
                tracing::debug!(pod = name, %error, "a pod's status could not be sent yet");
                false
            }
        }
    }

    /// Takes the pod, whose containers have ended, off the server.
    async fn remove(&self) {
        let name = self.pod.name_any();
        let params = DeleteParams::default().grace_period(0);
        let params = params.preconditions(Preconditions {
            uid: self.pod.uid(),
            resource_version: None,
        });
        loop {
            match self.api.delete(&name, &params).await {
                Ok(_) => return,
                Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => return,
                Err(error) => {
                    tracing::debug!(pod = name, %error, "a pod that has ended could not be removed yet");
                    sleep(RETRY).await;
                }
            }
        }
    }
}

/// The ports that the pod's address must have free.
fn ports(pod: &Pod) -> Vec<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let named = containers.flat_map(|container| container.ports.iter().flatten());
    let mut ports: Vec<_> = named
        .filter_map(|port| u16::try_from(port.container_port).ok())
        .collect();
    ports.push(shop::PORT);
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// How long the pod's processes may take to end.
fn grace(pod: &Pod) -> Duration {
    let seconds = pod.metadata.deletion_grace_period_seconds;
    seconds.map_or(GRACE, |seconds| Duration::from_secs(seconds.try_into().unwrap_or(0)))
}

/// An item for each change of a container's state.
fn changes_of(state: watch::Receiver<ContainerStatus>) -> BoxStream<'static, ()> {
    unfold(state, |mut state| async {
        state.changed().await.ok()?;
        Some(((), state))
    })
    .boxed()
}
