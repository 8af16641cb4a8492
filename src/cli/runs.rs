//! `stepback runs`.

use stepback_core::model::{JournalPlace, RunId, RunRow};
use stepback_core::report::{Kind, Report, RunSummary, Told, write_runs};

use super::Exit;
use super::explain::CliError;
use super::found::{Place, open_journal};
use super::ground::{database_alone, join_cluster};
use super::options::Options;
use super::terminal::Terminal;
use crate::journal::{JournalError, Stored};
use crate::run::Coordinator;

/// List the runs on a database, newest first: when, by whom, how each ended
///
/// The list is the database's, of every ledger in it; when, by whom and how is
/// read from each run's journal. Where the database is not there, --journal lists
/// the runs whose journals lie in a namespace or a file.
///
/// Examples:
///   stepback runs
///   stepback runs -n 100 --url sqlite://shop.db
///   stepback runs --journal cluster:production
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The database [default: the app file's; without an app file, DATABASE_URL]
    #[arg(long, value_name = "URL", conflicts_with = "journal", hide_env_values = true)]
    url: Option<String>,
    /// Where the journals are, instead of asking the database: cluster:NAMESPACE or file:PATH
    #[arg(long, value_name = "PLACE")]
    journal: Option<String>,
    /// How many to list, the newest ones
    #[arg(short, value_name = "N", default_value_t = 20)]
    n: usize,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let (runs, all) = match Place::parse(args.journal.as_deref(), args.url.as_deref())? {
        Place::Database(url) => of_database(options, url.as_deref(), args.n).await?,
        place => of_journal(options, &place, args.n).await?,
    };
    let list = serde_json::json!({ "items": runs, "more": all - runs.len() });
    terminal.answer(Kind::RunList, &list, |page| write_runs(page, &runs, all - runs.len()))?;
    Ok(Exit::Done)
}

/// The newest runs, and how many there are.
async fn of_database(options: &Options, url: Option<&str>, n: usize) -> anyhow::Result<(Vec<RunSummary>, usize)> {
    let (mut coordinator, ..) = database_alone(options, url).await?;
    let rows = coordinator.database.runs().await?;
    let in_cluster = |row: &RunRow| matches!(row.journal, JournalPlace::Cluster(_));
    // The list is worth much without the cluster too; its runs say that their journals were not read, and why.
    let joined = match rows.iter().take(n).any(in_cluster) {
        true => join_cluster(options, &mut coordinator).await.err(),
        false => None,
    };
    let mut runs = Vec::new();
    for row in rows.iter().take(n) {
        let read = match (&joined, in_cluster(row)) {
            (Some(error), true) => Err(error.to_string()),
            _ => read_row(&coordinator, row).await.map_err(|error| match error {
                JournalError::NotFound(_) => "its journal is not kept any more".to_owned(),
                other => other.to_string(),
            }),
        };
        runs.push(match read {
            Ok(report) => RunSummary::read(&report, row.journal.clone(), Some(row)),
            Err(why) => RunSummary::unread(row, begun(&row.run), Some(why)),
        });
    }
    Ok((runs, rows.len()))
}

async fn read_row(coordinator: &Coordinator, row: &RunRow) -> Result<Report, JournalError> {
    let journal = coordinator.journals.open(&row.journal)?;
    report_of(&row.run, &journal.read(&row.run).await?)
}

async fn of_journal(options: &Options, place: &Place, n: usize) -> anyhow::Result<(Vec<RunSummary>, usize)> {
    let (journal, at) = open_journal(options, place).await?;
    let all = journal.runs().await?;
    if all.is_empty() {
        return Err(CliError::NoRun.into());
    }
    let mut runs = Vec::new();
    for run in all.iter().take(n) {
        let report = report_of(run, &journal.read(run).await?)?;
        runs.push(RunSummary::read(&report, at.clone(), None));
    }
    Ok((runs, all.len()))
}

/// A run's report, once its journal is seen to be a legal one.
pub(super) fn report_of(run: &RunId, stored: &Stored) -> Result<Report, JournalError> {
    stored.state(run)?;
    Ok(Report::new(run, &stored.plan, &stored.entries))
}

/// The same, with the outage of the run and of `other`, which it took back or which took it back.
pub(super) fn report_beside(run: &RunId, stored: &Stored, other: Option<&Stored>) -> Result<Report, JournalError> {
    let report = report_of(run, stored)?;
    Ok(match other {
        Some(other) => report.beside(told(stored), told(other)),
        None => report,
    })
}

fn told(stored: &Stored) -> Told<'_> {
    Told {
        plan: &stored.plan,
        entries: &stored.entries,
    }
}

/// When a run was begun, which its name tells.
fn begun(run: &RunId) -> Option<jiff::Timestamp> {
    let ms = ulid::Ulid::from_string(&run.0).ok()?.timestamp_ms();
    jiff::Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()
}
