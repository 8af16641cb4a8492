//! Deletion: preconditions, grace, finalizers, owners, namespaces.

use super::*;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kube::{
    ResourceExt,
    api::{DeleteParams, EvictParams, ListParams, Preconditions, PropagationPolicy},
};

fn owned(name: &str, owner: &StatefulSet, blocking: bool) -> Pod {
    let reference = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner.name_any(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": blocking,
    });
    pod(name, json!({"metadata": {"ownerReferences": [reference]}}))
}

async fn bind(pods: &Api<Pod>, name: &str) {
    let binding = json!({"metadata": {"name": name}, "target": {"name": "n1"}});
    let _: Value = pods
        .create_subresource("binding", name, &PostParams::default(), &binding)
        .await
        .unwrap();
}

fn has(server: &ApiServer, name: &str) -> bool {
    server
        .dump()
        .contains(&format!("\"name\": \"{name}\",\n      \"namespace\""))
}

#[tokio::test]
async fn preconditions_guard_a_delete() {
    let (server, client) = start().await;
    let pods = Api::<Pod>::default_namespaced(client);
    let made = create(&pods, &pod("p", json!({}))).await;
    let before = server.dump();
    let wrong = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some("other".into()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let refused = refusal(pods.delete("p", &wrong).await);
    assert!(
        refused.0 == 409 && refused.2.contains("the UID in the precondition (other) does not match"),
        "{refused:?}"
    );
    let stale = DeleteParams {
        preconditions: Some(Preconditions {
            uid: made.uid(),
            resource_version: Some("1".into()),
        }),
        ..DeleteParams::default()
    };
    assert_eq!(refusal(pods.delete("p", &stale).await).0, 409);
    assert_eq!(server.dump(), before);
    let right = DeleteParams {
        preconditions: Some(Preconditions {
            uid: made.uid(),
            resource_version: made.resource_version(),
        }),
        ..DeleteParams::default()
    };
    pods.delete("p", &right).await.unwrap();
    assert_eq!(
        refusal(pods.get("p").await).0,
        404,
        "a pod that was never bound goes at once"
    );
}

#[tokio::test]
async fn a_bound_pod_waits_for_its_kubelet() {
    let (_server, client) = start().await;
    let pods = Api::<Pod>::default_namespaced(client);
    create(&pods, &pod("p", json!({"metadata": {"finalizers": ["a.b/c"]}}))).await;
    bind(&pods, "p").await;
    let going = pods
        .delete("p", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(30));
    assert_eq!(going.metadata.generation, Some(2));
    let first = going.metadata.deletion_timestamp.unwrap().0;
    let sooner = pods
        .delete("p", &DeleteParams::default().grace_period(5))
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(
        (first - sooner.metadata.deletion_timestamp.unwrap().0).get_seconds(),
        25
    );
    let later = pods
        .delete("p", &DeleteParams::default().grace_period(60))
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(
        later.metadata.deletion_grace_period_seconds,
        Some(5),
        "grace is only ever shortened"
    );
    pods.delete("p", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert!(pods.get("p").await.is_ok(), "a finalizer still holds it");
    let refused = refusal(merge(&pods, "p", json!({"metadata": {"finalizers": ["a.b/c", "d.e/f"]}})).await);
    assert!(
        refused
            .2
            .contains("no new finalizers can be added if the object is being deleted"),
        "{refused:?}"
    );
    merge(&pods, "p", json!({"metadata": {"finalizers": null}}))
        .await
        .unwrap();
    assert_eq!(refusal(pods.get("p").await).0, 404);
}

#[tokio::test]
async fn an_eviction_is_a_graceful_delete() {
    let (_server, client) = start().await;
    let pods = Api::<Pod>::default_namespaced(client);
    create(&pods, &pod("p", json!({}))).await;
    bind(&pods, "p").await;
    pods.evict("p", &EvictParams::default()).await.unwrap();
    assert!(pods.get("p").await.unwrap().metadata.deletion_timestamp.is_some());
}

#[tokio::test]
async fn dependents_follow_their_owner() {
    let (server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client.clone());
    let pods = Api::<Pod>::default_namespaced(client);
    let set = create(&sets, &stateful_set("web", 1)).await;
    create(&pods, &owned("web-0", &set, true)).await;
    create(&pods, &pod("free", json!({}))).await;
    let answer = sets
        .delete("web", &DeleteParams::background())
        .await
        .unwrap()
        .right()
        .unwrap();
    assert!(answer.is_success());
    until(&server, |server| !has(server, "web-0")).await;
    assert!(has(&server, "free"));
}

#[tokio::test]
async fn in_the_foreground_the_owner_goes_last() {
    let (server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client.clone());
    let pods = Api::<Pod>::default_namespaced(client);
    let set = create(&sets, &stateful_set("web", 1)).await;
    create(&pods, &owned("web-0", &set, true)).await;
    bind(&pods, "web-0").await;
    let going = sets
        .delete("web", &DeleteParams::foreground())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(going.finalizers(), ["foregroundDeletion"]);
    until(&server, |server| {
        server.history().iter().any(|change| {
            change.object["metadata"]["name"] == "web-0" && change.object["metadata"]["deletionTimestamp"].is_string()
        })
    })
    .await;
    assert!(sets.get("web").await.is_ok(), "its pod is still there");
    pods.delete("web-0", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    until(&server, |server| !has(server, "web")).await;
}

#[tokio::test]
async fn orphans_stay() {
    let (server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client.clone());
    let pods = Api::<Pod>::default_namespaced(client);
    let set = create(&sets, &stateful_set("web", 1)).await;
    create(&pods, &owned("web-0", &set, true)).await;
    let orphan = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    sets.delete("web", &orphan).await.unwrap();
    until(&server, |server| !has(server, "web")).await;
    assert!(pods.get("web-0").await.unwrap().owner_references().is_empty());
}

#[tokio::test]
async fn a_collection_goes_by_selector() {
    let (_server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    for name in ["a", "b", "c"] {
        let mut map = config_map(name, &[]);
        map.metadata.labels = (name != "c").then(|| BTreeMap::from([("run".to_owned(), "1".to_owned())]));
        create(&maps, &map).await;
    }
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("run=1"))
        .await
        .unwrap();
    let left: Vec<_> = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(left, ["c"]);
}

#[tokio::test]
async fn a_namespace_takes_everything_along() {
    let (server, client) = start().await;
    let namespaces = Api::<Namespace>::all(client.clone());
    create(&namespaces, &from(json!({"metadata": {"name": "shop"}}))).await;
    let refused = refusal(namespaces.delete("kube-system", &DeleteParams::default()).await);
    assert_eq!(
        refused.2,
        "namespaces \"kube-system\" is forbidden: this namespace may not be deleted"
    );
    let pods = Api::<Pod>::namespaced(client.clone(), "shop");
    create(&pods, &pod("p", json!({}))).await;
    bind(&pods, "p").await;
    let going = namespaces
        .delete("shop", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(going.status.unwrap().phase.as_deref(), Some("Terminating"));
    let maps = Api::<ConfigMap>::namespaced(client, "shop");
    let refused = refusal(maps.create(&PostParams::default(), &config_map("a", &[])).await);
    assert!(
        refused.0 == 403 && refused.2.contains("because it is being terminated"),
        "{refused:?}"
    );
    pods.delete("p", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    until(&server, |server| !server.dump().contains("\"name\": \"shop\"")).await;
}

#[tokio::test]
async fn a_claim_stays_while_a_pod_uses_it() {
    let (server, client) = start().await;
    let claims = Api::<PersistentVolumeClaim>::default_namespaced(client.clone());
    let pods = Api::<Pod>::default_namespaced(client);
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    create(&claims, &from(json!({"metadata": {"name": "data"}, "spec": spec}))).await;
    let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data"}});
    create(&pods, &pod("p", json!({"spec": {"volumes": [volume]}}))).await;
    let going = claims
        .delete("data", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(going.finalizers(), ["kubernetes.io/pvc-protection"]);
    assert!(claims.get("data").await.is_ok());
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    until(&server, |server| !has(server, "data")).await;
}
