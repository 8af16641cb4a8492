//! `onFailure: abort`: a rollback that halts is taken back by itself while that is free, and stands as it halted otherwise.

use std::{fs, io, path::Path};

use super::{
    abort::{before, is_as_before},
    kill::{ROLLBACK, setting, writes_the_set},
    rivals::scene,
    stage::{INDEXED, Setting, Stage},
    store::Engine,
    walk::releases,
    world::{TO_1_2_0, place_orders},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, Outcome, case, fail},
};

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case(
            "main_road::w5_turns_back_past_the_point_it_stays_halted",
            past_the_point,
        ),
        case("main_road::w5_turns_back_but_not_when_told_to_stop", told_to_stop),
        case(
            "main_road::a_stop_half_way_ends_soon_where_the_cluster_is_silent",
            stopped_half_way_in_silence,
        ),
        case(
            "main_road::stopped_while_nobody_answers_the_last_look",
            stopped_in_silence,
        ),
    ];
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let name = format!("main_road::w5_{}_turns_back_when_a_down_fails", engine.name());
        cases.push(case(name, move |ctx| a_down_fails(ctx, engine)));
    }
    for kind in [Kind::Sandbox, Kind::Real] {
        let name = format!("main_road::w5_{}_turns_back_when_a_walk_fails", kind.name());
        cases.push(case(name, move |ctx| a_walk_fails(ctx, kind)));
    }
    cases
}

const BY_ITSELF: &str = "  onFailure: abort\n  limits: { lease: 1s, lock: 30s }\n";

/// A page that the shop does not have.
const FAILING: &str = "    - { http: { path: /nowhere, port: 8080 }, successes: 1, timeout: 2s }\n  onFailure: abort\n";

/// The second of two downs fails.
fn break_a_down(folder: &Path) -> io::Result<()> {
    let down = folder.join("migrations/20240220103000_rename_item_to_product.down.sql");
    let text = fs::read_to_string(&down)? + "INSERT INTO nowhere VALUES (1);\n";
    fs::write(down, text)
}

async fn a_down_fails(ctx: Ctx, engine: Engine) -> Outcome {
    let setting = Setting {
        app: BY_ITSELF,
        ..setting(engine)
    };
    let stage = Stage::set_with(setting, ctx.dir(), ctx.name(), break_a_down).await?;
    place_orders(&stage).await?;
    let expected = before(&stage).await?;
    let plan = stage
        .credentials
        .run(0, &stage.folder("1.2.0"), "plan --to 1.2.0")
        .await?;
    assert!(plan.out.contains("goes back by itself"), "{plan}");
    let ran = stage.credentials.run(4, &stage.folder("1.2.0"), ROLLBACK).await?;
    for said in [
        "nowhere",
        "onFailure: abort: going back to where the run started",
        "it has gone back by itself",
        "nothing to resume",
    ] {
        assert!(ran.says(said), "{said}: {ran}");
    }
    assert!(!ran.says("stepback resume"), "{ran}");
    let audit = stage.store.ask("SELECT what FROM audit").await?;
    assert_eq!(audit, ["down 20240301090000"], "the first down was committed");
    is_as_before(&stage, &expected).await?;
    let runs = stage.credentials.run(0, &stage.empty_folder(), "runs").await?;
    assert!(runs.out.contains("(onFailure)"), "{runs}");
    Ok(())
}

