//! A cluster that changes every pod on its way in: a proxy is added to it, as meshes and secret agents do, or its images
//! come from a mirror. The way back, the walk and the abort go on as if the templates were all there is.

use k8s_openapi::api::{
    admissionregistration::v1::{MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding},
    core::v1::Pod,
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::{Value, from_value, json};
use tokio::time::{Duration, sleep, timeout};

use super::{
    abort::{ABORT, REPOINTS, before, is_as_before, killed_before},
    kill::ROLLBACK,
    rivals::scene,
    stage::{INDEXED, Setting, Stage},
    store::Engine,
    walk::releases,
    world::{TO_1_2_0, TO_1_3_0, check_journals},
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case},
};

/// What the cluster makes of every new pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mutation {
    /// It adds a container, a second shop on another port.
    Sidecar,
    /// It takes the images from a mirror.
    Mirror,
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [Kind::Sandbox, Kind::Real] {
        let name = |what: &str| format!("main_road::w13_{}_{what}", kind.name());
        cases.push(case(name("pods_with_a_sidecar_are_rolled_back"), move |ctx| {
            rolled_back(ctx, kind, Mutation::Sidecar)
        }));
        cases.push(case(name("pods_from_a_mirror_are_rolled_back"), move |ctx| {
            rolled_back(ctx, kind, Mutation::Mirror)
        }));
        cases.push(case(name("pods_with_a_sidecar_are_walked_back"), move |ctx| {
            walked_back(ctx, kind, Mutation::Sidecar)
        }));
    }
    cases.push(case(
        "main_road::w13_sandbox_an_abort_takes_pods_with_a_sidecar",
        |ctx| aborted(ctx, Mutation::Sidecar),
    ));
    cases.push(case(
        "main_road::w13_sandbox_an_abort_takes_pods_from_a_mirror",
        |ctx| aborted(ctx, Mutation::Mirror),
    ));
    cases
}

impl Mutation {
    /// As the sandbox does it.
    pub fn of_pods(self) -> fn(&mut Value) {
        match self {
            Self::Sidecar => |pod| {
                let containers = pod["spec"]["containers"].as_array_mut();
                containers.expect("a pod has containers").push(json!({
                    "name": "proxy", "image": "mesh.example/shop:1.3.0", "env": [
                        { "name": "DATABASE_URL", "value": "sqlite:///nowhere/shop.db" },
                        { "name": "SHOP_PORT", "value": "15001" },
                    ],
                }));
            },
            Self::Mirror => |pod| {
                let containers = pod["spec"]["containers"].as_array_mut();
                for container in containers.expect("a pod has containers") {
                    let image = container["image"].as_str().unwrap_or_default();
                    container["image"] = json!(format!("mirror.example/{image}"));
                }
            },
        }
    }

