//! `abort --journal-lost`: a run that can be neither continued nor taken back is closed.

use std::io;

use stepback_core::model::{JournalPlace, MigrationSet, RunId, RunRow};
use stepback_core::report::{Kind, Page};

use super::Exit;
use super::explain::CliError;
use super::ground::{Ground, Need, SchemaArgs, join_cluster};
use super::options::Options;
use super::signals::stop_on_signals;
use super::terminal::Terminal;
use crate::database::LedgerChoice;
use crate::run::{Event, Lost, StillHeld, WhatIsLost};

pub(super) async fn close_lost(
    options: &Options,
    terminal: &Terminal,
    run: &RunId,
    url: Option<&str>,
) -> anyhow::Result<Exit> {
    let url = url.map(str::to_owned);
    let args = SchemaArgs {
        url: url.clone(),
        ..SchemaArgs::default()
    };
    let mut ground = Ground::find(options, &args, Need::Look).await?;
    // The run may be on another ledger of the database than the app file's, or than can be told from what there is.
    let rows = ground.coordinator.database.runs().await?;
    if let Some(row) = rows.into_iter().find(|row| row.run == *run) {
        let args = SchemaArgs {
            url,
            ledger: Some(LedgerChoice::Exactly(row.ledger)),
            ..SchemaArgs::default()
        };
        ground = Ground::find(options, &args, Need::Look).await?;
    }
    if ground.coordinator.cluster.is_none() {
        let open = ground.coordinator.database.look().await?.open_run;
        let in_cluster = |row: &RunRow| row.run == *run && matches!(row.journal, JournalPlace::Cluster(_));
        if open.as_ref().is_some_and(in_cluster) || ground.not_joined.is_some() {
            join_cluster(options, &mut ground.coordinator).await?;
        }
    }
    let coordinator = &ground.coordinator;
    let lost = coordinator.find_lost(run, &ground.workloads).await?;
    if !terminal.quiet || terminal.asks() {
        terminal.tell(|page| write_lost(page, &lost));
    }
    let asked = terminal.confirm("Close it as it stands?");
    asked.map_err(|source| CliError::unconfirmed(run, source))?;
    let stop = stop_on_signals()?;
    let mut listener = tell_waiting(terminal);
    let row = coordinator
        .close_lost(&lost, &ground.workloads, stop, &mut listener)
        .await?;
    answer_closed(terminal, &row, |page| {
        page.labelled("", None, "to go on from here: stepback rollback --to RELEASE")
    })
}

/// Answers that the run is closed; `more` is said after it.
pub(super) fn answer_closed(
    terminal: &Terminal,
    row: &RunRow,
    more: impl FnOnce(&mut Page<'_>) -> io::Result<()>,
) -> anyhow::Result<Exit> {
    let list = serde_json::json!({ "items": [row] });
    terminal.answer(Kind::RunList, &list, |page| {
        let closed = format!("run {} is closed; to see where things are: stepback status", row.run);
        page.labelled("", None, &closed)?;
        more(page)
    })?;
    Ok(Exit::Done)
}

/// Says whose lease is waited for.
pub(super) fn tell_waiting(terminal: &Terminal) -> impl FnMut(Event) + Send + '_ {
    |event| {
        if let (Event::Held { reason }, false) = (&event, terminal.quiet) {
            terminal.tell(|page| page.line(&format!("waiting: {reason}")));
        }
    }
}

fn write_lost(page: &mut Page<'_>, lost: &Lost) -> io::Result<()> {
    page.line(&format!("close run {}: {}", lost.run, lost.row.title))?;
    let why = match &lost.what {
        WhatIsLost::Journal => {
            "there is no journal of it where the database says that it is; check --context if that is \
                                not so"
                .to_owned()
        }
        WhatIsLost::Readable(why) => format!("its journal cannot be used: {why}"),
        WhatIsLost::Workloads(gone) => {
            let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
            format!("gone, or made anew since it was opened: {}", gone.join(", "))
        }
        WhatIsLost::Row => {
            "this database does not know it: it was restored from before the run, or is another one than the \
                            run's; check DATABASE_URL"
                .to_owned()
        }
    };
    page.labelled("  because ", None, &why)?;
    let after = "`stepback rollback --to RELEASE` undoes what is left and starts the pods";
    write_left(page, &lost.applied, &lost.held, after)
}

/// What closing a run leaves as it is, what it does, and what is to be done then.
pub(super) fn write_left(
    page: &mut Page<'_>,
    applied: &MigrationSet,
    held: &[StillHeld],
    after: &str,
) -> io::Result<()> {
    write_schema(page, applied)?;
    write_held(page, held)?;
    page.labelled(
        "  does    ",
        None,
        "the run is closed; no script is run, no pod is started or stopped",
    )?;
    page.labelled("  after   ", None, after)?;
    page.blank()
}

fn write_schema(page: &mut Page<'_>, applied: &MigrationSet) -> io::Result<()> {
    let newest = applied.newest().map_or("nothing".to_owned(), ToString::to_string);
    let schema = format!("{newest}, {} migrations applied, and stays so", applied.0.len());
    page.labelled("  schema  ", None, &schema)
}

fn write_held(page: &mut Page<'_>, held: &[StillHeld]) -> io::Result<()> {
    for held in held {
        let text = format!(
            "{}: {} of {} replicas, and stays so",
            held.workload, held.replicas, held.original
        );
        page.labelled("  holds   ", None, &text)?;
    }
    if held.is_empty() {
        page.labelled("  holds   ", None, "no workload that was looked at bears its stamp")?;
    }
    Ok(())
}
