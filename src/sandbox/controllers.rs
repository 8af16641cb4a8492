//! Starts what makes an API server a cluster: the StatefulSet controller and the kubelet.

use kube::Client;
use tokio::{sync::watch, task::JoinSet};

#[cfg(target_os = "linux")]
use crate::kubelet::{Kubelet, KubeletOptions, Logs};
use crate::statefulset;

/// Which parts to start.
#[derive(Clone, Debug, Default)]
pub struct ControllerOptions {
    /// The StatefulSet controller: for a server beside which no `kube-controller-manager` runs one.
    pub statefulset: bool,
    /// A node, if there is to be one.
    #[cfg(target_os = "linux")]
    pub kubelet: Option<KubeletOptions>,
}

/// Running controllers. Dropping this stops them and kills the containers' processes.
#[derive(Debug)]
pub struct Controllers {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    #[cfg(target_os = "linux")]
    logs: Option<Logs>,
}

impl Controllers {
    /// What the containers wrote; `None` without a kubelet.
    #[cfg(target_os = "linux")]
    pub fn logs(&self) -> Option<&Logs> {
        self.logs.as_ref()
    }

    /// Stops everything and returns when nothing runs any more, the containers' processes included.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a controller failed");
            }
        }
    }
}

/// Starts controllers. They work on their own from then on; whatever fails is tried again.
pub fn start_controllers(client: &Client, options: ControllerOptions) -> Controllers {
    let mut tasks = JoinSet::new();
    let (stop, stopped) = watch::channel(false);
    if options.statefulset {
        tasks.spawn(statefulset::run(client.clone(), told(stopped.clone())));
    }
    #[cfg(target_os = "linux")]
    {
        let kubelet = options.kubelet.map(|options| Kubelet::new(client.clone(), options));
        let logs = kubelet.as_ref().map(Kubelet::logs);
        if let Some(kubelet) = kubelet {
            tasks.spawn(kubelet.run(told(stopped.clone())));
        }
        Controllers { tasks, stop, logs }
    }
    #[cfg(not(target_os = "linux"))]
    Controllers { tasks, stop }
}

/// Resolves when the controllers are told to stop. Where nobody is left to tell them they are stopped by being dropped.
async fn told(mut stopped: watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending().await
    }
}
