//! A rollback that was killed on its way is aborted by a fresh process in an empty folder: schema, pods and workload are
//! what they were before it, and nothing of ours is left.

use std::path::Path;

use futures::{StreamExt, TryStreamExt, stream};
use hyper::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;
use stepback_core::{
    journal::{Outcome as Ended, RunState, What},
    plan::Action,
};
use stepback_sandbox::api::Asked;

use super::{
    kill::{ROLLBACK, setting, step_of, writes_the_set},
    rivals::{planned, scene, step},
    stage::Stage,
    store::Engine,
    world::{TO_1_2_0, journals},
};
use crate::support::{
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
    scene::is_ready,
    shop::ask,
};

pub const ABORT: &str = "abort --yes";

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("main_road::w5_abort_of_a_stop_gives_the_pods_back", |ctx| {
            given_back(ctx, Engine::Sqlite)
        }),
        case("main_road::w5_abort_asks_once_the_target_may_have_written", asks),
        case(
            "main_road::w5_abort_that_died_is_found_by_the_cluster_alone",
            found_by_the_cluster,
        ),
        case("main_road::w5_abort_killed_at_each_append", killed).limit(std::time::Duration::from_secs(400)),
    ];
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let name = format!("main_road::w5_{}_abort_after_the_downs", engine.name());
        cases.push(case(name, move |ctx| after_the_downs(ctx, engine)));
    }
    cases
}

pub type IsIt = fn(&Action) -> bool;

const STOPS_THE_LAST: IsIt = |action| matches!(action, Action::Scale { from: 1, to: 0, .. });
pub const REPOINTS: IsIt = |action| matches!(action, Action::Repoint { .. });
const STARTS_THE_SECOND: IsIt = |action| matches!(action, Action::Scale { from: 1, to: 2, .. });

/// A rollback that was killed before the write of this step arrived, which never does.
pub async fn killed_before(stage: &Stage, is_it: IsIt) -> Outcome {
    let wanted = step(&planned(stage).await?, is_it)?;
    let mut hold = stage
        .server()
        .hold(move |asked| writes_the_set(asked) && step_of(asked) == Some(wanted.0));
    let rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.kill_at(&mut hold).await?;
    hold.drop_request().await?;
    Ok(())
}

pub async fn pods(stage: &Stage) -> Result<Vec<Pod>, NotPassed> {
    Ok(stage.pods.list(&Default::default()).await?.items)
}

/// What a rollback may not have changed, once it is aborted.
#[derive(Debug, PartialEq)]
pub struct Before {
    applied: Vec<String>,
    orders: Vec<String>,
    spec: Value,
}

pub async fn before(stage: &Stage) -> Result<Before, NotPassed> {
    let set = stage.sets.get("shop").await?;
    Ok(Before {
        applied: stage.store.applied().await?,
        orders: stage
            .store
            .ask("SELECT id || '|' || product || '|' || quantity || '|' || customer FROM orders ORDER BY id")
            .await?,
        spec: serde_json::to_value(&set.spec)?,
    })
}

pub async fn is_as_before(stage: &Stage, expected: &Before) -> Outcome {
    assert_eq!(&before(stage).await?, expected);
    let set = stage.sets.get("shop").await?;
    let left = serde_json::to_value(&set.metadata)?.to_string();
    assert!(!left.contains("stepback"), "something of ours is left: {left}");
    for ordinal in 0..stage.setting.replicas {
        let name = format!("shop-{ordinal}");
        assert!(is_ready(&stage.pods.get(&name).await?), "{name} is not ready");
        let (status, body) = ask(stage.address(&name).await?, Method::GET, "/orders", Value::Null).await?;
        assert_eq!(status, 200, "{name}: {body}");
    }
    // The halted run has handed over, the one that took over is done, and nothing is open.
    let mut ended = Vec::new();
    for (run, journal) in journals(stage).await? {
        let state = RunState::replay(&journal.entries, journal.plan.steps.len())?;
        let Some(state) = state else { continue };
        ended.push((run, state.aborts, state.closed, state.handed_over));
    }
    let Some((abort, Some(aborted), Some(Ended::Done), None)) = ended.pop() else {
        return fail(format_args!("the last run is no abort that is done: {ended:?}"));
    };
    let handed_over = ended.iter().find(|(run, ..)| *run == aborted);
    assert_eq!(
        handed_over.map(|(_, _, closed, to)| (*closed, to.clone())),
        Some((None, Some(abort)))
    );
    let open = stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    assert!(open.out.contains("nothing to resume"), "{open}");
    Ok(())
}

