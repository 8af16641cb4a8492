//! The API as its clients see it: every behaviour through `kube::Client`, over a real connection.

mod deleting;
mod gating;
mod owning;
mod patching;
mod proxying;
mod watching;
mod writing;

use super::{ApiServer, Options};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, Pod},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Nothing in these tests takes this long; it only ends a test that would hang.
const LONG: Duration = Duration::from_secs(20);

async fn start() -> (ApiServer, Client) {
    start_with(Options::default()).await
}

async fn start_with(options: Options) -> (ApiServer, Client) {
    let server = ApiServer::start(options).await.unwrap();
    let client = Client::try_from(server.client_config()).unwrap();
    (server, client)
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future)
        .await
        .expect("this should not take so long")
}

/// Waits for a change after which `done` holds.
async fn until(server: &ApiServer, done: impl Fn(&ApiServer) -> bool) {
    let mut changes = server.changes();
    within(async {
        while !done(server) {
            changes.changed().await.unwrap();
        }
    })
    .await;
}

fn config_map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    let data: BTreeMap<String, String> = data
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect();
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    }
}

fn stateful_set(name: &str, replicas: i32) -> StatefulSet {
    from(json!({
        "metadata": {"name": name},
        "spec": {
            "serviceName": name, "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "shop:1", "env": [{"name": "A", "value": "1"}]}]},
            },
        },
    }))
}

fn pod(name: &str, extra: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "app", "image": "shop:1"}]}});
    json_patch::merge(&mut pod, &extra);
    from(pod)
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn to_json<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap()
}

async fn create<K>(api: &Api<K>, object: &K) -> K
where
    K: Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.create(&PostParams::default(), object).await.unwrap()
}

async fn merge<K>(api: &Api<K>, name: &str, patch: Value) -> kube::Result<K>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

/// The code, reason and message of a refusal.
fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String, String) {
    match result.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.reason, status.message),
        other => panic!("the server should have refused: {other}"),
    }
}
