//! The binary killed with `kill -9` around every write to the journal and to the StatefulSet, and resumed by a fresh
//! process in a folder with neither app file nor migrations. The sandbox holds the write; the product knows nothing.

use std::{future::Future, path::Path, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use hyper::Method;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use stepback_core::{
    journal::What,
    model::{Stamp, annotation},
    plan::Action,
};
use stepback_sandbox::api::Asked;
use tokio::time::timeout;

use super::{
    stage::{Setting, Stage},
    store::Engine,
    world::{TO_1_2_0, check_journals, journals, place_orders},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
};

pub const ROLLBACK: &str = "rollback --to 1.2.0 --yes";

/// A short lease: what is waited for is that the dead one's ends. In a crowd of debug builds on two cores.
pub const LIMITS: &str = "  limits: { lease: 1s, lock: 30s }\n";

/// Worlds at a time. They mostly wait, for pods and for leases.
const AT_A_TIME: usize = 4;

/// On PostgreSQL every third append: the coordinator's half of the road is the same code on both engines.
const EVERY_ON_POSTGRES: usize = 3;

/// How long all worlds of a case may take.
const ALL: Duration = Duration::from_secs(600);

/// How long one world may take from its beginning to its end.
const ONE: Duration = Duration::from_secs(100);

/// A write to hold.
#[derive(Clone, Copy, Debug)]
enum Write {
    /// The nth to the ConfigMaps that the journal is kept in: the plan, and every entry.
    Append(usize),
    /// The one to the revision that pods were started from.
    Pairing,
    /// The first to the StatefulSet that this step of the plan makes; `None`: the one that takes everything of ours off.
    OfStep(Option<u32>),
}

/// What becomes of the write that was held when its sender was killed.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// It never arrives.
    Lost,
    /// It takes effect, and nobody hears of it.
    Done,
}

impl Write {
    /// Whether this is it, or, for an append, one of those that are counted.
    fn matches(self, asked: &Asked) -> bool {
        match self {
            Write::Append(_) => asked.method != Method::GET && asked.path.contains("/configmaps"),
            Write::Pairing => asked.method == Method::PATCH && asked.path.contains("/controllerrevisions/"),
            Write::OfStep(step) => writes_the_set(asked) && step_of(asked) == step,
        }
    }

    fn nth(self) -> usize {
        match self {
            Write::Append(nth) => nth,
            Write::Pairing | Write::OfStep(_) => 1,
        }
    }
}

/// Whether this is a write to the StatefulSet itself.
pub fn writes_the_set(asked: &Asked) -> bool {
    asked.method == Method::PATCH && asked.path.ends_with("/statefulsets/shop")
}

/// The step that a write to the StatefulSet is stamped with.
pub fn step_of(asked: &Asked) -> Option<u32> {
    let stamp: Stamp = asked.json()["metadata"]["annotations"][annotation::STAMP]
        .as_str()?
        .parse()
        .ok()?;
    Some(stamp.step.0)
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        for (then, when) in [(Then::Lost, "before"), (Then::Done, "after")] {
            let name = format!("main_road::{}_killed_{when}_each_append", engine.name());
            cases.push(case(name, move |ctx| each_append(ctx, engine, then)).limit(ALL));
            let name = format!("main_road::{}_killed_{when}_each_write_to_the_set", engine.name());
            cases.push(case(name, move |ctx| each_write(ctx, engine, then)).limit(ALL));
        }
    }
    cases.push(case(
        "main_road::sqlite_resumed_while_others_write",
        resumed_beside_others,
    ));
    cases
}

/// The scene of every kill: two pods, and downs that write down that they ran.
pub fn setting(engine: Engine) -> Setting {
    Setting {
        replicas: 2,
        app: LIMITS,
        audited: true,
        ..Setting::new(engine, Kind::Sandbox, "1.2.0")
    }
}

async fn scene(engine: Engine, dir: &Path, hint: &str) -> Result<Stage, NotPassed> {
    std::fs::create_dir(dir)?;
    let stage = Stage::set(setting(engine), dir, hint).await?;
    place_orders(&stage).await?;
    Ok(stage)
}

async fn each_append(ctx: Ctx, engine: Engine, then: Then) -> Outcome {
    let stage = undisturbed(engine, &ctx).await?;
    let journal = check_journals(&stage).await?;
    // A step is tried again when the controller has written at the same moment: not in every run.
    let again = |what: &What| matches!(what, What::StepStarted { attempt, .. } if *attempt > 1);
    let entries = journal.entries.iter().filter(|entry| !again(&entry.what)).count();
    assert_eq!(
        entries,
        2 + 3 * journal.plan.steps.len(),
        "an entry for each move, opening and closing"
    );
    let every = if engine == Engine::Sqlite { 1 } else { EVERY_ON_POSTGRES };
    // The plan is one object more.
    let writes = (1..=entries + 1).step_by(every).map(Write::Append);
    everywhere(ctx, engine, then, writes).await
}

async fn each_write(ctx: Ctx, engine: Engine, then: Then) -> Outcome {
    let stage = undisturbed(engine, &ctx).await?;
    let steps = check_journals(&stage).await?.plan.steps;
    let writes: Vec<_> = steps
        .iter()
        .filter(|step| matches!(step.action, Action::Scale { .. } | Action::Repoint { .. }))
        .map(|step| Write::OfStep(Some(step.id.0)))
        .chain([Write::Pairing, Write::OfStep(None)])
        .collect();
    assert_eq!(
        writes.len(),
        7,
        "each pod down, the template, each pod up, the pairing, and giving back"
    );
    everywhere(ctx, engine, then, writes).await
}

