//! The requests that are sent to both servers, by subject. `NS` stands for the case's namespace.

use serde_json::{Value, json};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const OPERATIONS: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A request: method, path with `NS` for the case's namespace, content type, body.
pub type Ask = (&'static str, String, &'static str, Value);

fn core(rest: &str) -> String {
    format!("/api/v1/namespaces/NS/{rest}")
}

fn apps(rest: &str) -> String {
    format!("/apis/apps/v1/namespaces/NS/{rest}")
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "automountServiceAccountToken": false,
            "initContainers": [{"name": "init", "image": "i"}],
            "containers": [{
                "name": "app", "image": image, "env": [{"name": "A", "value": "1"}],
                "ports": [{"containerPort": 80}], "livenessProbe": {"tcpSocket": {"port": 80}},
                "readinessProbe": {"httpGet": {"port": 80}},
            }],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x"}}],
        },
    })
}

/// A StatefulSet without pods.
fn set() -> Value {
    let spec = json!({
        "serviceName": "web", "replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template("shop:1"),
        "volumeClaimTemplates": [{
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }],
    });
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}, "spec": spec})
}

pub fn new_objects() -> Vec<Ask> {
    let named = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let job = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}});
    let deployment = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template("shop:1")});
    let missing = json!({"serviceAccountName": "gone", "containers": [{"name": "c", "image": "i"}]});
    let nameless = json!({"metadata": {"generateName": "p-"}, "spec": missing});
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let lease = json!({"holderIdentity": "a", "leaseDurationSeconds": 15});
    let budget = json!({"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}});
    let target = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web"});
    let scaler = json!({"maxReplicas": 3, "scaleTargetRef": target});
    let create = |path: String, body: Value| ("POST", path, JSON, body);
    let batch = |rest: &str| format!("/apis/batch/v1/namespaces/NS/{rest}?dryRun=All&fieldManager=our-hand");
    let group = |group: &str, rest: &str| format!("/apis/{group}/namespaces/NS/{rest}?fieldManager=our-hand");
    vec![
        create(apps("statefulsets?fieldManager=our-hand"), set()),
        create(apps("statefulsets?fieldManager=our-hand"), set()),
        create(
            apps("deployments?dryRun=All&fieldManager=our-hand"),
            named("d", deployment),
        ),
        create(
            core("pods?dryRun=All&fieldManager=our-hand"),
            named("p", template("shop")["spec"].clone()),
        ),
        create(core("pods?dryRun=All"), named("p", missing)),
        create(core("pods?dryRun=All"), nameless),
        create(batch("jobs"), named("j", job)),
        create(core("persistentvolumeclaims?fieldManager=our-hand"), named("c", claim)),
        create(
            core("secrets?fieldManager=our-hand"),
            json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}}),
        ),
        create(
            core("configmaps?fieldManager=our-hand"),
            json!({"metadata": {"name": "m"}, "data": {"a": "b"}}),
        ),
        create(group("coordination.k8s.io/v1", "leases"), named("l", lease)),
        create(group("policy/v1", "poddisruptionbudgets"), named("b", budget)),
        create(group("autoscaling/v2", "horizontalpodautoscalers"), named("h", scaler)),
        create(core("configmaps"), json!({"metadata": {"name": "A_b"}})),
        create(core("configmaps"), json!({"metadata": {}})),
        create(
            core("configmaps"),
            json!({"metadata": {"name": "m", "namespace": "other"}}),
        ),
        create(
            "/api/v1/namespaces/nowhere/configmaps".to_owned(),
            json!({"metadata": {"name": "m"}}),
        ),
        create("/api/v1/configmaps".to_owned(), json!({"metadata": {"name": "m"}})),
    ]
}

