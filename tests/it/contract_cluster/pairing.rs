//! What is written on revisions (LAWS W1).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use stepback::cluster::{Cluster as _, ClusterError};
use stepback_core::{
    model::{MigrationSet, Observed, Pairing, TemplateRef, annotation, pairings_of},
    workload::{observe_pairing, revision_to_pair},
};

use super::arena::{Arena, again, stamp, substance, token};
use crate::support::runner::{NotPassed, Outcome};

fn pairing(release: &str) -> Pairing {
    let schema: MigrationSet = ["1", "2"].map(|version| version.parse().unwrap()).into_iter().collect();
    Pairing::new("shop", release.parse().unwrap(), Some(&schema))
}

fn images(image: &str) -> BTreeMap<String, String> {
    [("shop".to_owned(), image.to_owned())].into()
}

/// The revision with this image.
async fn revision(arena: &Arena, image: &str) -> Result<TemplateRef, NotPassed> {
    let seen = arena.seen().await?;
    let is_it = |revision: &&ControllerRevision| {
        stepback_core::model::revision_images(revision).as_ref() == Some(&images(image))
    };
    let found = seen.revisions.iter().find(is_it).expect("it is kept");
    Ok(TemplateRef {
        revision: Some(found.name_any()),
        images: images(image),
    })
}

async fn kept(arena: &Arena, of: &TemplateRef) -> Result<ControllerRevision, NotPassed> {
    let seen = arena.seen().await?;
    let mut revisions = seen.revisions.into_iter();
    Ok(revisions
        .find(|revision| revision.metadata.name == of.revision)
        .expect("it is kept"))
}

pub async fn w1_a_pairing_is_written_on_the_revision_and_nowhere_else(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.3.0").await?;
    // The controller copies our marks to the revision that it makes of the new template.
    let by_images = TemplateRef {
        revision: None,
        images: images("shop:1.2.0"),
    };
    again!(arena.cluster.repoint(&arena.web, &uid, &by_images, &stamp(1, 1)))?;
    arena.until_settled(0).await?;
    let target = revision(arena, "shop:1.2.0").await?;
    assert!(
        kept(arena, &target)
            .await?
            .annotations()
            .contains_key(annotation::STAMP)
    );
    assert_eq!(
        observe_pairing(&arena.seen().await?, &uid, &target, &pairing("1.2.0")),
        Observed::Untouched
    );
    let before = substance(&arena.set().await?);
    let data = kept(arena, &target).await?.data;

    // Twice: an answer may have been lost.
    for _ in 0..2 {
        again!(
            arena
                .cluster
                .pair(&arena.web, &uid, &target, &pairing("1.2.0"), &stamp(2, 1))
        )?;
        let paired = kept(arena, &target).await?;
        assert_eq!(pairings_of(&paired), [pairing("1.2.0")]);
        let ours = paired
            .annotations()
            .keys()
            .filter(|name| name.starts_with("stepback.dev/"));
        assert_eq!(ours.collect::<Vec<_>>(), [annotation::PAIRINGS]);
        assert_eq!(paired.data, data);
        let seen = arena.seen().await?;
        assert!(matches!(
            observe_pairing(&seen, &uid, &target, &pairing("1.2.0")),
            Observed::Done(_)
        ));
        assert_eq!(substance(&arena.set().await?), before);
    }
    again!(
        arena
            .cluster
            .pair(&arena.web, &uid, &target, &pairing("1.2.1"), &stamp(3, 1))
    )?;
    assert_eq!(
        pairings_of(&kept(arena, &target).await?),
        [pairing("1.2.0"), pairing("1.2.1")]
    );
    Ok(())
}

