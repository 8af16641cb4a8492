//! Somebody else writes the workload: named and refused, unless that is accepted by name.

use std::fs;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, from_value, json};

use super::{
    refusals::stays_as_it_is,
    stage::{Setting, Stage},
    store::Engine,
    world::{TO_1_2_0, check_journals, place_orders},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [Kind::Sandbox, Kind::Real] {
        let name = format!("main_road::{}_refuses_a_set_that_others_own", kind.name());
        cases.push(case(name, move |ctx| owned(ctx, kind)));
    }
    cases
}

const ROLLBACK: &str = "rollback --to 1.2.0 --yes";

/// A patch of the set's metadata by this field manager; and what is said of it.
struct Owner {
    code: &'static str,
    manager: &'static str,
    metadata: Value,
    said: String,
}

async fn owners(stage: &Stage) -> Result<Vec<Owner>, NotPassed> {
    let namespace = &stage.namespace;
    // Garbage collection looks for owners, so there must be one.
    let maker: ConfigMap = from_value(json!({ "metadata": { "name": "maker" } }))?;
    let maker = Api::<ConfigMap>::namespaced(stage.client.clone(), namespace)
        .create(&PostParams::default(), &maker)
        .await?;
    let owner = |code, manager, said: String, metadata| Owner {
        code,
        manager,
        metadata,
        said,
    };
    Ok(vec![
        owner(
            "owner-argocd",
            "hand",
            "application store".to_owned(),
            json!({ "annotations": {
                "argocd.argoproj.io/tracking-id": format!("store:apps/StatefulSet:{namespace}/shop"),
            } }),
        ),
        owner(
            "owner-argocd",
            "argocd-controller",
            "application mall".to_owned(),
            json!({ "labels": { "app.kubernetes.io/instance": "mall" } }),
        ),
        owner(
            "owner-flux",
            "hand",
            "Kustomization gitops/apps".to_owned(),
            json!({ "labels": {
                "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "gitops",
            } }),
        ),
        owner(
            "owner-helm",
            "hand",
            format!("release {namespace}/store"),
            json!({ "annotations": {
                "meta.helm.sh/release-name": "store", "meta.helm.sh/release-namespace": namespace,
            } }),
        ),
        owner(
            "owner-operator",
            "hand",
            "ConfigMap maker".to_owned(),
            json!({ "ownerReferences": [{
                "apiVersion": "v1", "kind": "ConfigMap", "name": "maker", "uid": maker.metadata.uid, "controller": true,
            }] }),
        ),
    ])
}

async fn write(stage: &Stage, manager: &str, metadata: &Value) -> Outcome {
    let params = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    stage.sets.patch("shop", &params, &patch).await?;
    Ok(())
}

/// The same metadata with nothing in it.
fn without(metadata: &Value) -> Value {
    match metadata {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), without(value))).collect(),
        _ => Value::Null,
    }
}

async fn owned(ctx: Ctx, kind: Kind) -> Outcome {
    let setting = Setting {
        replicas: 1,
        ..Setting::new(Engine::Sqlite, kind, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let owners = owners(&stage).await?;
    for owner in &owners {
        write(&stage, owner.manager, &owner.metadata).await?;
        let accept = format!("--accept {}", owner.code);
        for said in [owner.code, &owner.said, &accept] {
            stays_as_it_is(&stage, ROLLBACK, &[said]).await?;
        }
        // Another's acceptance is not this one's.
        let other = ["owner-helm", "owner-flux"]
            .into_iter()
            .find(|code| *code != owner.code);
        let typed = format!("{ROLLBACK} --accept {}", other.unwrap_or_default());
        stays_as_it_is(&stage, &typed, &[owner.code]).await?;
        write(&stage, owner.manager, &without(&owner.metadata)).await?;
    }

    for owner in &owners {
        write(&stage, owner.manager, &owner.metadata).await?;
    }
    let folder = stage.folder("1.2.0");
    let ran = stage.credentials.run(3, &folder, ROLLBACK).await?;
    for owner in owners.iter().filter(|owner| owner.manager == "hand") {
        if !ran.err.contains(owner.code) {
            return fail(format_args!(
                "not all was said at once: {} is missing: {ran}",
                owner.code
            ));
        }
    }
    mistyped(&stage).await?;

    // What was accepted is in the plan, in the saved one and in the run's.
    let codes = ["owner-argocd", "owner-flux", "owner-helm", "owner-operator"];
    let accept = codes.map(|code| format!("--accept {code}")).join(" ");
    let (half, rest) = accept.split_at(accept.find("--accept owner-helm").unwrap_or(0));
    stage
        .credentials
        .run(3, &folder, &format!("plan --to 1.2.0 {half}"))
        .await?;
    let plan = format!("plan --to 1.2.0 --out ../elsewhere/back.plan {accept}");
    let ran = stage.credentials.run(0, &folder, &plan).await?;
    assert_eq!(ran.out.matches("accepted StatefulSet").count(), codes.len(), "{ran}");
    let elsewhere = stage.empty_folder();
    let saved: Value = serde_json::from_str(&fs::read_to_string(elsewhere.join("back.plan"))?)?;
    assert_eq!(saved["asked"]["accepted"], json!(codes), "{saved:#}");
    if kind == Kind::Sandbox {
        stage.credentials.run(0, &elsewhere, "apply back.plan --yes").await?;
    } else {
        // What comes after a plan was saved is accepted when it is applied.
        write(&stage, "hand", &without(&owners[3].metadata)).await?;
        let plan = format!("plan --to 1.2.0 --out ../elsewhere/back.plan {half} --accept owner-operator");
        stage.credentials.run(0, &folder, &plan).await?;
        write(&stage, "hand", &owners[3].metadata).await?;
        stage.credentials.run(3, &elsewhere, "apply back.plan --yes").await?;
        let apply = format!("apply back.plan --yes {rest}");
        stage.credentials.run(0, &elsewhere, &apply).await?;
    }
    TO_1_2_0.check(&stage).await?;
    let journal = check_journals(&stage).await?;
    let accepted = journal.plan.findings.iter().filter(|finding| finding.accepted);
    assert_eq!(accepted.count(), 4, "{:#?}", journal.plan.findings);
    // There is nothing left that somebody could write over.
    fs::remove_file(elsewhere.join("back.plan"))?;
    let ran = stage.credentials.run(0, &folder, ROLLBACK).await?;
    assert!(ran.out.contains("nothing to do"), "{ran}");
    Ok(())
}

/// A code that nobody knows, and one that no wish can change.
async fn mistyped(stage: &Stage) -> Outcome {
    for (code, said) in [
        ("owner-hlem", "did you mean owner-helm?"),
        ("down-missing", "owner-argocd, owner-flux, owner-helm"),
        ("data-loss", "--data-loss accept"),
    ] {
        let typed = format!("{ROLLBACK} --accept {code}");
        let ran = stage.credentials.run(2, &stage.folder("1.2.0"), &typed).await?;
        if !ran.err.contains(said) {
            return fail(format_args!("it should have said {said:?}: {ran}"));
        }
    }
    Ok(())
}
