//! The demo's world: an embedded cluster, a shop in it, and the folders that commands are run in.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::{Value, json};
use stepback_sandbox::api::{ApiServer, Options};
use stepback_sandbox::kubelet::{KubeletOptions, Program};
use stepback_sandbox::{ControllerOptions, Controllers, start_controllers};
use tokio::process::{Child, Command};

use super::{customers, finish, say, tie};

/// The shop's app file and migrations, as the tests have them too.
const APP: &str = include_str!("../../../testdata/apps/shop/stepback.yaml");
const SET: &str = include_str!("../../../testdata/apps/shop/statefulset.yaml");

macro_rules! migration {
    ($name:literal) => {
        [
            (
                concat!($name, ".up.sql"),
                include_str!(concat!("../../../testdata/apps/shop/migrations/", $name, ".up.sql")),
            ),
            (
                concat!($name, ".down.sql"),
                include_str!(concat!("../../../testdata/apps/shop/migrations/", $name, ".down.sql")),
            ),
        ]
    };
}

/// Oldest first; release 1.2.0 has the first two.
const MIGRATIONS: [[(&str, &str); 2]; 4] = [
    migration!("20240101090000_create_orders"),
    migration!("20240115120000_add_customer"),
    migration!("20240220103000_rename_item_to_product"),
    migration!("20240301090000_create_payments"),
];

/// A shop on an embedded cluster. Dropping it ends everything and removes its files.
pub(super) struct Shop {
    folder: tempfile::TempDir,
    newer: PathBuf,
    older: PathBuf,
    empty: PathBuf,
    api: ApiServer,
    client: Client,
    controllers: Controllers,
}

impl Shop {
    pub(super) const NAMESPACE: &'static str = "shop";

