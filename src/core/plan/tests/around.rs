//! What lies around the workloads, as findings of the plan.

use k8s_openapi::api::core::v1::Pod;

use super::*;
use crate::model::{
    Amount, Autoscaler, Budget, FoundObject, Keeps, NamedKind, NamedObject, NodeState, SeenAround, Severity, TriedPod,
};

const OWN: fn() -> WorkloadRef = || WorkloadRef {
    kind: WorkloadKind::StatefulSet,
    namespace: "shop".into(),
    name: "shop".into(),
};

/// Nothing is wrong around the shop.
pub(super) fn calm() -> SeenAround {
    SeenAround {
        workload: OWN(),
        autoscalers: Ok(vec![]),
        budgets: Ok(vec![]),
        objects: BTreeMap::new(),
        nodes: BTreeMap::from([("n".to_owned(), Ok(NodeState::Ready))]),
        owners: BTreeMap::new(),
        pod: Some(TriedPod::Made {
            images: BTreeMap::from([("shop".into(), "shop:1.2.0".into())]),
        }),
    }
}

pub(super) fn pod(ready: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "shop-0", "uid": "p" }, "spec": { "nodeName": "n", "containers": [] },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] },
    }))
    .unwrap()
}

/// The older release names a ConfigMap; one pod runs on node `n`.
pub(super) fn shop() -> SeenCluster {
    let mut cluster = shop_set(|set| {
        set["spec"]["volumeClaimTemplates"] = json!([{ "metadata": { "name": "data" }, "spec": {} }]);
    });
    cluster.workloads[0].revisions[0].data.0["spec"]["template"]["spec"] = json!({
        "containers": [{ "name": "shop", "image": "shop:1.2.0", "volumeMounts": [{ "name": "data", "mountPath": "/d" }] }],
        "volumes": [
            { "name": "data", "persistentVolumeClaim": { "claimName": "replaced" } },
            { "name": "menu", "configMap": { "name": "menu" } },
        ],
    });
    cluster.workloads[0].pods = vec![pod("True")];
    cluster
}

/// Codes of what is found on the way to 1.2.0, refusals with an exclamation mark.
fn found(around: SeenAround, change: impl FnOnce(&mut SeenCluster)) -> Vec<String> {
    let findings = findings_of(APP, around, change);
    let shown = |one: &Finding| match one.severity {
        Severity::Refusal => format!("{}!", one.code),
        _ => one.code.clone(),
    };
    findings.iter().map(shown).collect()
}

/// What is found on the way to 1.2.0, but that nothing was recorded of it.
fn findings_of(app: &str, around: SeenAround, change: impl FnOnce(&mut SeenCluster)) -> Vec<Finding> {
    let app = AppFile::parse(app, "stepback.yaml").unwrap();
    let empty = Catalog::default();
    let mut cluster = shop();
    change(&mut cluster);
    let world = Seen {
        cluster: Some(cluster),
        around: vec![around],
        ..seen()
    };
    let request = ask(Goal::Release("1.2.0".parse().unwrap()), Some(&app), &empty);
    let mut findings = match plan(&request, &world) {
        Ok(plan) => plan.findings,
        Err(refusals) => refusals.findings().to_vec(),
    };
    findings.retain(|one| one.code != "fingerprint-unknown");
    findings
}

pub(super) fn menu(there: bool) -> BTreeMap<NamedObject, Result<Option<FoundObject>, String>> {
    let changed = "2024-03-01T09:00:00Z".parse().ok();
    let found = there.then_some(FoundObject { changed });
    let kind = NamedKind::ConfigMap;
    BTreeMap::from([(
        NamedObject {
            kind,
            name: "menu".to_owned(),
        },
        Ok(found),
    )])
}

