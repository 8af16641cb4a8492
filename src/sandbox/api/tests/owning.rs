//! Who owns which field, and server-side apply.

use super::*;
use kube::ResourceExt;

fn as_manager(name: &str) -> PatchParams {
    PatchParams {
        field_manager: Some(name.into()),
        ..PatchParams::default()
    }
}

fn managers(set: &StatefulSet) -> Vec<String> {
    set.managed_fields()
        .iter()
        .map(|entry| entry.manager.clone().unwrap())
        .collect()
}

fn owned_by(set: &StatefulSet, manager: &str) -> Value {
    let entry = set
        .managed_fields()
        .iter()
        .find(|entry| entry.manager.as_deref() == Some(manager));
    entry.map_or(Value::Null, |entry| to_json(&entry.fields_v1))
}

async fn with_set() -> (ApiServer, Api<StatefulSet>) {
    let (server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client);
    let post = PostParams {
        field_manager: Some("helm".into()),
        ..PostParams::default()
    };
    sets.create(&post, &stateful_set("web", 2)).await.unwrap();
    (server, sets)
}

async fn apply(sets: &Api<StatefulSet>, manager: &str, force: bool, spec: Value) -> kube::Result<StatefulSet> {
    let params = PatchParams {
        force,
        ..as_manager(manager)
    };
    let declared = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}, "spec": spec});
    sets.patch("web", &params, &Patch::Apply(declared)).await
}

#[tokio::test]
async fn w9_a_manager_owns_what_it_changed_and_can_give_it_up() {
    let (_server, sets) = with_set().await;
    let patch = json!({"metadata": {"annotations": {"stamp": "1"}}, "spec": {"replicas": 0}});
    let set = sets
        .patch("web", &as_manager("stepback"), &Patch::Merge(patch))
        .await
        .unwrap();
    let expected = json!({"f:metadata": {"f:annotations": {".": {}, "f:stamp": {}}}, "f:spec": {"f:replicas": {}}});
    assert_eq!(owned_by(&set, "stepback"), expected);
    assert_eq!(owned_by(&set, "helm")["f:spec"].get("f:replicas"), None, "taken over");

    let ignored = merge(&sets, "web", json!({"metadata": {"managedFields": null}}))
        .await
        .unwrap();
    assert_eq!(managers(&ignored), ["helm", "stepback"], "no list changes nothing");

    let mut left = to_json(&set.managed_fields());
    left.as_array_mut()
        .unwrap()
        .retain(|entry| entry["manager"] != "stepback");
    let last = json!({"metadata": {"annotations": {"stamp": null}, "managedFields": left, "resourceVersion": set.resource_version()}});
    let set = sets
        .patch("web", &as_manager("stepback"), &Patch::Merge(last))
        .await
        .unwrap();
    assert_eq!(managers(&set), ["helm"]);
    assert!(set.annotations().is_empty());

    for (name, clearing) in [("one", json!([{}])), ("two", json!([]))] {
        create(&sets, &stateful_set(name, 0)).await;
        let set = merge(&sets, name, json!({"metadata": {"managedFields": clearing}}))
            .await
            .unwrap();
        assert!(set.managed_fields().is_empty(), "{clearing} clears all");
    }
}

#[tokio::test]
async fn w9_scaling_to_zero_through_scale_leaves_no_owner() {
    let (_server, sets) = with_set().await;
    for (replicas, expected) in [(3, json!({"f:spec": {"f:replicas": {}}})), (0, Value::Null)] {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        sets.patch_scale("web", &as_manager("scaler"), &patch).await.unwrap();
        let set = sets.get("web").await.unwrap();
        assert_eq!(owned_by(&set, "scaler"), expected);
        assert_eq!(owned_by(&set, "helm")["f:spec"].get("f:replicas"), None);
    }
    let applied = apply(&sets, "argo", false, json!({"replicas": 5})).await.unwrap();
    assert_eq!(applied.spec.replicas, Some(5));
}

#[tokio::test]
async fn an_apply_conflicts_with_what_another_changed() {
    let (_server, sets) = with_set().await;
    let scaled = Patch::Merge(json!({"spec": {"replicas": 3}}));
    sets.patch_scale("web", &as_manager("scaler"), &scaled).await.unwrap();
    let refused = refusal(apply(&sets, "argo", false, json!({"replicas": 5})).await);
    let message = "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas";
    assert_eq!(refused, (409, "Conflict".into(), message.into()));
    let shared = apply(&sets, "argo", false, json!({"replicas": 3})).await.unwrap();
    assert_eq!(
        shared.metadata.generation,
        Some(2),
        "the same value is no change, and shared"
    );
    let forced = apply(&sets, "argo", true, json!({"replicas": 5})).await.unwrap();
    assert_eq!(forced.spec.replicas, Some(5));
    assert_eq!(owned_by(&forced, "scaler"), Value::Null);
}

#[tokio::test]
async fn what_is_no_longer_declared_goes() {
    let (_server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let declare = async |data: Value| {
        let declared = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
        maps.patch("a", &as_manager("argo"), &Patch::Apply(declared))
            .await
            .unwrap()
    };
    declare(json!({"x": "1", "y": "2"})).await;
    merge(&maps, "a", json!({"data": {"z": "3"}})).await.unwrap();
    let changed = declare(json!({"x": "4"})).await;
    let expected = BTreeMap::from([("x".to_owned(), "4".to_owned()), ("z".to_owned(), "3".to_owned())]);
    assert_eq!(
        changed.data,
        Some(expected),
        "y was declared and is not any more; z is another's"
    );
}

#[tokio::test]
async fn an_object_without_owners_is_owned_by_its_past() {
    let (_server, sets) = with_set().await;
    merge(&sets, "web", json!({"metadata": {"managedFields": [{}]}}))
        .await
        .unwrap();
    let refused = refusal(apply(&sets, "argo", false, json!({"replicas": 7})).await);
    let message = "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas";
    assert_eq!(refused.2, message);
}

#[tokio::test]
async fn an_applied_container_merges_by_name() {
    let (_server, sets) = with_set().await;
    let spec = json!({"template": {"spec": {"containers": [{"name": "app", "env": [{"name": "B", "value": "2"}]}, {"name": "side", "image": "s:1"}]}}});
    let set = apply(&sets, "argo", false, spec).await.unwrap();
    let containers = to_json(&set)["spec"]["template"]["spec"]["containers"].clone();
    assert_eq!(
        containers[0]["env"],
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
    );
    assert_eq!(
        (&containers[0]["image"], &containers[1]["name"]),
        (&json!("shop:1"), &json!("side"))
    );
    let spec = json!({"template": {"spec": {"containers": [{"name": "app", "env": []}]}}});
    let set = apply(&sets, "argo", false, spec).await.unwrap();
    let containers = to_json(&set)["spec"]["template"]["spec"]["containers"].clone();
    assert_eq!(
        containers.as_array().unwrap().len(),
        1,
        "the container that argo alone declared is gone"
    );
    assert_eq!(containers[0]["env"], json!([{"name": "A", "value": "1"}]));
}
