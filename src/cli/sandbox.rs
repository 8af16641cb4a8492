//! `stepback sandbox`.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde::Serialize;
use stepback_core::report::Kind;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use super::embedded::{Embedded, shop, shop::Shop};
use super::terminal::Terminal;

/// Start a small cluster inside this process, for `kubectl` and for trying stepback out, until Ctrl-C
///
/// It has Kubernetes' API, a StatefulSet controller and one node, whose
/// containers are processes: there are the images shop:1.1.0, shop:1.2.0 and
/// shop:1.3.0, `-bad` behind one of them makes it crash, and no image is ever
/// pulled. A container is a process of yours, not a jail: `kubectl exec` runs a
/// program of this machine, as you, with the container's environment. Whoever can
/// read the kubeconfig can do so; it lies in a folder that only you can read.
///
/// Needs no network and no root. Ctrl-C and SIGTERM end every process and remove
/// every file of it.
///
/// Examples:
///   stepback sandbox           an empty cluster
///   stepback sandbox --shop    with a shop of release 1.3.0 to be rolled back
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Open a shop in it: three pods of release 1.3.0 in the namespace shop, its orders in SQLite
    #[arg(long)]
    shop: bool,
}

/// What is told once it runs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place<'a> {
    kubeconfig: &'a Path,
    namespace: &'a str,
    /// From which the shop can be rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<&'a Path>,
}

/// Runs until it is told to end.
pub(super) async fn run(terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    // Before anything is made, so that nothing is left of it whenever they come.
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .context("listening for signals")?;
    let told = futures::future::select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv())));
    let namespace = if args.shop { shop::NAMESPACE } else { "default" };
    let cluster = Embedded::start("stepback-sandbox-", namespace).await?;
    if args.shop {
        let shop = Shop::prepare(cluster)?;
        let lived = tokio::select! {
            lived = live(terminal, &shop) => lived,
            _ = told => Ok(()),
        };
        shop.cluster.close().await;
        lived?;
    } else {
        tell(terminal, &cluster, None)?;
        told.await;
        cluster.close().await;
    }
    terminal.tell(|page| page.line("the sandbox and its files are gone"));
    Ok(Exit::Done)
}

/// Opens the shop, says so, and never ends.
async fn live(terminal: &Terminal, shop: &Shop) -> anyhow::Result<()> {
    migrate(&shop.newer).await?;
    shop.open().await.context("opening the shop")?;
    tell(terminal, &shop.cluster, Some(&shop.older))?;
    std::future::pending().await
}

/// Brings the shop's database to its newest release, with this very program.
async fn migrate(folder: &Path) -> anyhow::Result<()> {
    let run = Command::new(std::env::current_exe().context("finding this program")?)
        .args(["migrate", "up", "--yes", "--quiet"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .output()
        .await
        .context("starting `stepback migrate up`")?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr);
        bail!("`stepback migrate up` failed for the shop's database: {}", said.trim());
    }
    Ok(())
}

fn tell(terminal: &Terminal, cluster: &Embedded, folder: Option<&Path>) -> anyhow::Result<()> {
    let kubeconfig = &*cluster.kubeconfig();
    let place = Place {
        kubeconfig,
        namespace: if folder.is_some() { shop::NAMESPACE } else { "default" },
        folder,
    };
    terminal.answer(Kind::Sandbox, &place, |page| {
        page.line("A cluster runs in this process. In another terminal:")?;
        page.blank()?;
        page.line(&format!("  export KUBECONFIG={}", kubeconfig.display()))?;
        match folder {
            Some(folder) => {
                page.line("  kubectl get pods")?;
                page.blank()?;
                page.line("Three pods of release 1.3.0 are open. From the folder of 1.2.0 they go back:")?;
                page.blank()?;
                page.line(&format!("  cd {}", folder.display()))?;
                page.line("  stepback plan --to 1.2.0")?;
            }
            None => {
                page.line("  kubectl get nodes")?;
                page.blank()?;
                page.line("It is empty: `stepback sandbox --shop` opens a shop that can be rolled back.")?;
            }
        }
        page.blank()?;
        page.line("Ctrl-C ends it and removes its files.")
    })
}