/// The first pod that is walked back never becomes healthy; no down has begun.
async fn a_walk_fails(ctx: Ctx, kind: Kind) -> Outcome {
    let setting = Setting {
        edit: |app| releases(app, "20240401090000", "20240401090000", FAILING),
        newest: INDEXED,
        replicas: 2,
        ..Setting::new(Engine::Sqlite, kind, "1.3.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let expected = before(&stage).await?;
    let first = stage.pods.get("shop-0").await?.metadata.uid;
    let ran = stage
        .credentials
        .run(4, &stage.folder("1.3.0"), "rollback --to 1.3.0 --yes")
        .await?;
    for said in ["/nowhere", "404", "it has gone back by itself"] {
        assert!(ran.says(said), "{said}: {ran}");
    }
    is_as_before(&stage, &expected).await?;
    assert_eq!(
        stage.pods.get("shop-0").await?.metadata.uid,
        first,
        "it was never touched"
    );
    Ok(())
}

/// The target's first pod has started and may have written: that is for a person to decide.
async fn past_the_point(ctx: Ctx) -> Outcome {
    let setting = Setting {
        app: FAILING,
        replicas: 1,
        ..Setting::new(Engine::Sqlite, Kind::Sandbox, "1.2.0")
    };
    let stage = scene(setting, ctx.dir(), ctx.name()).await?;
    let expected = before(&stage).await?;
    let ran = stage.credentials.run(4, &stage.folder("1.2.0"), ROLLBACK).await?;
    for said in [
        "/nowhere",
        "it did not go back by itself (onFailure: abort): [abort-not-free]",
        "stepback resume",
        // What works there, and what it costs.
        "stepback abort --accept-writes-since",
        "release 1.2.0 may have written data since step",
        "stops every pod again",
    ] {
        assert!(ran.says(said), "{said}: {ran}");
    }
    assert_eq!(stage.store.applied().await?.len(), 2, "the downs stand");
    let typed = "abort --accept-writes-since --yes";
    stage.credentials.run(0, &stage.empty_folder(), typed).await?;
    is_as_before(&stage, &expected).await
}

/// The API server takes the last look's request and never answers: whoever is told to stop has touched nothing, and goes.
async fn stopped_in_silence(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let expected = stage.sets.get("shop").await?.spec;
    // The leases are taken first; what is looked at after that decides.
    let leased = std::sync::atomic::AtomicBool::new(false);
    let mut hold = stage.server().hold(move |asked| {
        let is_read = asked.method == hyper::Method::GET;
        if !is_read && asked.path.contains("/leases") {
            leased.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        is_read && asked.path.ends_with("/pods") && leased.load(std::sync::atomic::Ordering::Relaxed)
    });
    let mut rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.reaches(&mut hold).await?;
    rollback.signal("INT").await?;
    // A request is waited for for 30 s.
    let Ok(ran) = tokio::time::timeout(std::time::Duration::from_secs(15), rollback.ended()).await else {
        return fail("it still waits for an answer");
    };
    let ran = ran?.with(130)?;
    assert!(ran.says("nothing was touched"), "{ran}");
    hold.drop_request().await?;
    assert_eq!(stage.store.open_runs().await?, [""; 0]);
    assert_eq!(stage.sets.get("shop").await?.spec, expected);
    stage.credentials.run(0, &stage.folder("1.2.0"), ROLLBACK).await?;
    TO_1_2_0.check(&stage).await
}

/// In the middle of a run the API server takes requests for the journal and the Lease, and answers none: whoever is told to
/// stop says what is not recorded, and goes.
async fn stopped_half_way_in_silence(ctx: Ctx) -> Outcome {
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    let mut hold = stage.server().hold(writes_the_set);
    let mut rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.reaches(&mut hold).await?;
    let silent =
        |asked: &stepback_sandbox::api::Asked| asked.path.contains("/configmaps") || asked.path.contains("/leases");
    let holds: Vec<_> = (0..30).map(|_| stage.server().hold(silent)).collect();
    rollback.signal("INT").await?;
    assert!(hold.let_through().await? < 300, "the write was refused");
    // A request is waited for for 30 s, and two are to be made.
    let Ok(ran) = tokio::time::timeout(std::time::Duration::from_secs(15), rollback.ended()).await else {
        return fail("it still waits for an answer");
    };
    let ran = ran?.with(130)?;
    for said in ["did not answer within 5 s", "nor that it halted", "stepback resume"] {
        assert!(ran.says(said), "{said}: {ran}");
    }
    drop(holds);
    stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    TO_1_2_0.check(&stage).await
}

async fn told_to_stop(ctx: Ctx) -> Outcome {
    let setting = Setting {
        app: BY_ITSELF,
        ..setting(Engine::Sqlite)
    };
    let stage = scene(setting, ctx.dir(), ctx.name()).await?;
    let mut hold = stage.server().hold(writes_the_set);
    let mut rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.reaches(&mut hold).await?;
    rollback.signal("INT").await?;
    assert!(hold.let_through().await? < 300, "the write was refused");
    let ran = rollback.ended().await?.with(130)?;
    assert!(!ran.says("going back"), "{ran}");
    stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    TO_1_2_0.check(&stage).await
}
