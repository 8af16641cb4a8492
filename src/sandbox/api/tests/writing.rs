//! Creating, reading, updating, and what is refused.

use super::*;
use k8s_openapi::api::{
    authorization::v1::SelfSubjectAccessReview,
    autoscaling::v1::Scale,
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{Namespace, Secret},
};
use kube::{ResourceExt, api::ListParams};

#[tokio::test]
async fn the_cluster_has_an_identity_and_describes_itself() {
    let (_server, client) = start().await;
    let system = Api::<Namespace>::all(client.clone()).get("kube-system").await.unwrap();
    assert_eq!(system.uid().unwrap().len(), 36);
    assert_eq!(client.apiserver_version().await.unwrap().minor, "37");
    let groups = client.list_api_groups().await.unwrap();
    assert!(groups.groups.iter().any(|group| group.name == "apps"));
    let apps = client.list_api_group_resources("apps/v1").await.unwrap();
    let scale = apps
        .resources
        .iter()
        .find(|resource| resource.name == "statefulsets/scale")
        .unwrap();
    assert_eq!(
        (scale.kind.as_str(), scale.group.as_deref()),
        ("Scale", Some("autoscaling"))
    );
    let core = client.list_core_api_resources("v1").await.unwrap();
    assert!(
        core.resources
            .iter()
            .any(|resource| resource.name == "pods" && resource.namespaced)
    );
}

#[tokio::test]
async fn a_new_object_gets_what_the_server_sets() {
    let (_server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client);
    let made = create(&sets, &stateful_set("web", 2)).await;
    assert_eq!(made.metadata.generation, Some(1));
    assert_eq!(made.namespace().as_deref(), Some("default"));
    assert!(made.uid().is_some() && made.creation_timestamp().is_some());
    let spec = to_json(&made)["spec"].clone();
    assert_eq!(spec["podManagementPolicy"], "OrderedReady");
    assert_eq!(
        spec["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}})
    );
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
    assert_eq!(spec["revisionHistoryLimit"], 10);
    assert_eq!(spec["template"]["spec"]["terminationGracePeriodSeconds"], 30);
    assert_eq!(
        spec["template"]["spec"]["containers"][0]["imagePullPolicy"],
        "IfNotPresent"
    );
    assert_eq!(sets.get("web").await.unwrap(), made);
}

#[tokio::test]
async fn a_job_finds_its_pods_by_its_uid() {
    let (_server, client) = start().await;
    let jobs = Api::<Job>::default_namespaced(client);
    let spec = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}});
    let made = to_json(&create(&jobs, &from(json!({"metadata": {"name": "hook"}, "spec": spec}))).await);
    let uid = &made["metadata"]["uid"];
    assert_eq!(
        made["spec"]["selector"]["matchLabels"],
        json!({"batch.kubernetes.io/controller-uid": uid})
    );
    let labels = &made["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        (&labels["batch.kubernetes.io/controller-uid"], &labels["job-name"]),
        (uid, &json!("hook"))
    );
}

