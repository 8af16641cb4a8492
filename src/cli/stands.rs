//! `abort --as-it-stands`: a run that can neither pass nor go back is closed, though nothing of it is lost.

use std::io;

use stepback_core::model::RunId;
use stepback_core::report::{Kind, Page};

use super::Exit;
use super::lost::{tell_waiting, write_held, write_schema};
use super::signals::stop_on_signals;
use super::terminal::Terminal;
use crate::run::{Coordinator, Standing};

pub(super) async fn close_as_it_stands(
    terminal: &Terminal,
    coordinator: &Coordinator,
    run: &RunId,
) -> anyhow::Result<Exit> {
    let standing = coordinator.find_standing(run).await?;
    if !terminal.quiet || terminal.asks() {
        terminal.tell(|page| write_standing(page, &standing));
    }
    terminal.confirm("Close it as it stands?")?;
    let stop = stop_on_signals()?;
    let mut listener = tell_waiting(terminal);
    let row = coordinator.close_standing(&standing, stop, &mut listener).await?;
    let list = serde_json::json!({ "items": [row] });
    terminal.answer(Kind::RunList, &list, |page| {
        page.line(&format!(
            "run {run} is closed; to see where things are: stepback status"
        ))
    })?;
    Ok(Exit::Done)
}

fn write_standing(page: &mut Page<'_>, standing: &Standing) -> io::Result<()> {
    let Standing {
        row,
        halt,
        passed,
        applied,
        held,
    } = standing;
    page.line(&format!("close run {} as it stands: {}", row.run, row.title))?;
    let why = halt.as_deref().unwrap_or("whoever carried it out ended without a word");
    page.labelled("  halted  ", None, why)?;
    page.labelled("  steps   ", None, &format!("{} of {} passed", passed.0, passed.1))?;
    write_schema(page, applied)?;
    write_held(page, held)?;
    page.labelled(
        "  does    ",
        None,
        "the run is closed; no script is run, no pod is started or stopped",
    )?;
    page.labelled(
        "  after   ",
        None,
        "it can be neither resumed nor aborted; `stepback rollback --to RELEASE` or `stepback migrate` goes on from what \
         there is then",
    )?;
    page.blank()
}
