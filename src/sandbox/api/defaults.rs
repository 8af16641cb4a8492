//! The defaults that the real server fills in, so that what is read back differs from what was sent in the same way.
//!
//! Seen on Kubernetes 1.37.2. Responsible for values only; refusals are in `validate.rs`.

use super::{
    kinds::Kind,
    object::{as_map, map_at},
};
use serde_json::{Map, Value, json};

type Fields = Map<String, Value>;

/// Fills in the defaults of an object that is about to be stored.
pub(super) fn fill(kind: &Kind, object: &mut Value) {
    match (kind.group, kind.kind) {
        ("", "Pod") => {
            let spec = map_at(object, "spec");
            fill_pod(spec);
            set(spec, "enableServiceLinks", json!(true));
        }
        ("", "Namespace") => {
            set(map_at(object, "spec"), "finalizers", json!(["kubernetes"]));
            let name = super::object::name(object).to_owned();
            map_at(&mut as_map(object)["metadata"], "labels")
                .insert("kubernetes.io/metadata.name".to_owned(), Value::from(name));
            set(map_at(object, "status"), "phase", json!("Active"));
        }
        ("", "Service") => fill_service(map_at(object, "spec")),
        ("", "Secret") => set(as_map(object), "type", json!("Opaque")),
        ("", "PersistentVolumeClaim") => fill_claim(object),
        ("", "PersistentVolume") => {
            set(map_at(object, "spec"), "persistentVolumeReclaimPolicy", json!("Retain"));
            set(map_at(object, "spec"), "volumeMode", json!("Filesystem"));
            set(map_at(object, "status"), "phase", json!("Pending"));
        }
        ("apps", "StatefulSet") => fill_statefulset(object),
        ("apps", "Deployment") => fill_deployment(map_at(object, "spec")),
        ("apps", "ReplicaSet") => {
            set(map_at(object, "spec"), "replicas", json!(1));
            fill_template(map_at(object, "spec"));
        }
        ("apps", "DaemonSet") => {
            let spec = map_at(object, "spec");
            set(spec, "revisionHistoryLimit", json!(10));
            set(
                spec,
                "updateStrategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}),
            );
            fill_template(spec);
        }
        ("batch", "Job") => fill_job(map_at(object, "spec")),
        ("batch", "CronJob") => {
            let spec = map_at(object, "spec");
            set(spec, "concurrencyPolicy", json!("Allow"));
            set(spec, "suspend", json!(false));
            set(spec, "successfulJobsHistoryLimit", json!(3));
            set(spec, "failedJobsHistoryLimit", json!(1));
            if let Some(template) = spec.get_mut("jobTemplate") {
                fill_template(map_at(template, "spec"));
            }
        }
        ("autoscaling", "HorizontalPodAutoscaler") => {
            let spec = map_at(object, "spec");
            set(spec, "minReplicas", json!(1));
            let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}});
            set(spec, "metrics", json!([{"type": "Resource", "resource": cpu}]));
        }
        ("storage.k8s.io", "StorageClass") => {
            set(as_map(object), "reclaimPolicy", json!("Delete"));
            set(as_map(object), "volumeBindingMode", json!("Immediate"));
        }
        _ => {}
    }
}

/// The status that an object of this kind starts with, whatever the creator sent; `Null`: none.
pub(super) fn first_status(kind: &Kind) -> Value {
    match (kind.group, kind.kind) {
        ("", "Pod") => json!({"phase": "Pending", "qosClass": "BestEffort"}),
        ("", "PersistentVolumeClaim") => json!({"phase": "Pending"}),
        ("", "Service") => json!({"loadBalancer": {}}),
        ("apps", "StatefulSet") => json!({"replicas": 0, "availableReplicas": 0}),
        ("apps", "ReplicaSet") => json!({"replicas": 0}),
        ("apps", "DaemonSet") => {
            json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0})
        }
        ("apps", "Deployment") | ("batch", "Job" | "CronJob") => json!({}),
        ("autoscaling", _) => json!({"desiredReplicas": 0, "currentMetrics": null}),
        ("policy", _) => {
            json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0})
        }
        _ => Value::Null,
    }
}

pub(super) fn set(map: &mut Fields, field: &str, value: Value) {
    map.entry(field).or_insert(value);
}

