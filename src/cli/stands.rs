//! `abort --as-it-stands`: a run that can neither pass nor go back is closed, though nothing of it is lost.

use std::io;

use stepback_core::model::RunId;
use stepback_core::report::Page;

use super::Exit;
use super::explain::CliError;
use super::lost::{answer_closed, tell_waiting, write_left};
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
    let asked = terminal.confirm("Close it as it stands?");
    asked.map_err(|source| CliError::unconfirmed(run, source))?;
    let stop = stop_on_signals()?;
    let mut listener = tell_waiting(terminal);
    let row = coordinator.close_standing(&standing, stop, &mut listener).await?;
    answer_closed(terminal, &row, |_| Ok(()))
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
    let after = "it can be neither resumed nor aborted; `stepback rollback --to RELEASE` or `stepback migrate` goes on from \
                 what there is then";
    write_left(page, applied, held, after)
}