/// Only a pod is gone: it comes back, and the one that is there stays.
async fn given_back(ctx: Ctx, engine: Engine) -> Outcome {
    let stage = scene(setting(engine), ctx.dir(), ctx.name()).await?;
    let expected = before(&stage).await?;
    let first = stage.pods.get("shop-0").await?.uid();
    killed_before(&stage, STOPS_THE_LAST).await?;
    stage.credentials.run(0, &stage.empty_folder(), ABORT).await?;
    is_as_before(&stage, &expected).await?;
    assert_eq!(
        stage.pods.get("shop-0").await?.uid(),
        first,
        "it was stopped for nothing"
    );
    assert!(stage.store.ask("SELECT what FROM audit").await?.is_empty());
    Ok(())
}

/// The schema goes up again from the archive; the folder that is there has never held those scripts.
async fn after_the_downs(ctx: Ctx, engine: Engine) -> Outcome {
    let stage = scene(setting(engine), ctx.dir(), ctx.name()).await?;
    let expected = before(&stage).await?;
    killed_before(&stage, REPOINTS).await?;
    assert_eq!(stage.store.applied().await?.len(), 2, "the downs have run");
    assert!(pods(&stage).await?.is_empty());
    stage.credentials.run(0, &stage.empty_folder(), ABORT).await?;
    is_as_before(&stage, &expected).await?;
    have_one_outage(&stage).await?;
    // And the way back is open as if nothing had been.
    stage.credentials.run(0, &stage.folder("1.2.0"), ROLLBACK).await?;
    assert_eq!(stage.store.applied().await?.len(), 2);
    Ok(())
}

/// What the run began, its abort has ended: both say so.
async fn have_one_outage(stage: &Stage) -> Outcome {
    let report = async |typed: &str| -> Result<Value, NotPassed> {
        let typed = format!("report {typed} -o json");
        Ok(serde_json::from_str(
            &stage.credentials.run(0, &stage.empty_folder(), &typed).await?.out,
        )?)
    };
    let abort = report("").await?;
    let run = report(abort["aborts"].as_str().unwrap_or_default()).await?;
    assert_eq!(run["outage"], abort["outage"]);
    assert_eq!(run["outage"]["lasts"], false, "{run}");
    assert!(run["outage"]["to"].is_string(), "{run}");
    // From the last pod's stop, in the run, to the first one's health, in the abort.
    let steps = |report: &Value| report["steps"].as_array().cloned().unwrap_or_default();
    let does = |word: &'static str| move |step: &Value| step["does"].as_str().is_some_and(|does| does.contains(word));
    let (run, abort, outage) = (steps(&run), steps(&abort), &run["outage"]);
    let stop = run
        .iter()
        .find(|step| does("1 -> 0")(step))
        .map(|step| &step["startedAt"]);
    let start = abort
        .iter()
        .find(|step| does("0 -> 1")(step))
        .map(|step| &step["passedAt"]);
    assert_eq!((Some(&outage["from"]), Some(&outage["to"])), (stop, start));
    Ok(())
}

async fn asks(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let expected = before(&stage).await?;
    killed_before(&stage, STARTS_THE_SECOND).await?;
    let touched = stage.sets.get("shop").await?.resource_version();
    let ran = stage.credentials.run(3, &stage.empty_folder(), ABORT).await?;
    for said in ["[abort-not-free]", "release 1.2.0", "--accept-writes-since"] {
        assert!(ran.err.contains(said), "{said}: {ran}");
    }
    assert_eq!(stage.sets.get("shop").await?.resource_version(), touched, "{ran}");
    let typed = format!("{ABORT} --accept-writes-since");
    stage.credentials.run(0, &stage.empty_folder(), &typed).await?;
    is_as_before(&stage, &expected).await
}

