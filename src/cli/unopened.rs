//! `resume` and `abort` of a run that was only being opened: it is closed, and what to type instead is said.

use stepback_core::model::{JournalPlace, RunRow, RunStatus};
use stepback_core::plan::{Action, Plan};
use stepback_core::report::{Kind, Page};

use super::Exit;
use super::found::Found;
use super::ground::join_cluster;
use super::lost::tell_waiting;
use super::options::Options;
use super::signals::stop_on_signals;
use super::terminal::Terminal;

/// The run that is not closed, unless it was only being opened: that one is closed and told of, and there is an exit code
/// for it. Whoever may still be opening it is waited for, and then it is a run like any other.
pub(super) async fn open_run(
    options: &Options,
    terminal: &Terminal,
    found: &mut Found,
    command: &str,
) -> anyhow::Result<Result<Option<RunRow>, Exit>> {
    let open = found.open_run(command).await?;
    let Some(row) = open.as_ref().filter(|row| row.status == RunStatus::Opening) else {
        return Ok(Ok(open));
    };
    let plan = read_plan(options, found, row).await;
    let stop = stop_on_signals()?;
    let mut listener = tell_waiting(terminal);
    let coordinator = found.of_row(options, row).await?;
    let Some(row) = coordinator.close_unopened(row, stop, &mut listener).await? else {
        return Ok(Ok(found.open_run(command).await?));
    };
    let list = serde_json::json!({ "items": [row] });
    terminal.answer(Kind::RunList, &list, |page| write_closed(page, &row, plan.as_ref()))?;
    Ok(Err(Exit::Done))
}

/// Its plan, for the command to type. That it cannot be had keeps nobody from closing the run.
async fn read_plan(options: &Options, found: &mut Found, row: &RunRow) -> Option<Plan> {
    if matches!(row.journal, JournalPlace::Cluster(_)) && found.coordinator.cluster.is_none() {
        join_cluster(options, &mut found.coordinator).await.ok()?;
    }
    let journal = found.coordinator.journals.open(&row.journal).ok()?;
    Some(journal.read(&row.run).await.ok()?.plan)
}

fn write_closed(page: &mut Page<'_>, row: &RunRow, plan: Option<&Plan>) -> std::io::Result<()> {
    page.line(&format!("run {} never began: {}", row.run, row.title))?;
    page.labelled("  because ", None, "whoever began it died while it was being opened")?;
    page.labelled("  now     ", None, "nothing was touched, and the run is closed")?;
    let undoes = |plan: &&Plan| {
        !plan
            .steps
            .iter()
            .any(|step| matches!(step.action, Action::Apply { .. }))
    };
    let release = plan.filter(undoes).and_then(|plan| plan.to.release.as_ref());
    let again = match release {
        Some(release) => format!("to do it after all: stepback rollback --to {release}"),
        None => "to do it after all: type the command that began it once more".to_owned(),
    };
    page.labelled("  hint    ", None, &again)
}
