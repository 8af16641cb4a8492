//! Those who manage a workload from outside are seen to act, or to be paused.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::core::v1::Secret, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use serde_json::{Value, from_value, json};
use stepback::cluster::Cluster as _;
use stepback_core::model::{LookAround, OwnerRef, OwnerState};

use super::arena::Arena;
use crate::support::runner::{NotPassed, Outcome};

async fn state(arena: &Arena, owner: &OwnerRef) -> Result<Result<OwnerState, String>, NotPassed> {
    let at = LookAround {
        workload: arena.web.clone(),
        objects: BTreeSet::new(),
        nodes: BTreeSet::new(),
        owners: BTreeSet::from([owner.clone()]),
        labels: BTreeSet::new(),
        pod: None,
    };
    let mut seen = arena.cluster.look_around(&at).await?;
    Ok(seen.owners.remove(owner).expect("what was asked for is answered"))
}

pub async fn w3_a_pending_release_of_helm_is_read_off_its_records(arena: &Arena) -> Outcome {
    let owner = OwnerRef::Helm {
        namespace: arena.namespace.clone(),
        release: "store".to_owned(),
    };
    assert_eq!(state(arena, &owner).await?, Ok(OwnerState::Acts));
    let secrets: Api<Secret> = Api::namespaced(arena.client.clone(), &arena.namespace);
    let record = async |release: &str, version: &str, status: &str| {
        let labels = json!({ "owner": "helm", "name": release, "version": version, "status": status });
        let name = format!("sh.helm.release.v1.{release}.v{version}");
        let secret = json!({ "metadata": { "name": name, "labels": labels }, "type": "helm.sh/release.v1" });
        secrets.create(&PostParams::default(), &from_value(secret)?).await?;
        Ok::<_, NotPassed>(())
    };
    record("store", "9", "superseded").await?;
    record("another", "12", "pending-install").await?;
    assert_eq!(state(arena, &owner).await?, Ok(OwnerState::Acts));
    // The newest by its number, not by the order of the text.
    record("store", "10", "pending-upgrade").await?;
    assert_eq!(
        state(arena, &owner).await?,
        Ok(OwnerState::Pending("pending-upgrade".to_owned()))
    );
    record("store", "11", "deployed").await?;
    assert_eq!(state(arena, &owner).await?, Ok(OwnerState::Acts));
    Ok(())
}

pub async fn an_owner_that_is_not_there_is_not_known(arena: &Arena) -> Outcome {
    let owner = OwnerRef::HelmRelease {
        namespace: arena.namespace.clone(),
        name: "nobody".to_owned(),
    };
    assert!(state(arena, &owner).await?.is_err());
    Ok(())
}

/// Makes the kind, as its owner's installation does; cases share it.
async fn install(arena: &Arena, gvk: &GroupVersionKind) -> Result<Api<DynamicObject>, NotPassed> {
    let plural = format!("{}s", gvk.kind.to_lowercase());
    let name = format!("{plural}.{}", gvk.group);
    let schema = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": name },
        "spec": {
            "group": gvk.group, "scope": "Namespaced", "names": { "kind": gvk.kind, "plural": plural },
            "versions": [{ "name": gvk.version, "served": true, "storage": true, "schema": schema }],
        },
    });
    let all: Api<CustomResourceDefinition> = Api::all(arena.client.clone());
    let params = PatchParams::apply("installer").force();
    all.patch(&name, &params, &Patch::Apply(&definition)).await?;
    await_condition(all, &name, is_crd_established()).await?;
    let resource = ApiResource::from_gvk(gvk);
    Ok(Api::namespaced_with(arena.client.clone(), &arena.namespace, &resource))
}

pub async fn w2_owners_act_or_are_paused(arena: &Arena) -> Outcome {
    let namespace = arena.namespace.clone();
    let name = "store".to_owned();
    let paused = |how: &str| OwnerState::Paused(how.to_owned());
    let automated = |automated: Value| json!({ "spec": { "syncPolicy": { "automated": automated } } });
    let skips = json!({ "metadata": { "annotations": { "argocd.argoproj.io/skip-reconcile": "true" } } });
    let suspended = [
        (json!({ "spec": {} }), OwnerState::Acts),
        (json!({ "spec": { "suspend": true } }), paused("it is suspended")),
        (json!({ "spec": { "suspend": false } }), OwnerState::Acts),
    ];
    let synced = [
        (json!({ "spec": {} }), paused("it does not sync by itself")),
        (automated(json!({})), OwnerState::Acts),
        (
            automated(json!({ "enabled": false })),
            paused("its automatic sync is switched off"),
        ),
        (automated(json!({ "enabled": true })), OwnerState::Acts),
        (skips, paused("it is told to skip reconciling")),
    ];
    let kinds = [
        (
            GroupVersionKind::gvk("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"),
            OwnerRef::Kustomization {
                namespace: namespace.clone(),
                name: name.clone(),
            },
            &suspended[..],
        ),
        (
            GroupVersionKind::gvk("helm.toolkit.fluxcd.io", "v2", "HelmRelease"),
            OwnerRef::HelmRelease {
                namespace: namespace.clone(),
                name: name.clone(),
            },
            &suspended[..],
        ),
        (
            GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application"),
            OwnerRef::ArgoCd { namespace, app: name },
            &synced[..],
        ),
    ];
    for (gvk, owner, states) in kinds {
        let all = install(arena, &gvk).await?;
        let made = DynamicObject::new("store", &ApiResource::from_gvk(&gvk));
        all.create(&PostParams::default(), &made).await?;
        for (patch, expected) in states {
            all.patch("store", &PatchParams::default(), &Patch::Merge(patch))
                .await?;
            assert_eq!(state(arena, &owner).await?, Ok(expected.clone()), "{owner:?} {patch}");
        }
    }
    Ok(())
}
