//! What others do between: to the workload while a run stands still, to the journal, with another database.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use stepback_core::model::annotation;

use super::{
    kill::{LIMITS, ROLLBACK, setting, step_of, writes_the_set},
    stage::{INDEXED, Setting, Stage},
    store::Engine,
    walk::releases,
    world::{TO_1_2_0, TO_1_3_0, check_journals, journals, place_orders},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
};

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "main_road::no_down_runs_under_pods_that_somebody_started_between",
            started_between,
        ),
        case(
            "main_road::what_the_controller_writes_meanwhile_is_no_failed_attempt",
            status_between,
        ),
        case(
            "main_road::no_down_runs_while_a_pod_that_somebody_stopped_is_on_its_way_out",
            draining,
        ),
        case(
            "main_road::no_pod_starts_from_a_template_that_somebody_put_back",
            moved_between,
        ),
        case("main_road::w4_no_down_runs_under_a_release_deployed_between", |ctx| {
            deployed_between(ctx, schema_first, None, 1)
        }),
        // Two pods are replaced before.
        case(
            "main_road::w4_no_down_runs_under_a_release_deployed_after_an_undo",
            |ctx| deployed_between(ctx, app_first, Some("shop:1.3.0"), 3),
        ),
        case(
            "main_road::w7_workloads_of_a_run_elsewhere_are_left_alone",
            run_elsewhere,
        ),
        case("main_road::d4_a_forged_token_locks_nobody_out", forged_token),
        case(
            "main_road::a_refused_command_leaves_an_unfinished_run_as_it_is",
            refused_beside,
        ),
    ]
}

/// The append of the revert's intent, in a run over two pods: the plan, the opening, three entries for each pod stopped.
const INTENT_OF_THE_DOWNS: usize = 9;

