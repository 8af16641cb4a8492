//! Several coordinators on one rollback: one acts, the others exit 5 and change nothing; so does one that was put to
//! sleep past its lease and woken when another had finished its run.

use std::{path::Path, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use serde_json::Value;
use stepback_core::{
    journal::{What, read_lines},
    model::StepId,
    plan::{Action, Step},
};
use stepback_sandbox::api::Hold;
use tokio::time::timeout;

use super::{
    kill::{ROLLBACK, setting, writes_the_set},
    program::{Ran, Running},
    refusals::everything,
    stage::{Setting, Stage},
    store::Engine,
    world::{TO_1_2_0, check_journals, journals, place_orders},
};
use crate::support::runner::{Case, Ctx, NotPassed, Outcome, case, fail};

/// How long one that must stop may go on before it notices.
const NOTICE: Duration = Duration::from_secs(40);

/// Where the sleeper is put to sleep.
#[derive(Clone, Copy, Debug)]
enum Asleep {
    /// Its intent is recorded; the downs have not begun.
    BeforeTheDowns,
    /// Its intent is recorded; the first pod is not stopped.
    BeforeTheWrite,
    /// Its write that stops the first pod is on the way, and arrives when everything is over.
    WithTheWriteSent,
    /// The downs are committed; the entry that says so is on the way, and arrives when everything is over.
    WithTheEntrySent,
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        for (number, word) in [(2, "two"), (4, "four")] {
            let name = format!("main_road::{}_one_of_{word}_acts", engine.name());
            cases.push(case(name, move |ctx| crowd(ctx, engine, number)));
        }
        for (asleep, at) in [
            (Asleep::BeforeTheDowns, "the_downs"),
            (Asleep::BeforeTheWrite, "a_write"),
            (Asleep::WithTheWriteSent, "its_write_arrives"),
            (Asleep::WithTheEntrySent, "its_entry_arrives"),
        ] {
            let name = format!("main_road::{}_sleeps_before_{at}", engine.name());
            cases.push(case(name, move |ctx| sleep(ctx, engine, asleep)));
        }
    }
    cases.push(case(
        "main_road::w10_an_entry_that_arrives_in_a_takeover_is_taken_in",
        arrives_in_a_takeover,
    ));
    cases
}

/// The sleeper's entry arrives when the journal was read by whoever takes over, and not written to yet.
async fn arrives_in_a_takeover(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let steps = planned(&stage).await?;
    let downs = step(&steps, |action| matches!(action, Action::Revert { .. }))?;
    let mut entry: Hold = holds(
        &stage,
        move |what| matches!(what, What::StepApplied { step, .. } if *step == downs),
    );
    let mut sleeper = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    sleeper.reaches(&mut entry).await?;
    put_to_sleep(&sleeper, &stage).await?;

    let mut stamp = stage.server().hold(writes_the_set);
    let mut taker = stage.credentials.start(&stage.empty_folder(), "resume --yes")?;
    taker.reaches(&mut stamp).await?;
    assert!(entry.let_through().await? < 300, "the entry was refused");
    assert!(stamp.let_through().await? < 300, "the stamp was refused");
    taker.ended().await?.with(0)?;
    TO_1_2_0.check(&stage).await?;
    check_journals(&stage).await?;

    sleeper.signal("CONT").await?;
    let Ok(woken) = timeout(NOTICE, sleeper.ended()).await else {
        return fail(format_args!("woken, it still goes on after {NOTICE:?}"));
    };
    woken?.with(5)?;
    TO_1_2_0.check(&stage).await
}

/// Stops it where it holds no lock of the database: in the middle of a transaction it would keep everybody out.
async fn put_to_sleep(sleeper: &Running, stage: &Stage) -> Outcome {
    sleeper.signal("STOP").await?;
    while !stage.store.is_free().await {
        sleeper.signal("CONT").await?;
        sleeper.signal("STOP").await?;
    }
    Ok(())
}

pub async fn scene(setting: Setting, dir: &Path, hint: &str) -> Result<Stage, NotPassed> {
    let stage = Stage::set(setting, dir, hint).await?;
    place_orders(&stage).await?;
    Ok(stage)
}

async fn crowd(ctx: Ctx, engine: Engine, number: usize) -> Outcome {
    // Whoever waits gives up long before the one that acts can be taken for dead.
    let setting = Setting {
        app: "  limits: { lease: 30s, lock: 1s }\n",
        ..setting(engine)
    };
    let stage = scene(setting, ctx.dir(), ctx.name()).await?;
    // The one that acts is kept from it until the others are gone.
    let mut first = stage.server().hold(writes_the_set);
    let mut started = Vec::new();
    for _ in 0..number {
        started.push(stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?);
    }
    let mut ending: FuturesUnordered<_> = started.iter_mut().map(|running| running.ended()).collect();
    let mut ended: Vec<Ran> = Vec::new();
    let mut before = None;
    while before.is_none() || ended.len() < number - 1 {
        tokio::select! {
            held = first.arrived(), if before.is_none() => {
                drop(held?);
                before = Some(but_the_lease(&stage).await?);
            }
            Some(ran) = ending.next() => ended.push(ran?.with(5)?),
        }
    }
    assert_eq!(
        but_the_lease(&stage).await?,
        before.unwrap_or_default(),
        "others have changed something"
    );
    assert!(first.let_through().await? < 300, "the write was refused");
    let Some(acted) = ending.next().await else {
        return fail("nobody acted");
    };
    acted?.with(0)?;
    TO_1_2_0.check(&stage).await?;
    check_journals(&stage).await?;
    assert_eq!(journals(&stage).await?.len(), 1, "one run was opened");
    Ok(())
}

