//! Looking and watching.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::ControllerRevision,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use serde_json::{from_value, json};
use stepback::cluster::{Cluster as _, ClusterError, Follow, Parts, Pods};
use stepback_core::model::{SeenWorkload, WorkloadRef};
use tokio::time::timeout;

use super::arena::Arena;
use crate::support::runner::{NotPassed, Outcome, fail};

/// The workload and its pods.
pub const WITH_PODS: Follow<'static> = Follow {
    pods: true,
    revision: None,
};

/// The workload and one of its revisions.
fn of_revision(name: &str) -> Follow<'_> {
    Follow {
        pods: false,
        revision: Some(name),
    }
}

type Changes = futures::stream::BoxStream<'static, Result<SeenWorkload, ClusterError>>;

/// The first snapshot of which `met` holds.
async fn until(
    changes: &mut Changes,
    what: &str,
    met: impl Fn(&SeenWorkload) -> bool,
) -> Result<SeenWorkload, NotPassed> {
    let found = async {
        while let Some(seen) = changes.next().await {
            let seen = seen?;
            if met(&seen) {
                return Ok(seen);
            }
        }
        fail("the stream ended")
    };
    match timeout(Duration::from_secs(40), found).await {
        Ok(found) => found,
        Err(_) => fail(format_args!("not seen: {what}")),
    }
}

