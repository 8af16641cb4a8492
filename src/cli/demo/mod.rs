//! `stepback demo`: the whole story on an embedded cluster, in one command.
//!
//! Every `$ stepback …` line that is shown is this program, really run as a process of its own against the embedded
//! cluster; the requests that the outage is measured with are really sent to the pods.

mod customers;
mod shop;

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use clap::Args as ClapArgs;
use stepback_sandbox::api::ApiServer;
use tokio::process::{Child, Command};

use super::Exit;
use customers::Customers;
use shop::Shop;

/// Show the whole story: a shop of three pods on an embedded cluster goes back from 1.3.0 to 1.2.0, with its schema,
/// while customers send requests
///
/// Needs no cluster, no database server, no network and no root; leaves nothing behind.
#[derive(ClapArgs)]
#[command(
    after_help = "Examples:\n  stepback demo\n  stepback demo --crash     kills the coordinator half-way and resumes from elsewhere"
)]
pub(super) struct Args {
    /// Kill the coordinator with SIGKILL half-way, and resume from a folder with neither app file nor migrations
    #[arg(long)]
    crash: bool,
}

/// Runs the demo.
pub(super) async fn run(args: &Args) -> anyhow::Result<Exit> {
    tokio::select! {
        told = tell(args) => told.map(|()| Exit::Done),
        _ = tokio::signal::ctrl_c() => {
            say("\ninterrupted; the embedded cluster and its files are gone");
            Ok(Exit::Interrupted)
        }
    }
}

async fn tell(args: &Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let shop = Shop::prepare().await?;
    say("A shop: three pods of release 1.3.0 on an embedded cluster, its orders in SQLite.");
    say("Release 1.3.0 renamed a column and added a table; 1.2.0 cannot run on that schema.\n");

    shop.stepback(shop.release_folder("1.3.0"), &["migrate", "up", "--yes", "--quiet"])
        .await?;
    shop.open().await.context("starting the shop")?;
    for (customer, item) in [("Ada", "kettle"), ("Grace", "lamp"), ("Edsger", "chair")] {
        shop.order(customer, item).await.context("placing an order")?;
    }
    say("Three orders were placed. Now 1.3.0 must go: from a folder of release 1.2.0, which has never");
    say("seen the newer migrations.\n");

    let old = shop.release_folder("1.2.0");
    shop.stepback(old, &["status"]).await?;

    let customers = Customers::come(shop.client(), Shop::NAMESPACE);
    customers.served_by("1.3.0").await?;
    if args.crash {
        crash(&shop, old).await?;
        let elsewhere = shop.empty_folder();
        say("\nThe coordinator is dead, and the shop is down. From any machine, with nothing but credentials:\n");
        shop.stepback(elsewhere, &["resume"]).await?;
    } else {
        shop.stepback(old, &["rollback", "--to", "1.2.0", "--yes"]).await?;
    }
    customers.served_by("1.2.0").await?;
    let visit = customers.leave().await;

    let orders = shop.orders().await?;
    ensure!(
        orders.len() == 3,
        "expected three orders after the rollback, found {}",
        orders.len()
    );
    say(&format!("\nAs the customers saw it: {visit}."));
    say(&format!("The orders are still there: {}.", orders.join(", ")));
    shop.close().await;
    say(&format!(
        "Done in {:.1} s; the embedded cluster and its files are gone.",
        started.elapsed().as_secs_f32()
    ));
    Ok(())
}

/// Starts a rollback and kills it with SIGKILL when its first write that starts a pod has reached the API server.
async fn crash(shop: &Shop, folder: &Path) -> anyhow::Result<()> {
    let mut hold = hold_first_start(shop.api());
    let mut rollback = shop.spawn(folder, &["rollback", "--to", "1.2.0", "--yes"])?;
    let _lifeline = rollback.stdin.take();
    tokio::select! {
        caught = hold.arrived() => {
            caught.context("waiting for the first pod to be started")?;
        }
        ended = rollback.wait() => bail!("the rollback ended before it could be killed: {}", ended?),
    }
    rollback.kill().await.context("killing the coordinator")?;
    say("\n*** kill -9: the downs are committed, no pod is running, and the coordinator is gone ***");
    hold.drop_request().await.context("dropping its last request")?;
    Ok(())
}

fn hold_first_start(api: &ApiServer) -> stepback_sandbox::api::Hold {
    // The same count is written on the way down too, and again where the write met another one.
    let is_down = std::sync::atomic::AtomicBool::new(false);
    api.hold(move |asked| {
        if asked.method != http::Method::PATCH || !asked.path.ends_with("/statefulsets/shop") {
            return false;
        }
        let replicas = &asked.json()["spec"]["replicas"];
        let was_down = is_down.fetch_or(*replicas == serde_json::json!(0), Ordering::Relaxed);
        was_down && *replicas == serde_json::json!(1)
    })
}

/// The demo's own words are its answer, like a report: they go to standard output.
#[expect(clippy::print_stdout, reason = "commands print")]
fn say(text: &str) {
    println!("{text}");
}

/// Set for the commands that the demo runs: they end with it, however it ends.
const LIFELINE: &str = "STEPBACK_DEMO_LIFELINE";

/// Ends this process when the demo that started it is gone. Its pods end like this too, and so would the cluster that a
/// command of its own goes on asking for.
pub(super) fn end_with_the_demo() {
    if std::env::var_os(LIFELINE).is_none() {
        return;
    }
    std::thread::spawn(|| {
        // The kernel closes the pipe when the process that holds its other end is gone.
        let mut held = std::io::stdin().lock();
        let mut nothing = [0; 64];
        while matches!(std::io::Read::read(&mut held, &mut nothing), Ok(1..)) {}
        std::process::exit(i32::from(Exit::Interrupted as u8));
    });
}

/// Runs a command to its end, and fails when it does.
async fn finish(mut child: Child, shown: &str) -> anyhow::Result<()> {
    // Waiting would close it first.
    let _lifeline = child.stdin.take();
    let status = child.wait().await.with_context(|| format!("waiting for `{shown}`"))?;
    ensure!(status.success(), "`{shown}` failed: {status}");
    Ok(())
}

fn tie(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).env(LIFELINE, "stdin").kill_on_drop(true)
}
