//! `stepback report`.

use stepback_core::journal::What;
use stepback_core::model::RunId;
use stepback_core::report::{Kind, write_report, write_report_html, write_report_markdown};

use super::Exit;
use super::explain::CliError;
use super::found::{Place, open_journal, read_journal};
use super::ground::database_alone;
use super::options::{Options, Output};
use super::runs::report_beside;
use super::terminal::Terminal;
use crate::journal::{Journal, JournalError, Stored};

/// Show what a run did: when, by whom, how long each step and the outage took
///
/// Made from the journal alone: where the database is not there, --journal says
/// where that is. With -v, also what was seen at each step. As HTML it is one
/// page with a timeline, which needs no network and can be printed or attached
/// to a ticket.
///
/// Examples:
///   stepback report
///   stepback report -o html > report.html
///   stepback report 01J8ZQ4T3KX2M9 -o markdown
///   stepback report --journal cluster:production
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The run [default: the newest]
    run: Option<String>,
    /// The database [default: the app file's; without an app file, DATABASE_URL]
    #[arg(long, value_name = "URL", conflicts_with = "journal", hide_env_values = true)]
    url: Option<String>,
    /// Where its journal is, instead of asking the database: cluster:NAMESPACE or file:PATH
    #[arg(long, value_name = "PLACE")]
    journal: Option<String>,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let (run, stored, other) = match Place::parse(args.journal.as_deref(), args.url.as_deref())? {
        Place::Database(url) => {
            let (mut coordinator, ..) = database_alone(options, url.as_deref()).await?;
            let runs = coordinator.database.runs().await?;
            let row = choose(runs, |row| &row.run, args.run.as_deref())?;
            let stored = read_journal(options, &mut coordinator, &row).await?;
            let journal = coordinator.journals.open(&row.journal)?;
            let other = read_other(&*journal, &stored).await;
            (row.run, stored, other)
        }
        place => {
            let (journal, _) = open_journal(options, &place).await?;
            let run = choose(journal.runs().await?, |run| run, args.run.as_deref())?;
            let stored = journal.read(&run).await?;
            let other = read_other(&*journal, &stored).await;
            (run, stored, other)
        }
    };
    let report = report_beside(&run, &stored, other.as_ref())?;
    match terminal.output {
        Output::Markdown => terminal.print(|out| write_report_markdown(out, &report))?,
        Output::Html => terminal.print(|out| write_report_html(out, &report))?,
        Output::Text | Output::Json | Output::Sql => terminal.answer(Kind::Report, &report, |page| {
            write_report(page, &report, options.verbose > 0)
        })?,
    }
    Ok(Exit::Done)
}

/// The run that took this one back, or that it took back, whose journal lies at the same place; `None` where there is none,
/// or it is not kept any more.
pub(super) async fn read_other(journal: &dyn Journal, stored: &Stored) -> Option<Stored> {
    let other = stored.entries.iter().find_map(|entry| match &entry.what {
        What::RunOpened { aborts: Some(run), .. } | What::RunHandedOver { to: run } => Some(run),
        _ => None,
    });
    journal.read(other?).await.ok()
}

/// The run that was asked for, or the newest, which is the first. The beginning of a name is enough where it is that of
/// one run alone.
fn choose<T>(runs: Vec<T>, name: impl Fn(&T) -> &RunId, wanted: Option<&str>) -> anyhow::Result<T> {
    let Some(wanted) = wanted else {
        return Ok(runs.into_iter().next().ok_or(CliError::NoRun)?);
    };
    let upper = wanted.to_ascii_uppercase();
    let mut found: Vec<T> = runs.into_iter().filter(|run| name(run).0.starts_with(&upper)).collect();
    if found.len() > 1 {
        found.retain(|run| name(run).0 == upper);
    }
    Ok(found
        .pop()
        .ok_or_else(|| JournalError::NotFound(RunId(wanted.to_owned())))?)
}
