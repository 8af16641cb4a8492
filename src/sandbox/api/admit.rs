//! What the real server's admission does to new objects, beside their defaults: no manager owns it.
//!
//! Service accounts of pods, the protection of claims in use, the selectors of Jobs. Used by `write.rs` alone, but for the
//! account that every namespace starts with.

use super::{
    defaults::{self, set},
    failure::Failure,
    kinds::Kind,
    object::{self, as_map, map_at},
    store::{Key, Store},
    write::new_uid,
};
use serde_json::{Value, json};

/// Admits a new object, or says why not. `asked` is its name, or what its name is to begin with.
pub(super) fn admit(store: &Store, kind: &Kind, asked: &str, object: &mut Value) -> Result<(), Failure> {
    match (kind.group, kind.kind) {
        ("", "Pod") => return admit_pod(store, kind, asked, object),
        ("", "PersistentVolumeClaim") => admit_claim(object),
        ("batch", "Job") => admit_job(object),
        _ => {}
    }
    Ok(())
}

/// What webhooks make of a new object, before anybody owns its fields; what they add has its defaults like all else.
pub(super) fn mutate(store: &Store, kind: &Kind, object: &mut Value) {
    if (kind.group, kind.kind) != ("", "Pod") || store.pod_mutations.is_empty() {
        return;
    }
    for mutate in &store.pod_mutations {
        mutate(object);
    }
    defaults::fill(kind, object);
}

/// What admission does to a new pod: its service account must exist, and some fields are filled in.
fn admit_pod(store: &Store, kind: &Kind, asked: &str, pod: &mut Value) -> Result<(), Failure> {
    fill_pod(pod);
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    let namespace = object::namespace(pod);
    let row = store.kind_named("", "ServiceAccount");
    if row.is_some_and(|row| store.find(&Key::new(row, namespace, account)).is_none()) {
        let why =
            format!("error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found");
        return Err(Failure::forbidden(kind, asked, &why));
    }
    Ok(())
}

/// What admission adds to a pod beside its defaults; no manager owns it.
fn fill_pod(pod: &mut Value) {
    let spec = map_at(pod, "spec");
    set(spec, "serviceAccountName", json!("default"));
    let account = spec["serviceAccountName"].clone();
    spec.insert("serviceAccount".to_owned(), account);
    set(spec, "priority", json!(0));
    set(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    let mut tolerations = spec
        .get("tolerations")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covered = |entry: &Value| {
            let of_key = entry.get("key").is_none_or(|tolerated| tolerated == key);
            of_key && entry.get("effect").is_none_or(|effect| effect == "NoExecute")
        };
        if !tolerations.iter().any(covered) {
            tolerations
                .push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
    spec.insert("tolerations".to_owned(), Value::Array(tolerations));
}

/// What admission adds to a claim: it stays while pods use it.
fn admit_claim(claim: &mut Value) {
    let finalizers = object::metadata(claim).entry("finalizers").or_insert_with(|| json!([]));
    if let Some(finalizers) = finalizers
        .as_array_mut()
        .filter(|list| !list.iter().any(|entry| entry == IN_USE))
    {
        finalizers.push(json!(IN_USE));
    }
}

/// The finalizer of claims that pods may use.
pub(super) const IN_USE: &str = "kubernetes.io/pvc-protection";

/// Gives a Job the selector and labels by which it finds its pods, unless it brings its own.
fn admit_job(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let (name, uid) = (object::name(job).to_owned(), object::uid(job).to_owned());
    let spec = map_at(job, "spec");
    spec.insert(
        "selector".to_owned(),
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}),
    );
    let template = spec.entry("template").or_insert(Value::Null);
    let metadata = as_map(template).entry("metadata").or_insert(Value::Null);
    let labels = map_at(metadata, "labels");
    for (label, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        labels.insert(label.to_owned(), json!(value));
    }
    let labels = Value::Object(labels.clone());
    set(object::metadata(job), "labels", labels);
}

/// The account that pods use when they name none; the controller manager's work on a real cluster.
pub(super) fn add_default_account(store: &mut Store, namespace: &str, now: &str) {
    let Some(row) = store.kind_named("", "ServiceAccount") else {
        return;
    };
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": namespace, "uid": new_uid(), "creationTimestamp": now},
    });
    store.put(Key::new(row, namespace, "default"), account);
}
