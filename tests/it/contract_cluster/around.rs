//! What lies around a workload is seen as it is, and asking changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Namespace, Node, PersistentVolumeClaim, Pod, ResourceQuota, Secret, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, from_value, json};
use stepback::cluster::{Cluster as _, KubeCluster};
use stepback_core::model::{
    Amount, Autoscaler, Budget, FoundObject, Keeps, LookAround, NamedKind, NamedObject, NodeState, TriedPod, images_of,
};
use stepback_sandbox::api::{ApiServer, Forbidden, Options};

use super::arena::Arena;
use crate::support::runner::{Ctx, NotPassed, Outcome};

/// Nothing is asked for but the autoscalers.
fn nothing(arena: &Arena) -> LookAround {
    LookAround {
        workload: arena.web.clone(),
        objects: BTreeSet::new(),
        nodes: BTreeSet::new(),
        owners: BTreeSet::new(),
        labels: BTreeSet::new(),
        pod: None,
    }
}

fn named(kind: NamedKind, name: &str) -> NamedObject {
    NamedObject {
        kind,
        name: name.to_owned(),
    }
}

fn pod(change: impl FnOnce(&mut Value)) -> Result<Pod, NotPassed> {
    let mut pod = json!({
        "metadata": { "generateName": "web-", "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "shop", "image": "shop:1.2.0" }] },
    });
    change(&mut pod);
    Ok(from_value(pod)?)
}

async fn make<K>(arena: &Arena, object: Value) -> Outcome
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + serde::Serialize
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
    K::DynamicType: Default,
{
    let all: Api<K> = Api::namespaced(arena.client.clone(), &arena.namespace);
    all.create(&PostParams::default(), &from_value(object)?).await?;
    Ok(())
}

pub async fn autoscalers_are_found_by_what_they_scale(arena: &Arena) -> Outcome {
    assert_eq!(
        arena.cluster.look_around(&nothing(arena)).await?.autoscalers,
        Ok(vec![])
    );
    for (name, version, kind, target) in [
        ("ours", "apps/v1", "StatefulSet", "web"),
        ("kedas", "apps/v1", "StatefulSet", "web"),
        ("deployments", "apps/v1", "Deployment", "web"),
        ("anothers", "apps/v1", "StatefulSet", "shop"),
        ("of-another-group", "apps.kruise.io/v1", "StatefulSet", "web"),
    ] {
        let labels = if name == "kedas" {
            json!({ "scaledobject.keda.sh/name": "orders" })
        } else {
            json!({})
        };
        let scaler = json!({ "metadata": { "name": name, "labels": labels }, "spec": {
            "minReplicas": 2, "maxReplicas": 5,
            "scaleTargetRef": { "apiVersion": version, "kind": kind, "name": target },
        } });
        make::<HorizontalPodAutoscaler>(arena, scaler).await?;
    }
    let found = arena.cluster.look_around(&nothing(arena)).await?.autoscalers;
    let scaler = |name: &str, keda: Option<&str>| Autoscaler {
        name: name.to_owned(),
        min: 2,
        max: 5,
        keda: keda.map(str::to_owned),
    };
    assert_eq!(found, Ok(vec![scaler("kedas", Some("orders")), scaler("ours", None)]));
    Ok(())
}

pub async fn budgets_are_found_by_the_pods_that_they_select(arena: &Arena) -> Outcome {
    for (name, spec) in [
        (
            "absolute",
            json!({ "minAvailable": 2, "selector": { "matchLabels": { "app": "web" } } }),
        ),
        (
            "anothers",
            json!({ "minAvailable": 2, "selector": { "matchLabels": { "app": "shop" } } }),
        ),
        ("everybodys", json!({ "maxUnavailable": 1, "selector": {} })),
        (
            "newer",
            json!({ "minAvailable": "50%", "selector": { "matchExpressions": [
                { "key": "track", "operator": "In", "values": ["canary"] } ] } }),
        ),
        ("nobodys", json!({ "minAvailable": 2 })),
    ] {
        make::<PodDisruptionBudget>(arena, json!({ "metadata": { "name": name }, "spec": spec })).await?;
    }
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let at = LookAround {
        labels: [
            labels(&[("app", "web")]),
            labels(&[("app", "web"), ("track", "canary")]),
        ]
        .into(),
        ..nothing(arena)
    };
    let found = arena.cluster.look_around(&at).await?.budgets;
    let found: Vec<Budget> = found.map_err(|why| NotPassed::from(std::io::Error::other(why)))?;
    let found: Vec<_> = found
        .iter()
        .map(|budget| (budget.name.as_str(), budget.keeps))
        .collect();
    assert_eq!(
        found,
        [
            ("absolute", Keeps::Available(Amount::Count(2))),
            ("everybodys", Keeps::AllBut(Amount::Count(1))),
            ("newer", Keeps::Available(Amount::Percent(50))),
        ]
    );
    Ok(())
}

pub async fn w3_objects_that_are_named_are_there_or_not(arena: &Arena) -> Outcome {
    let metadata = json!({ "metadata": { "name": "there" } });
    make::<ConfigMap>(arena, metadata.clone()).await?;
    make::<Secret>(arena, metadata.clone()).await?;
    make::<ServiceAccount>(arena, metadata).await?;
    let claim = json!({ "metadata": { "name": "there" }, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Mi" } },
    } });
    make::<PersistentVolumeClaim>(arena, claim).await?;
    let kinds = [
        NamedKind::ConfigMap,
        NamedKind::Secret,
        NamedKind::ServiceAccount,
        NamedKind::Claim,
    ];
    let asked = |name: &'static str| kinds.map(|kind| named(kind, name));
    let at = LookAround {
        objects: [asked("there"), asked("gone")].into_iter().flatten().collect(),
        ..nothing(arena)
    };
    let found = arena.cluster.look_around(&at).await?.objects;
    assert_eq!(found.len(), at.objects.len());
    for (object, found) in &found {
        let is_there = found.as_ref().is_ok_and(Option::is_some);
        assert_eq!(
            (is_there, found.is_ok()),
            (object.name == "there", true),
            "{object}: {found:?}"
        );
    }
    // When they were changed is read off their metadata: a chart's configuration comes with its release.
    let settings = named(NamedKind::ConfigMap, "there");
    let changed = |found: &BTreeMap<NamedObject, Result<Option<FoundObject>, String>>| {
        let found = found[&settings].as_ref().ok()?.as_ref()?;
        found.changed
    };
    let first = changed(&found);
    let now = jiff::Timestamp::now();
    assert!(
        first.is_some_and(|first| first.duration_until(now).abs() < jiff::SignedDuration::from_mins(2)),
        "{first:?}"
    );
    Ok(())
}

