//! Pods come and go in order; what blocks that; what becomes of their claims.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::claims;
use crate::support::{
    runner::{Ctx, Outcome},
    scene::{Pods, Scene, is_ready, revision},
};

pub async fn scales_in_order(scene: Scene, _ctx: &Ctx) -> Outcome {
    let (up, created) = tokio::join!(scene.history("!web-2"), scene.create("shop:1.2.0", 3, json!({})));
    created?;
    assert_eq!(up?, ["+web-0", "!web-0", "+web-1", "!web-1", "+web-2", "!web-2"]);
    let status = scene.until_settled(3).await?;
    assert_eq!(status.collision_count, Some(0));
    for (name, pod) in scene.pods_now().await? {
        let index = name.strip_prefix("web-").unwrap();
        assert_eq!(pod.labels()["statefulset.kubernetes.io/pod-name"], name);
        assert_eq!(pod.labels()["apps.kubernetes.io/pod-index"], index);
        assert_eq!(Some(revision(&pod)), status.update_revision.as_deref());
        let spec = pod.spec.unwrap();
        assert_eq!(
            (spec.hostname.as_deref(), spec.subdomain.as_deref()),
            (Some(&*name), Some("web"))
        );
    }
    let (down, scaled) = tokio::join!(scene.history("-web-0"), scene.scale(0));
    scaled?;
    let down = down?;
    let went: Vec<_> = down.iter().filter(|entry| entry.starts_with(['~', '-'])).collect();
    assert_eq!(went, ["~web-2", "-web-2", "~web-1", "-web-1", "~web-0", "-web-0"]);
    scene.until_settled(0).await?;
    Ok(())
}

/// A pod of this set runs and never becomes ready: there is no database.
fn unready() -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{
        "name": "shop",
        "image": "shop:1.2.0",
        "env": [
            { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            { "name": "DATABASE_URL", "value": "sqlite:///nowhere/$(POD).db" },
        ],
        "readinessProbe": { "httpGet": { "path": "/healthz", "port": 8080 }, "periodSeconds": 1 },
    }] } } } })
}

pub async fn parallel_starts_all_at_once(scene: Scene, _ctx: &Ctx) -> Outcome {
    let mut set = unready();
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    scene.create("", 3, set).await?;
    let running = |pod: &Pod| {
        pod.status
            .as_ref()
            .is_some_and(|status| status.phase.as_deref() == Some("Running"))
    };
    let pods = scene
        .until_pods("three pods run", |pods| pods.len() == 3 && pods.values().all(running))
        .await?;
    assert!(!pods.values().any(is_ready));
    scene.scale(1).await?;
    scene
        .until_pods("one pod is left", |pods| pods.keys().eq(["web-0"]))
        .await?;
    Ok(())
}

/// Three ready pods, each on a database of its own, of which those of `unready` are then broken.
async fn three_of_which_unready(scene: &Scene, ctx: &Ctx, broken: &[&str]) -> Outcome {
    let folder = ctx.dir().display();
    let file = |pod: &str| ctx.dir().join(format!("{pod}.db"));
    let open = async |pod: &str| {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(file(pod))
            .create_if_missing(true);
        sqlx::SqlitePool::connect_with(options).await
    };
    for pod in ["web-0", "web-1", "web-2"] {
        let schema = "CREATE TABLE orders (id integer PRIMARY KEY, item text NOT NULL, quantity integer NOT NULL)";
        sqlx::query(schema).execute(&open(pod).await?).await?;
    }
    let mut set = unready();
    let container = &mut set["spec"]["template"]["spec"]["containers"][0];
    container["image"] = json!("shop:1.1.0");
    container["env"][1]["value"] = json!(format!("sqlite://{folder}/$(POD).db"));
    scene.create("", 3, set).await?;
    scene.until_settled(3).await?;
    for pod in broken {
        sqlx::query("DROP TABLE orders").execute(&open(pod).await?).await?;
    }
    let ready = 3 - i32::try_from(broken.len())?;
    scene
        .until_set("the broken pods are not ready", |status| {
            status.ready_replicas.unwrap_or(0) == ready
        })
        .await?;
    Ok(())
}

