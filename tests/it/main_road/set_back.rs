//! What somebody changes by hand while a run stands still: the refusal says what to type, and once that is typed, with the
//! real `kubectl`, a resume goes on to the end.

use std::{process::Stdio, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    api::{ListParams, Patch, PatchParams},
    runtime::wait::await_condition,
};
use serde_json::json;
use stepback_core::plan::Action;
use tokio::{process::Command, time::timeout};

use super::{
    abort::{REPOINTS, killed_before},
    kill::setting,
    program::Ran,
    rivals::scene,
    stage::Stage,
    store::Engine,
    world::TO_1_2_0,
};
use crate::support::{
    controlplane,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, before, change, set) in [
        ("count", STARTS_THE_SECOND as IsIt, Change::Count(3), "--replicas 1"),
        // The pod that came of it is not ready, and no controller replaces it.
        (
            "image",
            STARTS_THE_SECOND,
            Change::Image("shop:1.3.0"),
            "delete pod shop-0",
        ),
        // The count alone would take away the pod that is healthy, and let the others come.
        (
            "count_and_image",
            STARTS_THE_SECOND,
            Change::Both(3, "shop:1.1.0"),
            "delete pod shop-1 && kubectl -n shop scale statefulset shop --replicas 1",
        ),
        (
            "image_before_its_turn",
            REPOINTS,
            Change::Image("shop:1.1.0"),
            "rollout undo",
        ),
    ] {
        let name = format!("main_road::the_halt_says_how_to_set_back_{name}");
        cases.push(case(name, move |ctx| set_back(ctx, before, change, set)));
    }
    cases
}

type IsIt = fn(&Action) -> bool;

const STARTS_THE_SECOND: IsIt = |action| matches!(action, Action::Scale { from: 1, to: 2, .. });

#[derive(Clone, Copy)]
enum Change {
    Count(i32),
    Image(&'static str),
    Both(i32, &'static str),
}

async fn set_back(ctx: Ctx, before: IsIt, change: Change, set: &str) -> Outcome {
    controlplane::binary()?;
    let stage = scene(setting(Engine::Sqlite), ctx.dir(), ctx.name()).await?;
    killed_before(&stage, before).await?;
    match change {
        Change::Count(count) => stage.patch(json!({ "spec": { "replicas": count } })).await?,
        Change::Image(image) => {
            stage.set_image(image).await?;
            if !stage.pods.list(&ListParams::default()).await?.items.is_empty() {
                until_it_runs(&stage, "shop-0", image).await?;
            }
        }
        Change::Both(count, image) => {
            // Its image first would replace the one pod that is there; the one that the count makes comes of both.
            let shop = json!([{ "name": "shop", "image": image }]);
            let spec = json!({ "replicas": count, "template": { "spec": { "containers": shop } } });
            let patch = Patch::Strategic(json!({ "spec": spec }));
            stage.sets.patch("shop", &PatchParams::default(), &patch).await?;
            until_it_runs(&stage, "shop-1", image).await?;
        }
    }
    let halted = stage.credentials.run(4, &stage.empty_folder(), "resume").await?;
    let typed = what_to_type(&halted)?;
    assert!(typed.starts_with("kubectl -n shop ") && typed.contains(set), "{typed}");
    shell(&stage, &typed).await?;
    stage.credentials.run(0, &stage.empty_folder(), "resume").await?;
    TO_1_2_0.check(&stage).await
}

/// Until there is a pod of this name and image, which does not become ready.
async fn until_it_runs(stage: &Stage, pod: &str, image: &'static str) -> Outcome {
    let runs = await_condition(stage.pods.clone(), pod, move |pod: Option<&Pod>| {
        let spec = pod.and_then(|pod| pod.spec.as_ref());
        spec.is_some_and(|spec| spec.containers[0].image.as_deref() == Some(image))
    });
    Ok(timeout(Duration::from_secs(30), runs).await?.map(drop)?)
}

/// The command at the end of the cause.
fn what_to_type(halted: &Ran) -> Result<String, NotPassed> {
    let words: Vec<&str> = halted.err.split_whitespace().collect();
    let said = words.join(" ");
    let typed = said.split_once("set it back, then resume: ").map(|(_, typed)| typed);
    match typed.and_then(|typed| typed.split_once(" now: ")) {
        Some((typed, _)) => Ok(typed.to_owned()),
        None => fail(format_args!("what to type is not said: {halted}")),
    }
}

/// Types it as a person would, quotes and all.
async fn shell(stage: &Stage, typed: &str) -> Outcome {
    let kubectl = format!("{} kubectl", controlplane::binary()?.display());
    let ran = Command::new("sh")
        .args(["-c", &typed.replace("kubectl", &kubectl)])
        .env("KUBECONFIG", &stage.credentials.kubeconfig)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if ran.status.success() {
        return Ok(());
    }
    fail(format_args!("{typed}: {}", String::from_utf8_lossy(&ran.stderr)))
}
