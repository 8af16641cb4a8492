//! A namespace with the set `web`, seen through the seam.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{
    Client,
    api::{Patch, PatchParams},
    client::Body,
};
use serde_json::{Value, json};
use stepback::cluster::{Cluster as _, KubeCluster};
use stepback_core::model::{RunId, SeenWorkload, Stamp, StepId, Token, WorkloadKind, WorkloadRef};

use crate::support::{cluster::Kind, runner::NotPassed, scene::Scene};

pub struct Arena {
    pub kind: Kind,
    pub scene: Scene,
    pub cluster: KubeCluster,
    pub web: WorkloadRef,
}

impl Deref for Arena {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl Arena {
    pub async fn open(kind: Kind, name: &str) -> Result<Arena, NotPassed> {
        let scene = Scene::open(kind, name).await?;
        Ok(Arena {
            kind,
            cluster: KubeCluster::new(scene.client.clone(), scene.namespace.clone()),
            web: WorkloadRef {
                kind: WorkloadKind::StatefulSet,
                namespace: scene.namespace.clone(),
                name: "web".to_owned(),
            },
            scene,
        })
    }

    /// Another coordinator.
    pub fn other(&self) -> KubeCluster {
        KubeCluster::new(self.client.clone(), self.namespace.clone())
    }

    pub async fn seen(&self) -> Result<SeenWorkload, NotPassed> {
        let seen = self.cluster.look(std::slice::from_ref(&self.web)).await?;
        Ok(seen.workloads.into_iter().next().expect("one was asked for"))
    }

    pub async fn set(&self) -> Result<StatefulSet, NotPassed> {
        Ok(self.sets.get("web").await?)
    }

    /// A set without pods, at rest; and its UID.
    pub async fn empty_set(&self, image: &str) -> Result<String, NotPassed> {
        self.create(image, 0, json!({})).await?;
        self.until_settled(0).await?;
        Ok(self.set().await?.metadata.uid.expect("a stored object has a UID"))
    }

    /// Patches the set's template, and waits until the controller has made a revision of it.
    pub async fn change_template(&self, template: Value) -> Result<(), NotPassed> {
        let patch = Patch::Strategic(json!({ "spec": { "template": template } }));
        self.sets.patch("web", &PatchParams::default(), &patch).await?;
        self.until_settled(0).await?;
        Ok(())
    }

    /// A cluster whose next patch meets a set, and whose next delete meets a pod `web-1`, that somebody changed just
    /// before.
    pub fn disturbed(&self) -> KubeCluster {
        let (inner, sets, pods) = (self.client.clone(), self.sets.clone(), self.pods.clone());
        let undisturbed = Arc::new(AtomicBool::new(true));
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (inner, sets, pods) = (inner.clone(), sets.clone(), pods.clone());
            let undisturbed = Arc::clone(&undisturbed);
            async move {
                if request.method() == http::Method::DELETE && undisturbed.swap(false, Ordering::SeqCst) {
                    let patch = Patch::Merge(json!({ "metadata": { "labels": { "disturbed": "yes" } } }));
                    pods.patch("web-1", &PatchParams::default(), &patch).await?;
                }
                if request.method() == http::Method::PATCH && undisturbed.swap(false, Ordering::SeqCst) {
                    let patch = Patch::Merge(json!({ "metadata": { "labels": { "disturbed": "yes" } } }));
                    sets.patch("web", &PatchParams::default(), &patch).await?;
                }
                inner.send(request).await
            }
        });
        KubeCluster::new(Client::new(service, self.namespace.clone()), self.namespace.clone())
    }
}

pub fn token(number: u64) -> Token {
    Token { number, nonce: 0 }
}

pub fn stamp(step: u32, number: u64) -> Stamp {
    Stamp {
        run: RunId("01J8ZQ4M5N6P7Q8R9S0T1V2W3X".to_owned()),
        step: StepId(step),
        token: token(number),
    }
}

/// What a write of ours may not have changed when it was refused: everything but what controllers report.
pub fn substance(set: &StatefulSet) -> Value {
    json!({
        "generation": set.metadata.generation,
        "annotations": set.metadata.annotations,
        "labels": set.metadata.labels,
        "spec": set.spec,
    })
}

/// Does a write again as long as a controller was faster, as the executor does after it has looked.
macro_rules! again {
    ($write:expr) => {
        loop {
            match $write.await {
                Err(stepback::cluster::ClusterError::Conflict { .. }) => {}
                written => break written,
            }
        }
    };
}
pub(super) use again;
