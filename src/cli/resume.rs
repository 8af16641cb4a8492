//! `stepback resume`.

use stepback_core::model::{RunId, RunRow, SeenWorkload, Stamp, annotation};
use stepback_core::report::Kind;

use super::Exit;
use super::carry::conclude;
use super::dead::{DeadArgs, find_dead};
use super::explain::CliError;
use super::found::{Found, Place, find_run, read_journal};
use super::ground::look_at_workloads;
use super::options::Options;
use super::rebind::agree_to_rebind;
use super::report::read_other;
use super::signals::stop_on_signals;
use super::terminal::Terminal;
use super::unopened::open_run;
use crate::journal::Stored;
use crate::run::{Coordinator, RoadError, Said, Unfit};

/// Continue a run that halted or was killed
///
/// Needs neither the app file nor the migrations folder, only the database (of
/// the app file where there is one, else of DATABASE_URL): the plan, the journal
/// and the scripts were stored before the first change. What the journal left
/// open is looked at first, and nothing is done twice. It does not ask: the plan
/// was agreed to when the run was opened. A run that was only being opened has
/// touched nothing: it is closed, and what to type is said.
///
/// Examples:
///   stepback resume
///   stepback resume 01J8ZQ4T3KX2M9 --url sqlite:///var/lib/shop/shop.db
///   stepback resume --rebind    after a failover or a restore of the database
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The run [default: the one that is not closed]
    run: Option<String>,
    /// The database [default: the app file's; without an app file, DATABASE_URL]
    #[arg(long, value_name = "URL", conflicts_with = "journal", hide_env_values = true)]
    url: Option<String>,
    /// Where its journal is: cluster:NAMESPACE, file:PATH, or the URL of its database [default: the
    /// database of --url, the app file or DATABASE_URL knows]
    #[arg(long, value_name = "PLACE")]
    journal: Option<String>,
    /// Go on with this database although it is not the one that the run was opened on: it has failed over, or was restored
    /// or cloned since. Says what tells the two apart, and asks
    #[arg(long)]
    rebind: bool,
    #[command(flatten)]
    dead: DeadArgs,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let place = Place::parse(args.journal.as_deref(), args.url.as_deref())?;
    let wanted = args.run.clone().map(RunId);
    let mut found = match find_run(options, &place, wanted.as_ref()).await {
        Err(error) if matches!(error.downcast_ref(), Some(CliError::NoRun)) => {
            return nothing_to("resume", terminal);
        }
        found => found?,
    };
    let open = match open_run(options, terminal, &mut found, "resume").await? {
        Ok(open) => open,
        Err(told) => return Ok(told),
    };
    let Some(row) = open else {
        see_none_held(options, &found.coordinator).await?;
        return nothing_to("resume", terminal);
    };
    let stored = read_journal(options, &mut found.coordinator, &row).await?;
    carry_on(options, terminal, &found, row, &stored, args.rebind, &args.dead).await
}

/// Continues a run whose journal was read.
pub(super) async fn carry_on(
    options: &Options,
    terminal: &Terminal,
    found: &Found,
    row: RunRow,
    stored: &Stored,
    rebind: bool,
    dead: &DeadArgs,
) -> anyhow::Result<Exit> {
    let coordinator = found.under(options, &stored.plan).await?;
    if !terminal.quiet {
        let what = format!("{}: {}", stored.plan.title, row.run);
        terminal.tell(|page| page.labelled("resuming ", None, &what));
    }
    let said = Said {
        rebind: agree_to_rebind(terminal, &coordinator, &row.run, stored, rebind).await?,
        dead: find_dead(terminal, &coordinator, &stored.plan, &dead.uids())
            .await
            .map_err(|source| CliError::not_continued(row.run.clone(), source))?,
    };
    let stop = stop_on_signals()?;
    let mut lines = terminal.lines(&stored.plan);
    match coordinator.resume(Some(&row.run), &said, stop, &mut lines).await {
        Ok(finished) => {
            let aborted = match coordinator.journals.open(&row.journal) {
                Ok(journal) => read_other(&*journal, stored).await,
                Err(_) => None,
            };
            let partly = lines.partly();
            conclude(terminal, options.verbose > 0, &finished, aborted.as_ref(), partly)
        }
        // Nothing was done by this process: say why, and not that the run broke off.
        Err(source) if !lines.has_begun() => Err(CliError::not_continued(row.run, source).into()),
        Err(source) => Err(CliError::broke_off(row.run, source).into()),
    }
}

/// Makes sure that no workload of the app file bears the stamp of a run that this database does not know: it was restored
/// from before that run, or is another one.
///
/// # Errors
/// [`RoadError::Unfit`] with that run, which names the way out.
pub(super) async fn see_none_held(options: &Options, coordinator: &Coordinator) -> anyhow::Result<()> {
    // That the cluster does not answer says nothing of the database, which has no open run.
    let Ok(Some((_, seen))) = look_at_workloads(options).await else {
        return Ok(());
    };
    let bear = |seen: &SeenWorkload| Some(seen.annotation(annotation::STAMP)?.parse::<Stamp>().ok()?.run);
    let stamped: Vec<RunId> = seen.workloads.iter().filter_map(bear).collect();
    if stamped.is_empty() {
        return Ok(());
    }
    let known = match coordinator.database.look().await?.prepared {
        true => coordinator.database.runs().await?,
        false => Vec::new(),
    };
    match stamped.into_iter().find(|run| known.iter().all(|row| row.run != *run)) {
        Some(run) => Err(RoadError::Unfit {
            run,
            why: Unfit::Unknown,
        }
        .into()),
        None => Ok(()),
    }
}

/// Answers that no run waits for that.
pub(super) fn nothing_to(what: &str, terminal: &Terminal) -> anyhow::Result<Exit> {
    let nothing = serde_json::json!({ "items": [] });
    terminal.answer(Kind::RunList, &nothing, |page| {
        page.line(&format!("nothing to {what}: every run is closed"))
    })?;
    Ok(Exit::Done)
}
