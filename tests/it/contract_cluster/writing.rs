//! Stamped writes.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use stepback::cluster::{Cluster, ClusterError, Counts, MANAGER, is_given_back};
use stepback_core::{
    model::{Observed, Stamp, TemplateRef, UpdateStrategy, annotation, revision_images},
    workload::{observe_repoint, observe_scale},
};

use super::arena::{Arena, again, stamp, substance, token};
use super::looking::WITH_PODS;
use crate::support::runner::Outcome;

/// Every write there is, by name.
async fn write(
    cluster: &dyn Cluster,
    arena: &Arena,
    which: &str,
    uid: &str,
    stamp: &Stamp,
) -> Result<(), ClusterError> {
    let images = TemplateRef {
        revision: None,
        images: BTreeMap::from([("shop".to_owned(), "shop:1.1.0".to_owned())]),
    };
    match which {
        "scale" => cluster.scale(&arena.web, uid, Counts::of(0, 1, 0), stamp).await,
        "repoint" => cluster.repoint(&arena.web, uid, &images, stamp).await,
        "update strategy" => {
            let present = arena.seen().await.map(|seen| seen.update_strategy());
            let present = present.unwrap_or_else(|_| UpdateStrategy::rolling());
            cluster
                .update_strategy(&arena.web, uid, &present, &UpdateStrategy::on_delete(), &present, stamp)
                .await
        }
        "stamp" => cluster.stamp(&arena.web, uid, stamp, "resumed").await,
        _ => cluster.give_back(&arena.web, uid, stamp).await,
    }
}

const WRITES: [&str; 5] = ["scale", "repoint", "update strategy", "stamp", "give back"];

pub async fn another_object_of_the_same_name_is_gone(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.2.0").await?;
    let before = substance(&arena.set().await?);
    for which in WRITES {
        let written = write(&arena.cluster, arena, which, "another", &stamp(1, 1)).await;
        assert!(
            matches!(written, Err(ClusterError::Gone { .. })),
            "{which}: {written:?}"
        );
        assert_eq!(substance(&arena.set().await?), before, "{which}");
    }
    arena.sets.delete("web", &Default::default()).await?;
    for which in WRITES {
        let written = write(&arena.cluster, arena, which, &uid, &stamp(1, 1)).await;
        assert!(
            matches!(written, Err(ClusterError::Gone { .. })),
            "{which}: {written:?}"
        );
    }
    Ok(())
}

pub async fn a_change_in_between_is_a_conflict_and_nothing_is_written(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.2.0").await?;
    again!(arena.cluster.stamp(&arena.web, &uid, &stamp(1, 1), "first"))?;
    let mut before = arena.set().await?;
    before.labels_mut().insert("disturbed".to_owned(), "yes".to_owned());
    for which in WRITES {
        let written = write(&arena.disturbed(), arena, which, &uid, &stamp(2, 1)).await;
        assert!(
            matches!(written, Err(ClusterError::Conflict { .. })),
            "{which}: {written:?}"
        );
        assert_eq!(substance(&arena.set().await?), substance(&before), "{which}");
        arena
            .patch(json!({ "metadata": { "labels": { "disturbed": null } } }))
            .await?;
    }
    Ok(())
}

pub async fn w6_a_higher_token_fences_and_nothing_is_written(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.2.0").await?;
    again!(arena.cluster.stamp(&arena.web, &uid, &stamp(1, 5), "taken over"))?;
    let before = substance(&arena.set().await?);
    for which in WRITES {
        let written = write(&arena.other(), arena, which, &uid, &stamp(9, 4)).await;
        assert!(
            matches!(&written, Err(ClusterError::Fenced { token: found, .. }) if *found == token(5)),
            "{which}: {written:?}"
        );
        assert_eq!(substance(&arena.set().await?), before, "{which}");
    }
    // A higher one may.
    again!(arena.other().scale(&arena.web, &uid, Counts::of(0, 1, 0), &stamp(2, 6)))?;
    assert_eq!(arena.seen().await?.replicas(), 1);
    Ok(())
}