pub fn changes() -> Vec<Ask> {
    let web = || apps("statefulsets/web?fieldManager=our-hand");
    let image =
        |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}});
    let strategy = |strategy: Value| json!({"spec": {"updateStrategy": strategy}});
    let frozen = json!({"metadata": {"name": "plan"}, "immutable": true, "data": {"a": "1"}});
    let revision = json!({"metadata": {"name": "r"}, "revision": 1, "data": {"spec": {"a": 1}}});
    vec![
        ("POST", apps("statefulsets?fieldManager=our-maker"), JSON, set()),
        ("PATCH", web(), STRATEGIC, image("shop:2")),
        (
            "PATCH",
            web(),
            STRATEGIC,
            json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s:1"}]}}}}),
        ),
        ("PATCH", web(), MERGE, image("shop:3")),
        (
            "PATCH",
            web(),
            MERGE,
            strategy(json!({"type": "OnDelete", "rollingUpdate": null})),
        ),
        (
            "PATCH",
            web(),
            MERGE,
            strategy(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})),
        ),
        (
            "PATCH",
            web(),
            OPERATIONS,
            json!([{"op": "test", "path": "/spec/replicas", "value": 99}]),
        ),
        (
            "PATCH",
            web(),
            OPERATIONS,
            json!([{"op": "add", "path": "/spec/minReadySeconds", "value": 1}]),
        ),
        ("PATCH", web(), MERGE, json!({"spec": {"serviceName": "other"}})),
        (
            "PATCH",
            web(),
            MERGE,
            json!({"spec": {"podManagementPolicy": "Parallel"}}),
        ),
        (
            "PATCH",
            web(),
            MERGE,
            json!({"spec": {"selector": {"matchLabels": {"app": "z"}}}}),
        ),
        (
            "PATCH",
            web(),
            MERGE,
            json!({"spec": {"template": {"metadata": {"labels": {"app": "z"}}}}}),
        ),
        ("PATCH", web(), MERGE, json!({"spec": {"replicas": -1}})),
        (
            "PATCH",
            web(),
            MERGE,
            json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 0}}),
        ),
        ("PATCH", web(), MERGE, json!({"metadata": {"uid": "other"}})),
        ("PATCH", web(), MERGE, json!({"metadata": {"name": "other"}})),
        ("PATCH", web(), "text/plain", json!({})),
        ("PUT", web(), JSON, set()),
        (
            "PUT",
            apps("statefulsets/gone"),
            JSON,
            json!({"metadata": {"name": "gone"}}),
        ),
        ("POST", core("configmaps"), JSON, frozen),
        ("PATCH", core("configmaps/plan"), MERGE, json!({"data": {"a": "2"}})),
        (
            "PATCH",
            core("configmaps/plan"),
            MERGE,
            json!({"immutable": false, "data": {"b": "2"}}),
        ),
        (
            "POST",
            apps("controllerrevisions?fieldManager=our-maker"),
            JSON,
            revision,
        ),
        (
            "PATCH",
            apps("controllerrevisions/r"),
            MERGE,
            json!({"data": {"spec": {"b": 1}}}),
        ),
    ]
}

