//! `stepback status`.

use stepback_core::report::{Kind, Standing, survey, survey_workloads, write_status};

use super::found::read_journal;
use super::ground::{Ground, Need, SchemaArgs, look_at_workloads};
use super::options::Options;
use super::runs::report_of;
use super::terminal::Terminal;
use super::{Exit, explain};
use crate::database::DbError;
use crate::run::RoadError;

/// Show where things are, and which releases can be reached at what price
///
/// Release, schema and drift, workloads, an unfinished run and where it stands,
/// who holds the lease, and for every release of the app file how many
/// migrations lie between, or what forbids it. Changes nothing. Where the
/// cluster or the database does not answer, the other's half is shown (exit 6);
/// where an open run's journal cannot be read, why, and what to do about it.
///
/// Examples:
///   stepback status
///   stepback status -o json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    #[command(flatten)]
    schema: SchemaArgs,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let mut ground = match Ground::find(options, &args.schema, Need::Look).await {
        Err(error) => return without_database(options, terminal, error).await,
        ground => ground?,
    };
    let looked = match ground.not_joined.take() {
        Some(error) => ground.coordinator.look(&[]).await.map(|seen| (seen, Some(error))),
        None => match ground.coordinator.look(&ground.workloads).await {
            // The database answers for itself: at night, half of the answer is worth much.
            Err(RoadError::Cluster(error)) => ground.coordinator.look(&[]).await.map(|seen| (seen, Some(error))),
            looked => looked.map(|seen| (seen, None)),
        },
    };
    let (seen, unknown) = match looked {
        Err(error) => return without_database(options, terminal, error.into()).await,
        looked => looked?,
    };
    let why = unknown.as_ref().map(ToString::to_string);
    let mut status = survey(ground.app.as_ref(), &ground.catalog, &seen, why);
    // Which one does not answer is what one needs to know most.
    let place = ground.coordinator.cluster.as_ref().and_then(|cluster| cluster.place());
    status.cluster = status.cluster.or(place);
    let mut unread = None;
    if let Some(row) = &status.open_run {
        // Where its journal cannot be read, what the row says is all that there is to show.
        let stored = read_journal(options, &mut ground.coordinator, row).await;
        let standing = stored.and_then(|stored| {
            let report = report_of(&row.run, &stored)?;
            Ok(Standing::find(&stored.plan, &report, &seen.database.ledger))
        });
        match standing {
            Ok(standing) => status.standing = standing,
            Err(error) => unread = Some(error),
        }
    }
    if status.has_strange_stamps() {
        let known = match seen.database.prepared {
            true => ground.coordinator.database.runs().await?,
            false => Vec::new(),
        };
        status.explain_stamps(&known);
    }
    terminal.answer(Kind::Status, &status, |page| write_status(page, &status))?;
    // A cluster that does not answer is why its journal does not.
    match unknown.map(Into::into).or(unread) {
        Some(error) => Ok(explain::tell_beside(terminal, &error)),
        None => Ok(Exit::Done),
    }
}

/// The workloads alone, where it is the database that does not answer.
async fn without_database(options: &Options, terminal: &Terminal, error: anyhow::Error) -> anyhow::Result<Exit> {
    let of_database = match error.downcast_ref() {
        Some(RoadError::Database(error)) => Some(error),
        _ => error.downcast_ref::<DbError>(),
    };
    let Some(DbError::Unreachable { database, message } | DbError::NoEntry { database, message, .. }) = of_database
    else {
        return Err(error);
    };
    let Ok(Some((app, cluster))) = look_at_workloads(options).await else {
        return Err(error);
    };
    let status = survey_workloads(&app, &cluster, database.clone(), message.clone());
    terminal.answer(Kind::Status, &status, |page| write_status(page, &status))?;
    Ok(explain::tell_beside(terminal, &error))
}
