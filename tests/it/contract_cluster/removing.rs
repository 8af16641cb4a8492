//! Pods that are removed, and the update strategy under which that is done.

use serde_json::json;
use stepback::cluster::{Cluster, ClusterError, is_given_back};
use stepback_core::{
    model::{Observed, Removal, TemplateRef, UpdateStrategy, annotation},
    workload::{observe_removal, observe_update_strategy},
};

use super::arena::{Arena, again, stamp, substance, token};
use crate::support::runner::{NotPassed, Outcome};

pub async fn w4_the_update_strategy_is_recorded_whole_and_given_back_whole(arena: &Arena) -> Outcome {
    let partitioned =
        json!({ "spec": { "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } } } });
    arena.create("shop:1.2.0", 0, partitioned).await?;
    let before = arena.set().await?;
    let uid = before.metadata.uid.clone().unwrap();
    let (original, ours) = (arena.seen().await?.update_strategy(), UpdateStrategy::on_delete());
    assert_eq!(original.0["rollingUpdate"]["partition"], 1);
    // Twice: an answer may have been lost.
    for step in [1, 2] {
        again!(
            arena
                .cluster
                .update_strategy(&arena.web, &uid, &original, &ours, &original, &stamp(step, 1))
        )?;
        let seen = arena.seen().await?;
        assert_eq!(seen.update_strategy(), ours);
        assert!(matches!(
            observe_update_strategy(&seen, &uid, &original, &ours),
            Observed::Done(_)
        ));
        // W7: whoever has lost the journal reads on the object what it was.
        assert_eq!(seen.original_update_strategy(), original);
        let stamped = stamp(step, 1).to_string();
        assert_eq!(seen.annotation(annotation::STAMP), Some(stamped.as_str()));
    }
    again!(
        arena
            .other()
            .update_strategy(&arena.web, &uid, &ours, &original, &original, &stamp(3, 1))
    )?;
    again!(arena.cluster.give_back(&arena.web, &uid, &stamp(4, 1)))?;
    let seen = arena.seen().await?;
    assert!(is_given_back(&seen));
    assert_eq!(seen.set.unwrap().spec, before.spec);
    Ok(())
}

pub async fn an_update_strategy_that_is_somebody_elses_is_changed(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.2.0").await?;
    let before = substance(&arena.set().await?);
    let other = UpdateStrategy(json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 7 } }));
    let ours = UpdateStrategy::on_delete();
    let written = arena
        .cluster
        .update_strategy(&arena.web, &uid, &other, &ours, &other, &stamp(1, 1))
        .await;
    assert!(matches!(written, Err(ClusterError::Changed { .. })), "{written:?}");
    assert_eq!(substance(&arena.set().await?), before);
    Ok(())
}

