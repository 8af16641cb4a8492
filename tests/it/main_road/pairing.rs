//! The revision that a run has seen healthy is found again by its release (LAWS W1).

use std::{fs, time::Duration};

use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apps::v1::{ControllerRevision, StatefulSet},
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{from_value, json};
use stepback_core::model::{annotation, pairings_of};
use tokio::time::timeout;

use super::{
    kill::ROLLBACK,
    refusals::everything,
    stage::{Setting, Stage},
    store::Engine,
    world::{TO_1_2_0, place_orders},
};
use crate::support::{
    cluster::Kind,
    kubectl::Kubectl,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (engine, kind) in [(Engine::Sqlite, Kind::Sandbox), (Engine::Postgres, Kind::Real)] {
        let name = format!("main_road::w1_{}_{}_back_by_the_pairing", engine.name(), kind.name());
        cases.push(case(name, move |ctx| again(ctx, engine, kind)).limit(Duration::from_secs(180)));
    }
    cases.push(case("main_road::w1_a_refused_pairing_holds_no_run_up", refused));
    cases
}

/// A policy has it that nobody writes pairings.
async fn refused(ctx: Ctx) -> Outcome {
    let setting = Setting {
        replicas: 1,
        ..Setting::new(Engine::Sqlite, Kind::Real, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let policy: ValidatingAdmissionPolicy = from_value(json!({
        "metadata": { "name": stage.namespace },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{ "apiGroups": ["apps"], "apiVersions": ["v1"],
                "operations": ["UPDATE"], "resources": ["controllerrevisions"] }] },
            "validations": [{ "message": "hands off",
                "expression": format!("!('{}' in object.metadata.?annotations.orValue({{}}))", annotation::PAIRINGS) }],
        },
    }))?;
    let binding: ValidatingAdmissionPolicyBinding = from_value(json!({
        "metadata": { "name": stage.namespace },
        "spec": { "policyName": stage.namespace, "validationActions": ["Deny"], "matchResources": {
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": stage.namespace } } } },
    }))?;
    let made = PostParams::default();
    Api::all(stage.client.clone()).create(&made, &policy).await?;
    Api::all(stage.client.clone()).create(&made, &binding).await?;
    // The server says nowhere that it has taken a policy up; what it refuses shows it.
    let revisions: Api<ControllerRevision> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let listed = revisions.list(&ListParams::default()).await?.items;
    let name = listed.first().map(ResourceExt::name_any).unwrap_or_default();
    let tried = Patch::Merge(json!({ "metadata": { "annotations": { annotation::PAIRINGS: "[]" } } }));
    let asking = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let taken_up = async {
        while revisions.patch(&name, &asking, &tried).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(30), taken_up).await?;
    let ran = stage.credentials.run(0, &stage.folder("1.3.0"), ROLLBACK).await?;
    let said = words(&ran.err);
    assert!(
        said.contains("no revision is paired") && said.contains("hands off"),
        "{ran}"
    );
    assert_eq!(stage.store.applied().await?.len(), 2);
    let set = stage.sets.get("shop").await?;
    let ours = |name: &&String| name.starts_with("stepback.dev/");
    assert_eq!(
        (set.spec.replicas, set.annotations().keys().find(ours)),
        (Some(1), None)
    );
    Ok(())
}

/// Changes what the app file says of the images of 1.2.0.
fn images(stage: &Stage, of: &str) -> Outcome {
    let file = stage.folder("1.3.0").join("stepback.yaml");
    let text = fs::read_to_string(&file)?;
    let (before, rest) = text.split_once("    - version: 1.2.0").expect("it has that release");
    let (release, rest) = rest.split_once("    - version: 1.1.0").expect("and an older one");
    let kept: Vec<&str> = release
        .lines()
        .filter(|line| !line.trim_start().starts_with("images:"))
        .collect();
    let release = kept.join("\n");
    fs::write(
        &file,
        format!("{before}    - version: 1.2.0{release}\n{of}    - version: 1.1.0{rest}"),
    )?;
    Ok(())
}

/// A text of 80 columns in one line.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits until every pod is ready on this revision.
async fn until_at(stage: &Stage, revision: &str) -> Outcome {
    let (revision, replicas) = (revision.to_owned(), stage.setting.replicas);
    let is_there = move |set: Option<&StatefulSet>| {
        let status = set.and_then(|set| set.status.as_ref());
        status.is_some_and(|status| {
            status.update_revision.as_ref() == Some(&revision)
                && status.current_revision.as_ref() == Some(&revision)
                && status.available_replicas == Some(replicas)
        })
    };
    match timeout(
        Duration::from_secs(60),
        await_condition(stage.sets.clone(), "shop", is_there),
    )
    .await
    {
        Ok(waited) => {
            waited?;
            Ok(())
        }
        Err(_) => fail("the shop did not come to that revision"),
    }
}

async fn revision(stage: &Stage, name: &str) -> Result<ControllerRevision, NotPassed> {
    let revisions: Api<ControllerRevision> = Api::namespaced(stage.client.clone(), &stage.namespace);
    Ok(revisions.get(name).await?)
}

async fn again(ctx: Ctx, engine: Engine, kind: Kind) -> Outcome {
    let setting = Setting {
        replicas: 2,
        ..Setting::new(engine, kind, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    let folder = stage.folder("1.3.0");
    let status = stage.sets.get("shop").await?.status.unwrap_or_default();
    let newer = status.update_revision.unwrap_or_default();
    stage.credentials.run(0, &folder, ROLLBACK).await?;
    TO_1_2_0.check(&stage).await?;

    // Forward again with the user's own tools: what they bring is not paired, and what is paired stays so.
    let kubectl = Kubectl::new(&stage.credentials.kubeconfig, &stage.namespace, ctx.dir())?;
    let told = kubectl.ok("rollout history statefulset/shop").await?;
    assert!(told.contains("REVISION"), "{told}");
    // The older release does not run on the newer schema, and a pod that is not ready would hold the rollout up.
    kubectl.ok("scale statefulset shop --replicas 0").await?;
    stage.credentials.run(0, &folder, "migrate up --yes").await?;
    kubectl.ok("rollout undo statefulset/shop").await?;
    kubectl.ok("scale statefulset shop --replicas 2").await?;
    until_at(&stage, &newer).await?;
    assert_eq!(pairings_of(&revision(&stage, &newer).await?), []);

    // The file is of a colleague who knows no images of 1.2.0: the plan finds them, changing nothing.
    images(&stage, "")?;
    let before = everything(&stage).await?;
    let ran = stage.credentials.run(0, &folder, "plan --to 1.2.0").await?;
    for said in ["[images-unfiled]", &format!("at revision {}", stage.old_revision)] {
        assert!(words(&ran.out).contains(said), "{said}: {ran}");
    }
    // Of another build, which nobody has run: that is for a person to say.
    images(&stage, "      images: { shop: { shop: \"shop:1.2.0-2\" } }\n")?;
    let ran = stage.credentials.run(3, &folder, ROLLBACK).await?;
    for said in ["[revision-differs]", "--accept", "shop:1.2.0-2", "nothing was touched"] {
        assert!(words(&ran.err).contains(said), "{said}: {ran}");
    }
    let ran = stage
        .credentials
        .run(0, &folder, "plan --to 1.2.0 --accept revision-differs")
        .await?;
    assert!(ran.out.contains("[template-unknown]"), "{ran}");
    assert_eq!(everything(&stage).await?, before, "something was touched");

    images(&stage, "")?;
    stage.credentials.run(0, &folder, ROLLBACK).await?;
    let Some(paired) = pairings_of(&revision(&stage, &stage.old_revision).await?).pop() else {
        return fail("the revision is not paired any more");
    };
    assert_eq!(paired.app, "shop");
    assert_eq!(
        paired.schema.map(|schema| schema.to_string()).as_deref(),
        Some("20240115120000")
    );
    TO_1_2_0.check(&stage).await
}
