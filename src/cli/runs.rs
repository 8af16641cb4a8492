//! `stepback runs`.

use stepback_core::report::{Kind, write_runs};

use super::Exit;
use super::ground::database_alone;
use super::options::Options;
use super::terminal::Terminal;

/// List the runs on a database, newest first
///
/// Examples:
///   stepback runs
///   stepback runs --url sqlite://shop.db
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The database [default: DATABASE_URL, then the app file's]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let (coordinator, _) = database_alone(options, args.url.as_deref()).await?;
    let runs = coordinator.database.runs().await?;
    let list = serde_json::json!({ "items": runs });
    terminal.answer(Kind::RunList, &list, |page| write_runs(page, &runs))?;
    Ok(Exit::Done)
}
