//! `stepback reconcile`.

use stepback_core::model::{RunRow, RunStatus};
use stepback_core::plan::{Goal, Plan, Seen, goal_of, plan};

use super::Exit;
use super::carry::{bodies_of, carry_plan, look_and_plan, say_nothing_to_do};
use super::dead::DeadArgs;
use super::explain::CliError;
use super::found::{Found, read_journal};
use super::ground::{AcceptArgs, Ground, Need, SchemaArgs, WayArgs, read_release};
use super::options::Options;
use super::resume::carry_on;
use super::signals::stop_on_signals;
use super::terminal::Terminal;
use crate::journal::Stored;
use crate::run::{RoadError, Unfit, leaves_nothing, unless_stopped};

/// How often it is decided anew where the world has changed between the decision and the lease.
const TRIES: u32 = 4;

/// Bring the database to a release, up or down as it needs: for hooks and Jobs
///
/// Database behind the release: its migrations are applied, and no pod is
/// touched. Database ahead: the whole planned way back, schema and workloads, as
/// `rollback` does it. Equal: nothing, in a few round trips and without the
/// cluster. A run to this release that was broken off is resumed first.
/// It asks only on a terminal: in a Job it goes ahead by itself. Several may run
/// at once: one acts, the others wait for it or end with 5.
///
/// Examples:
///   stepback reconcile --to 1.3.0
///   stepback reconcile --to 1.2.0 --config /app/stepback.yaml --log-format json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The release that is wanted
    #[arg(long, value_name = "RELEASE")]
    to: String,
    #[command(flatten)]
    way: WayArgs,
    #[command(flatten)]
    accept: AcceptArgs,
    #[command(flatten)]
    dead: DeadArgs,
    #[command(flatten)]
    schema: SchemaArgs,
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    // As the first process of a container it is sent SIGTERM in vain until it listens.
    let stop = stop_on_signals()?;
    let terminal = &terminal.unattended();
    let to = read_release(options, &args.to)?;
    let mut tried = 0;
    loop {
        tried += 1;
        let carried = match unless_stopped(&stop, choose(options, args, &to)).await? {
            Way::Nothing(plan) => return say_nothing_to_do(terminal, &plan),
            Way::Resume { found, row, stored } => {
                carry_on(options, terminal, &found, row, &stored, false, &args.dead).await
            }
            Way::Carry {
                ground,
                goal,
                plan,
                seen,
            } => {
                let bodies = (options.verbose > 0).then(|| bodies_of(&plan, &ground, &seen));
                let request = ground.request(goal, Some(&args.way));
                carry_plan(terminal, options.verbose > 0, &ground, &request, &plan, bodies.as_ref()).await
            }
        };
        match carried {
            // Another coordinator was at work, and is done or dead: whatever it left is the world now.
            Err(error) if tried < TRIES && is_overtaken(&error) => {}
            carried => return carried,
        }
    }
}

fn is_overtaken(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(
            RoadError::Changed(_)
                | RoadError::RunOpen(_)
                | RoadError::UnderWay { .. }
                | RoadError::Unfit { why: Unfit::Closed, .. }
        )
    )
}

/// What is to be done.
enum Way {
    Nothing(Box<Plan>),
    Resume {
        found: Box<Found>,
        row: RunRow,
        stored: Box<Stored>,
    },
    Carry {
        ground: Box<Ground>,
        goal: Goal,
        plan: Box<Plan>,
        seen: Box<Seen>,
    },
}

/// Looks, and changes nothing.
async fn choose(options: &Options, args: &Args, to: &semver::Version) -> anyhow::Result<Way> {
    let mut ground = Ground::find(options, &args.schema, Need::Release).await?;
    ground.accepted = args.accept.codes();
    ground.dead = args.dead.uids();
    let database = ground.coordinator.database.look().await?;
    if let Some(row) = database.open_run.clone().filter(|row| row.status != RunStatus::Opening) {
        let stored = read_journal(options, &mut ground.coordinator, &row).await?;
        match judge(&row, &stored, to)? {
            OpenRun::Leave => {}
            OpenRun::Refuse => return Err(RoadError::RunOpen(Box::new(row)).into()),
            OpenRun::Resume => {
                let Ground { coordinator, url, .. } = ground;
                return Ok(Way::Resume {
                    found: Box::new(Found::on(coordinator, url, database.database.state_schema)),
                    row,
                    stored: Box::new(stored),
                });
            }
        }
    }
    let goal = goal_of(ground.app.as_ref(), &ground.catalog, &database, to);
    if !goal.goes_up() {
        ground.join(options).await?;
    }
    let request = ground.request(goal.clone(), Some(&args.way));
    let (plan, seen) = if goal.goes_up() {
        let seen = ground.coordinator.look_on(&request, database).await?;
        (plan(&request, &seen).map_err(CliError::Refused)?, seen)
    } else {
        look_and_plan(&ground, &request).await?
    };
    if plan.steps.is_empty() {
        return Ok(Way::Nothing(Box::new(plan)));
    }
    Ok(Way::Carry {
        ground: Box::new(ground),
        goal,
        plan: Box::new(plan),
        seen: Box::new(seen),
    })
}

/// What becomes of a run that is not closed.
enum OpenRun {
    /// The next run closes it, as it leaves nothing half-way; or waits for it, where it is under way.
    Leave,
    /// It goes to this release: it is carried on, which waits for whoever is at it.
    Resume,
    /// It goes elsewhere, and somebody has to decide (LAWS W7).
    Refuse,
}

fn judge(row: &RunRow, stored: &Stored, to: &semver::Version) -> anyhow::Result<OpenRun> {
    let state = stored.state(&row.run)?;
    if state
        .as_ref()
        .is_some_and(|state| state.newer_format && !state.is_over())
    {
        return Err(RoadError::Unfit {
            run: row.run.clone(),
            why: Unfit::NewerFormat,
        }
        .into());
    }
    Ok(if leaves_nothing(row, state.as_ref()) {
        OpenRun::Leave
    } else if stored.plan.to.release.as_ref() == Some(to) {
        OpenRun::Resume
    } else {
        OpenRun::Refuse
    })
}