fn fill_statefulset(object: &mut Value) {
    let spec = map_at(object, "spec");
    set(spec, "replicas", json!(1));
    set(spec, "podManagementPolicy", json!("OrderedReady"));
    set(spec, "revisionHistoryLimit", json!(10));
    let strategy = as_map(spec.entry("updateStrategy").or_insert(Value::Null));
    set(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        let rolling = as_map(strategy.entry("rollingUpdate").or_insert(Value::Null));
        set(rolling, "partition", json!(0));
        set(rolling, "maxUnavailable", json!(1));
    }
    let policy = as_map(
        spec.entry("persistentVolumeClaimRetentionPolicy")
            .or_insert(Value::Null),
    );
    set(policy, "whenDeleted", json!("Retain"));
    set(policy, "whenScaled", json!("Retain"));
    fill_template(spec);
    for claim in entries(spec, "volumeClaimTemplates") {
        as_map(claim).insert("kind".to_owned(), json!("PersistentVolumeClaim"));
        as_map(claim).insert("apiVersion".to_owned(), json!("v1"));
        fill_claim(claim);
        set(map_at(claim, "status"), "phase", json!("Pending"));
    }
}

fn fill_deployment(spec: &mut Fields) {
    set(spec, "replicas", json!(1));
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "progressDeadlineSeconds", json!(600));
    let strategy = as_map(spec.entry("strategy").or_insert(Value::Null));
    set(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        let rolling = as_map(strategy.entry("rollingUpdate").or_insert(Value::Null));
        set(rolling, "maxUnavailable", json!("25%"));
        set(rolling, "maxSurge", json!("25%"));
    }
    fill_template(spec);
}

fn fill_job(spec: &mut Fields) {
    set(spec, "parallelism", json!(1));
    set(spec, "completions", json!(1));
    set(spec, "backoffLimit", json!(6));
    set(spec, "completionMode", json!("NonIndexed"));
    set(spec, "suspend", json!(false));
    set(spec, "manualSelector", json!(false));
    set(spec, "podReplacementPolicy", json!("TerminatingOrFailed"));
    fill_template(spec);
}

fn fill_service(spec: &mut Fields) {
    set(spec, "type", json!("ClusterIP"));
    set(spec, "sessionAffinity", json!("None"));
    set(spec, "internalTrafficPolicy", json!("Cluster"));
    set(spec, "ipFamilies", json!(["IPv4"]));
    set(spec, "ipFamilyPolicy", json!("SingleStack"));
    if let Some(address) = spec.get("clusterIP").cloned() {
        set(spec, "clusterIPs", json!([address]));
    }
    for port in entries(spec, "ports") {
        let port = as_map(port);
        set(port, "protocol", json!("TCP"));
        let number = port.get("port").cloned().unwrap_or(json!(0));
        set(port, "targetPort", number);
    }
}

fn fill_claim(claim: &mut Value) {
    set(map_at(claim, "spec"), "volumeMode", json!("Filesystem"));
}

fn fill_template(spec: &mut Fields) {
    if let Some(template) = spec.get_mut("template") {
        fill_pod(map_at(template, "spec"));
    }
}

fn fill_pod(spec: &mut Fields) {
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", json!("default-scheduler"));
    for list in ["initContainers", "containers"] {
        entries(spec, list)
            .iter_mut()
            .for_each(|container| fill_container(as_map(container)));
    }
    for volume in entries(spec, "volumes") {
        let volume = as_map(volume);
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if let Some(source) = volume.get_mut(source) {
                set(as_map(source), "defaultMode", json!(420));
            }
        }
        if let Some(path) = volume.get_mut("hostPath") {
            set(as_map(path), "type", json!(""));
        }
    }
}

fn fill_container(container: &mut Fields) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if pulls_always(image) { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", json!(policy));
    set(container, "resources", json!({}));
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    for port in entries(container, "ports") {
        set(as_map(port), "protocol", json!("TCP"));
    }
    for variable in entries(container, "env") {
        if let Some(field) = variable
            .get_mut("valueFrom")
            .and_then(|source| source.get_mut("fieldRef"))
        {
            set(as_map(field), "apiVersion", json!("v1"));
        }
    }
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe).map(as_map) else {
            continue;
        };
        set(probe, "timeoutSeconds", json!(1));
        set(probe, "periodSeconds", json!(10));
        set(probe, "successThreshold", json!(1));
        set(probe, "failureThreshold", json!(3));
        if let Some(request) = probe.get_mut("httpGet") {
            set(as_map(request), "path", json!("/"));
            set(as_map(request), "scheme", json!("HTTP"));
        }
    }
}

/// Untagged images and `latest` are pulled at every start; a digest never changes.
fn pulls_always(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn entries<'a>(map: &'a mut Fields, list: &str) -> &'a mut [Value] {
    map.get_mut(list)
        .and_then(Value::as_array_mut)
        .map_or(&mut [], Vec::as_mut_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pulled_by_their_tag() {
        for (image, always) in [
            ("shop", true),
            ("shop:latest", true),
            ("shop:1", false),
            ("registry.example:5000/shop", true),
            ("registry.example:5000/shop:1", false),
            ("shop@sha256:00", false),
        ] {
            assert_eq!(pulls_always(image), always, "{image}");
        }
    }
}
