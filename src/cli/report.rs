//! `stepback report`.

use stepback_core::journal::RunState;
use stepback_core::model::{RunId, RunRow};
use stepback_core::report::{Kind, Report, write_report, write_report_html, write_report_markdown};

use super::Exit;
use super::explain::CliError;
use super::found::read_journal;
use super::ground::database_alone;
use super::options::{Options, Output};
use super::terminal::Terminal;
use crate::journal::JournalError;

/// Show what a run did: when, by whom, how long each step and the outage took
///
/// Made from the journal alone. With -v, also what was seen at each step. As
/// HTML it is one page with a timeline, which needs no network and can be
/// printed or attached to a ticket.
///
/// Examples:
///   stepback report
///   stepback report -o html > report.html
///   stepback report 01J8ZQ4T3KX2M9 -o markdown
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The run [default: the newest]
    run: Option<String>,
    /// The database [default: DATABASE_URL, then the app file's]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let (mut coordinator, _) = database_alone(options, args.url.as_deref()).await?;
    let runs = coordinator.database.runs().await?;
    let row = choose(runs, args.run.as_deref())?;
    let stored = read_journal(options, &mut coordinator, &row).await?;
    RunState::replay(&stored.entries, stored.plan.steps.len())
        .map_err(|illegal| JournalError::illegal(&row.run, &illegal))?;
    let report = Report::new(&row.run, &stored.plan, &stored.entries);
    match terminal.output {
        Output::Markdown => terminal.print(|out| write_report_markdown(out, &report))?,
        Output::Html => terminal.print(|out| write_report_html(out, &report))?,
        Output::Text | Output::Json | Output::Sql => terminal.answer(Kind::Report, &report, |page| {
            write_report(page, &report, options.verbose > 0)
        })?,
    }
    Ok(Exit::Done)
}

fn choose(runs: Vec<RunRow>, run: Option<&str>) -> anyhow::Result<RunRow> {
    match run {
        Some(run) => {
            let found = runs.into_iter().find(|row| row.run.0.eq_ignore_ascii_case(run));
            Ok(found.ok_or_else(|| JournalError::NotFound(RunId(run.to_owned())))?)
        }
        None => Ok(runs.into_iter().next().ok_or_else(|| CliError::Usage {
            message: "there are no runs on this database".to_owned(),
            hint: "name the database that you mean with --url URL".to_owned(),
        })?),
    }
}
