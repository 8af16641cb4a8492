//! `stepback abort`.

use stepback_core::model::RunId;
use stepback_core::report::write_plan;

use super::Exit;
use super::carry::conclude;
use super::dead::{DeadArgs, find_dead};
use super::explain::CliError;
use super::found::{Place, find_run, read_journal};
use super::lost::close_lost;
use super::options::Options;
use super::rebind::agree_to_rebind;
use super::resume::{nothing_to, see_none_held};
use super::signals::stop_on_signals;
use super::stands::close_as_it_stands;
use super::terminal::Terminal;
use super::unopened::open_run;
use crate::run::{Consent, RoadError};

/// Take a run that halted or was killed back to where it started
///
/// What it undid is applied again from the archive; template, replicas and
/// update strategy become what they were. That is free until the first pod of
/// the target has started (offline) or the first down is committed (app-first,
/// schema-first). From then on the target release may have written data, and
/// the abort says so and asks for --accept-writes-since.
///
/// Where the journal is lost, or a workload was made anew, nothing can be given
/// back: --journal-lost looks, says what there is, and closes the run as it
/// stands. `stepback rollback` goes on from there. Where nothing is lost, and it
/// can still neither pass nor go back, --as-it-stands closes it in the same way.
///
/// Examples:
///   stepback abort
///   stepback abort 01J8ZQ4T3KX2M9 --yes
///   stepback abort --journal-lost 01J8ZQ4T3KX2M9
///   stepback abort --as-it-stands 01J8ZQ4T3KX2M9
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The run [default: the one that is not closed]
    run: Option<String>,
    /// The database [default: the app file's; without an app file, DATABASE_URL]
    #[arg(long, value_name = "URL", conflicts_with = "journal", hide_env_values = true)]
    url: Option<String>,
    /// Where its journal is: cluster:NAMESPACE, file:PATH, or the URL of its database [default: as for `resume`]
    #[arg(long, value_name = "PLACE")]
    journal: Option<String>,
    /// Go back although the target release may have written data since
    #[arg(long)]
    accept_writes_since: bool,
    /// Go back on this database although it is not the one that the run was opened on, as `resume --rebind` goes on
    #[arg(long)]
    rebind: bool,
    #[command(flatten)]
    dead: DeadArgs,
    /// Close a run whose journal or workload is lost, as it stands; RUN has to be named
    #[arg(long, requires = "run", conflicts_with_all = ["journal", "accept_writes_since", "rebind"])]
    journal_lost: bool,
    /// Close the run as it stands: nothing is continued, taken back or given back
    #[arg(long, conflicts_with_all = ["journal_lost", "accept_writes_since", "rebind"])]
    as_it_stands: bool,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    if let (true, Some(run)) = (args.journal_lost, &args.run) {
        return close_lost(options, terminal, &RunId(run.clone()), args.url.as_deref()).await;
    }
    let place = Place::parse(args.journal.as_deref(), args.url.as_deref())?;
    let wanted = args.run.clone().map(RunId);
    let mut found = match find_run(options, &place, wanted.as_ref()).await {
        Err(error) if matches!(error.downcast_ref(), Some(CliError::NoRun)) => return nothing_to("abort", terminal),
        found => found?,
    };
    let open = match open_run(options, terminal, &mut found, "abort").await? {
        Ok(open) => open,
        Err(told) => return Ok(told),
    };
    let Some(row) = open else {
        see_none_held(options, &found.coordinator).await?;
        return nothing_to("abort", terminal);
    };
    let stored = read_journal(options, &mut found.coordinator, &row).await?;
    let coordinator = found.under(options, &stored.plan).await?;
    if args.as_it_stands {
        return close_as_it_stands(terminal, &coordinator, &row.run).await;
    }
    // Its pods may be stopped: that nothing was touched would be half of the truth.
    let run = row.run.clone();
    let stands = |source: RoadError| CliError::not_continued(run.clone(), source);
    let dead = find_dead(terminal, &coordinator, &stored.plan, &args.dead.uids()).await;
    let consent = Consent {
        dead: dead.map_err(stands)?,
        writes: args.accept_writes_since,
        rebind: agree_to_rebind(terminal, &coordinator, &row.run, &stored, args.rebind).await?,
        by_itself: false,
    };
    let (row, plan) = coordinator.plan_abort(Some(&row.run), &consent).await.map_err(stands)?;
    if !terminal.quiet {
        terminal.tell(|page| write_plan(page, &plan, None).and_then(|()| page.blank()));
    }
    let asked = terminal.confirm_on(Some(&plan), "Go back?");
    asked.map_err(|source| CliError::unconfirmed(&row.run, source))?;
    let stop = stop_on_signals()?;
    let mut lines = terminal.lines(&plan);
    let aborted = coordinator.abort(&row, &plan, &consent, stop, &mut lines).await;
    let (opened, partly) = (lines.opened().cloned(), lines.partly());
    let finished = aborted.map_err(|source| match opened {
        Some(run) => CliError::broke_off(run, source),
        None => stands(source),
    })?;
    conclude(terminal, options.verbose > 0, &finished, Some(&stored), partly)
}
