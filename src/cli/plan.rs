//! `stepback plan`.

use std::path::{Path, PathBuf};

use stepback_core::plan::{Goal, Origin, Plan, Request, SavedPlan};
use stepback_core::report::{Bodies, Kind, write_plan, write_plan_markdown, write_plan_sql};

use super::Exit;
use super::carry::{bodies_of, look_and_plan};
use super::dead::DeadArgs;
use super::explain::tell_beside;
use super::ground::{AcceptArgs, Ground, Need, SchemaArgs, WayArgs, read_release};
use super::options::{Options, Output};
use super::terminal::Terminal;
use crate::load::{LoadError, write_saved};

/// Show how a release would be reached, and change nothing
///
/// Prints the strategy and why, every step in order, and everything that was
/// found on the way. With `-o markdown` for a pull request or a ticket, with
/// `-o sql` the scripts alone, in order. `rollback` with the same arguments
/// plans again and asks; a plan that was saved with --out is carried out as it
/// stands by `apply`, which refuses when the world has changed since.
///
/// Examples:
///   stepback plan --to 1.2.0
///   stepback plan --to 1.2.0 -o markdown > ticket.md
///   stepback plan --to 1.2.0 --out back.plan && stepback apply back.plan
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The release to go back to
    #[arg(long, value_name = "RELEASE")]
    to: String,
    /// Save the plan, scripts and all, for `stepback apply FILE`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show the SQL of each script too
    #[arg(long)]
    sql: bool,
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
    let to = read_release(options, &args.to)?;
    let mut ground = Ground::find(options, &args.schema, Need::App).await?;
    ground.accepted = args.accept.codes();
    ground.dead = args.dead.uids();
    let request = ground.request(Goal::Release(to), Some(&args.way));
    let (plan, seen) = look_and_plan(&ground, &request).await?;
    let bodies = bodies_of(&plan, &ground, &seen);
    if let Some(file) = &args.out {
        save(&ground, &request, &plan, &bodies, file)?;
    }
    match terminal.output {
        Output::Markdown => terminal.print(|out| write_plan_markdown(out, &plan, &bodies))?,
        Output::Sql => terminal.print(|out| write_plan_sql(out, &plan, &bodies))?,
        Output::Text | Output::Json | Output::Html => {
            let shown = (args.sql || options.verbose > 0).then_some(&bodies);
            terminal.answer(Kind::Plan, &plan, |page| write_plan(page, &plan, shown))?;
        }
    }
    if let Some(file) = args.out.as_ref().filter(|_| !terminal.quiet) {
        let next = format!("to carry it out: stepback apply {}", file.display());
        terminal.tell(|page| page.labelled("saved: ", None, &next));
    }
    // What `rollback` would end with: a pipeline that asks `plan` first is told the same.
    match ground.coordinator.see_way_free(&seen.database).await {
        Err(in_the_way) => Ok(tell_beside(terminal, &in_the_way.into())),
        Ok(()) => Ok(Exit::Done),
    }
}

fn save(ground: &Ground, request: &Request<'_>, plan: &Plan, bodies: &Bodies, file: &Path) -> anyhow::Result<()> {
    let by = &ground.coordinator.by;
    let origin = Origin {
        by: format!("{}@{}", by.user, by.host),
        program: by.program.clone(),
        at: jiff::Timestamp::now(),
    };
    // Every workload is in a namespace of its own or in the current one, which is that of whoever looks.
    let namespace = ground.namespace.as_deref();
    let saved = SavedPlan::gather(request, plan.clone(), bodies, namespace, origin);
    let saved = saved.map_err(|error| LoadError::Saved {
        path: file.to_owned(),
        error,
    })?;
    Ok(write_saved(file, &saved.to_text()?)?)
}