/// Two pods of 1.2.0 under `OnDelete` whose template is that of 1.1.0; the set's UID, and the template.
async fn outdated(arena: &Arena) -> Result<(String, Removal), NotPassed> {
    arena.create("shop:1.2.0", 2, json!({})).await?;
    arena.until_settled(2).await?;
    arena
        .patch(json!({ "spec": { "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } } }))
        .await?;
    arena.set_image("shop:1.1.0").await?;
    let status = arena
        .until_set("the template has a revision", |status| {
            status.update_revision != status.current_revision
        })
        .await?;
    let template = TemplateRef {
        revision: status.update_revision,
        images: [("shop".to_owned(), "shop:1.1.0".to_owned())].into(),
    };
    let uid = arena.set().await?.metadata.uid.unwrap();
    Ok((uid, Removal::Outdated(template)))
}

async fn pod_uid(arena: &Arena) -> Result<Option<String>, NotPassed> {
    Ok(arena.pods.get("web-1").await?.metadata.uid)
}

pub async fn only_a_pod_that_is_to_go_is_removed(arena: &Arena) -> Outcome {
    let (uid, removal) = outdated(arena).await?;
    let before = pod_uid(arena).await?;
    let observed = |seen, removal: &Removal| observe_removal(&seen, &uid, "web-1", removal);
    // It is within the count.
    let beyond = Removal::BeyondCount;
    again!(
        arena
            .cluster
            .remove_pod(&arena.web, &uid, "web-1", &beyond, &stamp(1, 1))
    )?;
    assert_eq!(pod_uid(arena).await?, before);
    let other = arena
        .cluster
        .remove_pod(&arena.web, "another", "web-1", &removal, &stamp(1, 1))
        .await;
    assert!(matches!(other, Err(ClusterError::Gone { .. })), "{other:?}");
    assert_eq!(pod_uid(arena).await?, before);

    assert_eq!(observed(arena.seen().await?, &removal), Observed::Untouched);
    again!(
        arena
            .cluster
            .remove_pod(&arena.web, &uid, "web-1", &removal, &stamp(1, 1))
    )?;
    assert!(matches!(observed(arena.seen().await?, &removal), Observed::Done(_)));
    let ready = arena
        .until_pods("the pod came back on the template", |pods| {
            pods.get("web-1")
                .is_some_and(|pod| pod.metadata.uid != before && pod.metadata.deletion_timestamp.is_none())
        })
        .await?;
    let after = ready["web-1"].metadata.uid.clone();
    // What came in its place stays, and so does what nobody owns; one that is not there is no error.
    again!(
        arena
            .cluster
            .remove_pod(&arena.web, &uid, "web-1", &removal, &stamp(1, 1))
    )?;
    assert_eq!(pod_uid(arena).await?, after);
    arena
        .cluster
        .remove_pod(&arena.web, &uid, "web-7", &removal, &stamp(1, 1))
        .await?;
    Ok(())
}

pub async fn w6_a_pod_that_changed_in_between_is_a_conflict_and_stays(arena: &Arena) -> Outcome {
    let (uid, removal) = outdated(arena).await?;
    let before = pod_uid(arena).await?;
    let removed = arena
        .disturbed()
        .remove_pod(&arena.web, &uid, "web-1", &removal, &stamp(1, 1))
        .await;
    assert!(matches!(removed, Err(ClusterError::Conflict { .. })), "{removed:?}");
    let pod = arena.pods.get("web-1").await?;
    assert_eq!((pod.metadata.uid, pod.metadata.deletion_timestamp), (before, None));
    Ok(())
}

pub async fn w6_a_takeover_stamps_the_pod_and_a_sleeper_meets_it(arena: &Arena) -> Outcome {
    let (uid, removal) = outdated(arena).await?;
    let before = pod_uid(arena).await?;
    let version = arena.pods.get("web-1").await?.metadata.resource_version;
    again!(arena.cluster.stamp(&arena.web, &uid, &stamp(2, 5), "taken over"))?;
    again!(
        arena
            .cluster
            .stamp_pod(&arena.web, &uid, "web-1", &removal, &stamp(2, 5))
    )?;
    // A removal in flight meets another version, and a pod that stays after all bears nothing of ours (W9).
    let stamped = arena.pods.get("web-1").await?;
    assert_ne!(stamped.metadata.resource_version, version);
    assert!(
        !serde_json::to_string(&stamped.metadata)?.contains("stepback"),
        "{:?}",
        stamped.metadata
    );
    let removed = arena
        .other()
        .remove_pod(&arena.web, &uid, "web-1", &removal, &stamp(2, 4))
        .await;
    assert!(
        matches!(&removed, Err(ClusterError::Fenced { token: found, .. }) if *found == token(5)),
        "{removed:?}"
    );
    assert_eq!(pod_uid(arena).await?, before);
    // A pod that is to stay bears no mark of ours.
    let beyond = Removal::BeyondCount;
    again!(
        arena
            .cluster
            .stamp_pod(&arena.web, &uid, "web-0", &beyond, &stamp(2, 5))
    )?;
    let stays = arena.pods.get("web-0").await?;
    assert!(
        !serde_json::to_string(&stays.metadata)?.contains("stepback"),
        "{:?}",
        stays.metadata
    );
    Ok(())
}

/// A pod that was told to go, on a node that no kubelet is behind, stays for ever.
pub async fn w14_a_dead_pod_is_removed_by_its_uid_and_no_other(arena: &Arena) -> Outcome {
    let node = format!("dead-{}", arena.namespace);
    let uid = arena.empty_set("shop:1.2.0").await?;
    arena.change_template(json!({ "spec": { "nodeName": node } })).await?;
    arena.patch(json!({ "spec": { "replicas": 1 } })).await?;
    let pods = arena
        .until_pods("the pod is there", |pods| pods.contains_key("web-0"))
        .await?;
    let dead = pods["web-0"].metadata.uid.clone().unwrap_or_default();
    arena.patch(json!({ "spec": { "replicas": 0 } })).await?;
    arena
        .until_pods("the pod is on its way out", |pods| {
            pods.get("web-0")
                .is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
        })
        .await?;
    let removal = |uid: &str| Removal::Dead(uid.to_owned());
    let seen = async |uid: &str| {
        let seen = arena.seen().await?;
        Ok::<_, NotPassed>(observe_removal(
            &seen,
            seen.uid().unwrap_or_default(),
            "web-0",
            &removal(uid),
        ))
    };
    for other in [Removal::BeyondCount, removal("another")] {
        again!(
            arena
                .cluster
                .remove_pod(&arena.web, &uid, "web-0", &other, &stamp(1, 1))
        )?;
        assert_eq!(
            arena.pods.get("web-0").await?.metadata.uid.as_deref(),
            Some(dead.as_str())
        );
    }
    assert!(matches!(seen("another").await?, Observed::Done(_)));
    assert_eq!(seen(&dead).await?, Observed::Untouched);
    // Twice: an answer may have been lost.
    for _ in 0..2 {
        again!(
            arena
                .cluster
                .remove_pod(&arena.web, &uid, "web-0", &removal(&dead), &stamp(1, 1))
        )?;
        assert!(arena.pods.get_opt("web-0").await?.is_none());
    }
    assert!(matches!(seen(&dead).await?, Observed::Done(_)));
    Ok(())
}