#[test]
fn what_is_asked_is_what_the_target_names() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let empty = Catalog::default();
    let request = ask(Goal::Release("1.2.0".parse().unwrap()), Some(&app), &empty);
    let asked = look_around(&request, &shop().workloads);
    assert_eq!(asked.len(), 1);
    // The set's own claims come with its pods.
    let objects: Vec<String> = asked[0].objects.iter().map(ToString::to_string).collect();
    assert_eq!(objects, ["ConfigMap menu"]);
    assert_eq!(asked[0].nodes, ["n".to_owned()].into());
    let pod = serde_json::to_value(asked[0].pod.as_ref().unwrap()).unwrap();
    assert_eq!(pod["metadata"]["generateName"], "shop-");
    assert_eq!(pod["metadata"]["labels"]["app"], "shop");
    assert_eq!(pod["spec"]["containers"][0]["image"], "shop:1.2.0");
    let claims: Vec<_> = pod["spec"]["volumes"].as_array().unwrap().iter().collect();
    assert_eq!(claims.len(), 2);
    assert_eq!(claims[0]["persistentVolumeClaim"]["claimName"], "data-shop-0");
    // For the schema alone, nobody looks around.
    assert_eq!(
        look_around(&ask(Goal::Down(1), Some(&app), &empty), &shop().workloads),
        []
    );
}

#[test]
fn everything_around_is_said_at_once() {
    let calm_shop = SeenAround {
        objects: menu(true),
        ..calm()
    };
    assert_eq!(found(calm_shop, |_| {}), [""; 0]);
    let scaler = Autoscaler {
        name: "crowd".into(),
        min: 2,
        max: 5,
        keda: None,
    };
    let wrong = SeenAround {
        autoscalers: Ok(vec![scaler]),
        objects: menu(false),
        nodes: BTreeMap::from([("n".to_owned(), Ok(NodeState::NotReady("KubeletGone".into())))]),
        pod: Some(TriedPod::Refused("violates PodSecurity".into())),
        ..calm()
    };
    let all = [
        "autoscaler-active!",
        "pod-lost!",
        "configuration-missing!",
        "pod-refused!",
    ];
    assert_eq!(found(wrong.clone(), |_| {}), all);
    // What is around another workload is that one's.
    let another = SeenAround {
        workload: WorkloadRef {
            name: "other".into(),
            ..OWN()
        },
        ..wrong
    };
    assert_eq!(found(another, |_| {}), [""; 0]);
}

#[test]
fn w14_what_is_not_known_of_a_node_matters_where_its_pod_is_not_ready() {
    let unknown = || SeenAround {
        objects: menu(true),
        nodes: BTreeMap::from([("n".to_owned(), Err("may not get nodes".into()))]),
        ..calm()
    };
    assert_eq!(found(unknown(), |_| {}), [""; 0]);
    let silent = |cluster: &mut SeenCluster| cluster.workloads[0].pods = vec![pod("Unknown")];
    assert_eq!(found(unknown(), silent), ["pod-lost"]);
    for (state, expected) in [
        (NodeState::Gone, &["pod-lost"][..]),
        (NodeState::OutOfService, &[]),
        (NodeState::NotReady("why".into()), &["pod-lost!"]),
    ] {
        let nodes = BTreeMap::from([("n".to_owned(), Ok(state))]);
        assert_eq!(found(SeenAround { nodes, ..unknown() }, silent), expected);
    }
}