pub async fn two_unready_pods_block_a_scale_down(scene: Scene, ctx: &Ctx) -> Outcome {
    three_of_which_unready(&scene, ctx, &["web-1", "web-2"]).await?;
    scene.scale(0).await?;
    scene
        .until_set("the controller has seen the scale-down", |_| true)
        .await?;
    scene.stays_as_it_is().await?;
    assert_eq!(scene.pods_now().await?.len(), 3);
    scene.delete_pod("web-1").await?;
    scene
        .until_pods("everything goes once the lower one was removed", Pods::is_empty)
        .await?;
    Ok(())
}

pub async fn one_unready_pod_does_not(scene: Scene, ctx: &Ctx) -> Outcome {
    three_of_which_unready(&scene, ctx, &["web-2"]).await?;
    scene.scale(0).await?;
    scene.until_pods("everything goes", Pods::is_empty).await?;
    Ok(())
}

pub async fn when_scaled_delete_removes_claims(scene: Scene, _ctx: &Ctx) -> Outcome {
    scene.create("shop:1.2.0", 2, claims("Delete")).await?;
    scene.until_settled(2).await?;
    for claim in scene.claims.list(&ListParams::default()).await? {
        assert!(
            claim.owner_references().is_empty(),
            "nobody owns a claim that is in use"
        );
        assert_eq!(claim.labels()["app"], "web");
    }
    let volumes = scene.pods_now().await?["web-1"].spec.clone().unwrap().volumes.unwrap();
    let volume = volumes.iter().find(|volume| volume.name == "data").unwrap();
    assert_eq!(
        volume.persistent_volume_claim.as_ref().unwrap().claim_name,
        "data-web-1"
    );
    scene.scale(1).await?;
    let left = |claims: &BTreeMap<String, _>| claims.keys().eq(["data-web-0"]).then_some(());
    scene
        .until(&scene.claims, "the claim of the pod that went is gone", left)
        .await?;
    scene.scale(2).await?;
    scene.until_settled(2).await?;
    assert_eq!(scene.claims.list(&ListParams::default()).await?.items.len(), 2);
    Ok(())
}

pub async fn a_retained_claim_is_used_again(scene: Scene, _ctx: &Ctx) -> Outcome {
    scene.create("shop:1.2.0", 2, claims("Retain")).await?;
    scene.until_settled(2).await?;
    let before = scene.claims.get("data-web-1").await?.uid();
    scene.scale(0).await?;
    scene.until_settled(0).await?;
    scene.scale(2).await?;
    scene.until_settled(2).await?;
    assert_eq!(scene.claims.get("data-web-1").await?.uid(), before);
    Ok(())
}

pub async fn a_failed_pod_is_replaced(scene: Scene, _ctx: &Ctx) -> Outcome {
    scene.create("shop:1.2.0", 1, json!({})).await?;
    scene.until_settled(1).await?;
    let before = scene.pods_now().await?["web-0"].uid();
    let failed = Patch::Merge(json!({ "status": { "phase": "Failed", "reason": "Evicted" } }));
    scene
        .pods
        .patch_status("web-0", &PatchParams::default(), &failed)
        .await?;
    let replaced = |pods: &Pods| {
        pods.get("web-0")
            .is_some_and(|pod| pod.uid() != before && is_ready(pod))
    };
    scene.until_pods("another pod is ready in its place", replaced).await?;
    Ok(())
}

pub async fn ordinals_start_where_the_set_says(scene: Scene, _ctx: &Ctx) -> Outcome {
    scene
        .create("shop:1.2.0", 2, json!({ "spec": { "ordinals": { "start": 5 } } }))
        .await?;
    scene.until_settled(2).await?;
    assert!(scene.pods_now().await?.keys().eq(["web-5", "web-6"]));
    Ok(())
}

pub async fn min_ready_seconds_delay_the_next_pod(scene: Scene, _ctx: &Ctx) -> Outcome {
    scene
        .create("shop:1.2.0", 2, json!({ "spec": { "minReadySeconds": 2 } }))
        .await?;
    scene.until_settled(2).await?;
    let pods = scene.pods_now().await?;
    let conditions = pods["web-0"].status.clone().unwrap().conditions.unwrap();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    let since = ready.last_transition_time.clone().unwrap().0;
    let next = pods["web-1"].creation_timestamp().unwrap().0;
    assert!(next.duration_since(since).as_secs() >= 2, "{since} {next}");
    Ok(())
}