#[tokio::test]
async fn names_are_taken_once_and_can_be_generated() {
    let (_server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    create(&maps, &config_map("a", &[])).await;
    let again = refusal(maps.create(&PostParams::default(), &config_map("a", &[])).await);
    assert_eq!(
        again,
        (409, "AlreadyExists".into(), "configmaps \"a\" already exists".into())
    );
    let generated: ConfigMap = from(json!({"metadata": {"generateName": "run-"}}));
    let made = create(&maps, &generated).await;
    assert!(
        made.name_any().starts_with("run-") && made.name_any().len() == 9,
        "{}",
        made.name_any()
    );
    let bad = refusal(maps.create(&PostParams::default(), &config_map("A_b", &[])).await);
    assert_eq!((bad.0, bad.1.as_str()), (422, "Invalid"));
    let nowhere = Api::<ConfigMap>::namespaced(client, "nope");
    let missing = refusal(nowhere.create(&PostParams::default(), &config_map("a", &[])).await);
    assert_eq!(
        missing,
        (404, "NotFound".into(), "namespaces \"nope\" not found".into())
    );
}

#[tokio::test]
async fn an_update_from_an_old_version_conflicts() {
    let (_server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client);
    let first = create(&sets, &stateful_set("web", 1)).await;
    let mut newer = first.clone();
    newer.spec.replicas = Some(2);
    let newer = sets.replace("web", &PostParams::default(), &newer).await.unwrap();
    assert_eq!(newer.metadata.generation, Some(2));
    let message = "Operation cannot be fulfilled on statefulsets.apps \"web\": the object has been modified; please \
                   apply your changes to the latest version and try again";
    let late = refusal(sets.replace("web", &PostParams::default(), &first).await);
    assert_eq!(late, (409, "Conflict".into(), message.into()));
    let patch = json!({"metadata": {"resourceVersion": first.resource_version()}, "spec": {"replicas": 3}});
    assert_eq!(refusal(merge(&sets, "web", patch).await).2, message);
    let patch = json!({"metadata": {"resourceVersion": newer.resource_version()}, "spec": {"replicas": 3}});
    assert_eq!(merge(&sets, "web", patch).await.unwrap().metadata.generation, Some(3));
    let mut other = sets.get("web").await.unwrap();
    other.metadata.uid = Some("other".into());
    let conflict = refusal(sets.replace("web", &PostParams::default(), &other).await);
    assert!(
        conflict.0 == 409 && conflict.2.contains("Precondition failed: UID in precondition: other"),
        "{conflict:?}"
    );
}

#[tokio::test]
async fn a_write_that_changes_nothing_takes_no_version() {
    let (server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let made = create(&maps, &config_map("a", &[("k", "v")])).await;
    let before = server.dump();
    let same = merge(&maps, "a", json!({"data": {"k": "v"}})).await.unwrap();
    assert_eq!(same.resource_version(), made.resource_version());
    assert_eq!(server.dump(), before);
}

#[tokio::test]
async fn immutable_fields_stay_as_they_are() {
    let (_server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client.clone());
    create(&sets, &stateful_set("web", 1)).await;
    let refused = refusal(merge(&sets, "web", json!({"spec": {"serviceName": "x"}})).await);
    let message = "StatefulSet.apps \"web\" is invalid: spec.serviceName: Invalid value: \"x\": field is immutable";
    assert_eq!(refused, (422, "Invalid".into(), message.into()));
    for allowed in [
        json!({"spec": {"replicas": 0}}),
        json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}),
        json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}}}),
        json!({"spec": {"minReadySeconds": 3, "ordinals": {"start": 1}, "revisionHistoryLimit": 2}}),
        json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}),
    ] {
        merge(&sets, "web", allowed).await.unwrap();
    }
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let frozen = ConfigMap {
        immutable: Some(true),
        ..config_map("plan", &[("a", "1")])
    };
    create(&maps, &frozen).await;
    let refused = refusal(merge(&maps, "plan", json!({"data": {"a": "2"}})).await);
    let message = "ConfigMap \"plan\" is invalid: data: Forbidden: field is immutable when `immutable` is set";
    assert_eq!(refused, (422, "Invalid".into(), message.into()));
    merge(&maps, "plan", json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_config_map_holds_a_mebibyte() {
    let (_server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let fits = "x".repeat(1024 * 1024 - 1);
    create(&maps, &config_map("fits", &[("k", &fits)])).await;
    let refused = refusal(
        maps.create(&PostParams::default(), &config_map("big", &[("kk", &fits)]))
            .await,
    );
    let message = "ConfigMap \"big\" is invalid: []: Too long: may not be more than 1048576 bytes";
    assert_eq!(refused, (422, "Invalid".into(), message.into()));
    let huge = "x".repeat(4 * 1024 * 1024);
    assert_eq!(
        refusal(
            maps.create(&PostParams::default(), &config_map("huge", &[("k", &huge)]))
                .await
        )
        .0,
        413
    );
}

#[tokio::test]
async fn status_is_written_through_its_own_door() {
    let (_server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client);
    create(&sets, &stateful_set("web", 2)).await;
    let ignored = merge(&sets, "web", json!({"status": {"replicas": 9}})).await.unwrap();
    assert_eq!(ignored.status.unwrap().replicas, 0);
    let patch = Patch::Merge(json!({"spec": {"replicas": 9}, "status": {"replicas": 2, "readyReplicas": 1}}));
    let changed = sets.patch_status("web", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(changed.metadata.generation, Some(1));
    assert_eq!(
        (changed.spec.replicas, changed.status.unwrap().ready_replicas),
        (Some(2), Some(1))
    );
}

#[tokio::test]
async fn scale_is_a_view_of_replicas() {
    let (_server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client);
    create(&sets, &stateful_set("web", 2)).await;
    let scale: Scale = sets.get_scale("web").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=web"));
    let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let down = sets.patch_scale("web", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(
        down.spec.unwrap().replicas,
        None,
        "a Scale of 0 leaves its replicas out"
    );
    let set = sets.get("web").await.unwrap();
    assert_eq!((set.spec.replicas, set.metadata.generation), (Some(0), Some(2)));
    let stale = Patch::Merge(
        json!({"metadata": {"resourceVersion": scale.metadata.resource_version}, "spec": {"replicas": 5}}),
    );
    assert_eq!(
        refusal(sets.patch_scale("web", &PatchParams::default(), &stale).await).0,
        409
    );
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let (server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client);
    create(&sets, &stateful_set("web", 2)).await;
    let before = server.dump();
    let dry = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let patched = sets
        .patch("web", &dry, &Patch::Merge(json!({"spec": {"replicas": 7}})))
        .await
        .unwrap();
    assert_eq!(patched.spec.replicas, Some(7));
    let post = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    sets.create(&post, &stateful_set("other", 1)).await.unwrap();
    sets.delete("web", &kube::api::DeleteParams::default().dry_run())
        .await
        .unwrap();
    assert_eq!(server.dump(), before);
}

#[tokio::test]
async fn a_pod_needs_its_service_account_even_in_a_dry_run() {
    let (_server, client) = start().await;
    let pods = Api::<Pod>::default_namespaced(client);
    let post = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let refused = refusal(
        pods.create(&post, &pod("p", json!({"spec": {"serviceAccountName": "gone"}})))
            .await,
    );
    let message =
        "pods \"p\" is forbidden: error looking up service account default/gone: serviceaccount \"gone\" not found";
    assert_eq!(refused, (403, "Forbidden".into(), message.into()));
    let made = pods.create(&post, &pod("p", json!({}))).await.unwrap();
    assert_eq!(made.spec.unwrap().service_account_name.as_deref(), Some("default"));
    assert_eq!(made.status.unwrap().phase.as_deref(), Some("Pending"));
}

#[tokio::test]
async fn what_a_webhook_makes_of_a_pod_is_told_by_a_dry_run_too() {
    let add: fn(&mut Value) = |pod| {
        let containers = pod["spec"]["containers"].as_array_mut().unwrap();
        containers.push(json!({"name": "proxy", "image": "mesh:1"}));
    };
    let (server, client) = start_with(Options {
        pod_mutations: vec![add],
        ..Options::default()
    })
    .await;
    let before = server.dump();
    let pods = Api::<Pod>::default_namespaced(client);
    let containers = |pod: &Pod| {
        let containers = to_json(pod)["spec"]["containers"].clone();
        (containers[0]["image"].clone(), containers[1].clone())
    };
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let asked = pods.create(&dry, &pod("p", json!({}))).await.unwrap();
    assert_eq!(server.dump(), before);
    let made = create(&pods, &pod("p", json!({}))).await;
    assert_eq!(containers(&asked), containers(&made));
    let (image, proxy) = containers(&made);
    assert_eq!(image, "shop:1");
    assert_eq!(
        (&proxy["image"], &proxy["imagePullPolicy"]),
        (&json!("mesh:1"), &json!("IfNotPresent"))
    );
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let (_server, client) = start().await;
    let pods = Api::<Pod>::default_namespaced(client);
    create(&pods, &pod("p", json!({}))).await;
    let binding = || json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    let _: Value = pods
        .create_subresource("binding", "p", &PostParams::default(), &binding())
        .await
        .unwrap();
    let bound = pods.get("p").await.unwrap();
    assert_eq!(
        (bound.spec.unwrap().node_name.as_deref(), bound.metadata.generation),
        (Some("n1"), Some(1))
    );
    let again: kube::Result<Value> = pods
        .create_subresource("binding", "p", &PostParams::default(), &binding())
        .await;
    assert!(refusal(again).2.contains("pod p is already assigned to node \"n1\""));
    let on_node = pods
        .list(&ListParams::default().fields("spec.nodeName=n1"))
        .await
        .unwrap();
    assert_eq!(on_node.items.len(), 1);
}

#[tokio::test]
async fn lists_select_and_come_in_pages() {
    let (_server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    for name in ["a", "b", "c", "d", "e"] {
        let mut map = config_map(name, &[]);
        map.metadata.labels = (name != "c").then(|| BTreeMap::from([("app".to_owned(), "web".to_owned())]));
        create(&maps, &map).await;
    }
    let mut names = Vec::new();
    let mut params = ListParams::default().labels("app=web").limit(2);
    loop {
        let page = maps.list(&params).await.unwrap();
        names.extend(page.items.iter().map(ResourceExt::name_any));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "d", "e"]);
    let everywhere = Api::<ConfigMap>::all(client)
        .list(&ListParams::default().fields("metadata.name=c"))
        .await
        .unwrap();
    assert_eq!(everywhere.items.len(), 1);
    let refused = refusal(maps.list(&ListParams::default().fields("foo=bar")).await);
    let message = "\"foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    assert_eq!(refused, (400, "BadRequest".into(), message.into()));
    let metadata = maps
        .list_metadata(&ListParams::default().labels("app=web"))
        .await
        .unwrap();
    assert_eq!(metadata.items.len(), 4);
}

#[tokio::test]
async fn a_lease_is_updated_under_its_version_only() {
    let (_server, client) = start().await;
    let leases = Api::<Lease>::default_namespaced(client);
    let lease: Lease = from(json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}));
    let made = leases.replace("l", &PostParams::default(), &lease).await.unwrap();
    assert_eq!(made.spec.unwrap().holder_identity.as_deref(), Some("a"));
    let refused = refusal(leases.replace("l", &PostParams::default(), &lease).await);
    assert!(
        refused.0 == 422 && refused.2.contains("must be specified for an update"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn secrets_take_plain_strings_and_keep_them_encoded() {
    let (_server, client) = start().await;
    let secrets = Api::<Secret>::default_namespaced(client);
    let secret: Secret = from(json!({"metadata": {"name": "s"}, "stringData": {"key": "value"}}));
    let made = create(&secrets, &secret).await;
    assert_eq!(made.type_.as_deref(), Some("Opaque"));
    assert_eq!(made.data.unwrap()["key"].0, b"value");
    assert_eq!(made.string_data, None);
}

#[tokio::test]
async fn what_is_forbidden_is_refused_and_reviewed_alike() {
    let rule = super::super::Forbidden {
        verb: "patch".into(),
        group: "apps".into(),
        resource: "statefulsets".into(),
    };
    let (_server, client) = start_with(Options {
        forbidden: vec![rule],
        ..Options::default()
    })
    .await;
    let sets = Api::<StatefulSet>::default_namespaced(client.clone());
    create(&sets, &stateful_set("web", 2)).await;
    assert_eq!(refusal(merge(&sets, "web", json!({})).await).0, 403);
    let reviews = Api::<SelfSubjectAccessReview>::all(client);
    for (verb, allowed) in [("patch", false), ("get", true)] {
        let attributes = json!({"verb": verb, "group": "apps", "resource": "statefulsets"});
        let review = create(&reviews, &from(json!({"spec": {"resourceAttributes": attributes}}))).await;
        assert_eq!(review.status.unwrap().allowed, allowed, "{verb}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_said_to_be_missing() {
    let (server, client) = start().await;
    let sets = Api::<StatefulSet>::default_namespaced(client.clone());
    let missing = refusal(sets.get("nope").await);
    assert_eq!(
        missing,
        (404, "NotFound".into(), "statefulsets.apps \"nope\" not found".into())
    );
    let request = http::Request::get("/apis/nope/v1/things").body(Vec::new()).unwrap();
    assert_eq!(refusal(client.request::<Value>(request).await).0, 404);
    drop(server);
    assert!(
        !matches!(sets.get("nope").await.unwrap_err(), kube::Error::Api(_)),
        "a stopped server answers nothing"
    );
}
