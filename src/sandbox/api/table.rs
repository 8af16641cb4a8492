//! Objects as rows, which is how `kubectl get` asks for them: each kind with the columns that Kubernetes gives it.
//!
//! Pure. Only kinds that people look at in a sandbox have columns of their own; the others have a name and an age.

use super::{call::Call, kinds::Kind, object};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A column: its heading, and whether it is shown only by `-o wide`.
type Column = (&'static str, bool);

/// What goes with each row beside its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    /// The object's metadata.
    Metadata,
    /// The whole object.
    Object,
    /// Nothing.
    Nothing,
}

impl Include {
    pub(super) fn asked_for(call: &Call) -> Self {
        match call.query.get("includeObject") {
            "Object" => Self::Object,
            "None" => Self::Nothing,
            _ => Self::Metadata,
        }
    }
}

/// A table of these objects, which are all of one kind.
pub(super) fn table(kind: &Kind, objects: &[&Value], metadata: &Value, include: Include) -> Value {
    let now = Timestamp::now();
    let columns: Vec<Value> = columns(kind)
        .iter()
        .enumerate()
        .map(|(index, (name, wide))| {
            let format = if index == 0 { "name" } else { "" };
            json!({"name": name, "type": "string", "format": format, "description": "", "priority": i32::from(*wide)})
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = json!({"cells": cells(kind, object, now)});
            match include {
                Include::Nothing => {}
                Include::Object => row["object"] = (*object).clone(),
                Include::Metadata => {
                    row["object"] = json!({
                        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
                    });
                }
            }
            row
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

fn columns(kind: &Kind) -> &'static [Column] {
    const SHOWN: bool = false;
    const WIDE: bool = true;
    match (kind.group, kind.kind) {
        ("", "Pod") => &[
            ("Name", SHOWN),
            ("Ready", SHOWN),
            ("Status", SHOWN),
            ("Restarts", SHOWN),
            ("Age", SHOWN),
            ("IP", WIDE),
            ("Node", WIDE),
        ],
        ("apps", "StatefulSet") => &[
            ("Name", SHOWN),
            ("Ready", SHOWN),
            ("Age", SHOWN),
            ("Containers", WIDE),
            ("Images", WIDE),
        ],
        ("apps", "ControllerRevision") => &[
            ("Name", SHOWN),
            ("Controller", SHOWN),
            ("Revision", SHOWN),
            ("Age", SHOWN),
        ],
        ("", "Service") => &[
            ("Name", SHOWN),
            ("Type", SHOWN),
            ("Cluster-IP", SHOWN),
            ("Port(s)", SHOWN),
            ("Age", SHOWN),
            ("Selector", WIDE),
        ],
        ("", "Node") => &[
            ("Name", SHOWN),
            ("Status", SHOWN),
            ("Age", SHOWN),
            ("Internal-IP", WIDE),
        ],
        ("", "Namespace") => &[("Name", SHOWN), ("Status", SHOWN), ("Age", SHOWN)],
        ("", "ConfigMap") => &[("Name", SHOWN), ("Data", SHOWN), ("Age", SHOWN)],
        ("", "Secret") => &[("Name", SHOWN), ("Type", SHOWN), ("Data", SHOWN), ("Age", SHOWN)],
        ("", "PersistentVolumeClaim") => &[("Name", SHOWN), ("Status", SHOWN), ("Volume", SHOWN), ("Age", SHOWN)],
        ("", "Event") => &[
            ("Last Seen", SHOWN),
            ("Type", SHOWN),
            ("Reason", SHOWN),
            ("Object", SHOWN),
            ("Message", SHOWN),
        ],
        ("coordination.k8s.io", "Lease") => &[("Name", SHOWN), ("Holder", SHOWN), ("Age", SHOWN)],
        _ => &[("Name", SHOWN), ("Age", SHOWN)],
    }
}

/// As many as there are columns.
fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = json!(object::name(object));
    let age = json!(since(&object["metadata"]["creationTimestamp"], now));
    let text = |path: &str| json!(object.pointer(path).and_then(Value::as_str).unwrap_or("<none>"));
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let length = |path: &str| {
        object
            .pointer(path)
            .and_then(Value::as_object)
            .map_or(0, serde_json::Map::len)
    };
    match (kind.group, kind.kind) {
        ("", "Pod") => {
            let (ready, status, restarts) = pod(object, now);
            let (address, node) = (text("/status/podIP"), text("/spec/nodeName"));
            vec![name, json!(ready), json!(status), json!(restarts), age, address, node]
        }
        ("apps", "StatefulSet") => {
            let ready = format!("{}/{}", number("/status/readyReplicas"), number("/spec/replicas"));
            let containers = &object["spec"]["template"]["spec"]["containers"];
            vec![
                name,
                json!(ready),
                age,
                joined(containers, "name"),
                joined(containers, "image"),
            ]
        }
        ("apps", "ControllerRevision") => vec![name, json!(controller(object)), json!(number("/revision")), age],
        ("", "Service") => {
            let ports = object["spec"]["ports"].as_array().map_or(&[][..], Vec::as_slice);
            let ports: Vec<String> = ports
                .iter()
                .map(|port| format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP")))
                .collect();
            let selector = object["spec"]["selector"].as_object().into_iter().flatten();
            let selector: Vec<String> = selector
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
                .collect();
            let (of, address) = (text("/spec/type"), text("/spec/clusterIP"));
            vec![
                name,
                of,
                address,
                json!(ports.join(",")),
                age,
                json!(selector.join(",")),
            ]
        }
        ("", "Node") => {
            let status = if condition(object, "Ready") {
                "Ready"
            } else {
                "NotReady"
            };
            vec![name, json!(status), age, text("/status/addresses/0/address")]
        }
        ("", "Namespace") => vec![name, text("/status/phase"), age],
        ("", "ConfigMap") => vec![name, json!(length("/data") + length("/binaryData")), age],
        ("", "Secret") => vec![name, text("/type"), json!(length("/data")), age],
        ("", "PersistentVolumeClaim") => vec![name, text("/status/phase"), text("/spec/volumeName"), age],
        ("", "Event") => {
            let seen = [
                &object["lastTimestamp"],
                &object["eventTime"],
                &object["firstTimestamp"],
            ];
            let seen = seen.into_iter().find(|time| time.is_string()).unwrap_or(&Value::Null);
            let of = &object["involvedObject"];
            let kind = of["kind"].as_str().unwrap_or_default().to_lowercase();
            let of = format!("{kind}/{}", of["name"].as_str().unwrap_or_default());
            vec![
                json!(since(seen, now)),
                text("/type"),
                text("/reason"),
                json!(of),
                text("/message"),
            ]
        }
        ("coordination.k8s.io", "Lease") => vec![name, text("/spec/holderIdentity"), age],
        _ => vec![name, age],
    }
}

/// How many containers are ready, in which state the pod is in a word, and how often containers were restarted.
fn pod(pod: &Value, now: Timestamp) -> (String, String, String) {
    let of = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    let statuses = pod["status"]["containerStatuses"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let ready = statuses.iter().filter(|status| status["ready"] == true).count();
    let reason = |status: &Value| {
        let waiting = status["state"]["waiting"]["reason"].as_str();
        let ended = &status["state"]["terminated"];
        let code = || ended["exitCode"].as_i64().map(|code| format!("ExitCode:{code}"));
        waiting.or(ended["reason"].as_str()).map(str::to_owned).or_else(code)
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    // The first container that has something to say decides.
    let status = statuses.iter().find_map(reason);
    let status = status
        .or_else(|| text(&pod["status"]["reason"]))
        .or_else(|| text(&pod["status"]["phase"]));
    let status = if pod["metadata"]["deletionTimestamp"].is_string() {
        "Terminating".to_owned()
    } else {
        status.unwrap_or_default()
    };
    let restarts: i64 = statuses
        .iter()
        .filter_map(|status| status["restartCount"].as_i64())
        .sum();
    let ended = statuses
        .iter()
        .map(|status| &status["lastState"]["terminated"]["finishedAt"]);
    let last = ended.filter_map(Value::as_str).max();
    let restarts = match last {
        Some(last) if restarts > 0 => format!("{restarts} ({} ago)", since(&json!(last), now)),
        _ => restarts.to_string(),
    };
    (format!("{ready}/{of}"), status, restarts)
}

fn condition(object: &Value, wanted: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut wanted = conditions.filter(|condition| condition["type"] == wanted);
    wanted.any(|condition| condition["status"] == "True")
}

/// `statefulset.apps/shop`, as `kubectl` writes it.
fn controller(object: &Value) -> String {
    let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let mut controllers = owners.filter(|owner| owner["controller"] == true);
    let Some(owner) = controllers.next() else {
        return "<none>".to_owned();
    };
    let text = |field: &str| owner[field].as_str().unwrap_or_default();
    let group = text("apiVersion")
        .rsplit_once('/')
        .map_or(String::new(), |(group, _)| format!(".{group}"));
    format!("{}{group}/{}", text("kind").to_lowercase(), text("name"))
}

fn joined(list: &Value, field: &str) -> Value {
    let entries = list.as_array().into_iter().flatten();
    let texts: Vec<&str> = entries.filter_map(|entry| entry[field].as_str()).collect();
    json!(texts.join(","))
}

/// How long ago something was, as Kubernetes rounds it (`duration.HumanDuration` of apimachinery).
fn since(time: &Value, now: Timestamp) -> String {
    let Some(time) = time.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "<unknown>".to_owned();
    };
    human(now.duration_since(time).as_secs())
}

fn human(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let two = |whole: i64, unit: &str, rest: i64, part: &str| {
        if rest == 0 {
            format!("{whole}{unit}")
        } else {
            format!("{whole}{unit}{rest}{part}")
        }
    };
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds}s"),
        120..600 => two(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        _ => format!("{}d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds;
    use super::*;

    fn kind(name: &str) -> Kind {
        let mut kinds = kinds::builtin().into_iter();
        kinds.find(|kind| kind.kind == name).unwrap()
    }

    #[test]
    fn every_kind_has_as_many_cells_as_columns() {
        for kind in kinds::builtin() {
            let cells = cells(&kind, &json!({"metadata": {"name": "x"}}), Timestamp::now());
            assert_eq!(cells.len(), columns(&kind).len(), "{}", kind.kind);
        }
    }

    #[test]
    fn a_pod_is_shown_as_kubernetes_shows_it() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let shown = |statuses: Value, deleted: bool| {
            let mut pod = json!({
                "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"containers": [{"name": "c"}]},
                "status": {"phase": "Running", "containerStatuses": statuses},
            });
            if deleted {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:09:59Z");
            }
            let cells = cells(&kind("Pod"), &pod, now);
            let cells: Vec<&str> = cells[1..5].iter().map(|cell| cell.as_str().unwrap()).collect();
            cells.join(" ")
        };
        let runs = json!([{"ready": true, "restartCount": 0, "state": {"running": {}}}]);
        assert_eq!(shown(runs.clone(), false), "1/1 Running 0 10m");
        assert_eq!(shown(runs, true), "1/1 Terminating 0 10m");
        let crashes = json!([{
            "ready": false, "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T00:09:30Z"}},
        }]);
        assert_eq!(shown(crashes, false), "0/1 CrashLoopBackOff 2 (30s ago) 10m");
        let ended = json!([{"ready": false, "state": {"terminated": {"exitCode": 3}}}]);
        assert_eq!(shown(ended, false), "0/1 ExitCode:3 0 10m");
        assert_eq!(shown(json!(null), false), "0/1 Running 0 10m");
    }

    #[test]
    fn ages_are_rounded_as_kubernetes_rounds_them() {
        for (seconds, shown) in [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (305, "5m5s"),
            (3_700, "61m"),
            (10_800, "3h"),
            (11_400, "3h10m"),
            (90_000, "25h"),
            (180_000, "2d2h"),
            (800_000, "9d"),
        ] {
            assert_eq!(human(seconds), shown);
        }
    }
}
