//! `stepback migrate down`.

use stepback_core::model::Version;
use stepback_core::plan::Goal;

use super::read_version;
use crate::cli::Exit;
use crate::cli::carry::carry_out;
use crate::cli::ground::{Ground, Need, SchemaArgs, WayArgs};
use crate::cli::options::Options;
use crate::cli::terminal::Terminal;

/// Undo the newest applied migration, or more
///
/// Runs the down scripts that were captured when the migrations were applied,
/// newest first. A missing, empty or edited down script refuses, and nothing is
/// touched.
///
/// Examples:
///   stepback migrate down --data-loss accept
///   stepback migrate down -n 3 --data-loss accept
///   stepback migrate down --to 20240115120000 --data-loss accept --yes
///   stepback migrate down --to 0 --data-loss accept
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Args {
    /// How many migrations to undo, the newest applied first
    #[arg(short, value_name = "N", default_value_t = 1, conflicts_with = "to", value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Undo everything above this version, and leave it applied; 0 undoes everything
    #[arg(long, value_name = "VERSION", value_parser = read_version)]
    to: Option<Version>,
    #[command(flatten)]
    way: WayArgs,
    #[command(flatten)]
    schema: SchemaArgs,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let ground = Ground::find(options, &args.schema, Need::Schema).await?;
    let goal = match &args.to {
        Some(version) if version.is_zero() => Goal::Schema(None),
        Some(version) => Goal::DownTo(version.clone()),
        None => Goal::Down(args.n),
    };
    let verbose = options.verbose > 0;
    carry_out(terminal, verbose, &ground, goal, Some(&args.way)).await
}