#[test]
fn w14_a_lost_pod_is_told_without_a_look_at_its_node() {
    let of = |metadata: serde_json::Value, spec: serde_json::Value, conditions: &[(&str, &str, &str)]| {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(name, status, reason)| json!({ "type": name, "status": status, "reason": reason }))
            .collect();
        let mut pod = json!({
            "metadata": { "name": "shop-0", "uid": "p" }, "spec": { "nodeName": "n", "containers": [] },
            "status": { "phase": "Running", "conditions": conditions },
        });
        for (part, more) in [("metadata", metadata), ("spec", spec)] {
            let more = more.as_object().unwrap().clone();
            pod[part].as_object_mut().unwrap().extend(more);
        }
        serde_json::from_value::<Pod>(pod).unwrap()
    };
    let told = |pod: Pod| {
        let around = SeenAround {
            objects: menu(true),
            nodes: BTreeMap::from([("n".to_owned(), Err("may not get nodes".into()))]),
            ..calm()
        };
        found(around, move |cluster| cluster.workloads[0].pods = vec![pod])
    };
    let none = || json!({});
    let gone = || json!({ "deletionTimestamp": "2024-03-01T09:00:00Z" });
    let evicted = ("DisruptionTarget", "True", "DeletionByTaintManager");
    let set_unready = [("Ready", "False", ""), ("ContainersReady", "True", "")];
    assert_eq!(told(of(gone(), none(), &[evicted])), ["pod-lost!"]);
    assert_eq!(told(of(none(), none(), &set_unready)), ["pod-lost!"]);
    // Its own readiness gates, or its own containers, may keep it from being ready; and a pod that is told to go is unready.
    let gated = json!({ "readinessGates": [{ "conditionType": "balanced" }] });
    let own = [("Ready", "False", ""), ("ContainersReady", "False", "")];
    assert_eq!(told(of(none(), gated, &set_unready)), ["pod-lost"]);
    assert_eq!(told(of(none(), none(), &own)), ["pod-lost"]);
    assert_eq!(told(of(gone(), none(), &set_unready)), ["pod-lost"]);
}

#[test]
fn a_pod_that_would_be_refused_matters_where_one_is_started() {
    let refused = || SeenAround {
        objects: menu(true),
        pod: Some(TriedPod::Refused("violates PodSecurity".into())),
        ..calm()
    };
    assert_eq!(found(refused(), |_| {}), ["pod-refused!"]);
    let at_zero = |cluster: &mut SeenCluster| {
        let workload = &mut cluster.workloads[0];
        workload.set.as_mut().unwrap().spec.replicas = Some(0);
        workload.pods.clear();
    };
    assert_eq!(found(refused(), at_zero), ["no-replicas", "pod-refused"]);
}

#[test]
fn w13_a_quota_that_the_pods_fill_themselves_forbids_nothing() {
    let full = "exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3";
    let tight = || SeenAround {
        objects: menu(true),
        pod: Some(TriedPod::Refused(full.into())),
        ..calm()
    };
    assert_eq!(found(tight(), |_| {}), ["quota-tight"]);
    let stopped = |cluster: &mut SeenCluster| cluster.workloads[0].pods.clear();
    assert_eq!(found(tight(), stopped), ["pod-refused!"]);
    let untried = SeenAround {
        pod: Some(TriedPod::Untried("may not create pods".into())),
        ..tight()
    };
    assert_eq!(found(untried, |_| {}), ["pod-untried"]);
}

#[test]
fn what_is_around_is_said_beside_what_is_wrong_with_the_target() {
    let scaler = Autoscaler {
        name: "crowd".into(),
        min: 1,
        max: 5,
        keda: Some("orders".into()),
    };
    let around = || SeenAround {
        autoscalers: Ok(vec![scaler]),
        ..calm()
    };
    let twice = |cluster: &mut SeenCluster| {
        let mut again = cluster.workloads[0].revisions[0].clone();
        again.metadata.name = Some("shop-older".to_owned());
        cluster.workloads[0].revisions.push(again);
        let set = cluster.workloads[0].set.as_mut().unwrap();
        set.metadata.annotations = Some(BTreeMap::from([("meta.helm.sh/release-name".into(), "store".into())]));
    };
    let all = ["revision-ambiguous!", "owner-helm!", "autoscaler-active!"];
    assert_eq!(found(around(), twice), all);
}

