//! A run whose coordinator was killed while it was being opened has touched nothing: whatever is typed next closes it and
//! goes on.

use stepback_core::journal::RunState;

use super::{
    kill::{ROLLBACK, setting},
    program::Ran,
    rivals::scene,
    stage::Stage,
    store::Engine,
    world::{TO_1_2_0, journals},
};
use crate::support::runner::{Case, Ctx, Outcome, case};

pub fn cases() -> Vec<Case> {
    vec![
        case("main_road::unopened_is_closed_by_resume_and_abort", resumed_and_aborted),
        case("main_road::unopened_is_closed_by_migrate_and_reconcile", migrated),
        case("main_road::unopened_is_closed_by_apply", applied),
    ]
}

/// Which write to the journal the coordinator is killed at: the first is the plan.
const FIRST_ENTRY: usize = 2;

/// A rollback that is killed at this write to the journal, which arrives or does not.
async fn killed_at(stage: &Stage, write: usize, arrives: bool) -> Outcome {
    let mut hold = stage.server().hold_nth(write, |asked| {
        asked.method != hyper::Method::GET && asked.path.contains("/configmaps")
    });
    let rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.kill_at(&mut hold).await?;
    if arrives {
        assert!(hold.let_through().await? < 300, "the entry was refused");
    } else {
        hold.drop_request().await?;
    }
    Ok(())
}

/// A rollback that is killed between its row and its opening.
async fn killed_opening(stage: &Stage, arrives: bool) -> Outcome {
    killed_at(stage, FIRST_ENTRY, arrives).await?;
    let rows = stage.store.ask("SELECT status FROM stepback_run ORDER BY run").await?;
    assert_eq!(rows.last().map(String::as_str), Some("opening"), "{rows:?}");
    Ok(())
}

fn is_told(ran: &Ran) {
    for said in ["never began", "nothing was touched", "stepback rollback --to 1.2.0"] {
        assert!(ran.out.contains(said), "{said}: {ran}");
    }
}

/// No run is open, in the database or by any journal that has an entry.
async fn nothing_is_open(stage: &Stage) -> Outcome {
    assert_eq!(stage.store.open_runs().await?, [""; 0]);
    for (run, journal) in journals(stage).await? {
        let state = RunState::replay(&journal.entries, journal.plan.steps.len())?;
        assert!(state.is_none_or(|state| state.is_over()), "run {run} is not over");
    }
    Ok(())
}

async fn resumed_and_aborted(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let spec = stage.sets.get("shop").await?.spec;
    for typed in ["resume", "abort"] {
        for arrives in [false, true] {
            killed_opening(&stage, arrives).await?;
            let told = stage.credentials.run(0, &stage.empty_folder(), typed).await?;
            is_told(&told);
            nothing_is_open(&stage).await?;
            let again = stage.credentials.run(0, &stage.empty_folder(), typed).await?;
            assert!(again.out.contains(&format!("nothing to {typed}")), "{again}");
        }
    }
    // By its name, and by where its journal is.
    killed_opening(&stage, false).await?;
    let rows = "SELECT run FROM stepback_run WHERE status = 'opening'";
    let run = stage.store.ask(rows).await?.remove(0);
    let typed = format!("resume {run} --journal cluster:{}", stage.namespace);
    is_told(&stage.credentials.run(0, &stage.empty_folder(), &typed).await?);
    nothing_is_open(&stage).await?;
    assert_eq!(stage.sets.get("shop").await?.spec, spec);
    assert!(stage.store.ask("SELECT what FROM audit").await?.is_empty());
    stage.credentials.run(0, &stage.folder("1.2.0"), ROLLBACK).await?;
    TO_1_2_0.check(&stage).await
}

/// Whoever goes on without the cluster cannot read its journal, and need not.
async fn migrated(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let newest = stage.store.applied().await?;
    let down = "migrate down --data-loss accept --yes";
    killed_opening(&stage, true).await?;
    let ran = stage.credentials.run(0, &stage.folder("1.3.0"), down).await?;
    assert!(ran.says("broken off while it was being opened"), "{ran}");
    assert_eq!(stage.store.applied().await?.len() + 1, newest.len());
    killed_opening(&stage, false).await?;
    stage
        .credentials
        .run(0, &stage.folder("1.3.0"), "reconcile --to 1.3.0")
        .await?;
    assert_eq!(stage.store.applied().await?, newest);
    killed_opening(&stage, false).await?;
    stage
        .credentials
        .run(0, &stage.folder("1.2.0"), "reconcile --to 1.2.0")
        .await?;
    assert_eq!(stage.store.open_runs().await?, [""; 0]);
    Ok(())
}

async fn applied(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let (folder, elsewhere) = (stage.folder("1.2.0"), stage.empty_folder());
    // The plan of one that was killed before it had so much as a row.
    killed_at(&stage, 1, true).await?;
    assert_eq!(journals(&stage).await?.len(), 1);
    let save = "plan --to 1.2.0 --out ../elsewhere/back.plan";
    stage.credentials.run(0, &folder, save).await?;
    killed_opening(&stage, false).await?;
    stage.credentials.run(0, &elsewhere, "apply back.plan --yes").await?;
    TO_1_2_0.check(&stage).await?;
    for (run, journal) in journals(&stage).await? {
        let known = stage.store.ask("SELECT run FROM stepback_run").await?;
        let is_known = known.contains(&run.0);
        assert!(is_known, "run {run} of {} entries is left", journal.entries.len());
    }
    nothing_is_open(&stage).await
}
