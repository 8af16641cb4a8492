//! The three plain patches.

use super::*;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};

#[tokio::test]
async fn the_three_plain_patches_do_what_their_names_say() {
    let (_server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client);
    create(&sets, &stateful_set("web", 2)).await;
    let none = PatchParams::default();
    let container = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "shop:2"}]}}}});
    let strategic = sets.patch("web", &none, &Patch::Strategic(&container)).await.unwrap();
    let kept = to_json(&strategic)["spec"]["template"]["spec"]["containers"][0].clone();
    assert_eq!(
        (&kept["image"], &kept["env"][0]["value"]),
        (&json!("shop:2"), &json!("1"))
    );
    let merged = sets.patch("web", &none, &Patch::Merge(&container)).await.unwrap();
    assert_eq!(
        to_json(&merged)["spec"]["template"]["spec"]["containers"][0].get("env"),
        None
    );
    let operations = from::<json_patch::Patch>(json!([
        {"op": "test", "path": "/spec/replicas", "value": 2},
        {"op": "replace", "path": "/spec/replicas", "value": 3},
    ]));
    let patched = sets
        .patch("web", &none, &Patch::Json::<()>(operations.clone()))
        .await
        .unwrap();
    assert_eq!(patched.spec.replicas, Some(3));
    assert_eq!(
        refusal(sets.patch("web", &none, &Patch::Json::<()>(operations)).await).0,
        422,
        "the test fails now"
    );
}

#[tokio::test]
async fn a_revision_goes_in_verbatim() {
    let (_server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client);
    let made = create(&sets, &stateful_set("web", 2)).await;
    let mut template = to_json(&made)["spec"]["template"].clone();
    template["$patch"] = json!("replace");
    merge(
        &sets,
        "web",
        json!({"spec": {"template": {"spec": {"hostname": "new", "nodeName": "x"}}}}),
    )
    .await
    .unwrap();
    let revision = Patch::Strategic(json!({"spec": {"template": template}}));
    let back = sets.patch("web", &PatchParams::default(), &revision).await.unwrap();
    assert_eq!(to_json(&back)["spec"]["template"], to_json(&made)["spec"]["template"]);
    assert_eq!(back.metadata.generation, Some(3));
}

#[tokio::test]
async fn conditions_merge_by_type() {
    let (_server, client) = start().await;
    let pods = Api::<Pod>::default_namespaced(client);
    create(&pods, &pod("p", json!({}))).await;
    for condition in [
        json!({"type": "Ready", "status": "False"}),
        json!({"type": "Initialized", "status": "True"}),
        json!({"type": "Ready", "status": "True"}),
    ] {
        let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
        pods.patch_status("p", &PatchParams::default(), &patch).await.unwrap();
    }
    let conditions = pods.get("p").await.unwrap().status.unwrap().conditions.unwrap();
    let seen: Vec<_> = conditions
        .iter()
        .map(|condition| (condition.type_.as_str(), condition.status.as_str()))
        .collect();
    assert_eq!(seen, [("Initialized", "True"), ("Ready", "True")]);
}

#[tokio::test]
async fn custom_kinds_take_no_strategic_merge() {
    let kind = super::super::Kind::custom("argoproj.io", "v1alpha1", "Application", "applications");
    let (_server, client) = start_with(Options {
        extra_kinds: vec![kind],
        ..Options::default()
    })
    .await;
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application"),
        "applications",
    );
    let apps = Api::<DynamicObject>::default_namespaced_with(client, &resource);
    let app = DynamicObject::new("shop", &resource).data(json!({"spec": {"syncPolicy": {"automated": {}}}}));
    create(&apps, &app).await;
    let change = json!({"spec": {"syncPolicy": {"automated": null}}});
    let refused = refusal(
        apps.patch("shop", &PatchParams::default(), &Patch::Strategic(&change))
            .await,
    );
    assert_eq!((refused.0, refused.1.as_str()), (415, "UnsupportedMediaType"));
    let changed = merge(&apps, "shop", change).await.unwrap();
    assert_eq!(changed.data["spec"]["syncPolicy"], json!({}));
    assert_eq!(changed.metadata.generation, Some(2));
}

#[tokio::test]
async fn a_client_that_wants_fields_checked_learns_that_they_are_not() {
    let (_server, client) = start().await;
    let ask = |path: &str| http::Request::get(path).body(Vec::new()).unwrap();
    let index: Value = client.request(ask("/openapi/v3")).await.unwrap();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let document: Value = client.request(ask(url)).await.unwrap();
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "StatefulSet");
    assert!(
        patch["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .any(|parameter| parameter["name"] == "fieldValidation")
    );
    for (query, warned) in [
        ("?fieldValidation=Strict", true),
        ("?fieldValidation=Ignore", false),
        ("", false),
    ] {
        let body = serde_json::to_vec(&config_map("a", &[])).unwrap();
        let post = http::Request::post(format!("/api/v1/namespaces/default/configmaps{query}"))
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
        let answer = client.send(post).await.unwrap();
        assert_eq!(answer.headers().contains_key("warning"), warned, "{query}");
    }
}