    /// Writes the folders and starts the cluster; nothing runs on it yet.
    pub(super) async fn prepare() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("stepback-demo-")
            .tempdir()
            .context("making a folder")?;
        let at = folder.path();
        let (newer, older, empty) = (at.join("shop-1.3.0"), at.join("shop-1.2.0"), at.join("elsewhere"));
        write_release(&newer, &MIGRATIONS)?;
        write_release(&older, &MIGRATIONS[..2])?;
        std::fs::create_dir(&empty)?;
        let api = ApiServer::start(Options::default()).await?;
        std::fs::write(at.join("kubeconfig"), api.kubeconfig_yaml(Self::NAMESPACE))?;
        let client = Client::try_from(api.client_config())?;
        let program = Program {
            path: std::env::current_exe().context("finding this program")?,
            args: vec!["sandbox-shop".into()],
        };
        let mut kubelet = KubeletOptions::new(program);
        // A readiness probe every 100 ms instead of every second: pods start as fast as their processes do.
        kubelet.second = std::time::Duration::from_millis(100);
        let options = ControllerOptions {
            statefulset: true,
            kubelet: Some(kubelet),
        };
        let controllers = start_controllers(&client, options);
        Ok(Self {
            newer,
            older,
            empty,
            api,
            client,
            controllers,
            folder,
        })
    }

    pub(super) fn api(&self) -> &ApiServer {
        &self.api
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(super) fn release_folder(&self, release: &str) -> &Path {
        if release == "1.3.0" { &self.newer } else { &self.older }
    }

    pub(super) fn empty_folder(&self) -> &Path {
        &self.empty
    }

    fn database_url(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("shop.db").display())
    }

    /// Runs this program in a folder, with its output on ours, and shows what is run.
    pub(super) async fn stepback(&self, folder: &Path, args: &[&str]) -> anyhow::Result<()> {
        let shown = format!("stepback {}", args.join(" "));
        finish(self.spawn(folder, args)?, &shown).await?;
        say("");
        Ok(())
    }

    /// As [`Shop::stepback`], without waiting for its end.
    pub(super) fn spawn(&self, folder: &Path, args: &[&str]) -> anyhow::Result<Child> {
        let name = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        say(&format!("{name}$ stepback {}", args.join(" ")));
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(args)
            .current_dir(folder)
            .env("DATABASE_URL", self.database_url())
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        tie(&mut command)
            .spawn()
            .with_context(|| format!("starting `stepback {}`", args.join(" ")))
    }

    /// Opens the shop as it came to be: a release 1.2.0 that was upgraded to 1.3.0, so that both revisions are kept.
    pub(super) async fn open(&self) -> anyhow::Result<()> {
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": Self::NAMESPACE } }))?;
        Api::all(self.client())
            .create(&PostParams::default(), &namespace)
            .await?;
        let (service, mut set) = manifests(&self.database_url())?;
        Api::<Service>::namespaced(self.client(), Self::NAMESPACE)
            .create(&PostParams::default(), &service)
            .await?;
        let sets: Api<StatefulSet> = Api::namespaced(self.client(), Self::NAMESPACE);
        set.spec.replicas = Some(0);
        set_image(&mut set, "shop:1.2.0");
        sets.create(&PostParams::default(), &set).await?;
        await_condition(sets.clone(), "shop", |set: Option<&StatefulSet>| {
            set.and_then(|set| set.status.as_ref()?.update_revision.as_ref())
                .is_some()
        })
        .await?;
        set_image(&mut set, "shop:1.3.0");
        let upgrade = json!({ "spec": { "replicas": 3, "template": set.spec.template } });
        sets.patch("shop", &PatchParams::default(), &Patch::Merge(upgrade))
            .await?;
        await_condition(sets, "shop", |set: Option<&StatefulSet>| {
            set.and_then(|set| set.status.as_ref()?.ready_replicas) == Some(3)
        })
        .await?;
        Ok(())
    }

    async fn first_pod(&self) -> anyhow::Result<String> {
        let pod = Api::<Pod>::namespaced(self.client(), Self::NAMESPACE)
            .get("shop-0")
            .await?;
        pod.status
            .and_then(|status| status.pod_ip)
            .context("shop-0 has no address")
    }

    /// Places an order with the shop's first pod.
    pub(super) async fn order(&self, customer: &str, item: &str) -> anyhow::Result<()> {
        let order = json!({ "customer": customer, "item": item, "quantity": 1 });
        let (status, body) = customers::send(&self.first_pod().await?, "POST", "/orders", order.to_string()).await?;
        anyhow::ensure!(status < 300, "the shop answered {status}: {body}");
        Ok(())
    }

    /// The orders, as the shop's first pod tells them.
    pub(super) async fn orders(&self) -> anyhow::Result<Vec<String>> {
        let (status, body) = customers::send(&self.first_pod().await?, "GET", "/orders", String::new()).await?;
        anyhow::ensure!(status == 200, "the shop answered {status}: {body}");
        let orders: Vec<Value> = serde_json::from_str(&body)?;
        let text = |order: &Value, field: &str| order[field].as_str().unwrap_or("?").to_owned();
        Ok(orders
            .iter()
            .map(|order| format!("a {} for {}", text(order, "item"), text(order, "customer")))
            .collect())
    }

    /// Ends every process and removes the files.
    pub(super) async fn close(self) {
        self.controllers.stop().await;
        self.api.stop().await;
    }
}

fn set_image(set: &mut StatefulSet, image: &str) {
    if let Some(container) = set
        .spec
        .template
        .spec
        .as_mut()
        .and_then(|spec| spec.containers.first_mut())
    {
        container.image = Some(image.to_owned());
    }
}

fn manifests(database_url: &str) -> anyhow::Result<(Service, StatefulSet)> {
    let text = SET.replace("sqlite://shop.db", database_url);
    let mut documents = text.split("\n---\n");
    let mut next = || documents.next().context("statefulset.yaml has two documents");
    Ok((serde_saphyr::from_str(next()?)?, serde_saphyr::from_str(next()?)?))
}

fn write_release(folder: &Path, migrations: &[[(&str, &str); 2]]) -> anyhow::Result<()> {
    let files = folder.join("migrations");
    std::fs::create_dir_all(&files).with_context(|| format!("making {}", files.display()))?;
    // A dead coordinator's lease ends after 2 s here, so that the demo is short; 15 s is the default.
    let app = APP.replace("  dataLoss: accept\n", "  dataLoss: accept\n  limits: { lease: 2s }\n");
    std::fs::write(folder.join("stepback.yaml"), app)?;
    for (name, text) in migrations.iter().flatten() {
        std::fs::write(files.join(name), text)?;
    }
    Ok(())
}
