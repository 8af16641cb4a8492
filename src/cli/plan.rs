//! `stepback plan`.

use stepback_core::plan::Goal;
use stepback_core::report::{Kind, write_plan};

use super::Exit;
use super::carry::{bodies_of, look_and_plan};
use super::ground::{Ground, Need, SchemaArgs, WayArgs};
use super::options::Options;
use super::terminal::Terminal;

/// Show how a release would be reached, and change nothing
///
/// Prints the strategy and why, every step in order, and everything that was
/// found on the way. `rollback` with the same arguments carries out exactly
/// this, or refuses because the world has changed.
///
/// Examples:
///   stepback plan --to 1.2.0
///   stepback plan --to 1.2.0 --sql
///   stepback plan --to 1.2.0 -o json > plan.json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The release to go back to
    #[arg(long, value_name = "RELEASE")]
    to: semver::Version,
    /// Show the SQL of each script too
    #[arg(long)]
    sql: bool,
    #[command(flatten)]
    way: WayArgs,
    #[command(flatten)]
    schema: SchemaArgs,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let ground = Ground::find(options, &args.schema, Need::App).await?;
    let request = ground.request(Goal::Release(args.to.clone()), Some(&args.way));
    let (plan, seen) = look_and_plan(&ground, &request).await?;
    let bodies = (args.sql || options.verbose > 0).then(|| bodies_of(&plan, &ground, &seen));
    terminal.answer(Kind::Plan, &plan, |page| write_plan(page, &plan, bodies.as_ref()))?;
    Ok(Exit::Done)
}
