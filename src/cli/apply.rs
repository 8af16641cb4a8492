//! `stepback apply`.

use std::path::PathBuf;

use stepback_core::model::{RunRow, RunStatus};
use stepback_core::plan::{Change, Goal, Order, SavedPlan, changes, other_steps, plan};

use super::Exit;
use super::carry::{carry_plan, say_nothing_to_do};
use super::explain::CliError;
use super::ground::{AcceptArgs, Ground};
use super::options::Options;
use super::terminal::Terminal;
use crate::load::{LoadError, read_saved};
use crate::run::RoadError;

/// Carry out a plan that was saved, exactly as it stands
///
/// Needs neither the app file nor the migrations folder: the plan was saved with
/// both, and with its scripts. Refuses, and says what has changed, where the
/// world is not the one that the plan was made for; and where the file is not
/// exactly what `plan --out` wrote. The database's URL is not in the file: it is
/// read again from where it came from, or given with --url.
///
/// Examples:
///   stepback plan --to 1.2.0 --out back.plan
///   stepback apply back.plan
///   stepback apply back.plan --yes
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The saved plan
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The database, where it is not to be read from where the plan says
    #[arg(long, value_name = "URL", hide_env_values = true)]
    url: Option<String>,
    #[command(flatten)]
    accept: AcceptArgs,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let saved = read_saved(&args.file)?;
    let catalog = saved.catalog().map_err(|error| LoadError::Saved {
        path: args.file.clone(),
        error,
    })?;
    let ground = Ground::of_saved(options, &saved, catalog, args.url.as_deref()).await?;
    let mut request = saved.request(&ground.catalog);
    request.accepted.extend(&args.accept.codes());
    let seen = ground.coordinator.look_for(&request, &ground.workloads).await?;
    let blocks = |row: &&RunRow| !row.closes_itself && row.status != RunStatus::Opening;
    if let Some(row) = seen.database.open_run.as_ref().filter(blocks) {
        return Err(RoadError::RunOpen(Box::new(row.clone())).into());
    }
    let changed = changes(&saved.plan, &seen, &ground.catalog);
    let now = plan(&request, &seen);
    let is_elsewhere = changed
        .iter()
        .any(|change| matches!(change.part.as_str(), "database" | "cluster"));
    if let Ok(now) = &now
        && now.steps.is_empty()
        && !is_elsewhere
    {
        // Carried out already, by whomever: a Job that is tried again has nothing left to do.
        return say_nothing_to_do(terminal, now);
    }
    if !changed.is_empty() {
        return Err(stale(&args.file, &saved, changed).into());
    }
    let now = now.map_err(CliError::Refused)?;
    if let Some(change) = other_steps(&saved.plan, &now) {
        return Err(stale(&args.file, &saved, vec![change]).into());
    }
    if !terminal.quiet {
        let made = format!(
            "by {} at {}",
            saved.origin.by,
            saved.origin.at.strftime("%Y-%m-%d %H:%M:%SZ")
        );
        terminal.tell(|page| page.labelled("saved    ", None, &made));
    }
    let bodies = (options.verbose > 0).then_some(&saved.scripts);
    let mut plan = saved.plan.clone();
    if !args.accept.codes().is_empty() {
        // What was found since, and is accepted now, belongs into the run's record.
        plan.findings = now.findings;
        plan.id = plan.compute_id()?;
    }
    match carry_plan(terminal, options.verbose > 0, &ground, &request, &plan, bodies).await {
        // Between our look and the lease somebody else was at work.
        Err(error) => Err(match error.downcast::<RoadError>() {
            Ok(RoadError::Changed(changed)) => stale(&args.file, &saved, changed).into(),
            Ok(error) => error.into(),
            Err(error) => error,
        }),
        done => done,
    }
}

fn stale(file: &std::path::Path, saved: &SavedPlan, changes: Vec<Change>) -> CliError {
    CliError::Stale {
        file: file.to_owned(),
        changes,
        again: plan_again(file, saved),
    }
}

/// What to type for a new plan.
fn plan_again(file: &std::path::Path, saved: &SavedPlan) -> String {
    let to = match &saved.asked.goal {
        Goal::Release(release) => release.to_string(),
        _ => "RELEASE".to_owned(),
    };
    let loss = if saved.asked.accept_loss {
        " --data-loss accept"
    } else {
        ""
    };
    let order = match saved.asked.order {
        Some(Order::Applied) => " --order applied",
        Some(Order::Version) => " --order version",
        None => "",
    };
    let accepted = saved.asked.accepted.codes().map(|code| format!(" --accept {code}"));
    let dead = saved.asked.dead.iter().map(|uid| format!(" --pod-dead {uid}"));
    let accepted: String = accepted.chain(dead).collect();
    format!(
        "stepback plan --to {to}{loss}{order}{accepted} --out {}",
        file.display()
    )
}
