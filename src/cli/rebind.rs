//! `--rebind`: a run whose database is another one than it was opened on.

use stepback_core::model::{DatabaseIdentity, RunId};

use super::explain::CliError;
use super::terminal::Terminal;
use crate::journal::Stored;
use crate::run::{Coordinator, bound_to};

/// Says what tells the two databases apart, asks, and gives the one that is there; `None` where it is the same one, or
/// where nobody has said `--rebind`.
pub(super) async fn agree_to_rebind(
    terminal: &Terminal,
    coordinator: &Coordinator,
    run: &RunId,
    stored: &Stored,
    rebind: bool,
) -> anyhow::Result<Option<DatabaseIdentity>> {
    let seen = coordinator.database.look().await?;
    let (was, is) = (bound_to(stored), &seen.database.identity);
    if !rebind || was == is {
        return Ok(None);
    }
    let applied = seen.applied();
    terminal.tell(|page| {
        page.labelled("  opened on ", None, &describe(was))?;
        page.labelled("  this is   ", None, &describe(is))?;
        page.labelled("  that is   ", None, meaning(was, is))?;
        let newest = applied.newest().map_or("nothing".to_owned(), ToString::to_string);
        page.labelled(
            "  schema    ",
            None,
            &format!("{newest}, {} migrations applied", applied.0.len()),
        )?;
        let then =
            "what the journal says has passed is looked at again here; where this ledger is behind it, the run halts";
        page.labelled("  then      ", None, then)?;
        page.blank()
    });
    let asked = terminal.confirm("Go on with this database?");
    asked.map_err(|source| CliError::unconfirmed(run, source))?;
    Ok(Some(is.clone()))
}

/// What tells a database apart, in words.
pub(super) fn describe(identity: &DatabaseIdentity) -> String {
    let DatabaseIdentity {
        system,
        timeline,
        database,
        own,
    } = identity;
    let mut words = Vec::new();
    if !system.is_empty() {
        words.push(format!("server {system}, timeline {timeline}"));
    }
    if !database.is_empty() {
        words.push(format!("database {database}"));
    }
    if !own.is_empty() {
        words.push(format!("id {}", own.get(..8).unwrap_or(own)));
    }
    words.join(", ")
}

fn meaning(was: &DatabaseIdentity, is: &DatabaseIdentity) -> &'static str {
    if was.system != is.system {
        "another server: a copy, or a restore from a dump"
    } else if was.database != is.database {
        "another database on the same server: a copy of it"
    } else {
        "the same database after a failover or a restore"
    }
}
