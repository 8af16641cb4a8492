//! A kubelet for one machine whose containers are processes: it binds pods to its node, gives each an address of its
//! own in 127.0.0.0/8, runs the image `shop:VERSION` as a process of this project's shop, probes it, reports it, and ends
//! it. Every other image is `ImagePullBackOff`; `shop:VERSION-bad` is one that crashes. `exec` runs commands of this
//! machine in a container's environment.
//!
//! It talks through `kube::Client` alone and so serves any API server. Processes cannot outlive it: each ends with a
//! pipe that only this process holds. Linux only: elsewhere the addresses are not there.
//!
//! Left out: init containers, liveness and startup probes, exec probes, volumes, limits.

mod address;
mod container;
mod door;
mod env;
mod exec;
mod logs;
mod node;
mod place;
mod pod;
mod probe;
mod status;
mod terminal;

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    future::Future,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::{sync::watch, task::JoinSet};

use self::address::Addresses;
pub use self::logs::Logs;
use self::place::Places;
use crate::{record::Recorder, secret::Secret};

/// How an image is run: this program with these arguments, told the rest by the environment variables of
/// [`shop::ShopConfig::from_env`](crate::shop::ShopConfig::from_env).
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// What makes it a shop.
    pub args: Vec<OsString>,
}

/// Pauses before a container that failed is tried again: `first`, then twice as long each time, up to `limit`.
#[derive(Clone, Copy, Debug)]
pub struct BackOff {
    /// The first pause.
    pub first: Duration,
    /// The longest one.
    pub limit: Duration,
}

impl Default for BackOff {
    /// As in Kubernetes: 10 s to 5 min.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            limit: Duration::from_secs(300),
        }
    }
}

impl BackOff {
    /// The pause after so many failures; after none there is none.
    fn after(self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => self
                .first
                .saturating_mul(2_u32.saturating_pow(doublings))
                .min(self.limit),
        }
    }
}

/// What a kubelet is to be.
#[derive(Clone, Debug)]
pub struct KubeletOptions {
    /// The name of its node.
    pub node: String,
    /// How to run the shop's images.
    pub program: Program,
    /// How long a second of a probe's `periodSeconds` and `initialDelaySeconds` lasts: shorter makes a demo brisk.
    pub second: Duration,
    /// Pauses after crashes and refused images.
    pub back_off: BackOff,
    /// Where containers and commands in them run; without it where this process runs.
    pub directory: Option<PathBuf>,
    /// What its API server proves itself with: [`ApiServer::secret`](crate::api::ApiServer::secret). Whoever proves it
    /// may read logs and run commands in containers; without it nobody may.
    pub server_secret: Option<Secret>,
}

impl KubeletOptions {
    /// A kubelet as patient as Kubernetes' own, for the node `sandbox`, that tells no server anything.
    pub fn new(program: Program) -> Self {
        Self {
            node: "sandbox".to_owned(),
            program,
            second: Duration::from_secs(1),
            back_off: BackOff::default(),
            directory: None,
            server_secret: None,
        }
    }
}

/// What all pods of a kubelet share.
struct Shared {
    client: Client,
    options: KubeletOptions,
    recorder: Recorder,
    addresses: Addresses,
    logs: Logs,
    places: Places,
}

/// A kubelet that is ready to run.
pub struct Kubelet {
    shared: Arc<Shared>,
}

impl Kubelet {
    /// A kubelet of the cluster that `client` talks to.
    pub fn new(client: Client, options: KubeletOptions) -> Self {
        let recorder = Recorder::new(client.clone(), "kubelet");
        let shared = Shared {
            client,
            options,
            recorder,
            addresses: Addresses::default(),
            logs: Logs::default(),
            places: Places::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The logs of its containers, also while it runs.
    pub fn logs(&self) -> Logs {
        self.shared.logs.clone()
    }

    /// Runs pods until `shutdown` resolves; then kills their processes, as when a machine is switched off, and returns
    /// when they are gone. Dropping it kills them too, and waits for nothing. The pods stay on the server; a kubelet of
    /// the same node that comes later starts them once more.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let mut known = Known {
            shared: &self.shared,
            seen: HashMap::new(),
            workers: JoinSet::new(),
        };
        let mut guests = JoinSet::new();
        tokio::select! {
            () = self.work(&mut known, &mut guests) => {}
            () = shutdown => {}
        }
        guests.shutdown().await;
        known.keep(&HashSet::new());
        while let Some(ended) = known.workers.join_next().await {
            known.forget(ended);
        }
    }