pub fn owners() -> Vec<Ask> {
    let web = |manager: &str| apps(&format!("statefulsets/web?fieldManager=our-{manager}"));
    let scale = || apps("statefulsets/web/scale?fieldManager=our-scaler");
    let declared = |metadata: Value, spec: Value| json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec});
    let containers = |image: &str| json!({"spec": {"containers": [{"name": "app", "image": image}]}});
    let labelled = json!({"name": "web", "labels": {"l": "1"}});
    let named = json!({"name": "web"});
    vec![
        ("POST", apps("statefulsets?fieldManager=our-helm"), JSON, set()),
        (
            "PATCH",
            web("stepback"),
            MERGE,
            json!({"metadata": {"annotations": {"stamp": "1"}}, "spec": {"minReadySeconds": 1}}),
        ),
        (
            "PATCH",
            web("helm"),
            MERGE,
            json!({"metadata": {"managedFields": null}}),
        ),
        ("PATCH", scale(), MERGE, json!({"spec": {"replicas": 0}})),
        (
            "PATCH",
            web("argo"),
            APPLY,
            declared(
                labelled.clone(),
                json!({"replicas": 0, "template": containers("shop:9")}),
            ),
        ),
        (
            "PATCH",
            web("argo") + "&force=true",
            APPLY,
            declared(
                labelled,
                json!({"minReadySeconds": 2, "template": containers("shop:9")}),
            ),
        ),
        (
            "PATCH",
            web("argo"),
            APPLY,
            declared(named.clone(), json!({"template": containers("shop:9")})),
        ),
        (
            "PATCH",
            apps("statefulsets/web"),
            APPLY,
            declared(named.clone(), json!({})),
        ),
        (
            "PATCH",
            web("stepback"),
            MERGE,
            json!({"metadata": {"annotations": {"stamp": null}, "managedFields": [{}]}}),
        ),
        ("PATCH", web("helm"), MERGE, json!({"spec": {"minReadySeconds": 3}})),
        (
            "PATCH",
            web("argo"),
            APPLY,
            declared(named, json!({"minReadySeconds": 7})),
        ),
        (
            "POST",
            core("configmaps?fieldManager=our-hand"),
            JSON,
            json!({"metadata": {"name": "m"}, "data": {"a": "1"}}),
        ),
        (
            "PATCH",
            core("configmaps/m?fieldManager=our-hand"),
            MERGE,
            json!({"metadata": {"managedFields": []}}),
        ),
    ]
}

pub fn deletions() -> Vec<Ask> {
    let held = json!({"metadata": {"name": "m", "finalizers": ["a.b/c"]}});
    let lease = "/apis/coordination.k8s.io/v1/namespaces/NS/leases/l".to_owned();
    vec![
        ("POST", core("configmaps?fieldManager=our-hand"), JSON, held),
        (
            "DELETE",
            core("configmaps/m"),
            JSON,
            json!({"preconditions": {"uid": "other"}}),
        ),
        (
            "DELETE",
            core("configmaps/m"),
            JSON,
            json!({"preconditions": {"resourceVersion": "1"}}),
        ),
        ("DELETE", core("configmaps/m?dryRun=All"), JSON, Value::Null),
        ("DELETE", core("configmaps/m"), JSON, Value::Null),
        ("DELETE", core("configmaps/m"), JSON, Value::Null),
        (
            "PATCH",
            core("configmaps/m"),
            MERGE,
            json!({"metadata": {"finalizers": ["a.b/c", "d.e/f"]}}),
        ),
        (
            "PATCH",
            core("configmaps/m?fieldManager=our-hand"),
            MERGE,
            json!({"metadata": {"finalizers": null}}),
        ),
        ("GET", core("configmaps/m"), JSON, Value::Null),
        (
            "PUT",
            lease.clone() + "?fieldManager=our-hand",
            JSON,
            json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}),
        ),
        (
            "PUT",
            lease.clone(),
            JSON,
            json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "b"}}),
        ),
        ("DELETE", lease, JSON, Value::Null),
        ("DELETE", "/api/v1/namespaces/kube-system".to_owned(), JSON, Value::Null),
    ]
}

pub fn reads() -> Vec<Ask> {
    let get = |path: String| ("GET", path, JSON, Value::Null);
    vec![
        get(apps("statefulsets/gone")),
        get(apps("statefulsets")),
        get(core("configmaps?labelSelector=a%3Db")),
        get(core("configmaps?fieldSelector=foo%3Dbar")),
        get(core("configmaps?labelSelector=a%3D(b")),
        get(core("pods/gone/log")),
        get(core("nothing")),
        get("/apis/nothing".to_owned()),
        get("/apis/nothing/v1".to_owned()),
        get("/apis/apps".to_owned()),
        ("PATCH", apps("statefulsets"), MERGE, json!({})),
        ("POST", apps("statefulsets/web"), JSON, json!({})),
    ]
}
