//! The simulated set as the API's objects.

use std::sync::LazyLock;

use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::{Value, json};
use stepback::cluster::MANAGER;
use stepback_core::model::{SeenWorkload, WorkloadKind, WorkloadRef, add_pairing, annotation};

use super::set::{Phase, Set, UID};

pub fn workload() -> WorkloadRef {
    WorkloadRef {
        kind: WorkloadKind::StatefulSet,
        namespace: "production".into(),
        name: "shop".into(),
    }
}

pub fn image(revision: &str) -> String {
    format!("shop:{revision}")
}

fn template(revision: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "shop" } },
        "spec": { "containers": [{ "name": "shop", "image": image(revision) }] },
    })
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the simulated objects have the API's shape")
}

/// But for their pairings they never change, and reading them again at every look took half the suite's time.
static REVISIONS: LazyLock<Vec<ControllerRevision>> = LazyLock::new(|| {
    let revision = |(name, number): (_, i64)| {
        read(json!({
            "metadata": { "name": name },
            "revision": number,
            "data": { "spec": { "template": template(name) } },
        }))
    };
    ["1.2.0", "1.3.0"].into_iter().zip(1..).map(revision).collect()
});

fn revisions(set: &Set) -> Vec<ControllerRevision> {
    let mut revisions = REVISIONS.clone();
    for (name, pairing) in &set.paired {
        let mut named = revisions.iter_mut();
        if let Some(revision) = named.find(|revision| revision.metadata.name.as_ref() == Some(name)) {
            let paired = add_pairing(revision, pairing);
            revision.metadata.annotations = Some([(annotation::PAIRINGS.to_owned(), paired)].into());
        }
    }
    revisions
}

/// The set, its pods and the revisions 1.2.0 and 1.3.0.
pub fn seen(set: &Set) -> SeenWorkload {
    let managed = if set.owned {
        json!([{ "manager": MANAGER }])
    } else {
        json!([])
    };
    let pods = set.pods.iter().map(|(ordinal, pod)| {
        let gone = (pod.phase == Phase::Terminating).then_some("2026-01-01T00:00:00Z");
        let ready = if pod.phase == Phase::Ready { "True" } else { "False" };
        read(json!({
            "metadata": {
                "name": format!("shop-{ordinal}"),
                "uid": pod.uid.to_string(),
                "labels": { "controller-revision-hash": pod.revision },
                "deletionTimestamp": gone,
            },
            "spec": template(&pod.revision)["spec"],
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] },
        }))
    });
    SeenWorkload {
        workload: workload(),
        set: Some(read(json!({
            "metadata": {
                "name": "shop",
                "uid": UID,
                "generation": set.generation,
                "resourceVersion": set.version.to_string(),
                "annotations": set.annotations,
                "managedFields": managed,
            },
            "spec": {
                "replicas": set.replicas,
                "selector": { "matchLabels": { "app": "shop" } },
                "serviceName": "shop",
                "template": template(&set.template),
                "updateStrategy": set.strategy,
            },
            "status": {
                "replicas": set.pods.len(),
                "observedGeneration": set.observed,
                "currentRevision": set.current,
                "updateRevision": set.update,
            },
        }))),
        pods: pods.collect(),
        revisions: revisions(set),
    }
}
