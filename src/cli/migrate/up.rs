//! `stepback migrate up`.

use stepback_core::model::Version;
use stepback_core::plan::Goal;

use super::read_version;
use crate::cli::Exit;
use crate::cli::carry::carry_out;
use crate::cli::ground::{Ground, Need, SchemaArgs};
use crate::cli::options::Options;
use crate::cli::terminal::Terminal;

/// Apply the migrations that are not applied yet
///
/// Each migration and its row in the ledger are one transaction. Both scripts
/// are captured, so that it can be undone later without any file.
///
/// Examples:
///   stepback migrate up
///   stepback migrate up --url sqlite://shop.db --dir migrations --yes
///   stepback migrate up --to 20240301090000
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Args {
    /// Apply up to and including this version
    #[arg(long, value_name = "VERSION", value_parser = read_version)]
    to: Option<Version>,
    #[command(flatten)]
    schema: SchemaArgs,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let ground = Ground::find(options, &args.schema, Need::Folder).await?;
    let goal = Goal::Up(args.to.clone());
    carry_out(terminal, options.verbose > 0, &ground, goal, None).await
}
