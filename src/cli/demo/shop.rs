//! The demo's world: the shop, what is bought in it, and the commands that are run and shown.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use serde_json::{Value, json};
use stepback_sandbox::api::ApiServer;
use tokio::process::{Child, Command};

use super::super::embedded::{Embedded, shop};
use super::{customers, finish, say, tie};

/// A shop on an embedded cluster. Dropping it ends everything and removes its files.
pub(super) struct Shop {
    shop: shop::Shop,
    empty: PathBuf,
}

impl Shop {
    pub(super) const NAMESPACE: &'static str = shop::NAMESPACE;

    /// Writes the folders and starts the cluster; nothing runs on it yet.
    pub(super) async fn prepare() -> anyhow::Result<Self> {
        let cluster = Embedded::start("stepback-demo-", Self::NAMESPACE).await?;
        let empty = cluster.folder().join("elsewhere");
        std::fs::create_dir(&empty)?;
        let shop = shop::Shop::prepare(cluster)?;
        Ok(Self { shop, empty })
    }

    pub(super) fn api(&self) -> &ApiServer {
        self.shop.cluster.api()
    }

    pub(super) fn client(&self) -> Client {
        self.shop.cluster.client()
    }

    pub(super) fn release_folder(&self, release: &str) -> &Path {
        if release == "1.3.0" {
            &self.shop.newer
        } else {
            &self.shop.older
        }
    }

    pub(super) fn empty_folder(&self) -> &Path {
        &self.empty
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
            .env("DATABASE_URL", self.shop.database_url())
            .env("KUBECONFIG", self.shop.cluster.kubeconfig());
        tie(&mut command)
            .spawn()
            .with_context(|| format!("starting `stepback {}`", args.join(" ")))
    }

    pub(super) async fn open(&self) -> anyhow::Result<()> {
        self.shop.open().await
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
        self.shop.cluster.close().await;
    }
}