/// Worlds at a time.
const AT_A_TIME: usize = 4;

async fn killed(ctx: Ctx) -> Outcome {
    // The plan, the opening, the hand-over; then three entries for each of the five steps, of which one in three is tried,
    // and the closing.
    let writes = [1, 2, 3, 4, 5, 8, 11, 14, 17, 18, 19];
    let worlds = writes.into_iter().map(|nth| {
        let dir = ctx.dir().join(format!("world-{nth}"));
        let hint = format!("{}_{nth}", ctx.name());
        async move {
            match Box::pin(killed_at(nth, &dir, &hint)).await {
                Err(NotPassed::Failed(why)) => fail(format_args!("killed at write {nth}: {why}")),
                outcome => outcome,
            }
        }
    });
    stream::iter(worlds)
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// With nothing but where the journal is: of the two that are not over there, the database knows which one is open.
async fn found_by_the_cluster(ctx: Ctx) -> Outcome {
    // The abort has opened its journal and not taken over; it has taken over, and the other's journal does not say so.
    for (nth, arrives) in [(2, true), (3, false)] {
        let dir = ctx.dir().join(format!("world-{nth}"));
        std::fs::create_dir(&dir)?;
        let stage = scene(setting(Engine::Sqlite), &dir, &format!("{}_{nth}", ctx.name())).await?;
        let expected = before(&stage).await?;
        killed_before(&stage, REPOINTS).await?;
        let mut hold = stage.server().hold_nth(nth, writes_the_journal);
        let abort = stage.credentials.start(&stage.empty_folder(), ABORT)?;
        abort.kill_at(&mut hold).await?;
        if arrives {
            hold.let_through().await?;
        } else {
            hold.drop_request().await?;
        }
        let resume = format!("resume --journal cluster:{}", stage.namespace);
        stage.credentials.run(0, &stage.empty_folder(), &resume).await?;
        if arrives {
            TO_1_2_0.check(&stage).await?;
            assert_eq!(journals(&stage).await?.len(), 1, "the abort that never began is left");
        } else {
            is_as_before(&stage, &expected).await?;
        }
    }
    Ok(())
}

fn writes_the_journal(asked: &Asked) -> bool {
    asked.method != Method::GET && asked.path.contains("/configmaps")
}

async fn killed_at(nth: usize, dir: &Path, hint: &str) -> Outcome {
    std::fs::create_dir(dir)?;
    let stage = scene(setting(Engine::Sqlite), dir, hint).await?;
    let expected = before(&stage).await?;
    killed_before(&stage, REPOINTS).await?;
    let mut hold = stage.server().hold_nth(nth, writes_the_journal);
    let abort = stage.credentials.start(&stage.empty_folder(), ABORT)?;
    abort.kill_at(&mut hold).await?;
    // Every other one takes effect, and nobody hears of it.
    if nth.is_multiple_of(2) {
        hold.let_through().await?;
    } else {
        hold.drop_request().await?;
    }
    let again = stage.credentials.start(&stage.empty_folder(), ABORT)?.ended().await?;
    if again.code != Some(0) {
        let again = again.with(3)?;
        assert!(again.err.contains("can only be resumed"), "{again}");
        stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    }
    is_as_before_but_for_attempts(&stage, &expected).await
}

/// As before; of an abort that died before it took over, its journal is left, and no step of it was begun.
async fn is_as_before_but_for_attempts(stage: &Stage, expected: &Before) -> Outcome {
    for (run, journal) in journals(stage).await? {
        let over = RunState::replay(&journal.entries, journal.plan.steps.len())?.is_some_and(|state| state.is_over());
        let begun = journal
            .entries
            .iter()
            .any(|entry| matches!(entry.what, What::StepStarted { .. }));
        assert!(over || !begun, "run {run} was begun and left");
    }
    is_as_before(stage, expected).await
}
