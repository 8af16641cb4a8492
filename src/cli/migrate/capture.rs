//! `stepback migrate capture`.

use stepback_core::model::{Finding, Version};
use stepback_core::plan::{CaptureRequest, Captured, plan_capture};
use stepback_core::report::{Kind, write_findings};

use super::read_version;
use crate::cli::Exit;
use crate::cli::explain::CliError;
use crate::cli::ground::{Ground, Need, SchemaArgs};
use crate::cli::options::Options;
use crate::cli::terminal::Terminal;

/// Store the folder's scripts in the database, for one that another tool migrates
///
/// A rollback then needs no file of the newer release. Run it after that tool
/// has migrated; or, with --stage, before it does and from the new release's
/// folder, so that a rollback is possible even if the upgrade fails half-way.
/// What was staged counts as captured as soon as the ledger shows that script.
///
/// Examples:
///   stepback migrate capture --dir migrations
///   stepback migrate capture --stage --dir migrations
///   stepback migrate capture --replace 20240301090000 --reason "down was mended"
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Args {
    /// Store also what is not applied yet
    #[arg(long)]
    stage: bool,
    /// Append a revision to what was captured of this version
    #[arg(long, value_name = "VERSION", value_parser = read_version, requires = "reason")]
    replace: Option<Version>,
    /// Why it is replaced; kept beside the revision
    #[arg(long, value_name = "TEXT", requires = "replace")]
    reason: Option<String>,
    #[command(flatten)]
    schema: SchemaArgs,
}

#[derive(serde::Serialize)]
struct Answer<'a> {
    items: &'a [Captured],
    findings: &'a [Finding],
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let ground = Ground::find(options, &args.schema, Need::Files).await?;
    let request = CaptureRequest {
        stage: args.stage,
        replace: args.replace.clone(),
    };
    let database = &ground.coordinator.database;
    // Refused before our tables are made, where it can be.
    let seen = database.look().await?;
    let foreseen = plan_capture(&request, &ground.catalog, &seen).map_err(CliError::Refused)?;
    let reason = args.reason.as_deref().unwrap_or_default();
    let captured = ground
        .coordinator
        .capture(&request, &ground.catalog, reason, ground.app.as_ref())
        .await?;
    // What was to be known before our tables were made, and what the capture itself found.
    let mut findings = foreseen.findings;
    let known = findings.len();
    for finding in captured.findings {
        if !findings[..known].contains(&finding) {
            findings.push(finding);
        }
    }
    let answer = Answer {
        items: &captured.items,
        findings: &findings,
    };
    terminal.answer(Kind::Capture, &answer, |page| {
        for item in &captured.items {
            page.line(&format!("{:<9}  {}", item.becomes.name(), item.migration))?;
        }
        if captured.items.is_empty() {
            page.line("nothing to capture: no migration of the folder is applied (--stage stores them beforehand)")?;
        }
        write_findings(page, &findings)
    })?;
    Ok(Exit::Done)
}
