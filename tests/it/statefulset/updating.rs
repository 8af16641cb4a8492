//! Templates change: which pod gets which revision, and when; what becomes of revisions.

use std::collections::BTreeMap;

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::support::{
    runner::{Ctx, NotPassed, Outcome},
    scene::{Pods, Scene, is_ready, revision, waiting_reason},
};

pub async fn a_broken_pod_blocks_the_way_back(scene: Scene, _ctx: &Ctx) -> Outcome {
    scene.create("shop:1.2.0", 2, json!({})).await?;
    let good = scene.until_settled(2).await?.update_revision.unwrap();
    scene.set_image("shop:1.3.0-bad").await?;
    let crashing = |pods: &Pods| {
        pods.get("web-1")
            .is_some_and(|pod| revision(pod) != good && waiting_reason(pod) == Some("CrashLoopBackOff"))
    };
    scene
        .until_pods("the upper pod crashes on the newer revision", crashing)
        .await?;
    scene.set_image("shop:1.2.0").await?;
    let status = scene.until_set("the update is the old revision again", |status| {
        status.update_revision.as_deref() == Some(&*good)
    });
    status.await?;
    let revisions = scene.revisions_now().await?;
    assert_eq!(revisions.len(), 2, "{revisions:?}");
    assert_eq!(
        revisions[1],
        (3, good.clone()),
        "the old revision is the newest, under its old name"
    );
    scene.stays_as_it_is().await?;
    assert_ne!(revision(&scene.pods_now().await?["web-1"]), good);
    scene.delete_pod("web-1").await?;
    scene.until_settled(2).await?;
    Ok(())
}

pub async fn a_parallel_update_goes_one_by_one(scene: Scene, _ctx: &Ctx) -> Outcome {
    let parallel = json!({ "spec": { "podManagementPolicy": "Parallel" } });
    scene.create("shop:1.2.0", 3, parallel).await?;
    scene.until_settled(3).await?;
    let (history, changed) = tokio::join!(scene.history("~web-0"), scene.set_image("shop:1.3.0"));
    changed?;
    // What the watch found at its start is not of interest, and after a pod became ready another begins to end.
    let history: Vec<_> = history?
        .into_iter()
        .skip_while(|entry| !entry.starts_with('~'))
        .collect();
    let one = |name: &str| ["~", "-", "+", "!"].map(|what| format!("{what}{name}"));
    let expected = [&one("web-2")[..], &one("web-1")[..], &["~web-0".to_owned()]].concat();
    assert_eq!(history, expected);
    scene.until_settled(3).await?;
    Ok(())
}

pub async fn a_parallel_update_replaces_what_is_broken(scene: Scene, _ctx: &Ctx) -> Outcome {
    let parallel = json!({ "spec": { "podManagementPolicy": "Parallel" } });
    scene.create("shop:1.2.0", 2, parallel).await?;
    let good = scene.until_settled(2).await?.update_revision.unwrap();
    scene.set_image("shop:1.3.0-bad").await?;
    let crashing = |pods: &Pods| {
        pods.get("web-1")
            .is_some_and(|pod| revision(pod) != good && waiting_reason(pod) == Some("CrashLoopBackOff"))
    };
    scene
        .until_pods("the upper pod crashes on the newer revision", crashing)
        .await?;
    scene.set_image("shop:1.2.0").await?;
    scene.until_settled(2).await?;
    Ok(())
}

pub async fn on_delete_waits_for_deletion(scene: Scene, _ctx: &Ctx) -> Outcome {
    scene
        .create(
            "shop:1.2.0",
            2,
            json!({ "spec": { "updateStrategy": { "type": "OnDelete" } } }),
        )
        .await?;
    let old = scene.until_settled(2).await?.update_revision.unwrap();
    scene.set_image("shop:1.3.0").await?;
    let status = scene.until_set("there is another update", |status| {
        status.update_revision.as_deref() != Some(&*old)
    });
    let new = status.await?.update_revision.unwrap();
    scene.stays_as_it_is().await?;
    scene.delete_pod("web-0").await?;
    let is_new = |pods: &Pods| {
        pods.get("web-0")
            .is_some_and(|pod| revision(pod) == new && is_ready(pod))
    };
    let pods = scene
        .until_pods("the deleted pod is back on the update", is_new)
        .await?;
    assert_eq!(revision(&pods["web-1"]), old);
    let status = scene
        .until_set("one pod is updated", |status| status.updated_replicas == Some(1))
        .await?;
    assert_eq!((status.current_revision, status.current_replicas), (Some(old), Some(1)));
    Ok(())
}

