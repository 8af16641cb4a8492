//! A cluster inside this process, for `demo` and `sandbox`: its API server, its controllers and the folder that it
//! lives in, all of which end with it.

pub(super) mod shop;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use stepback_sandbox::api::{ApiServer, Options};
use stepback_sandbox::kubelet::{KubeletOptions, Program};
use stepback_sandbox::{ControllerOptions, Controllers, start_controllers};

/// A running cluster. Dropping it ends everything and removes its files.
pub(super) struct Embedded {
    folder: tempfile::TempDir,
    api: ApiServer,
    client: Client,
    controllers: Controllers,
}

impl Embedded {
    /// Starts an empty cluster and writes its kubeconfig, whose context is `namespace`.
    ///
    /// The folder is the user's alone, as is what it holds: whoever reads the kubeconfig can run commands as the user.
    pub(super) async fn start(prefix: &str, namespace: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .context("making a folder")?;
        let api = ApiServer::start(Options::default()).await?;
        std::fs::write(folder.path().join("kubeconfig"), api.kubeconfig_yaml(namespace))?;
        let client = Client::try_from(api.client_config())?;
        let program = Program {
            path: std::env::current_exe().context("finding this program")?,
            args: vec!["sandbox-shop".into()],
        };
        let mut kubelet = KubeletOptions::new(program);
        // A readiness probe every 100 ms instead of every second: pods start as fast as their processes do.
        kubelet.second = Duration::from_millis(100);
        kubelet.server_secret = Some(api.secret().clone());
        let pods = folder.path().join("node");
        std::fs::create_dir(&pods)?;
        kubelet.directory = Some(pods);
        let options = ControllerOptions {
            statefulset: true,
            kubelet: Some(kubelet),
        };
        let controllers = start_controllers(&client, options);
        Ok(Self {
            folder,
            api,
            client,
            controllers,
        })
    }

    pub(super) fn api(&self) -> &ApiServer {
        &self.api
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// Ends every process and removes the files.
    pub(super) async fn close(self) {
        self.controllers.stop().await;
        self.api.stop().await;
    }
}