pub async fn w6_effect_and_stamp_come_in_one_write(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.2.0").await?;
    let mut changes = arena.cluster.changes(&arena.web, WITH_PODS);
    again!(arena.cluster.scale(&arena.web, &uid, Counts::of(0, 1, 0), &stamp(3, 2)))?;
    arena.until_settled(1).await?;
    // No state that anybody could have seen has one without the other.
    loop {
        let seen = changes.next().await.unwrap()?;
        let stamped = seen.annotation(annotation::STAMP) == Some(stamp(3, 2).to_string().as_str());
        assert_eq!(seen.replicas() == 1, stamped);
        assert_eq!(seen.annotation(annotation::ORIGINAL_REPLICAS).is_some(), stamped);
        if stamped {
            let state = seen.annotation(annotation::STATE).unwrap_or_default();
            assert!(state.contains("stepback resume 01J8ZQ4M5N6P7Q8R9S0T1V2W3X"), "{state}");
            return Ok(());
        }
    }
}

pub async fn w7_the_recorded_original_is_never_overwritten(arena: &Arena) -> Outcome {
    arena.create("shop:1.2.0", 2, json!({})).await?;
    let uid = arena.set().await?.metadata.uid.unwrap();
    again!(arena.cluster.scale(&arena.web, &uid, Counts::of(2, 1, 2), &stamp(1, 1)))?;
    // A plan that was made now counts one pod, and knows from the object that this is not the original.
    assert_eq!(arena.seen().await?.original_replicas(), 2);
    again!(arena.other().scale(&arena.web, &uid, Counts::of(1, 0, 1), &stamp(1, 2)))?;
    let seen = arena.seen().await?;
    assert_eq!((seen.replicas(), seen.original_replicas()), (0, 2));
    assert_eq!(
        seen.annotation(annotation::STAMP),
        Some(stamp(1, 2).to_string().as_str())
    );
    Ok(())
}

pub async fn no_pod_starts_from_another_template(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.3.0").await?;
    let before = arena.set().await?;
    let wanted = |image: &str| TemplateRef {
        revision: None,
        images: [("shop".to_owned(), image.to_owned())].into(),
    };
    let (other, present) = (wanted("shop:1.2.0"), wanted("shop:1.3.0"));
    let counts = |template| Counts {
        template: Some(template),
        ..Counts::of(0, 1, 1)
    };
    let scaled = arena
        .cluster
        .scale(&arena.web, &uid, counts(&other), &stamp(1, 1))
        .await;
    assert!(matches!(&scaled, Err(ClusterError::Changed { .. })), "{scaled:?}");
    assert_eq!(substance(&arena.set().await?), substance(&before));
    again!(arena.cluster.scale(&arena.web, &uid, counts(&present), &stamp(1, 1)))?;
    assert_eq!(arena.seen().await?.replicas(), 1);
    Ok(())
}

pub async fn a_count_that_is_somebody_elses_is_changed(arena: &Arena) -> Outcome {
    arena.create("shop:1.2.0", 3, json!({})).await?;
    let before = arena.set().await?;
    let uid = before.metadata.uid.clone().unwrap();
    let scaled = arena
        .cluster
        .scale(&arena.web, &uid, Counts::of(2, 1, 2), &stamp(1, 1))
        .await;
    assert!(
        matches!(&scaled, Err(ClusterError::Changed { message, .. }) if message.contains('3')),
        "{scaled:?}"
    );
    assert_eq!(substance(&arena.set().await?), substance(&before));
    let seen = arena.seen().await?;
    assert!(matches!(observe_scale(&seen, &uid, 2, 1), Observed::Foreign(_)));
    // Twice the same is no change.
    for step in [1, 2] {
        again!(
            arena
                .cluster
                .scale(&arena.web, &uid, Counts::of(3, 2, 3), &stamp(step, 1))
        )?;
        assert_eq!(
            observe_scale(&arena.seen().await?, &uid, 3, 2),
            Observed::Done("spec.replicas is 2".to_owned())
        );
    }
    Ok(())
}