    async fn work(&self, known: &mut Known<'_>, guests: &mut JoinSet<()>) {
        let Shared { client, options, .. } = &*self.shared;
        let (listener, address) = match door::open().await {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, "the kubelet cannot listen on the loopback address and does not run");
                return std::future::pending().await;
            }
        };
        node::ensure(client, &options.node, address.port()).await;
        let mut renewal = pin!(node::renew(client, &options.node, address.port()));
        let mut serving = pin!(door::serve(listener, Arc::clone(&self.shared), guests));
        let pods: Api<Pod> = Api::all(client.clone());
        let mut events = pin!(watcher(pods, watcher::Config::default()).default_backoff());
        let mut listed = HashSet::new();
        loop {
            tokio::select! {
                () = &mut renewal => {}
                () = &mut serving => {}
                Some(ended) = known.workers.join_next() => known.forget(ended),
                event = events.next() => match event {
                    Some(Ok(Event::Apply(pod))) => known.see(pod),
                    Some(Ok(Event::Delete(pod))) => known.lose(&pod.uid().unwrap_or_default()),
                    Some(Ok(Event::Init)) => listed.clear(),
                    Some(Ok(Event::InitApply(pod))) => {
                        listed.extend(pod.uid());
                        known.see(pod);
                    }
                    Some(Ok(Event::InitDone)) => known.keep(&listed),
                    Some(Err(error)) => tracing::debug!(%error, "the watch of pods broke; it is begun anew"),
                    None => return,
                },
            }
        }
    }
}

/// The pods that have a task here, by UID.
struct Known<'a> {
    shared: &'a Arc<Shared>,
    seen: HashMap<String, watch::Sender<Option<Arc<Pod>>>>,
    workers: JoinSet<String>,
}

impl Known<'_> {
    fn see(&mut self, pod: Pod) {
        let Some(uid) = pod.uid() else { return };
        if let Some(seen) = self.seen.get(&uid) {
            seen.send_replace(Some(Arc::new(pod)));
            return;
        }
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let is_ours = node.is_none_or(|node| node == self.shared.options.node);
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let is_over = matches!(phase, Some("Failed" | "Succeeded"));
        let is_terminating = pod.metadata.deletion_timestamp.is_some();
        // An unbound pod that is being deleted is nobody's to end.
        if !is_ours || (is_over && !is_terminating) || (is_terminating && node.is_none()) {
            return;
        }
        let (sender, seen) = watch::channel(Some(Arc::new(pod)));
        self.seen.insert(uid.clone(), sender);
        let shared = Arc::clone(self.shared);
        self.workers.spawn(async move {
            pod::accompany(shared, seen).await;
            uid
        });
    }

    fn lose(&mut self, uid: &str) {
        if let Some(seen) = self.seen.get(uid) {
            seen.send_replace(None);
        }
    }

    /// After a new listing: what is not listed went unseen.
    fn keep(&mut self, listed: &HashSet<String>) {
        for (uid, seen) in &self.seen {
            if !listed.contains(uid) {
                seen.send_replace(None);
            }
        }
    }

    fn forget(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => drop(self.seen.remove(&uid)),
            Err(error) => tracing::error!(%error, "a pod's task failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let pause = BackOff {
            first: Duration::from_secs(10),
            limit: Duration::from_secs(300),
        };
        let seconds: Vec<_> = (0..8).map(|failures| pause.after(failures).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(pause.after(u32::MAX), pause.limit);
    }
}
