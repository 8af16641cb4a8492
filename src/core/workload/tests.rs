//! Judgements over objects as files: `testdata/workloads/`. A file has a set, its revisions and a pod, and cases that
//! each change something of them (as a merge patch) and say what a gate makes of it.

mod removing;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::model::{Observed, SeenWorkload, TemplateRef, Verdict, WorkloadKind, WorkloadRef};
use crate::plan::Gate;

/// RFC 7386.
fn merged(mut base: Value, patch: &Value) -> Value {
    let Value::Object(fields) = patch else {
        return patch.clone();
    };
    if !base.is_object() {
        base = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(key);
        } else {
            let old = base[key].take();
            base[key] = merged(old, value);
        }
    }
    base
}

fn workload() -> WorkloadRef {
    WorkloadRef {
        kind: WorkloadKind::StatefulSet,
        namespace: "a".into(),
        name: "web".into(),
    }
}

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/workloads")
        .join(name);
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// What a case sees. `change: null` is a set that does not exist.
fn seen_of(file: &Value, case: &Value) -> SeenWorkload {
    let set = match case.get("change") {
        Some(Value::Null) => None,
        Some(change) => Some(merged(file["set"].clone(), change)),
        None => Some(file["set"].clone()),
    };
    let pods = match (case.get("pods"), file.get("pod")) {
        (Some(pods), _) => pods.clone(),
        (None, Some(pod)) => json!([merged(pod.clone(), case.get("pod").unwrap_or(&json!({})))]),
        (None, None) => json!([]),
    };
    let revisions = case.get("revisions").or(file.get("revisions")).cloned();
    SeenWorkload {
        workload: workload(),
        set: set.map(typed),
        pods: typed(pods),
        revisions: typed(revisions.unwrap_or(json!([]))),
    }
}

fn gate_of(file: &Value, case: &Value) -> Gate {
    let template = || typed(case.get("template").unwrap_or(&file["template"]).clone());
    let words: Vec<&str> = case["gate"].as_str().unwrap().split(' ').collect();
    let workload = workload();
    match words.as_slice() {
        ["pod-gone", pod] => Gate::PodGone {
            workload,
            pod: (*pod).to_owned(),
        },
        ["all-gone"] => Gate::AllGone { workload },
        ["repointed"] => Gate::Repointed {
            workload,
            to: template(),
        },
        ["pod-healthy", pod, rest @ ..] => Gate::PodHealthy {
            workload,
            pod: (*pod).to_owned(),
            template: template(),
            rewritten: case
                .get("rewritten")
                .map(|rewritten| typed(rewritten.clone()))
                .unwrap_or_default(),
            min_ready_seconds: match rest {
                ["for", seconds] => seconds.parse().unwrap(),
                _ => 0,
            },
            probes: vec![],
        },
        other => panic!("no such gate: {other:?}"),
    }
}

fn check(name: &str) {
    let file = read(name);
    for (number, case) in file["cases"].as_array().unwrap().iter().enumerate() {
        let ready_for = Duration::from_millis(case.get("ready-for").and_then(Value::as_u64).unwrap_or(0));
        let verdict = match judge(&gate_of(&file, case), &seen_of(&file, case), ready_for) {
            Verdict::Healthy(what) => format!("healthy: {what}"),
            Verdict::Waiting(why) => format!("waiting: {why}"),
            Verdict::Failed(why) => format!("failed: {why}"),
            Verdict::Foreign(why) => format!("changed: {why}"),
            Verdict::LeftStanding(why) => format!("left standing: {why}"),
        };
        assert_eq!(
            verdict,
            case["expect"].as_str().unwrap(),
            "{name}, case {}: {case:#}",
            number + 1
        );
    }
}

#[test]
fn stopping() {
    check("stop.yaml");
}

#[test]
fn repointing() {
    check("repoint.yaml");
}

#[test]
fn starting() {
    check("start.yaml");
}

#[test]
fn no_file_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/workloads");
    let found: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        found,
        ["repoint.yaml", "start.yaml", "stop.yaml"].map(String::from).into()
    );
}

/// What to type, according to whoever has found a change by somebody else.
fn set_back(seen: Observed) -> String {
    let Observed::Foreign(why) = seen else {
        panic!("not foreign: {seen:?}");
    };
    let (_, typed) = why.split_once("set it back, then resume: ").expect(&why);
    typed.to_owned()
}

#[test]
fn a_repoint_is_done_untouched_or_foreign() {
    let file = read("repoint.yaml");
    let old: TemplateRef = typed(file["template"].clone());
    let new = TemplateRef {
        revision: Some("web-new".into()),
        images: [("shop".to_owned(), "shop:1.3.0".to_owned())].into(),
    };
    let seen = seen_of(&file, &json!({}));
    assert!(matches!(observe_repoint(&seen, "set-1", &new, &old), Observed::Done(_)));
    assert_eq!(observe_repoint(&seen, "set-1", &old, &new), Observed::Untouched);
    assert!(matches!(
        observe_repoint(&seen, "set-2", &new, &old),
        Observed::Foreign(_)
    ));
    let changed = json!({ "change": { "spec": { "template": { "spec": { "restartPolicy": "Never" } } } } });
    let changed = seen_of(&file, &changed);
    assert_eq!(
        set_back(observe_repoint(&changed, "set-1", &new, &old)),
        "kubectl -n a rollout undo statefulset web --to-revision 2"
    );
    let gone = seen_of(&file, &json!({ "change": null }));
    assert!(matches!(
        observe_repoint(&gone, "set-1", &new, &old),
        Observed::Foreign(_)
    ));
}