/// A node that no kubelet is behind.
async fn make_node(arena: &Arena, name: &str, spec: Value, ready: &str) -> Outcome {
    let nodes: Api<Node> = Api::all(arena.client.clone());
    let node = json!({ "metadata": { "name": name }, "spec": spec });
    nodes.create(&PostParams::default(), &from_value(node)?).await?;
    let status = json!({ "status": { "conditions": [{ "type": "Ready", "status": ready, "reason": "KubeletGone",
        "lastTransitionTime": "2024-03-01T02:58:00Z", "lastHeartbeatTime": "2024-03-01T02:58:00Z" }] } });
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

pub async fn w14_nodes_are_ready_lost_off_or_gone(arena: &Arena) -> Outcome {
    let node = |what: &str| format!("{what}-{}", arena.namespace);
    let off = json!({ "taints": [{ "key": "node.kubernetes.io/out-of-service", "effect": "NoExecute" }] });
    make_node(arena, &node("ready"), json!({}), "True").await?;
    make_node(arena, &node("lost"), json!({}), "Unknown").await?;
    make_node(arena, &node("off"), off, "Unknown").await?;
    let at = LookAround {
        nodes: ["ready", "lost", "off", "gone"].map(node).into(),
        ..nothing(arena)
    };
    let lost = NodeState::NotReady("KubeletGone, since 2024-03-01 02:58:00Z".to_owned());
    let expected = BTreeMap::from([
        (node("ready"), Ok(NodeState::Ready)),
        (node("lost"), Ok(lost)),
        (node("off"), Ok(NodeState::OutOfService)),
        (node("gone"), Ok(NodeState::Gone)),
    ]);
    let seen = arena.cluster.look_around(&at).await?.nodes;
    // The namespace goes with the case; nodes are nobody's.
    for name in expected.keys().filter(|name| !name.starts_with("gone")) {
        let nodes: Api<Node> = Api::all(arena.client.clone());
        nodes.delete(name, &DeleteParams::default()).await?;
    }
    assert_eq!(seen, expected);
    Ok(())
}

/// Tries the pod, and sees that none was made.
async fn tried(arena: &Arena, pod: Pod) -> Result<TriedPod, NotPassed> {
    let at = LookAround {
        pod: Some(pod),
        ..nothing(arena)
    };
    let tried = arena.cluster.look_around(&at).await?.pod.expect("a pod was asked for");
    assert_eq!(arena.pods_now().await?.len(), 0, "a pod was made");
    Ok(tried)
}

fn refused(tried: &TriedPod, why: &str) {
    assert!(
        matches!(tried, TriedPod::Refused(said) if said.contains(why)),
        "{why:?} was expected: {tried:?}"
    );
}

pub async fn w13_a_pod_is_tried_and_not_made(arena: &Arena) -> Outcome {
    let asked = pod(|_| {})?;
    let images = asked.spec.as_ref().map(images_of).unwrap_or_default();
    assert_eq!(tried(arena, asked).await?, TriedPod::Made { images });
    let nobodys = pod(|pod| pod["spec"]["serviceAccountName"] = json!("nobody"))?;
    refused(&tried(arena, nobodys).await?, "serviceaccount \"nobody\" not found");
    let empty = pod(|pod| pod["spec"]["containers"] = json!([]))?;
    refused(&tried(arena, empty).await?, "spec.containers");
    Ok(())
}

pub async fn w13_what_admission_refuses_is_said_beforehand_real(arena: &Arena) -> Outcome {
    let namespaces: Api<Namespace> = Api::all(arena.client.clone());
    let label = |level: Value| {
        Patch::Merge(json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": level } } }))
    };
    let params = PatchParams::default();
    namespaces
        .patch(&arena.namespace, &params, &label(json!("restricted")))
        .await?;
    // The API server's own view of namespaces comes a moment later.
    let mut strict = tried(arena, pod(|_| {})?).await?;
    for _ in 0..100 {
        strict = tried(arena, pod(|_| {})?).await?;
        if !matches!(strict, TriedPod::Made { .. }) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    refused(&strict, "violates PodSecurity");
    namespaces.patch(&arena.namespace, &params, &label(Value::Null)).await?;

    let quotas: Api<ResourceQuota> = Api::namespaced(arena.client.clone(), &arena.namespace);
    make::<ResourceQuota>(
        arena,
        json!({ "metadata": { "name": "small" }, "spec": { "hard": { "pods": "0" } } }),
    )
    .await?;
    await_condition(quotas, "small", |quota: Option<&ResourceQuota>| {
        quota.is_some_and(|quota| quota.status.as_ref().is_some_and(|status| status.used.is_some()))
    })
    .await?;
    let full = "exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0";
    refused(&tried(arena, pod(|_| {})?).await?, full);
    Ok(())
}

/// What must not be read is not known, and is said so; it is never taken for absent.
pub async fn what_must_not_be_read_is_not_known(_ctx: Ctx) -> Outcome {
    let rule = |verb: &str, resource: &str| Forbidden {
        verb: verb.to_owned(),
        group: "*".to_owned(),
        resource: resource.to_owned(),
    };
    let server = ApiServer::start(Options {
        forbidden: vec![
            rule("list", "horizontalpodautoscalers"),
            rule("list", "poddisruptionbudgets"),
            rule("get", "secrets"),
            rule("get", "nodes"),
            rule("create", "pods"),
        ],
        ..Options::default()
    })
    .await?;
    let cluster = KubeCluster::new(Client::try_from(server.client_config())?, "default");
    let secret = named(NamedKind::Secret, "keys");
    let at = LookAround {
        workload: stepback_core::model::WorkloadRef {
            kind: stepback_core::model::WorkloadKind::StatefulSet,
            namespace: "default".to_owned(),
            name: "web".to_owned(),
        },
        objects: [secret.clone(), named(NamedKind::ConfigMap, "settings")].into(),
        nodes: ["n".to_owned()].into(),
        owners: BTreeSet::new(),
        labels: BTreeSet::new(),
        pod: Some(pod(|_| {})?),
    };
    let seen = cluster.look_around(&at).await?;
    let is_forbidden = |why: &String, what: &str| why.contains("forbidden") && why.contains(what);
    assert!(
        seen.autoscalers
            .is_err_and(|why| is_forbidden(&why, "horizontalpodautoscalers"))
    );
    assert!(
        seen.budgets
            .is_err_and(|why| is_forbidden(&why, "poddisruptionbudgets"))
    );
    let objects = &seen.objects;
    assert!(objects[&secret].as_ref().is_err_and(|why| is_forbidden(why, "secrets")));
    assert_eq!(objects[&named(NamedKind::ConfigMap, "settings")], Ok(None));
    assert!(seen.nodes["n"].as_ref().is_err_and(|why| is_forbidden(why, "nodes")));
    assert!(matches!(seen.pod, Some(TriedPod::Untried(why)) if is_forbidden(&why, "pods")));
    // Of these only the first must be allowed for a run.
    let missing = cluster.missing_rights("default", true).await?;
    assert_eq!(
        missing,
        ["may not list horizontalpodautoscalers.autoscaling in namespace default"]
    );
    Ok(())
}
