//! A walk that could not go on is aborted, in worlds that were broken or unusual before it began: what stood and answered
//! goes on doing so, and what was never so is not waited for.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, runtime::wait::await_condition};
use serde_json::json;
use stepback_core::plan::Action;
use tokio::time::timeout;

use super::{
    abort::{ABORT, pods},
    history::{Fact, History},
    kill::LIMITS,
    stage::{INDEXED, Setting, Stage},
    store::Engine,
    walk::releases,
    world::{journals, place_orders},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
    scene::{is_ready, revision},
};

const BACK: &str = "rollback --to 1.3.0 --yes";

pub fn cases() -> Vec<Case> {
    let mut cases = vec![case(
        "main_road::w5_a_walk_back_waits_for_every_pod_that_was_ready",
        walked_back,
    )];
    for kind in [Kind::Sandbox, Kind::Real] {
        for (way, abort, edit) in WAYS {
            for (world, image, partition) in [
                ("stuck_rollout", "next/shop:1.3.0-bad", 0),
                ("partition_canary", "canary/shop:1.3.0", 2),
            ] {
                let name = format!("main_road::w5_abort_of_a_{world}_ends_{way}{}", kind.name());
                let run = move |ctx| ends(ctx, setting(kind, 3, edit), image, partition, abort);
                cases.push(case(name, run));
            }
        }
    }
    cases.push(case("main_road::w5_abort_brings_a_canary_and_the_others_back", |ctx| {
        beside_a_canary(ctx)
    }));
    cases
}

/// Every release runs on every schema, so pods go first.
fn app_first(app: &str) -> String {
    releases(app, "20240401090000", "20240401090000", "")
}

/// The same, and no pod of the target ever passes its gate.
fn never_healthy(app: &str) -> String {
    app_first(app)
        .replace("/healthz", "/nowhere")
        .replace("pod: 40s", "pod: 8s")
}

/// Every pod is stopped, and the first that is started never passes its gate.
fn offline(app: &str) -> String {
    never_healthy(app).replace("  releases:", "  strategy: offline\n  releases:")
}

/// A way back that comes to no end, what takes it back, and what it makes of the app file.
type Way = (&'static str, &'static str, fn(&str) -> String);

const WAYS: [Way; 2] = [
    ("", ABORT, never_healthy),
    ("offline_", "abort --accept-writes-since --yes", offline),
];

fn setting(kind: Kind, replicas: i32, edit: fn(&str) -> String) -> Setting {
    Setting {
        edit,
        replicas,
        newest: INDEXED,
        ..Setting::new(Engine::Sqlite, kind, "1.3.0")
    }
}

/// What each pod is: its revision, and whether it is ready.
async fn what_they_are(stage: &Stage) -> Result<BTreeMap<String, (String, bool)>, NotPassed> {
    let of = |pod: &Pod| (pod.name_any(), (revision(pod).to_owned(), is_ready(pod)));
    Ok(pods(stage).await?.iter().map(of).collect())
}

async fn until_pod(stage: &Stage, pod: &str, was: (String, bool)) -> Outcome {
    let is_so = await_condition(stage.pods.clone(), pod, move |pod: Option<&Pod>| {
        pod.is_some_and(|pod| (revision(pod), is_ready(pod)) == (was.0.as_str(), was.1))
    });
    match timeout(Duration::from_secs(30), is_so).await {
        Ok(is_so) => is_so.map(drop).map_err(Into::into),
        Err(_) => fail(format_args!(
            "{pod} is not as it was: {:#?}",
            stage.pods.get(pod).await?
        )),
    }
}

/// So many pods that are walked back, by an app file with the limits of a run that is killed.
fn walking(replicas: i32) -> Setting {
    Setting {
        app: LIMITS.trim_end_matches('\n'),
        ..setting(Kind::Sandbox, replicas, |app| {
            app_first(app).replace("  limits: { pod: 40s }\n", "")
        })
    }
}