async fn everywhere(ctx: Ctx, engine: Engine, then: Then, writes: impl IntoIterator<Item = Write>) -> Outcome {
    let worlds = writes.into_iter().enumerate().map(|(number, write)| {
        let dir = ctx.dir().join(format!("world-{number}"));
        let hint = format!("{}_{number}", ctx.name());
        async move {
            let world = Box::pin(killed_at(engine, write, then, &dir, &hint));
            told(
                timeout(ONE, caught(world)).await,
                &format!("killed at {write:?}, which is then {then:?}"),
            )
        }
    });
    stream::iter(worlds)
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// A run that nobody kills.
async fn undisturbed(engine: Engine, ctx: &Ctx) -> Result<Stage, NotPassed> {
    let stage = scene(engine, &ctx.dir().join("undisturbed"), ctx.name()).await?;
    stage.credentials.run(0, &stage.folder("1.2.0"), ROLLBACK).await?;
    TO_1_2_0.check(&stage).await?;
    Ok(stage)
}

/// A panic as a failure, so that it can be said where.
pub async fn caught(world: impl Future<Output = Outcome>) -> Outcome {
    let outcome = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(world)).await;
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        fail(text.unwrap_or_else(|| {
            panic
                .downcast_ref::<&str>()
                .copied()
                .unwrap_or("it panicked")
                .to_owned()
        }))
    })
}

/// A failure with its place.
pub fn told(outcome: Result<Outcome, tokio::time::error::Elapsed>, place: &str) -> Outcome {
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(NotPassed::Failed(why))) => fail(format_args!("{place}: {why}")),
        Ok(Err(skipped)) => Err(skipped),
        Err(_) => fail(format_args!("{place}: not done within {ONE:?}")),
    }
}

async fn killed_at(engine: Engine, write: Write, then: Then, dir: &Path, hint: &str) -> Outcome {
    let stage = scene(engine, dir, hint).await?;
    let mut hold = stage.server().hold_nth(write.nth(), move |asked| write.matches(asked));
    let rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.kill_at(&mut hold).await?;
    match then {
        Then::Lost => hold.drop_request().await?,
        // Refused where the controller has written since it was sent: then it is one more that is lost.
        Then::Done => assert!([200, 201, 409].contains(&hold.let_through().await?)),
    }
    no_effect_without_intent(&stage).await?;
    finish(&stage).await?;
    TO_1_2_0.check(&stage).await?;
    check_journals(&stage).await?;
    Ok(())
}

type IsIt = fn(&Action) -> bool;

/// What the dead one has changed, its journal says that it may have.
async fn no_effect_without_intent(stage: &Stage) -> Outcome {
    let mut started = Vec::new();
    for (_run, journal) in journals(stage).await? {
        for entry in &journal.entries {
            if let What::StepStarted { step, .. } = entry.what {
                started.extend(journal.plan.step(step).map(|step| step.action.clone()));
            }
        }
    }
    let intended = |is_it: IsIt| started.iter().any(is_it);
    let set = stage.sets.get("shop").await?;
    let replicas = set.spec.replicas.unwrap_or(1);
    let image = set.spec.template.spec.and_then(|pod| pod.containers[0].image.clone());
    let effects: [(bool, IsIt); 4] = [
        (replicas < 2, |action| {
            matches!(action, Action::Scale { from: 2, to: 1, .. })
        }),
        (replicas < 1, |action| {
            matches!(action, Action::Scale { from: 1, to: 0, .. })
        }),
        (!stage.store.ask("SELECT what FROM audit").await?.is_empty(), |action| {
            matches!(action, Action::Revert { .. })
        }),
        (image.as_deref() != Some("shop:1.3.0"), |action| {
            matches!(action, Action::Repoint { .. })
        }),
    ];
    for (number, (seen, is_it)) in effects.into_iter().enumerate() {
        if seen && !intended(is_it) {
            return fail(format_args!(
                "effect {number} was had before its intent was recorded: {started:#?}"
            ));
        }
    }
    Ok(())
}

/// The resume's first write to the StatefulSet meets a version that is old already, as when the controller is writing
/// its status: no reason to stop.
async fn resumed_beside_others(ctx: Ctx) -> Outcome {
    let stage = scene(Engine::Sqlite, &ctx.dir().join("world"), ctx.name()).await?;
    let mut hold = stage.server().hold(writes_the_set);
    let rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.kill_at(&mut hold).await?;
    hold.drop_request().await?;
    let mut hold = stage.server().hold(writes_the_set);
    let mut resume = stage.credentials.start(&stage.empty_folder(), "resume --yes")?;
    resume.reaches(&mut hold).await?;
    let other = Patch::Merge(json!({ "metadata": { "labels": { "touched": "by-another" } } }));
    stage.sets.patch("shop", &PatchParams::default(), &other).await?;
    assert_eq!(hold.let_through().await?, 409);
    resume.ended().await?.with(0)?;
    TO_1_2_0.check(&stage).await?;
    check_journals(&stage).await?;
    Ok(())
}

/// Resumes from nowhere; where the run was never opened, begins again.
async fn finish(stage: &Stage) -> Outcome {
    let resumed = stage
        .credentials
        .start(&stage.empty_folder(), "resume --yes")?
        .ended()
        .await?;
    let never_began = resumed.out.contains("nothing to resume") || resumed.out.contains(" never began: ");
    if never_began || resumed.err.contains("no run to resume") {
        stage.credentials.run(0, &stage.folder("1.2.0"), ROLLBACK).await?;
    } else {
        resumed.with(0)?;
    }
    Ok(())
}