#[test]
fn a_count_is_done_untouched_or_foreign() {
    let file = read("stop.yaml");
    let seen = |replicas: i32| seen_of(&file, &json!({ "change": { "spec": { "replicas": replicas } } }));
    assert!(matches!(observe_scale(&seen(1), "set-1", 2, 1), Observed::Done(_)));
    assert_eq!(observe_scale(&seen(2), "set-1", 2, 1), Observed::Untouched);
    assert_eq!(
        set_back(observe_scale(&seen(3), "set-1", 2, 1)),
        "kubectl -n a scale statefulset web --replicas 2"
    );
    assert!(matches!(observe_scale(&seen(1), "set-2", 2, 1), Observed::Foreign(_)));
    // The API's default.
    let unset = seen_of(&file, &json!({ "change": { "spec": { "replicas": null } } }));
    assert!(matches!(observe_scale(&unset, "set-1", 2, 1), Observed::Done(_)));
}

#[test]
fn a_restart_or_another_pod_is_another_incarnation() {
    let file = read("start.yaml");
    let seen = |uid: &str, restarts: i32| {
        seen_of(
            &file,
            &json!({ "pod": { "metadata": { "uid": uid }, "status": { "containerStatuses": [
                { "name": "shop", "ready": true, "restartCount": restarts, "image": "i", "imageID": "i" },
            ] } } }),
        )
    };
    let first = incarnation(&seen("pod-1", 0), "web-0");
    assert!(first.is_some());
    assert_eq!(incarnation(&seen("pod-1", 0), "web-0"), first);
    assert_ne!(incarnation(&seen("pod-1", 1), "web-0"), first);
    assert_ne!(incarnation(&seen("pod-2", 0), "web-0"), first);
    assert_eq!(incarnation(&seen("pod-1", 0), "web-1"), None);
}

#[test]
fn a_sidecar_that_restarts_is_another_incarnation() {
    let file = read("start.yaml");
    let of = |name: &str, times: i32| json!({ "name": name, "ready": true, "restartCount": times, "image": "i", "imageID": "i" });
    let seen = |sidecar: i32, init: i32| {
        seen_of(
            &file,
            &json!({ "pod": {
                "spec": { "initContainers": [{ "name": "proxy", "restartPolicy": "Always" }, { "name": "init" }] },
                "status": { "initContainerStatuses": [of("proxy", sidecar), of("init", init)] },
            } }),
        )
    };
    let first = incarnation(&seen(0, 0), "web-0");
    assert_ne!(incarnation(&seen(1, 0), "web-0"), first);
    assert_eq!(
        incarnation(&seen(0, 1), "web-0"),
        first,
        "it did its work when the pod began"
    );
}

#[test]
fn a_pod_that_was_not_ready_in_between_begins_another_spell() {
    let file = read("start.yaml");
    let seen = |uid: &str, status: &str, since: &str| {
        seen_of(
            &file,
            &json!({ "pod": { "metadata": { "uid": uid }, "status": { "conditions": [
                { "type": "Ready", "status": status, "lastTransitionTime": since },
            ] } } }),
        )
    };
    let of = |uid: &str, status: &str, since: &str| readiness(&seen(uid, status, since), "web-0");
    let (one, later) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
    let first = of("pod-1", "True", one);
    assert!(first.is_some());
    assert_eq!(of("pod-1", "True", one), first);
    assert_ne!(of("pod-1", "True", later), first);
    assert_ne!(of("pod-2", "True", one), first);
    assert_eq!(of("pod-1", "False", one), None);
}

#[test]
fn w13_containers_that_a_webhook_adds_are_the_pods_but_not_the_templates() {
    let file = read("start.yaml");
    let restarted = |times: i32| {
        let of = |name: &str, times: i32| json!({ "name": name, "ready": true, "restartCount": times, "image": "i", "imageID": "i" });
        seen_of(
            &file,
            &json!({ "pod": {
                "spec": { "containers": [{ "name": "proxy", "image": "mesh:1" }, { "name": "shop", "image": "shop:1.2.0" }] },
                "status": { "containerStatuses": [of("shop", 0), of("proxy", times)] },
            } }),
        )
    };
    let once = restarted(1);
    let pod = once.pod("web-0").unwrap();
    let template = |images: &[(&str, &str)]| {
        images
            .iter()
            .map(|(name, image)| ((*name).into(), (*image).into()))
            .collect()
    };
    let others = |images: &[(&str, &str)]| other_images(pod, &template(images));
    assert!(others(&[("shop", "shop:1.2.0")]).is_empty());
    assert!(others(&[("shop", "shop:1.2.0"), ("init", "init:2")]).is_empty());
    assert_eq!(
        others(&[("shop", "mesh:1")]),
        [("shop".into(), Some("shop:1.2.0".into()))].into()
    );
    assert_eq!(
        others(&[("shop", "shop:1.2.0"), ("own", "own:1")]),
        [("own".into(), None)].into()
    );
    // What was counted of it before one of its containers was started again is worth nothing, whichever that is.
    assert_ne!(incarnation(&once, "web-0"), incarnation(&restarted(2), "web-0"));
    assert!(readiness(&once, "web-0").is_some());
    assert_ne!(readiness(&once, "web-0"), readiness(&restarted(2), "web-0"));
}
