//! What lies around the shop forbids the way back before anything is touched: autoscalers, configuration that is not there
//! any more, pods that would not be made, pods on lost nodes.

use k8s_openapi::api::{
    apps::v1::ControllerRevision,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Node, Pod, Secret, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
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
        let name = |what: &str| format!("main_road::{}_refuses_{what}", kind.name());
        cases.push(case(name("while_an_autoscaler_is_at_work"), move |ctx| {
            scaled(ctx, kind)
        }));
        cases.push(case(name("w3_configuration_that_is_gone"), move |ctx| {
            configured(ctx, kind)
        }));
        cases.push(case(name("w13_pods_that_would_not_be_made"), move |ctx| {
            refused(ctx, kind)
        }));
        cases.push(case(name("w14_pods_on_a_lost_node"), move |ctx| lost(ctx, kind)));
        cases.push(case(
            format!("main_road::{}_goes_below_a_budget_and_says_so", kind.name()),
            move |ctx| budgeted(ctx, kind),
        ));
    }
    cases
}

const ROLLBACK: &str = "rollback --to 1.2.0 --yes";

async fn stage(ctx: &Ctx, kind: Kind) -> Result<Stage, NotPassed> {
    let setting = Setting {
        replicas: 1,
        ..Setting::new(Engine::Sqlite, kind, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    Ok(stage)
}

async fn make<K>(stage: &Stage, object: Value) -> Outcome
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + serde::Serialize
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
    K::DynamicType: Default,
{
    let all: Api<K> = Api::namespaced(stage.client.clone(), &stage.namespace);
    all.create(&PostParams::default(), &from_value(object)?).await?;
    Ok(())
}

async fn scaled(ctx: Ctx, kind: Kind) -> Outcome {
    let stage = stage(&ctx, kind).await?;
    // At its minimum already, with nothing to measure: the controller leaves it alone, and its status.
    make::<HorizontalPodAutoscaler>(
        &stage,
        json!({ "metadata": { "name": "crowd" }, "spec": { "minReplicas": 1, "maxReplicas": 1,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "shop" } } }),
    )
    .await?;
    if kind == Kind::Real {
        let scalers: Api<HorizontalPodAutoscaler> = Api::namespaced(stage.client.clone(), &stage.namespace);
        await_condition(scalers, "crowd", |scaler: Option<&HorizontalPodAutoscaler>| {
            scaler.is_some_and(|scaler| scaler.status.as_ref().is_some_and(|status| status.conditions.is_some()))
        })
        .await?;
    }
    for said in [
        "[autoscaler-active]",
        "HorizontalPodAutoscaler crowd keeps shop at 1 to 1",
    ] {
        stays_as_it_is(&stage, ROLLBACK, &[said]).await?;
    }
    let accepted = format!("{ROLLBACK} --accept autoscaler-active");
    stage.credentials.run(0, &stage.folder("1.2.0"), &accepted).await?;
    TO_1_2_0.check(&stage).await
}

/// Nothing holds a scale-down back, so the plan is all that can tell.
async fn budgeted(ctx: Ctx, kind: Kind) -> Outcome {
    let stage = stage(&ctx, kind).await?;
    let selector = stage.sets.get("shop").await?.spec.selector;
    make::<PodDisruptionBudget>(
        &stage,
        json!({ "metadata": { "name": "always" }, "spec": { "minAvailable": 1, "selector": selector } }),
    )
    .await?;
    let ran = stage.credentials.run(0, &stage.folder("1.2.0"), ROLLBACK).await?;
    let said = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = "PodDisruptionBudget always keeps 1 of 1 pods available (minAvailable: 1), and the plan leaves 0";
    assert!(said.contains("[budget-not-kept]") && said.contains(expected), "{ran}");
    TO_1_2_0.check(&stage).await
}

/// Gives the older release another template, as if it had always had it: merged into that which it has.
async fn change_older_template(stage: &Stage, template: Value) -> Outcome {
    stage
        .patch(json!({ "spec": { "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } } }))
        .await?;
    let newer = serde_json::to_value(stage.sets.get("shop").await?.spec.template)?;
    let params = PatchParams::default();
    let patch = Patch::Strategic(json!({ "spec": { "template": template } }));
    stage.sets.patch("shop", &params, &patch).await?;
    // Sets the image, and waits until the controller has made a revision of it.
    stage.set_image("shop:1.2.0").await?;
    let mut back = newer;
    back["$patch"] = json!("replace");
    let patch = Patch::Strategic(json!({ "spec": { "template": back } }));
    stage.sets.patch("shop", &params, &patch).await?;
    stage.set_image("shop:1.3.0").await?;
    let revisions: Api<ControllerRevision> = Api::namespaced(stage.client.clone(), &stage.namespace);
    for revision in revisions.list(&Default::default()).await? {
        let name = revision.metadata.name.unwrap_or_default();
        let images = &revision.data.0["spec"]["template"]["spec"]["containers"][0]["image"];
        let changed = &revision.data.0["spec"]["template"]["spec"]["containers"][0]["envFrom"];
        let stray = images == "shop:1.3.0" && !changed.is_null();
        if name == stage.old_revision || stray {
            revisions.delete(&name, &DeleteParams::default()).await?;
        }
    }
    stage
        .patch(json!({ "spec": { "updateStrategy": { "type": "RollingUpdate" } } }))
        .await?;
    stage.until_seen().await
}

async fn configured(ctx: Ctx, kind: Kind) -> Outcome {
    let mut stage = stage(&ctx, kind).await?;
    change_older_template(
        &stage,
        json!({ "spec": {
            "imagePullSecrets": [{ "name": "registry" }],
            "containers": [{ "name": "shop", "envFrom": [
                { "configMapRef": { "name": "settings" } },
                { "secretRef": { "name": "keys" } },
                { "configMapRef": { "name": "extras", "optional": true } },
            ] }],
        } }),
    )
    .await?;
    let both = ["ConfigMap settings does not exist", "Secret keys does not exist"];
    for said in [
        "[configuration-missing]",
        both[0],
        both[1],
        "Secret registry does not exist",
    ] {
        stays_as_it_is(&stage, ROLLBACK, &[said]).await?;
    }
    let folder = stage.folder("1.2.0");
    let ran = stage.credentials.run(3, &folder, ROLLBACK).await?;
    if ran.err.contains("extras") {
        return fail(format_args!("what is optional need not be there: {ran}"));
    }
    let word = "hidden-word";
    make::<ConfigMap>(
        &stage,
        json!({ "metadata": { "name": "settings" }, "data": { "COLOUR": "green" } }),
    )
    .await?;
    // It is made now, as the newer release was a moment ago: perhaps it is that one's.
    for said in ["Secret keys does not exist", "[configuration-newer]"] {
        stays_as_it_is(&stage, ROLLBACK, &[said]).await?;
    }
    make::<Secret>(
        &stage,
        json!({ "metadata": { "name": "keys" }, "stringData": { "KEY": word } }),
    )
    .await?;
    // Without a secret to pull with, the images may still be there.
    let ran = stage.credentials.run(0, &folder, ROLLBACK).await?;
    assert!(
        ran.err.contains("[configuration-missing]") && ran.err.contains("registry"),
        "{ran}"
    );
    let revision = stage
        .sets
        .get("shop")
        .await?
        .status
        .and_then(|status| status.update_revision);
    stage.old_revision = revision.unwrap_or_default();
    TO_1_2_0.check(&stage).await?;
    check_journals(&stage).await?;
    Ok(())
}

/// A pod's account is gone: a set that names it is taken, and none of its pods.
async fn refused(ctx: Ctx, kind: Kind) -> Outcome {
    let stage = stage(&ctx, kind).await?;
    make::<ServiceAccount>(&stage, json!({ "metadata": { "name": "clerk" } })).await?;
    change_older_template(
        &stage,
        json!({ "spec": {
            "serviceAccountName": "clerk", "containers": [{ "name": "shop", "envFrom": [{ "prefix": "X_", "configMapRef":
                { "name": "extras", "optional": true } }] }],
        } }),
    )
    .await?;
    stage
        .credentials
        .run(0, &stage.folder("1.2.0"), "plan --to 1.2.0")
        .await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.client.clone(), &stage.namespace);
    accounts.delete("clerk", &DeleteParams::default()).await?;
    for said in [
        "[pod-refused]",
        "serviceaccount \"clerk\" not found",
        "[configuration-missing]",
        "ServiceAccount clerk does not exist",
    ] {
        stays_as_it_is(&stage, ROLLBACK, &[said]).await?;
    }
    Ok(())
}

async fn lost(ctx: Ctx, kind: Kind) -> Outcome {
    let stage = stage(&ctx, kind).await?;
    let node = format!("lost-{}", stage.namespace);
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let (create, params) = (PostParams::default(), PatchParams::default());
    nodes
        .create(&create, &from_value(json!({ "metadata": { "name": node } }))?)
        .await?;
    let ready = |status: &str| {
        Patch::Merge(
            json!({ "status": { "conditions": [{ "type": "Ready", "status": status, "reason": "NodeStatusUnknown",
            "lastTransitionTime": "2024-03-01T02:58:00Z", "lastHeartbeatTime": "2024-03-01T02:58:00Z" }] } }),
        )
    };
    nodes.patch_status(&node, &params, &ready("True")).await?;
    // The pod comes back on a node that no kubelet is behind.
    stage
        .patch(json!({ "spec": { "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } } }))
        .await?;
    let there = Patch::Strategic(json!({ "spec": { "template": { "spec": { "nodeName": node } } } }));
    stage.sets.patch("shop", &params, &there).await?;
    stage.set_image("shop:1.3.0").await?;
    stage
        .replace_pod("shop-0", |pod: &Pod| {
            pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
        })
        .await?;
    stage
        .credentials
        .run(0, &stage.folder("1.2.0"), "plan --to 1.2.0")
        .await?;

    nodes.patch_status(&node, &params, &ready("Unknown")).await?;
    let why = format!("pod shop-0 is on node {node}, which is not ready (NodeStatusUnknown, since 2024-03-01");
    for said in ["[pod-lost]", &why, &format!("kubectl taint node {node}")] {
        stays_as_it_is(&stage, ROLLBACK, &[said]).await?;
    }
    // Somebody says that it is off: its pods will be taken away.
    let taint = json!({ "spec": { "taints": [
        { "key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoSchedule" },
    ] } });
    nodes.patch(&node, &params, &Patch::Merge(taint)).await?;
    stage
        .credentials
        .run(0, &stage.folder("1.2.0"), "plan --to 1.2.0")
        .await?;
    nodes.delete(&node, &DeleteParams::default()).await?;
    Ok(())
}
