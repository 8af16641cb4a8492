//! The cluster Lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use stepback::cluster::{Cluster, ClusterError, Counts, KubeCluster};

use super::arena::{Arena, stamp, token};
use crate::support::runner::{NotPassed, Outcome};

const LONG: Duration = Duration::from_secs(60);
const NOT_AT_ALL: Duration = Duration::ZERO;

async fn acquire(
    cluster: &KubeCluster,
    arena: &Arena,
    holder: &str,
    number: u64,
    life: Duration,
    wait: Duration,
) -> Result<(), ClusterError> {
    cluster
        .acquire(&arena.namespace, "stepback-shop", holder, token(number), life, wait)
        .await
}

async fn lease(arena: &Arena) -> Result<Lease, NotPassed> {
    let leases: Api<Lease> = Api::namespaced(arena.client.clone(), &arena.namespace);
    Ok(leases.get("stepback-shop").await?)
}

async fn holder(arena: &Arena) -> Result<Option<String>, NotPassed> {
    Ok(lease(arena).await?.spec.and_then(|spec| spec.holder_identity))
}

pub async fn one_holder_at_a_time(arena: &Arena) -> Outcome {
    let (a, b) = (arena.other(), arena.other());
    acquire(&a, arena, "a", 1, LONG, NOT_AT_ALL).await?;
    assert_eq!(holder(arena).await?.as_deref(), Some("a"));
    let refused = acquire(&b, arena, "b", 2, LONG, Duration::from_millis(300)).await;
    assert!(
        matches!(&refused, Err(ClusterError::Held { holder, name }) if holder == "a" && name.contains("stepback-shop")),
        "{refused:?}"
    );
    assert_eq!(holder(arena).await?.as_deref(), Some("a"));
    a.release().await?;
    assert_eq!(holder(arena).await?, None);
    a.release().await?;
    acquire(&b, arena, "b", 2, LONG, NOT_AT_ALL).await?;
    assert_eq!(holder(arena).await?.as_deref(), Some("b"));
    Ok(())
}

pub async fn a_higher_token_on_the_lease_fences(arena: &Arena) -> Outcome {
    let (a, b) = (arena.other(), arena.other());
    acquire(&b, arena, "b", 2, LONG, NOT_AT_ALL).await?;
    for release in [false, true] {
        if release {
            // Also when nobody holds it any more: tokens only rise.
            b.release().await?;
        }
        let before = lease(arena).await?;
        let refused = acquire(&a, arena, "a", 1, LONG, NOT_AT_ALL).await;
        assert!(
            matches!(&refused, Err(ClusterError::Fenced { token: found, .. }) if *found == token(2)),
            "{refused:?}"
        );
        assert_eq!(lease(arena).await?, before);
    }
    Ok(())
}

pub async fn a_living_holder_is_waited_for(arena: &Arena) -> Outcome {
    let (a, b) = (arena.other(), arena.other());
    let life = Duration::from_secs(3);
    acquire(&a, arena, "a", 1, life, NOT_AT_ALL).await?;
    // Longer than its life: it lives because it is kept alive.
    let refused = acquire(&b, arena, "b", 2, LONG, Duration::from_secs(5)).await;
    assert!(matches!(refused, Err(ClusterError::Held { .. })), "{refused:?}");
    // Whoever waits sees at once that it is given back.
    let begun = std::time::Instant::now();
    let wait = acquire(&b, arena, "b", 2, LONG, LONG);
    let release = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        a.release().await
    };
    let (waited, released) = futures::join!(wait, release);
    released?;
    waited?;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(holder(arena).await?.as_deref(), Some("b"));
    Ok(())
}

pub async fn a_dead_holder_is_waited_out(arena: &Arena) -> Outcome {
    let (a, b) = (arena.other(), arena.other());
    let life = Duration::from_secs(2);
    acquire(&a, arena, "a", 1, life, NOT_AT_ALL).await?;
    // Dropped without a word, as by kill -9.
    drop(a);
    let early = acquire(&b, arena, "b", 2, life, Duration::from_millis(100)).await;
    assert!(matches!(early, Err(ClusterError::Held { .. })), "{early:?}");
    acquire(&b, arena, "b", 2, life, Duration::from_secs(30)).await?;
    let taken = lease(arena).await?.spec.unwrap();
    assert_eq!(
        (taken.holder_identity.as_deref(), taken.lease_transitions),
        (Some("b"), Some(1))
    );
    Ok(())
}