pub async fn below_the_partition_pods_keep_the_current_revision(scene: Scene, _ctx: &Ctx) -> Outcome {
    let strategy = json!({ "spec": { "updateStrategy": { "rollingUpdate": { "partition": 2 } } } });
    scene.create("shop:1.2.0", 3, strategy).await?;
    let old = scene.until_settled(3).await?.update_revision.unwrap();
    scene.set_image("shop:1.3.0").await?;
    let updated = |pods: &Pods| {
        pods.get("web-2")
            .is_some_and(|pod| revision(pod) != old && is_ready(pod))
    };
    scene
        .until_pods("the pod above the partition is updated", updated)
        .await?;
    scene
        .until_set("all are ready", |status| status.ready_replicas == Some(3))
        .await?;
    scene.stays_as_it_is().await?;
    let before = scene.pods_now().await?["web-0"].uid();
    scene.delete_pod("web-0").await?;
    let back = |pods: &Pods| {
        pods.get("web-0")
            .is_some_and(|pod| pod.uid() != before && is_ready(pod))
    };
    let pods = scene.until_pods("the deleted pod is back", back).await?;
    assert_eq!(
        revision(&pods["web-0"]),
        old,
        "below the partition a pod comes back on the current revision"
    );
    Ok(())
}

pub async fn at_no_replicas_the_update_becomes_current(scene: Scene, _ctx: &Ctx) -> Outcome {
    let strategy = json!({ "spec": { "updateStrategy": { "rollingUpdate": { "partition": 2 } } } });
    scene.create("shop:1.2.0", 2, strategy).await?;
    let old = scene.until_settled(2).await?.update_revision.unwrap();
    scene.set_image("shop:1.3.0").await?;
    let status = scene.until_set("there is another update", |status| {
        status.update_revision.as_deref() != Some(&*old)
    });
    assert_eq!(status.await?.current_revision.as_deref(), Some(&*old));
    scene.scale(0).await?;
    scene.until_settled(0).await?;
    scene.scale(1).await?;
    let pods = scene
        .until_pods("a pod is ready", |pods| pods.values().any(is_ready))
        .await?;
    assert_ne!(revision(&pods["web-0"]), old, "in spite of the partition");
    Ok(())
}

pub async fn revisions_are_used_again_and_pruned(scene: Scene, _ctx: &Ctx) -> Outcome {
    scene
        .create("shop:1.1.0", 0, json!({ "spec": { "revisionHistoryLimit": 1 } }))
        .await?;
    let first = scene.until_settled(0).await?.update_revision.unwrap();
    let update = async |image: &str, before: &str| {
        scene.set_image(image).await?;
        let another = scene.until_set("there is another update", |status| {
            status.update_revision.as_deref() != Some(before) && status.current_revision == status.update_revision
        });
        Ok::<_, NotPassed>(another.await?.update_revision.unwrap())
    };
    let second = update("shop:1.2.0", &first).await?;
    assert_eq!(scene.revisions_now().await?, [(1, first.clone()), (2, second.clone())]);
    assert_eq!(update("shop:1.1.0", &second).await?, first);
    assert_eq!(scene.revisions_now().await?, [(2, second.clone()), (3, first.clone())]);
    let third = update("shop:1.3.0", &first).await?;
    // Of the two that nobody uses, the limit keeps the newer one.
    let pruned = |revisions: &BTreeMap<String, _>| {
        (revisions.len() == 2 && revisions.contains_key(&first) && revisions.contains_key(&third)).then_some(())
    };
    scene
        .until(&scene.revisions, "the oldest revision is pruned", pruned)
        .await?;
    Ok(())
}

pub async fn annotations_are_copied_to_a_new_revision_only(scene: Scene, _ctx: &Ctx) -> Outcome {
    let annotated = json!({ "metadata": { "annotations": { "example.org/release": "1.2.0" } } });
    scene.create("shop:1.2.0", 0, annotated).await?;
    let name = scene.until_settled(0).await?.update_revision.unwrap();
    scene
        .patch(json!({ "metadata": { "annotations": { "example.org/release": "other" } } }))
        .await?;
    scene.patch(json!({ "spec": { "minReadySeconds": 1 } })).await?;
    scene.until_settled(0).await?;
    let revision = scene.revisions.get(&name).await?;
    assert_eq!(revision.annotations()["example.org/release"], "1.2.0");
    // What is stored is the body of a strategic merge patch, and it is accepted as one.
    let data = revision.data.0.clone();
    assert_eq!(data.pointer("/spec/template/$patch"), Some(&json!("replace")));
    scene.set_image("shop:1.3.0").await?;
    scene
        .until_set("there is another update", |status| {
            status.update_revision.as_deref() != Some(&*name)
        })
        .await?;
    scene
        .sets
        .patch("web", &PatchParams::default(), &Patch::Strategic(data))
        .await?;
    scene
        .until_set("the update is the old one", |status| {
            status.update_revision.as_deref() == Some(&*name)
        })
        .await?;
    Ok(())
}