#[test]
fn w13_a_rewritten_image_is_known_before_anything_is_stopped() {
    let mirrored = |cluster: &mut SeenCluster| {
        let older = cluster.workloads[0].revisions[0].metadata.name.clone().unwrap();
        let live = json!({
            "metadata": { "name": "shop-0", "uid": "p", "labels": { "controller-revision-hash": older } },
            "spec": { "nodeName": "n", "containers": [{ "name": "shop", "image": "mirror/shop:1.2.0" }] },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        cluster.workloads[0].pods = vec![serde_json::from_value(live).unwrap()];
    };
    let other = |cluster: &mut SeenCluster| {
        mirrored(cluster);
        let revisions = &mut cluster.workloads[0].revisions;
        let newer = revisions[1].metadata.name.clone().unwrap();
        let label = ("controller-revision-hash".to_owned(), newer);
        cluster.workloads[0].pods[0].metadata.labels = Some([label].into());
    };
    let tried = |image: &str| SeenAround {
        objects: menu(true),
        pod: Some(TriedPod::Made {
            images: [("proxy", "mesh:1"), ("shop", image)]
                .map(|(name, image)| (name.to_owned(), image.to_owned()))
                .into(),
        }),
        ..calm()
    };
    let untried = || SeenAround {
        pod: Some(TriedPod::Untried("may not create pods".into())),
        ..tried("")
    };
    assert_eq!(found(tried("shop:1.2.0"), |_| {}), [""; 0]);
    assert_eq!(found(tried("mirror/shop:1.2.0"), |_| {}), ["images-rewritten"]);
    // A mirror that is not used any more.
    assert_eq!(found(tried("shop:1.2.0"), mirrored), [""; 0]);
    // The live pods show it of the very image, or of another only.
    assert_eq!(found(untried(), mirrored), ["images-rewritten", "pod-untried"]);
    assert_eq!(found(untried(), other), ["images-rewritten!", "pod-untried"]);
    assert_eq!(found(untried(), |_| {}), ["pod-untried"]);
}

/// The shop, with one budget around it.
fn kept(keeps: Keeps, expected: Option<i32>) -> SeenAround {
    let name = "shop".to_owned();
    SeenAround {
        objects: menu(true),
        budgets: Ok(vec![Budget { name, keeps, expected }]),
        ..calm()
    }
}

#[test]
fn a_budget_that_the_plan_goes_below_is_said() {
    let said = |app: &str, around: SeenAround| {
        let findings = findings_of(app, around, |_| {});
        let message = |one: &Finding| format!("{:?} {}: {}", one.severity, one.code, one.message);
        findings.iter().map(message).collect::<Vec<_>>()
    };
    let available = |pods| Keeps::Available(Amount::Count(pods));
    assert_eq!(
        said(APP, kept(available(1), None)),
        [
            "Warning budget-not-kept: PodDisruptionBudget shop keeps 1 of 3 pods available (minAvailable: 1), and the plan \
             leaves 0 while all of them are stopped; that is no eviction, so nothing holds it back"
        ]
    );
    assert_eq!(said(APP, kept(available(0), None)), [""; 0]);
    // Others that it counts on stay as they are.
    assert_eq!(said(APP, kept(available(2), Some(5))), [""; 0]);
    // One pod at a time is away on a walk.
    let walked = APP.replacen("max: \"20240115120000\"", "max: \"20240301090000\"", 1);
    assert_eq!(said(&walked, kept(available(2), None)), [""; 0]);
    let all = said(&walked, kept(Keeps::AllBut(Amount::Percent(0)), None));
    assert!(
        all[0].contains("keeps 3 of 3 pods available (maxUnavailable: 0%), and the plan leaves 2 while one of them"),
        "{all:?}"
    );
}

#[test]
fn budgets_that_must_not_be_looked_for_are_said_to_be_unknown() {
    let around = SeenAround {
        objects: menu(true),
        budgets: Err("forbidden".to_owned()),
        ..calm()
    };
    let found = findings_of(APP, around, |_| {});
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].severity, found[0].code.as_str()),
        (Severity::Warning, "rights-missing")
    );
    assert_eq!(
        found[0].message,
        "may not list poddisruptionbudgets.policy in namespace shop"
    );
}