/// The template's revision that is newest now.
async fn template(arena: &Arena) -> Result<TemplateRef, crate::support::runner::NotPassed> {
    let seen = arena.seen().await?;
    let newest = seen.revisions.last().unwrap();
    Ok(TemplateRef {
        revision: newest.metadata.name.clone(),
        images: revision_images(newest).unwrap(),
    })
}

pub async fn repointing_takes_fields_away_that_the_newer_template_added(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.2.0").await?;
    let old = template(arena).await?;
    let old_template = arena.set().await?.spec.template;
    arena
        .change_template(json!({
            "metadata": { "annotations": { "added": "yes" } },
            "spec": {
                "priority": null,
                "containers": [{ "name": "shop", "image": "shop:1.3.0", "env": [{ "name": "ADDED", "value": "yes" }] }],
                "initContainers": [{ "name": "init", "image": "init:1" }],
                "volumes": [{ "name": "added", "emptyDir": {} }],
            },
        }))
        .await?;
    let new = template(arena).await?;
    assert_ne!(old, new);
    let seen = arena.seen().await?;
    assert_eq!(observe_repoint(&seen, &uid, &new, &old), Observed::Untouched);

    again!(arena.cluster.repoint(&arena.web, &uid, &old, &stamp(4, 1)))?;
    let status = arena.until_settled(0).await?;
    assert_eq!(
        status.update_revision, old.revision,
        "the controller must use the old revision again"
    );
    let seen = arena.seen().await?;
    let set = seen.set.as_ref().unwrap();
    assert_eq!(set.spec.template, old_template);
    assert_eq!(
        seen.annotation(annotation::STAMP),
        Some(stamp(4, 1).to_string().as_str())
    );
    let observed = observe_repoint(&seen, &uid, &new, &old);
    assert!(matches!(observed, Observed::Done(_)), "{observed:?}");
    assert_eq!(observe_repoint(&seen, &uid, &old, &new), Observed::Untouched);
    Ok(())
}

pub async fn repointing_by_images_changes_nothing_else(arena: &Arena) -> Outcome {
    arena
        .create(
            "shop:1.3.0",
            0,
            json!({ "spec": { "template": { "spec": {
                "initContainers": [{ "name": "init", "image": "init:3" }, { "name": "stays", "image": "stays:1" }],
            } } } }),
        )
        .await?;
    let before = arena.set().await?;
    let uid = before.metadata.uid.clone().unwrap();
    let to = TemplateRef {
        revision: None,
        images: [("shop", "shop:1.2.0"), ("init", "init:2"), ("stays", "stays:1")]
            .map(|(container, image)| (container.to_owned(), image.to_owned()))
            .into(),
    };
    again!(arena.cluster.repoint(&arena.web, &uid, &to, &stamp(1, 1)))?;
    let seen = arena.seen().await?;
    assert_eq!(seen.template_images(), to.images);
    let mut expected = before.spec.template;
    let pod = expected.spec.as_mut().unwrap();
    pod.containers[0].image = Some("shop:1.2.0".to_owned());
    pod.init_containers.as_mut().unwrap()[0].image = Some("init:2".to_owned());
    assert_eq!(seen.set.unwrap().spec.template, expected);
    Ok(())
}

pub async fn repointing_refuses_what_was_not_planned(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.2.0").await?;
    let old = template(arena).await?;
    arena
        .change_template(json!({ "spec": { "containers": [{ "name": "shop", "image": "shop:1.3.0" }] } }))
        .await?;
    let before = substance(&arena.set().await?);
    let mut other_images = old.clone();
    other_images.images.insert("shop".to_owned(), "shop:1.1.0".to_owned());
    let mut missing = old.clone();
    missing.revision = Some("web-missing".to_owned());
    let mut unknown_container = old.clone();
    unknown_container.revision = None;
    unknown_container
        .images
        .insert("sidecar".to_owned(), "sidecar:1".to_owned());
    for to in [&other_images, &missing, &unknown_container] {
        let repointed = arena.cluster.repoint(&arena.web, &uid, to, &stamp(1, 1)).await;
        let refused = match &to.revision {
            Some(name) if name == "web-missing" => matches!(repointed, Err(ClusterError::Gone { .. })),
            _ => matches!(repointed, Err(ClusterError::Changed { .. })),
        };
        assert!(refused, "{to:?}: {repointed:?}");
        assert_eq!(substance(&arena.set().await?), before);
    }
    Ok(())
}

