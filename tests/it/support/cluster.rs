//! Whole clusters: an API server, who runs StatefulSets on it, and our kubelet. Each kind is shared by all cases; a case
//! gets a namespace of its own.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{from_value, json};
use stepback_sandbox::{
    ControllerOptions, Controllers,
    api::{self, ApiServer},
    kubelet::{BackOff, KubeletOptions, Logs},
    start_controllers,
};
use tokio::{runtime::Runtime, task::spawn_blocking};

use super::{
    controlplane::{ControlPlane, StatefulSets, connect},
    process::scratch,
    runner::NotPassed,
    shop,
};

/// What a cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Kubernetes' API server and Kubernetes' StatefulSet controller.
    Real,
    /// Kubernetes' API server and our StatefulSet controller.
    OurController,
    /// Our API server and our StatefulSet controller.
    Sandbox,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Real, Kind::OurController, Kind::Sandbox];

    /// How the names of its cases begin.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Real => "real",
            Kind::OurController => "our_controller",
            Kind::Sandbox => "sandbox",
        }
    }
}

/// A cluster with one node. What is ours runs on a runtime of its own: cases come and go.
pub struct Cluster {
    server: Server,
    controllers: Controllers,
    runtime: Runtime,
}

/// A namespace for one case. Dropping it empties it: pods that nobody needs any more would be run and probed as long as
/// the tests run.
pub struct LentNamespace {
    cluster: &'static Cluster,
    name: String,
}

impl Deref for LentNamespace {
    type Target = str;

    fn deref(&self) -> &str {
        &self.name
    }
}

impl Drop for LentNamespace {
    fn drop(&mut self) {
        let (cluster, name) = (self.cluster, std::mem::take(&mut self.name));
        cluster.runtime.spawn(async move {
            // A server that is gone has taken the namespace with it.
            if let Ok(client) = cluster.client().await {
                drop(
                    Api::<Namespace>::all(client)
                        .delete(&name, &DeleteParams::default())
                        .await,
                );
            }
        });
    }
}

/// What must go on running.
enum Server {
    Real(&'static ControlPlane),
    Sandbox { _server: ApiServer, kubeconfig: PathBuf },
}

impl Server {
    fn kubeconfig(&self) -> &Path {
        match self {
            Server::Real(control_plane) => control_plane.kubeconfig(),
            Server::Sandbox { kubeconfig, .. } => kubeconfig,
        }
    }
}

impl Cluster {
    /// The cluster of this kind that all cases share.
    pub async fn shared(kind: Kind) -> Result<&'static Cluster, NotPassed> {
        static CLUSTERS: [OnceLock<Result<Cluster, NotPassed>>; 3] = [const { OnceLock::new() }; 3];
        let (shared, control_plane) = match kind {
            Kind::Real => (&CLUSTERS[0], Some(ControlPlane::shared(StatefulSets::Own).await?)),
            Kind::OurController => (&CLUSTERS[1], Some(ControlPlane::shared(StatefulSets::Left).await?)),
            Kind::Sandbox => (&CLUSTERS[2], None),
        };
        let start = move || {
            let start = || Self::create(control_plane, kind);
            shared.get_or_init(start).as_ref().map_err(NotPassed::clone)
        };
        spawn_blocking(start).await?
    }

    fn create(control_plane: Option<&'static ControlPlane>, kind: Kind) -> Result<Cluster, NotPassed> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let mut kubelet = KubeletOptions {
            second: Duration::from_millis(100),
            back_off: BackOff {
                first: Duration::from_millis(200),
                limit: Duration::from_secs(2),
            },
            ..KubeletOptions::new(shop::program())
        };
        // A client's connections live on the runtime that it was made on.
        let (server, controllers) = runtime.block_on(async {
            let server = match control_plane {
                Some(control_plane) => Server::Real(control_plane),
                None => {
                    let server = ApiServer::start(api::Options::default()).await?;
                    let kubeconfig = scratch()?.join("sandbox-kubeconfig");
                    fs::write(&kubeconfig, server.kubeconfig_yaml("default"))?;
                    kubelet.server_secret = Some(server.secret().clone());
                    Server::Sandbox {
                        _server: server,
                        kubeconfig,
                    }
                }
            };
            let options = ControllerOptions {
                statefulset: kind != Kind::Real,
                kubelet: Some(kubelet),
            };
            let controllers = start_controllers(&connect(server.kubeconfig()).await?, options);
            Ok::<_, NotPassed>((server, controllers))
        })?;
        Ok(Cluster {
            server,
            controllers,
            runtime,
        })
    }

    /// A kubeconfig with every right, for programs.
    pub fn kubeconfig(&self) -> &Path {
        self.server.kubeconfig()
    }

    /// A client with every right, for the case's own runtime.
    pub async fn client(&self) -> Result<Client, NotPassed> {
        connect(self.kubeconfig()).await
    }

    /// Makes an empty namespace in which pods can be created.
    pub async fn fresh_namespace(&'static self, hint: &str) -> Result<LentNamespace, NotPassed> {
        let client = self.client().await?;
        let name = fresh_name(hint);
        let namespace: Namespace = from_value(json!({ "metadata": { "name": name } }))?;
        Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &name);
        await_condition(accounts, "default", |account: Option<&ServiceAccount>| {
            account.is_some()
        })
        .await?;
        Ok(LentNamespace { cluster: self, name })
    }

    /// What the containers wrote.
    pub fn logs(&self) -> &Logs {
        self.controllers.logs().expect("every cluster has a kubelet")
    }
}

/// A name that no other case uses: namespaces take seconds to go, so none is used twice.
fn fresh_name(hint: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let letters = hint.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    });
    let hint: String = letters.take(40).collect();
    format!("{}-{}", hint.trim_matches('-'), NEXT.fetch_add(1, Ordering::Relaxed))
}
