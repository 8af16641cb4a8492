//! `stepback status`.

use stepback_core::report::{Kind, survey, write_status};

use super::Exit;
use super::ground::{Ground, Need, SchemaArgs};
use super::options::Options;
use super::terminal::Terminal;

/// Show where things are, and which releases can be reached at what price
///
/// Changes nothing: release, schema and drift, workloads, an unfinished run,
/// who holds the lease, and for every release of the app file how many
/// migrations lie between, or what forbids it.
///
/// Examples:
///   stepback status
///   stepback status -o json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    #[command(flatten)]
    schema: SchemaArgs,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let ground = Ground::find(options, &args.schema, Need::Look).await?;
    let seen = ground.coordinator.look(&ground.workloads).await?;
    let status = survey(ground.app.as_ref(), &ground.catalog, &seen);
    terminal.answer(Kind::Status, &status, |page| write_status(page, &status))?;
    Ok(Exit::Done)
}
