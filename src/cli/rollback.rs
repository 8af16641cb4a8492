//! `stepback rollback`.

use stepback_core::plan::Goal;

use super::Exit;
use super::carry::carry_out;
use super::dead::DeadArgs;
use super::ground::{AcceptArgs, Ground, Need, SchemaArgs, WayArgs, read_release};
use super::options::Options;
use super::terminal::Terminal;

/// Go back to an earlier release: schema and workloads together
///
/// Shows the plan, asks, and carries it out one recorded step at a time.
/// Everything that can be known to be wrong refuses before the first change.
/// Needs no file of the newer release: the scripts were captured when they were
/// applied.
///
/// Examples:
///   stepback rollback --to 1.2.0
///   stepback rollback --to 1.2.0 --data-loss accept --yes
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The release to go back to
    #[arg(long, value_name = "RELEASE")]
    to: String,
    #[command(flatten)]
    way: WayArgs,
    #[command(flatten)]
    accept: AcceptArgs,
    #[command(flatten)]
    dead: DeadArgs,
    #[command(flatten)]
    schema: SchemaArgs,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let to = read_release(options, &args.to)?;
    let mut ground = Ground::find(options, &args.schema, Need::App).await?;
    ground.accepted = args.accept.codes();
    ground.dead = args.dead.uids();
    let goal = Goal::Release(to);
    carry_out(terminal, options.verbose > 0, &ground, goal, Some(&args.way)).await
}