pub async fn w1_a_pairing_is_not_copied_and_not_lost(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.2.0").await?;
    let old = revision(arena, "shop:1.2.0").await?;
    again!(
        arena
            .cluster
            .pair(&arena.web, &uid, &old, &pairing("1.2.0"), &stamp(1, 1))
    )?;
    let text = kept(arena, &old).await?.annotations()[annotation::PAIRINGS].clone();
    // Even where somebody writes it on the set, whose annotations are copied.
    arena
        .patch(json!({ "metadata": { "annotations": { annotation::PAIRINGS: text } } }))
        .await?;
    let template = |image: &str| json!({ "spec": { "containers": [{ "name": "shop", "image": image }] } });
    arena.change_template(template("shop:1.3.0")).await?;
    let new = revision(arena, "shop:1.3.0").await?;
    let copied = kept(arena, &new).await?;
    assert!(copied.annotations().contains_key(annotation::PAIRINGS));
    assert_eq!(pairings_of(&copied), []);
    // Used again, it has another number and is the same.
    let number = kept(arena, &old).await?.revision;
    arena.change_template(template("shop:1.2.0")).await?;
    let again = kept(arena, &old).await?;
    assert!(again.revision > number, "{:?}", again.revision);
    assert_eq!(pairings_of(&again), [pairing("1.2.0")]);
    Ok(())
}

pub async fn w1_only_the_revision_that_was_gated_is_paired(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.2.0").await?;
    let target = revision(arena, "shop:1.2.0").await?;
    let mut other = target.clone();
    other.images = images("shop:1.1.0");
    let unnamed = TemplateRef {
        revision: None,
        ..target.clone()
    };
    let missing = TemplateRef {
        revision: Some("web-missing".to_owned()),
        ..target.clone()
    };
    let pair = async |to: &TemplateRef, uid: &str| {
        let paired = arena
            .cluster
            .pair(&arena.web, uid, to, &pairing("1.2.0"), &stamp(1, 1))
            .await;
        paired.unwrap_err()
    };
    assert!(matches!(pair(&other, &uid).await, ClusterError::Changed { .. }));
    assert!(matches!(pair(&target, "another").await, ClusterError::Changed { .. }));
    assert!(matches!(pair(&unnamed, &uid).await, ClusterError::Refused(_)));
    assert!(matches!(pair(&missing, &uid).await, ClusterError::Gone { .. }));
    // Without a pod that runs it, nobody knows that the revision of the present template is the one that was healthy.
    assert!(revision_to_pair(&arena.seen().await?, &unnamed).is_none());

    // A higher token on the workload.
    again!(arena.cluster.stamp(&arena.web, &uid, &stamp(1, 5), "taken over"))?;
    let fenced = arena
        .other()
        .pair(&arena.web, &uid, &target, &pairing("1.2.0"), &stamp(9, 4))
        .await;
    assert!(
        matches!(&fenced, Err(ClusterError::Fenced { token: found, .. }) if *found == token(5)),
        "{fenced:?}"
    );
    assert_eq!(pairings_of(&kept(arena, &target).await?), []);
    Ok(())
}

pub async fn w1_a_pairing_is_no_conflict_for_whoever_writes_next(arena: &Arena) -> Outcome {
    let uid = arena.empty_set("shop:1.2.0").await?;
    let target = revision(arena, "shop:1.2.0").await?;
    let revisions: Api<ControllerRevision> = Api::namespaced(arena.client.clone(), &arena.namespace);
    let name = target.revision.clone().unwrap();
    let stale = revisions.get(&name).await?;
    again!(
        arena
            .cluster
            .pair(&arena.web, &uid, &target, &pairing("1.2.0"), &stamp(1, 1))
    )?;
    // Whoever had read it before meets the new version, and whoever takes it off by hand meets nothing.
    let late = Patch::Merge(json!({ "metadata": {
        "resourceVersion": stale.metadata.resource_version, "annotations": { "late": "yes" },
    } }));
    let conflict = revisions.patch(&name, &PatchParams::default(), &late).await;
    assert!(
        matches!(&conflict, Err(kube::Error::Api(status)) if status.code == 409),
        "{conflict:?}"
    );
    let off = Patch::Merge(json!({ "metadata": { "annotations": { annotation::PAIRINGS: null } } }));
    revisions.patch(&name, &PatchParams::default(), &off).await?;
    assert_eq!(pairings_of(&kept(arena, &target).await?), []);
    // The set itself has no field of ours.
    let managers = arena.set().await?.metadata.managed_fields.unwrap_or_default();
    assert!(
        !managers
            .iter()
            .any(|entry| entry.manager.as_deref() == Some(stepback::cluster::MANAGER))
    );
    Ok(())
}
