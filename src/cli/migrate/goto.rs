//! `stepback migrate goto`.

use stepback_core::model::Version;
use stepback_core::plan::Goal;

use super::{or_nothing, read_version};
use crate::cli::Exit;
use crate::cli::carry::carry_out;
use crate::cli::ground::{Ground, Need, SchemaArgs, WayArgs};
use crate::cli::options::Options;
use crate::cli::terminal::Terminal;

/// Go to a version, up or down, so that it is the newest applied
///
/// Examples:
///   stepback migrate goto 20240115120000 --data-loss accept
///   stepback migrate goto 0 --data-loss accept
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Args {
    /// The version; 0 is the empty database
    #[arg(value_parser = read_version)]
    version: Version,
    #[command(flatten)]
    way: WayArgs,
    #[command(flatten)]
    schema: SchemaArgs,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let ground = Ground::find(options, &args.schema, Need::Schema).await?;
    let goal = Goal::Schema(or_nothing(&args.version));
    carry_out(terminal, options.verbose > 0, &ground, goal, Some(&args.way)).await
}