pub async fn what_is_asked_for_of_a_set_is_read(arena: &Arena) -> Outcome {
    let workload = arena.seen().await?.workload;
    let look = async |parts: Parts<'_>| arena.cluster.look_at(&workload, parts).await;
    assert_eq!(look(Parts::default()).await?.set, None, "it is not there yet");
    assert_eq!(look(Parts::ALL).await?.set, None, "it is not there yet");
    arena.create("shop:1.2.0", 2, json!({})).await?;
    arena.until_settled(2).await?;
    arena.set_image("shop:1.3.0").await?;
    arena.until_settled(2).await?;
    let whole = arena.seen().await?;
    assert_eq!(look(Parts::ALL).await?, whole);
    for revision in &whole.revisions {
        let name = revision.name_any();
        for (pods, found) in [
            (Pods::None, &[][..]),
            (Pods::Named("web-1"), &whole.pods[1..]),
            (Pods::Named("web-9"), &[]),
            (Pods::All, &whole.pods[..]),
        ] {
            let seen = look(Parts::revisions(&[&name]).and(pods)).await?;
            assert_eq!(
                (&seen.set, &seen.revisions[..]),
                (&whole.set, std::slice::from_ref(revision))
            );
            assert_eq!(seen.pods, found);
        }
    }
    let names: Vec<_> = whole.revisions.iter().map(ResourceExt::name_any).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(look(Parts::revisions(&names).and(Pods::All)).await?, whole);
    let seen = look(Parts::revisions(&["web-nowhere"])).await?;
    assert_eq!((&seen.set, seen.revisions.len()), (&whole.set, 0));
    // A pod of that name that is nobody's.
    let stray: Pod = from_value(json!({
        "metadata": { "name": "stray", "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "shop", "image": "shop:1.2.0" }] },
    }))?;
    arena.pods.create(&PostParams::default(), &stray).await?;
    let seen = look(Parts::default().and(Pods::Named("stray"))).await?;
    assert_eq!((&seen.set, seen.pods.len()), (&whole.set, 0));
    Ok(())
}

pub async fn looking_reads_what_the_set_owns(arena: &Arena) -> Outcome {
    arena.create("shop:1.2.0", 2, json!({})).await?;
    arena.until_settled(2).await?;
    arena.set_image("shop:1.3.0").await?;
    arena.until_settled(2).await?;
    // Same labels, but nobody's; and no name of the set's, which would have the controller adopt it.
    let stray: Pod = from_value(json!({
        "metadata": { "name": "stray", "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "shop", "image": "shop:1.2.0" }] },
    }))?;
    arena.pods.create(&PostParams::default(), &stray).await?;

    let seen = arena.seen().await?;
    assert_eq!(seen.replicas(), 2);
    let pods: Vec<String> = seen.pods.iter().map(ResourceExt::name_any).collect();
    assert_eq!(pods, ["web-0", "web-1"]);
    let images: Vec<_> = seen
        .revisions
        .iter()
        .map(|revision| stepback_core::model::revision_images(revision).unwrap()["shop"].clone())
        .collect();
    assert_eq!(images, ["shop:1.2.0", "shop:1.3.0"]);

    let system = Api::<Namespace>::all(arena.client.clone()).get("kube-system").await?;
    let looked = arena.cluster.look(&[]).await?;
    assert_eq!((Some(looked.uid), looked.workloads), (system.uid(), vec![]));
    Ok(())
}

pub async fn a_workload_that_is_not_there_is_seen_as_none(arena: &Arena) -> Outcome {
    arena.create("shop:1.2.0", 0, json!({})).await?;
    let missing = WorkloadRef {
        name: "missing".to_owned(),
        ..arena.web.clone()
    };
    let seen = arena.cluster.look(&[missing.clone(), arena.web.clone()]).await?;
    assert_eq!(seen.workloads[0].workload, missing);
    assert_eq!(seen.workloads[0].set, None);
    assert!(seen.workloads[1].set.is_some());
    let first = arena.cluster.changes(&missing, WITH_PODS).next().await.unwrap()?;
    assert_eq!(first, seen.workloads[0]);
    Ok(())
}

pub async fn changes_begin_with_the_present_and_show_pods_coming_and_going(arena: &Arena) -> Outcome {
    arena.create("shop:1.2.0", 2, json!({})).await?;
    arena.until_settled(2).await?;
    let mut changes = arena.cluster.changes(&arena.web, WITH_PODS);
    let first = timeout(Duration::from_secs(20), changes.next()).await?.unwrap()?;
    assert_eq!((first.pods.len(), first.revisions.len()), (2, 0));
    let uid = first.pods[1].uid();

    arena.delete_pod("web-1").await?;
    until(&mut changes, "web-1 going", |seen| {
        seen.pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some())
    })
    .await?;
    until(&mut changes, "web-1 coming", |seen| {
        seen.pods.get(1).is_some_and(|pod| pod.uid() != uid)
    })
    .await?;
    arena.scale(0).await?;
    until(&mut changes, "no pod", |seen| {
        seen.pods.is_empty() && seen.replicas() == 0
    })
    .await?;
    arena.set_image("shop:1.3.0").await?;
    arena.until_settled(0).await?;
    let second = arena.seen().await?.revisions[1].clone();
    let mut changes = arena.cluster.changes(&arena.web, of_revision(&second.name_any()));
    let first = timeout(Duration::from_secs(20), changes.next()).await?.unwrap()?;
    assert_eq!(first.revisions, [second]);
    // Nobody waits for a list of what is not followed.
    arena.scale(1).await?;
    arena.until_settled(1).await?;
    until(&mut changes, "a pod is counted", |seen| {
        let status = seen.set.as_ref().and_then(|set| set.status.as_ref());
        status.is_some_and(|status| status.replicas == 1) && seen.pods.is_empty()
    })
    .await?;
    arena.scale(0).await?;

    // One that is made only later is shown then.
    arena.set_image("shop:1.4.0").await?;
    arena.until_settled(0).await?;
    let third = arena.seen().await?.revisions[2].name_any();
    arena.set_image("shop:1.2.0").await?;
    arena.until_settled(0).await?;
    let revisions: Api<ControllerRevision> = Api::namespaced(arena.client.clone(), &arena.web.namespace);
    revisions.delete(&third, &DeleteParams::default()).await?;
    let mut changes = arena.cluster.changes(&arena.web, of_revision(&third));
    until(&mut changes, "no revision", |seen| seen.revisions.is_empty()).await?;
    arena.set_image("shop:1.4.0").await?;
    until(&mut changes, "the revision", |seen| {
        seen.revisions.iter().any(|revision| revision.name_any() == third)
    })
    .await?;
    Ok(())
}

pub async fn changes_follow_a_set_that_is_deleted_and_made_again(arena: &Arena) -> Outcome {
    arena.create("shop:1.2.0", 1, json!({})).await?;
    arena.until_settled(1).await?;
    let mut changes = arena.cluster.changes(&arena.web, WITH_PODS);
    until(&mut changes, "the set", |seen| seen.pods.len() == 1).await?;
    arena.sets.delete("web", &DeleteParams::background()).await?;
    until(&mut changes, "no set", |seen| {
        seen.set.is_none() && seen.pods.is_empty()
    })
    .await?;
    arena
        .create(
            "shop:1.3.0",
            1,
            json!({ "spec": {
                "selector": { "matchLabels": { "app": "other" } },
                "template": { "metadata": { "labels": { "app": "other" } } },
            } }),
        )
        .await?;
    until(&mut changes, "a pod by the new selector", |seen| {
        seen.pods
            .first()
            .is_some_and(|pod| pod.labels().get("app").map(String::as_str) == Some("other"))
    })
    .await?;
    Ok(())
}
