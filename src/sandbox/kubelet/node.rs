//! The Node object: made once, and kept Ready.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{from_value, json};
use tokio::time::sleep;

use crate::record::now;

/// How often the node says that it is there. Kubernetes gives one up that was silent for 40 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long to wait before a call that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Makes the node and marks it Ready, with the port on which its kubelet answers; returns once that is done.
pub(super) async fn ensure(client: &Client, name: &str, port: u16) {
    loop {
        match make(client, name, port).await {
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(node = name, %error, "the node could not be made yet");
                sleep(RETRY).await;
            }
        }
    }
}

/// Says again and again that the node is there. Never ends.
pub(super) async fn renew(client: &Client, name: &str, port: u16) {
    loop {
        sleep(HEARTBEAT).await;
        // Made anew, should somebody have deleted it.
        ensure(client, name, port).await;
    }
}

async fn make(client: &Client, name: &str, port: u16) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let found = match nodes.get_opt(name).await? {
        Some(found) => found,
        None => {
            let labels = BTreeMap::from([("kubernetes.io/hostname", name), ("kubernetes.io/os", "linux")]);
            let node: Node = from_value(json!({ "metadata": { "name": name, "labels": labels } }))
                .map_err(kube::Error::SerdeError)?;
            nodes.create(&PostParams::default(), &node).await?
        }
    };
    let ready = found
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .find(|c| c.type_ == "Ready");
    let since = ready
        .filter(|ready| ready.status == "True")
        .and_then(|ready| ready.last_transition_time.clone());
    let resources = json!({ "cpu": "64", "memory": "64Gi", "pods": "1000" });
    let patch = json!({ "status": {
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the sandbox's kubelet runs",
            "lastHeartbeatTime": now(), "lastTransitionTime": since.unwrap_or_else(now),
        }],
        "capacity": resources,
        "allocatable": resources,
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }, { "type": "Hostname", "address": name }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
        "nodeInfo": {
            "kubeletVersion": concat!("v", env!("CARGO_PKG_VERSION"), "-stepback"), "operatingSystem": "linux",
            "architecture": std::env::consts::ARCH, "bootID": "", "containerRuntimeVersion": "process://",
            "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "osImage": "", "systemUUID": "",
        },
    } });
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}