/// Database and cluster, but for the heartbeats of whoever holds the right to act.
async fn but_the_lease(stage: &Stage) -> Result<String, NotPassed> {
    let mut objects: Vec<Value> = serde_json::from_str(&stage.server().dump())?;
    // Nor for the kubelet's.
    objects.retain(|object| object["kind"] != "Lease" && object["kind"] != "Node");
    Ok(format!("{}\n{objects:#?}", stage.store.dump(&["lease"]).await?))
}

async fn sleep(ctx: Ctx, engine: Engine, asleep: Asleep) -> Outcome {
    let stage = scene(setting(engine), ctx.dir(), ctx.name()).await?;
    let steps = planned(&stage).await?;
    let downs = step(&steps, |action| matches!(action, Action::Revert { .. }))?;
    let stops = step(&steps, |action| matches!(action, Action::Scale { from: 2, to: 1, .. }))?;
    let mut hold: Hold = match asleep {
        Asleep::BeforeTheDowns => holds(
            &stage,
            move |what| matches!(what, What::StepStarted { step, .. } if *step == downs),
        ),
        Asleep::BeforeTheWrite => holds(
            &stage,
            move |what| matches!(what, What::StepStarted { step, .. } if *step == stops),
        ),
        Asleep::WithTheWriteSent => stage.server().hold(writes_the_set),
        Asleep::WithTheEntrySent => holds(
            &stage,
            move |what| matches!(what, What::StepApplied { step, .. } if *step == downs),
        ),
    };
    let mut sleeper = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    sleeper.reaches(&mut hold).await?;
    put_to_sleep(&sleeper, &stage).await?;
    let sent = match asleep {
        // The entry is there, and its sender will know it.
        Asleep::BeforeTheDowns | Asleep::BeforeTheWrite => {
            assert!(hold.let_through().await? < 300, "the entry was refused");
            None
        }
        Asleep::WithTheWriteSent | Asleep::WithTheEntrySent => Some(hold),
    };

    stage.credentials.run(0, &stage.empty_folder(), "resume --yes").await?;
    TO_1_2_0.check(&stage).await?;
    check_journals(&stage).await?;
    let finished = everything(&stage).await?;

    if let Some(sent) = sent {
        assert_eq!(sent.let_through().await?, 409, "what was sent long ago");
        assert_eq!(
            everything(&stage).await?,
            finished,
            "what was sent long ago had an effect"
        );
    }
    sleeper.signal("CONT").await?;
    let Ok(woken) = timeout(NOTICE, sleeper.ended()).await else {
        return fail(format_args!("woken, it still goes on after {NOTICE:?}"));
    };
    let woken = woken?;
    let after = everything(&stage).await?;
    if after != finished {
        let changed: Vec<_> = after.lines().filter(|line| !finished.contains(line)).collect();
        return fail(format_args!("woken, it has changed something: {changed:#?}\n{woken}"));
    }
    woken.with(5)?;
    TO_1_2_0.check(&stage).await
}

/// Holds the append of the first entry of this kind.
pub fn holds(stage: &Stage, is_it: impl Fn(&What) -> bool + Send + Sync + 'static) -> Hold {
    stage.server().hold(move |asked| {
        let body = asked.json();
        let lines = body["data"]["lines"]
            .as_str()
            .filter(|_| asked.path.contains("/configmaps"));
        let entries = lines.and_then(|lines| read_lines(lines).ok()).map(|read| read.entries);
        entries.is_some_and(|entries| entries.last().is_some_and(|last| is_it(&last.what)))
    })
}

/// The steps that the rollback will have.
pub async fn planned(stage: &Stage) -> Result<Vec<Step>, NotPassed> {
    let ran = stage
        .credentials
        .run(0, &stage.folder("1.2.0"), "plan --to 1.2.0 -o json")
        .await?;
    let told: Value = serde_json::from_str(&ran.out)?;
    match steps_in(&told) {
        Some(steps) => Ok(serde_json::from_value(steps.clone())?),
        None => fail(format_args!("the plan tells no steps: {told:#}")),
    }
}

fn steps_in(told: &Value) -> Option<&Value> {
    let fields = told.as_object()?;
    fields.get("steps").or_else(|| fields.values().find_map(steps_in))
}

pub fn step(steps: &[Step], is_it: impl Fn(&Action) -> bool) -> Result<StepId, NotPassed> {
    match steps.iter().find(|step| is_it(&step.action)) {
        Some(step) => Ok(step.id),
        None => fail(format_args!("no such step among {steps:#?}")),
    }
}