fn managers(set: &StatefulSet) -> Vec<String> {
    let entries = set.metadata.managed_fields.iter().flatten();
    entries.filter_map(|entry| entry.manager.clone()).collect()
}

/// What a run does to a workload, up to giving it back.
async fn borrow(arena: &Arena) -> Result<String, crate::support::runner::NotPassed> {
    let uid = arena.empty_set("shop:1.3.0").await?;
    let images = TemplateRef {
        revision: None,
        images: BTreeMap::from([("shop".to_owned(), "shop:1.2.0".to_owned())]),
    };
    again!(arena.cluster.repoint(&arena.web, &uid, &images, &stamp(1, 1)))?;
    again!(arena.cluster.scale(&arena.web, &uid, Counts::of(0, 1, 1), &stamp(2, 1)))?;
    arena.until_settled(1).await?;
    let seen = arena.seen().await?;
    assert!(managers(seen.set.as_ref().unwrap()).contains(&MANAGER.to_owned()));
    assert!(!is_given_back(&seen));
    Ok(uid)
}

pub async fn w9_giving_back_leaves_no_field_and_no_annotation(arena: &Arena) -> Outcome {
    let uid = borrow(arena).await?;
    let before = arena.set().await?;
    // Twice: an answer may have been lost.
    for _ in 0..2 {
        again!(arena.cluster.give_back(&arena.web, &uid, &stamp(3, 1)))?;
        let seen = arena.seen().await?;
        assert!(is_given_back(&seen));
        let set = seen.set.unwrap();
        assert_eq!(set.spec, before.spec);
        let ours = set
            .metadata
            .annotations
            .iter()
            .flatten()
            .any(|(name, _)| name.starts_with("stepback.dev/"));
        assert!(!ours, "{:?}", set.metadata.annotations);
        let others: Vec<String> = managers(&before).into_iter().filter(|name| name != MANAGER).collect();
        assert!(!others.is_empty());
        assert_eq!(managers(&set), others);
    }
    Ok(())
}

pub async fn w9_giving_back_where_all_fields_are_ours(arena: &Arena) -> Outcome {
    let uid = borrow(arena).await?;
    let mut ours = arena.set().await?.metadata.managed_fields.unwrap();
    ours.retain(|entry| entry.manager.as_deref() == Some(MANAGER));
    arena.patch(json!({ "metadata": { "managedFields": ours } })).await?;
    assert_eq!(managers(&arena.set().await?), [MANAGER]);
    again!(arena.cluster.give_back(&arena.web, &uid, &stamp(3, 1)))?;
    let seen = arena.seen().await?;
    assert!(is_given_back(&seen), "{:?}", seen.set.unwrap().metadata);
    assert_eq!(managers(&seen.set.unwrap()), [""; 0]);
    Ok(())
}

pub async fn w9_the_next_apply_meets_no_conflict_after_giving_back(arena: &Arena) -> Outcome {
    let manifest: Value = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "web" },
        "spec": {
            "serviceName": "web", "replicas": 0, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "shop", "image": "shop:1.3.0" }] },
            },
        },
    });
    let (params, patch) = (PatchParams::apply("helm"), Patch::Apply(&manifest));
    let apply = || arena.sets.patch("web", &params, &patch);
    let uid = apply().await?.metadata.uid.unwrap();
    let images = TemplateRef {
        revision: None,
        images: BTreeMap::from([("shop".to_owned(), "shop:1.2.0".to_owned())]),
    };
    again!(arena.cluster.repoint(&arena.web, &uid, &images, &stamp(1, 1)))?;
    again!(arena.cluster.scale(&arena.web, &uid, Counts::of(0, 1, 1), &stamp(2, 1)))?;
    let applied = apply().await;
    assert!(
        matches!(&applied, Err(kube::Error::Api(status)) if status.code == 409),
        "{applied:?}"
    );
    again!(arena.cluster.give_back(&arena.web, &uid, &stamp(3, 1)))?;
    apply().await?;
    Ok(())
}
