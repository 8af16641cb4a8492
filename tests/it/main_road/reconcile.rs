//! `reconcile` with workloads, as pods of Jobs run it: killed, told to stop, several at once, and to another release.

use futures::{StreamExt, stream::FuturesUnordered};

use super::{
    kill::{setting, writes_the_set},
    program::Running,
    refusals::everything,
    rivals::scene,
    stage::Stage,
    store::Engine,
    world::{TO_1_2_0, check_journals, journals},
};
use crate::support::runner::{Case, Ctx, NotPassed, Outcome, case, fail};

const RECONCILE: &str = "reconcile --to 1.2.0";

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let name = |what: &str| format!("main_road::{}_reconcile_{what}", engine.name());
        cases.push(case(
            name("resumes_its_own_run_and_refuses_anothers"),
            async move |ctx| killed(ctx, engine).await,
        ));
        cases.push(case(name("told_to_stop_goes_on_in_the_next_pod"), async move |ctx| {
            stopped(ctx, engine).await
        }));
        cases.push(case(name("in_several_pods_opens_one_run"), async move |ctx| {
            several(ctx, engine).await
        }));
    }
    cases
}

/// Starts it, and returns once its first write to the workload is under way.
async fn started(stage: &Stage) -> Result<(Running, stepback_sandbox::api::Hold), NotPassed> {
    let mut hold = stage.server().hold(writes_the_set);
    let mut running = stage.credentials.start(&stage.folder("1.2.0"), RECONCILE)?;
    running.reaches(&mut hold).await?;
    Ok((running, hold))
}

/// LAWS W7.
async fn killed(ctx: Ctx, engine: Engine) -> Outcome {
    let stage = scene(setting(engine), ctx.dir(), ctx.name()).await?;
    let (running, hold) = started(&stage).await?;
    running.kill().await?;
    hold.drop_request().await?;

    let run = journals(&stage).await?.remove(0).0;
    let before = everything(&stage).await?;
    for (folder, to) in [("1.1.0", "1.1.0"), ("1.3.0", "1.3.0")] {
        let typed = format!("reconcile --to {to}");
        let ran = stage.credentials.run(5, &stage.folder(folder), &typed).await?;
        assert!(ran.err.contains(&run.0), "{ran}");
        assert_eq!(everything(&stage).await?, before, "`{typed}` has changed something");
    }
    let ran = stage.credentials.run(0, &stage.folder("1.2.0"), RECONCILE).await?;
    assert!(ran.err.contains("resuming") && ran.err.contains(&run.0), "{ran}");
    TO_1_2_0.check(&stage).await?;
    check_journals(&stage).await?;
    assert_eq!(journals(&stage).await?.len(), 1, "it was resumed, not begun anew");
    Ok(())
}

async fn stopped(ctx: Ctx, engine: Engine) -> Outcome {
    let stage = scene(setting(engine), ctx.dir(), ctx.name()).await?;
    let (mut running, hold) = started(&stage).await?;
    running.signal("TERM").await?;
    assert!(hold.let_through().await? < 300, "the write was refused");
    let ran = running.ended().await?.with(130)?;
    assert!(ran.err.contains("stepback resume"), "{ran}");
    let ran = stage.credentials.run(0, &stage.folder("1.2.0"), RECONCILE).await?;
    assert!(ran.err.contains("resuming"), "{ran}");
    TO_1_2_0.check(&stage).await?;
    check_journals(&stage).await?;
    Ok(())
}

/// Nobody acts twice; whoever waits finds it done, or says that another is at it.
async fn several(ctx: Ctx, engine: Engine) -> Outcome {
    let stage = scene(setting(engine), ctx.dir(), ctx.name()).await?;
    let mut pods: Vec<Running> = (0..3)
        .map(|_| stage.credentials.start(&stage.folder("1.2.0"), RECONCILE))
        .collect::<Result<_, _>>()?;
    let mut ending: FuturesUnordered<_> = pods.iter_mut().map(Running::ended).collect();
    let mut codes = Vec::new();
    while let Some(ran) = ending.next().await {
        let ran = ran?;
        if !matches!(ran.code, Some(0 | 5)) {
            return fail(ran);
        }
        codes.push(ran.code);
    }
    assert!(codes.contains(&Some(0)), "{codes:?}");
    TO_1_2_0.check(&stage).await?;
    check_journals(&stage).await?;
    assert_eq!(journals(&stage).await?.len(), 1, "one run was opened");
    Ok(())
}