    /// The same for a real API server, in its own words.
    fn expression(self) -> &'static str {
        match self {
            Self::Sidecar => {
                r#"Object{spec: Object.spec{containers: [Object.spec.containers{
                    name: "proxy", image: "mesh.example/shop:1.3.0", env: [
                        Object.spec.containers.env{name: "DATABASE_URL", value: "sqlite:///nowhere/shop.db"},
                        Object.spec.containers.env{name: "SHOP_PORT", value: "15001"}]}]}}"#
            }
            Self::Mirror => {
                r#"Object{spec: Object.spec{containers: object.spec.containers.map(container,
                    Object.spec.containers{name: container.name, image: "mirror.example/" + container.image})}}"#
            }
        }
    }

    /// Whether it was done to this pod.
    fn is_in(self, pod: &Pod) -> bool {
        let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        match self {
            Self::Sidecar => containers.any(|container| container.name == "proxy"),
            Self::Mirror => containers.all(|container| {
                let image = container.image.as_deref();
                image.is_some_and(|image| image.starts_with("mirror.example/shop:"))
            }),
        }
    }

    /// Has a real API server do it to every new pod of the namespace.
    pub async fn begin(self, client: &Client, namespace: &str) -> Outcome {
        let policy: MutatingAdmissionPolicy = from_value(json!({
            "metadata": { "name": namespace },
            "spec": {
                "failurePolicy": "Fail", "reinvocationPolicy": "Never",
                "matchConstraints": { "resourceRules": [
                    { "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] },
                ] },
                "mutations": [
                    { "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": self.expression() } },
                ],
            },
        }))?;
        let binding: MutatingAdmissionPolicyBinding = from_value(json!({
            "metadata": { "name": namespace },
            "spec": { "policyName": namespace, "matchResources": { "namespaceSelector": {
                "matchLabels": { "kubernetes.io/metadata.name": namespace },
            } } },
        }))?;
        let made = PostParams::default();
        Api::all(client.clone()).create(&made, &policy).await?;
        Api::all(client.clone()).create(&made, &binding).await?;
        // The server says nowhere that it has taken a policy up; what it does to a pod shows it.
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let asking = PostParams { dry_run: true, ..made };
        let pod: Pod = from_value(json!({
            "metadata": { "name": "tried" }, "spec": { "containers": [{ "name": "shop", "image": "shop:1.2.0" }] },
        }))?;
        let taken_up = async {
            while !self.is_in(&pods.create(&asking, &pod).await?) {
                sleep(Duration::from_millis(100)).await;
            }
            Ok::<_, NotPassed>(())
        };
        timeout(Duration::from_secs(30), taken_up).await?
    }

    async fn is_in_all(self, stage: &Stage) -> Outcome {
        let pods = stage.pods.list(&ListParams::default()).await?.items;
        assert_eq!(pods.len(), usize::try_from(stage.setting.replicas)?);
        assert!(pods.iter().all(|pod| self.is_in(pod)), "{pods:#?}");
        Ok(())
    }
}

async fn rolled_back(ctx: Ctx, kind: Kind, mutation: Mutation) -> Outcome {
    let setting = Setting {
        replicas: 2,
        mutation: Some(mutation),
        ..Setting::new(Engine::Sqlite, kind, "1.2.0")
    };
    let stage = scene(setting, ctx.dir(), ctx.name()).await?;
    mutation.is_in_all(&stage).await?;
    let ran = stage.credentials.run(0, &stage.folder("1.2.0"), ROLLBACK).await?;
    let rewritten = ran.err.contains("the cluster makes shop:1.2.0 into");
    assert_eq!(rewritten, mutation == Mutation::Mirror, "{ran}");
    TO_1_2_0.check(&stage).await?;
    mutation.is_in_all(&stage).await?;
    check_journals(&stage).await?;
    Ok(())
}

/// What the live pods run is known in spite of what was added to them: else it would have to be offline.
async fn walked_back(ctx: Ctx, kind: Kind, mutation: Mutation) -> Outcome {
    let setting = Setting {
        replicas: 2,
        edit: |app| releases(app, "20240301090000", "20240301090000", ""),
        newest: INDEXED,
        mutation: Some(mutation),
        ..Setting::new(Engine::Sqlite, kind, "1.3.0")
    };
    let stage = scene(setting, ctx.dir(), ctx.name()).await?;
    let folder = stage.folder("1.3.0");
    let ran = stage.credentials.run(0, &folder, "rollback --to 1.3.0 --yes").await?;
    assert!(ran.err.contains("schema-first: 1.3.1 accepts 20240301090000"), "{ran}");
    TO_1_3_0.check(&stage).await?;
    mutation.is_in_all(&stage).await?;
    check_journals(&stage).await?;
    Ok(())
}

async fn aborted(ctx: Ctx, mutation: Mutation) -> Outcome {
    let setting = Setting {
        mutation: Some(mutation),
        ..super::kill::setting(Engine::Sqlite)
    };
    let stage = scene(setting, ctx.dir(), ctx.name()).await?;
    let expected = before(&stage).await?;
    killed_before(&stage, REPOINTS).await?;
    stage.credentials.run(0, &stage.empty_folder(), ABORT).await?;
    is_as_before(&stage, &expected).await?;
    mutation.is_in_all(&stage).await
}