pub async fn giving_back_what_is_not_ours_does_nothing(arena: &Arena) -> Outcome {
    let a = arena.other();
    a.release().await?;
    acquire(&a, arena, "a", 1, LONG, NOT_AT_ALL).await?;
    let leases: Api<Lease> = Api::namespaced(arena.client.clone(), &arena.namespace);
    let taken = Patch::Merge(json!({
        "metadata": { "annotations": { "stepback.dev/token": token(9).to_string() } },
        "spec": { "holderIdentity": "b" },
    }));
    leases.patch("stepback-shop", &PatchParams::default(), &taken).await?;
    let before = lease(arena).await?;
    a.release().await?;
    assert_eq!(lease(arena).await?, before);
    Ok(())
}

/// A sleeper wakes up after a rival has done everything and given the workload back: no stamp is left to meet, and the
/// workload looks as it did before. The token on the Lease is what it meets.
pub async fn w6_a_sleeper_meets_the_lease_where_no_stamp_is_left(arena: &Arena) -> Outcome {
    let (sleeper, rival) = (arena.other(), arena.other());
    let uid = arena.empty_set("shop:1.3.0").await?;
    acquire(&sleeper, arena, "sleeper", 1, LONG, NOT_AT_ALL).await?;
    // Its holding ends without its knowing.
    let mine = lease(arena).await?;
    let leases: Api<Lease> = Api::namespaced(arena.client.clone(), &arena.namespace);
    let expired = json!({ "spec": { "holderIdentity": null } });
    leases
        .patch("stepback-shop", &PatchParams::default(), &Patch::Merge(expired))
        .await?;
    acquire(&rival, arena, "rival", 2, LONG, NOT_AT_ALL).await?;
    rival.give_back(&arena.web, &uid, &stamp(1, 2)).await?;
    rival.release().await?;
    let before = arena.set().await?;
    let scaled = sleeper.scale(&arena.web, &uid, Counts::of(0, 1, 3), &stamp(1, 1)).await;
    assert!(
        matches!(&scaled, Err(ClusterError::Fenced { token: found, .. }) if *found == token(2)),
        "{scaled:?}, {mine:?}"
    );
    assert_eq!(
        arena.set().await?.metadata.resource_version,
        before.metadata.resource_version
    );
    Ok(())
}

pub async fn w6_a_lease_without_a_token_is_told_as_such(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.2.0").await?;
    let ours = arena.other();
    acquire(&ours, arena, "a", 1, LONG, NOT_AT_ALL).await?;
    let before = arena.set().await?.metadata.resource_version;
    let leases: Api<Lease> = Api::namespaced(arena.client.clone(), &arena.namespace);
    let bare = Patch::Merge(json!({ "metadata": { "annotations": { "stepback.dev/token": null } } }));
    leases.patch("stepback-shop", &PatchParams::default(), &bare).await?;
    let scaled = ours.scale(&arena.web, &uid, Counts::of(0, 1, 3), &stamp(1, 1)).await;
    let Err(ClusterError::Changed { object, message }) = &scaled else {
        panic!("{scaled:?}")
    };
    assert!(
        object.contains("stepback-shop") && message.contains("stepback.dev/token is gone"),
        "{scaled:?}"
    );
    assert_eq!(arena.set().await?.metadata.resource_version, before);
    // Whoever takes it next, once we are gone, writes it anew.
    drop(ours);
    let gone = Patch::Merge(json!({ "spec": { "holderIdentity": null } }));
    leases.patch("stepback-shop", &PatchParams::default(), &gone).await?;
    acquire(&arena.other(), arena, "b", 2, LONG, NOT_AT_ALL).await?;
    assert_eq!(
        lease(arena).await?.metadata.annotations.unwrap()["stepback.dev/token"],
        token(2).to_string()
    );
    Ok(())
}