/// A shop whose rollback was killed when its pods were stopped and the downs about to begin.
async fn stopped_and_killed(ctx: &Ctx) -> Result<Stage, NotPassed> {
    let stage = Stage::set(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let mut hold = stage.server().hold_nth(INTENT_OF_THE_DOWNS, |asked| {
        asked.method != hyper::Method::GET && asked.path.contains("/configmaps")
    });
    let rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.kill_at(&mut hold).await?;
    assert_eq!(hold.let_through().await?, 200);
    Ok(stage)
}

async fn scale(stage: &Stage, replicas: i32) -> Outcome {
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    stage.sets.patch("shop", &PatchParams::default(), &patch).await?;
    // The test has no event to wait for that a coordinator would not wait for itself: it looks until the count is right.
    for _ in 0..400 {
        let status = stage.sets.get("shop").await?.status.unwrap_or_default();
        let pods = stage.pods.list(&kube::api::ListParams::default()).await?.items.len();
        if status.replicas == replicas && i32::try_from(pods) == Ok(replicas) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fail(format_args!("never at {replicas} replicas"))
}

async fn started_between(ctx: Ctx) -> Outcome {
    let stage = stopped_and_killed(&ctx).await?;
    let applied = stage.store.applied().await?;
    scale(&stage, 2).await?;
    let resumed = stage.credentials.run(4, &stage.empty_folder(), "resume").await?;
    assert!(resumed.says("is not stopped any more"), "{resumed}");
    assert!(resumed.says("--replicas 0"), "{resumed}");
    assert_eq!(stage.store.applied().await?, applied, "no down has run");
    assert_eq!(stage.store.ask("SELECT what FROM audit").await?, [""; 0]);
    scale(&stage, 0).await?;
    stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    TO_1_2_0.check(&stage).await?;
    check_journals(&stage).await?;
    Ok(())
}

/// The controller writes a status whenever it likes: also between the look of a write of ours and the write.
async fn status_between(ctx: Ctx) -> Outcome {
    let stage = Stage::set(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let mut hold = stage
        .server()
        .hold(|asked| writes_the_set(asked) && step_of(asked) == Some(1));
    let mut rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    hold.arrived().await?;
    let status = Patch::Merge(json!({ "status": { "collisionCount": 7 } }));
    stage
        .sets
        .patch_status("shop", &PatchParams::default(), &status)
        .await?;
    assert_eq!(hold.let_through().await?, 409);
    let ran = rollback.ended().await?.with(0)?;
    assert!(ran.says("step 1/"), "{ran}");
    for line in ran.err.lines().filter(|line| line.starts_with("step 1/")) {
        assert!(!line.contains("trying again") && !line.contains("attempt"), "{line}");
    }
    TO_1_2_0.check(&stage).await?;
    check_journals(&stage).await?;
    Ok(())
}

/// `kubectl scale --replicas 0`, and at once a rollback: the last pod takes its time.
async fn draining(ctx: Ctx) -> Outcome {
    let stage = Stage::set(
        Setting {
            app: "  limits: { pod: 2s }\n",
            ..setting(Engine::Sqlite)
        },
        ctx.dir(),
        ctx.name(),
    )
    .await?;
    let finalizers = |names: serde_json::Value| Patch::Merge(json!({ "metadata": { "finalizers": names } }));
    let params = PatchParams::default();
    stage
        .pods
        .patch("shop-0", &params, &finalizers(json!(["tests/hold"])))
        .await?;
    let patch = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    stage.sets.patch("shop", &params, &patch).await?;
    let terminating = kube::runtime::wait::await_condition(stage.pods.clone(), "shop-0", |pod: Option<&Pod>| {
        pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
    });
    tokio::time::timeout(Duration::from_secs(20), terminating).await??;

    let applied = stage.store.applied().await?;
    let ran = stage.credentials.run(4, &stage.folder("1.2.0"), ROLLBACK).await?;
    assert!(ran.says("hold StatefulSet shop/shop at 0"), "{ran}");
    assert_eq!(stage.store.applied().await?, applied, "no down has run");
    assert_eq!(stage.store.ask("SELECT what FROM audit").await?, [""; 0]);
    let set = stage.sets.get("shop").await?;
    let annotations = set.metadata.annotations.unwrap_or_default();
    assert!(annotations.contains_key(annotation::STAMP), "nothing shows whose it is");

    stage.pods.patch("shop-0", &params, &finalizers(json!([]))).await?;
    stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    assert_eq!(stage.store.applied().await?, applied[..2]);
    let set = stage.sets.get("shop").await?;
    assert_eq!(set.spec.replicas, Some(0), "as it was found");
    Ok(())
}

/// A pipeline applies the newer release's manifest while nothing runs: nothing shows it until a pod starts.
async fn moved_between(ctx: Ctx) -> Outcome {
    let stage = Stage::set(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let mut hold = stage.server().hold(|asked| {
        // The first step stops a pod, to the same count.
        writes_the_set(asked) && asked.json()["spec"]["replicas"] == json!(1) && step_of(asked) > Some(1)
    });
    let rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.kill_at(&mut hold).await?;
    hold.drop_request().await?;
    let target = stage.sets.get("shop").await?.spec.template;
    assert_eq!(stage.sets.get("shop").await?.spec.replicas, Some(0));

    stage.set_image("shop:1.3.0").await?;
    let resumed = stage.credentials.run(4, &stage.empty_folder(), "resume").await?;
    assert!(resumed.says("is not the one that this run pointed it at"), "{resumed}");
    assert_eq!(
        stage.sets.get("shop").await?.spec.replicas,
        Some(0),
        "no pod was started"
    );
    stage.patch(json!({ "spec": { "template": target } })).await?;
    stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    TO_1_2_0.check(&stage).await
}

/// 1.3.1 accepts the schema of 1.3.0.
fn schema_first(app: &str) -> String {
    releases(app, "20240301090000", "20240301090000", "").replace("  limits: { pod: 40s }\n", "")
}

/// 1.3.0 accepts the schema of 1.3.1.
fn app_first(app: &str) -> String {
    releases(app, "20240401090000", "20240401090000", "").replace("  limits: { pod: 40s }\n", "")
}

/// A hotfix is rolled out while a walk stands still: it has not moved the template yet, or had no need to.
async fn deployed_between(ctx: Ctx, edit: fn(&str) -> String, undone: Option<&str>, downs: u32) -> Outcome {
    let setting = Setting {
        replicas: 2,
        app: LIMITS.trim_end_matches('\n'),
        edit,
        newest: INDEXED,
        ..Setting::new(Engine::Sqlite, Kind::Sandbox, "1.3.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    if let Some(image) = undone {
        let on_delete = json!({ "type": "OnDelete", "rollingUpdate": null });
        stage.patch(json!({ "spec": { "updateStrategy": on_delete } })).await?;
        stage.set_image(image).await?;
    }
    let begins = format!("\"stepStarted\",\"step\":{downs},");
    let mut hold = stage.server().hold(move |asked| {
        let lines = asked.json()["data"]["lines"]
            .as_str()
            .map(str::to_owned)
            .unwrap_or_default();
        lines.lines().next_back().is_some_and(|last| last.contains(&begins))
    });
    let rollback = stage
        .credentials
        .start(&stage.folder("1.3.0"), "rollback --to 1.3.0 --yes")?;
    rollback.kill_at(&mut hold).await?;
    hold.drop_request().await?;
    let before = stage.sets.get("shop").await?.spec.template;
    let applied = stage.store.applied().await?;

    stage.set_image("canary/shop:1.3.0").await?;
    let resumed = stage.credentials.run(4, &stage.empty_folder(), "resume").await?;
    let said = resumed.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("is not the one that this run was planned for"),
        "{resumed}"
    );
    assert!(said.contains("kubectl -n shop rollout undo"), "{resumed}");
    assert_eq!(stage.store.applied().await?, applied, "no down has run");
    stage.patch(json!({ "spec": { "template": before } })).await?;
    stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    TO_1_3_0.check(&stage).await
}

async fn run_elsewhere(ctx: Ctx) -> Outcome {
    let stage = Stage::set(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    // As when DATABASE_URL points at staging, or at a backup: a database that knows nothing of the run below.
    let file = stage.credentials.database.trim_start_matches("sqlite://").to_owned();
    let copy = ctx.dir().join("copy.db");
    stage.store.run(&format!("VACUUM INTO '{}'", copy.display())).await?;
    let mut elsewhere = stage.credentials.clone();
    elsewhere.database = format!("sqlite://{}", copy.display());
    assert_ne!(file, copy.display().to_string());

    let mut hold = stage.server().hold_nth(INTENT_OF_THE_DOWNS, |asked| {
        asked.method != hyper::Method::GET && asked.path.contains("/configmaps")
    });
    let rollback = stage.credentials.start(&stage.folder("1.2.0"), ROLLBACK)?;
    rollback.kill_at(&mut hold).await?;
    hold.let_through().await?;
    let before = stage.sets.get("shop").await?;
    let ran = elsewhere.run(5, &stage.folder("1.2.0"), ROLLBACK).await?;
    assert!(ran.says("in the hands of run"), "{ran}");
    assert!(ran.says("nothing was touched"), "{ran}");
    let after = stage.sets.get("shop").await?;
    let stamp = |set: &k8s_openapi::api::apps::v1::StatefulSet| {
        set.metadata
            .annotations
            .clone()
            .unwrap_or_default()
            .remove(annotation::STAMP)
    };
    assert_eq!(stamp(&before), stamp(&after));
    assert_eq!(before.spec, after.spec);
    stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    TO_1_2_0.check(&stage).await
}

async fn refused_beside(ctx: Ctx) -> Outcome {
    let stage = stopped_and_killed(&ctx).await?;
    let runs = stage.credentials.run(0, &stage.empty_folder(), "runs").await?.out;
    let ran = stage
        .credentials
        .run(
            5,
            &stage.folder("1.2.0"),
            "migrate down --to 20240101090000 --data-loss accept --yes",
        )
        .await?;
    assert!(ran.says("stepback resume"), "{ran}");
    assert_eq!(stage.credentials.run(0, &stage.empty_folder(), "runs").await?.out, runs);
    stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    TO_1_2_0.check(&stage).await
}

/// Whoever may edit the workload writes what they like where the stamp stands.
async fn forged_token(ctx: Ctx) -> Outcome {
    let stage = Stage::set(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    stage.credentials.run(0, &stage.folder("1.2.0"), ROLLBACK).await?;
    let (run, _) = journals(&stage).await?.pop().expect("a run has ended");
    let before = stage.store.dump(&[]).await?;
    for (forged, says) in [
        (
            format!("{run}/1/9223372036854775807-00000000"),
            "names the token 9223372036854775807",
        ),
        (format!("{run}/1/18446744073709551615-00000000"), "which is no stamp"),
        ("keep off".to_owned(), "which is no stamp"),
    ] {
        stage
            .patch(json!({ "metadata": { "annotations": { annotation::STAMP: forged } } }))
            .await?;
        let ran = stage
            .credentials
            .run(3, &stage.folder("1.2.0"), "rollback --to 1.1.0 --yes")
            .await?;
        assert!(ran.says(says) && ran.says(annotation::STAMP), "{ran}");
        assert_eq!(stage.store.dump(&[]).await?, before, "{ran}");
    }
    stage
        .patch(json!({ "metadata": { "annotations": { annotation::STAMP: null } } }))
        .await?;
    stage
        .credentials
        .run(0, &stage.folder("1.2.0"), "rollback --to 1.1.0 --yes")
        .await?;
    Ok(())
}
