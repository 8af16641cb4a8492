//! `stepback migrate status`.

use stepback_core::report::{Kind, survey, write_migrations, write_status};

use crate::cli::Exit;
use crate::cli::ground::{Ground, Need, SchemaArgs};
use crate::cli::options::Options;
use crate::cli::terminal::Terminal;

/// List the migrations: applied or pending, and whether each can be undone
///
/// Examples:
///   stepback migrate status
///   stepback migrate status --url sqlite://shop.db --dir migrations
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    schema: SchemaArgs,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let ground = Ground::find(options, &args.schema, Need::Schema).await?;
    let seen = ground.coordinator.look(&[]).await?;
    let mut status = survey(ground.app.as_ref(), &ground.catalog, &seen, None);
    // Releases are reached with their workloads, which were not looked at.
    status.reach.clear();
    terminal.answer(Kind::Status, &status, |page| {
        write_status(page, &status)?;
        page.blank()?;
        write_migrations(page, &status.migrations)
    })?;
    Ok(Exit::Done)
}