/// The lowest pod was left behind by an upgrade; the walk came past it and past three sound ones.
async fn walked_back(ctx: Ctx) -> Outcome {
    let setting = walking(5);
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } });
    stage.break_pods("shop:1.2.0", &[0], rolling).await?;

    let mut hold = stage
        .server()
        .hold(|asked| asked.method != hyper::Method::GET && asked.path.ends_with("/pods/shop-1"));
    let rollback = stage.credentials.start(&stage.folder("1.3.0"), BACK)?;
    rollback.kill_at(&mut hold).await?;
    hold.drop_request().await?;

    let history = History::begin(&stage).await?;
    stage.credentials.run(0, &stage.empty_folder(), ABORT).await?;
    let facts = history.end(&stage).await?;
    let (mut away, mut went) = (Vec::new(), Vec::new());
    for fact in facts {
        match fact {
            Fact::Ending(pod) => {
                assert_eq!(away, Vec::<String>::new(), "{pod} goes while another one is away");
                away.push(pod.clone());
                went.push(pod);
            }
            Fact::Ready(pod) => away.retain(|name| *name != pod),
            _ => {}
        }
    }
    assert_eq!(went, ["shop-4", "shop-3", "shop-2", "shop-0"]);
    Ok(())
}

/// Gives the set a template with this image, which its rollout brings to the highest pod and no further.
async fn half_rolled_out(stage: &Stage, image: &str, partition: i32) -> Outcome {
    let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": partition } });
    if image.ends_with("-bad") {
        return stage.break_pods(image, &[2], strategy).await;
    }
    stage.patch(json!({ "spec": { "updateStrategy": strategy } })).await?;
    stage.set_image(image).await?;
    let status = stage.sets.get("shop").await?.status;
    let update = status.and_then(|status| status.update_revision);
    until_pod(stage, "shop-2", (update.unwrap_or_default(), true)).await
}

/// The walk came past the canary and one of the others: each comes back on what it ran.
async fn beside_a_canary(ctx: Ctx) -> Outcome {
    let setting = walking(3);
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    half_rolled_out(&stage, "canary/shop:1.3.0", 2).await?;
    let (before, spec) = (what_they_are(&stage).await?, stage.sets.get("shop").await?.spec);
    assert_ne!(before["shop-1"], before["shop-2"]);
    let last = stage.pods.get("shop-0").await?.metadata.uid;

    let mut hold = stage
        .server()
        .hold(|asked| asked.method != hyper::Method::GET && asked.path.ends_with("/pods/shop-0"));
    let rollback = stage.credentials.start(&stage.folder("1.3.0"), BACK)?;
    rollback.kill_at(&mut hold).await?;
    hold.drop_request().await?;
    stage.credentials.run(0, &stage.empty_folder(), ABORT).await?;

    assert_eq!(what_they_are(&stage).await?, before);
    assert_eq!(stage.sets.get("shop").await?.spec, spec);
    assert_eq!(
        stage.pods.get("shop-0").await?.metadata.uid,
        last,
        "it was never touched"
    );
    Ok(())
}

/// A way back that stands still at its first pod, where the rollout before it had come to no end.
async fn ends(ctx: Ctx, setting: Setting, image: &str, partition: i32, abort: &str) -> Outcome {
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    half_rolled_out(&stage, image, partition).await?;
    let status = stage.sets.get("shop").await?.status.unwrap_or_default();
    assert_ne!(status.current_revision, status.update_revision, "nothing is under way");
    let (before, spec) = (what_they_are(&stage).await?, stage.sets.get("shop").await?.spec);

    let halted = stage.credentials.run(4, &stage.folder("1.3.0"), BACK).await?;
    assert!(halted.err.contains("/nowhere"), "{halted}");
    let aborted = stage.credentials.run(0, &stage.empty_folder(), abort).await?;
    assert!(!aborted.says("abort-mixed"), "{aborted}");

    assert_eq!(stage.sets.get("shop").await?.spec, spec);
    for (pod, was) in &before {
        until_pod(&stage, pod, was.clone()).await?;
    }
    assert_eq!(what_they_are(&stage).await?, before, "and all of them at once");
    let begun = journals(&stage)
        .await?
        .into_iter()
        .flat_map(|(_, journal)| journal.plan.steps);
    assert!(
        begun
            .into_iter()
            .any(|step| matches!(step.action, Action::RemovePod { .. } | Action::Scale { .. }))
    );
    let open = stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    assert!(open.out.contains("nothing to resume"), "{open}");
    Ok(())
}
