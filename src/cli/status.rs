//! `stepback status`.

use stepback_core::report::{Kind, survey, write_status};

use super::ground::{Ground, Need, SchemaArgs};
use super::options::Options;
use super::terminal::Terminal;
use super::{Exit, explain};
use crate::run::RoadError;

/// Show where things are, and which releases can be reached at what price
///
/// Where the cluster does not answer, the database's half is shown (exit 6).
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
    let (seen, unknown) = match ground.not_joined {
        Some(error) => (ground.coordinator.look(&[]).await?, Some(error)),
        None => match ground.coordinator.look(&ground.workloads).await {
            Ok(seen) => (seen, None),
            // The database answers for itself: at night, half of the answer is worth much.
            Err(RoadError::Cluster(error)) => (ground.coordinator.look(&[]).await?, Some(error)),
            Err(error) => return Err(error.into()),
        },
    };
    let why = unknown.as_ref().map(ToString::to_string);
    let status = survey(ground.app.as_ref(), &ground.catalog, &seen, why);
    terminal.answer(Kind::Status, &status, |page| write_status(page, &status))?;
    if let Some(error) = unknown {
        return Ok(explain::tell_beside(terminal, &error.into()));
    }
    Ok(Exit::Done)
}
