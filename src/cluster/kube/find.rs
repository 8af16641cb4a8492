//! What workloads there are, for somebody who is about to name them.

use std::collections::BTreeSet;

use futures::future::{join, try_join};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::PodSpec;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use stepback_core::model::WorkloadRef;

use super::{KubeCluster, failure};
use crate::cluster::ClusterError;

/// A workload that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundWorkload {
    /// `StatefulSet` or `Deployment`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What its pods are made of.
    pub pod: PodSpec,
}

/// The StatefulSets of a workload's namespace, and those of its name in others.
pub(super) async fn similar(client: &Client, workload: &WorkloadRef) -> Vec<WorkloadRef> {
    let here: Api<StatefulSet> = Api::namespaced(client.clone(), &workload.namespace);
    let anywhere: Api<StatefulSet> = Api::all(client.clone());
    let all = ListParams::default().limit(100);
    let named = all.clone().fields(&format!("metadata.name={}", workload.name));
    let (here, anywhere) = join(here.list(&all), anywhere.list(&named)).await;
    let found = here.into_iter().chain(anywhere).flatten().map(|set| WorkloadRef {
        kind: workload.kind,
        namespace: set.namespace().unwrap_or_default(),
        name: set.name_any(),
    });
    let found: BTreeSet<WorkloadRef> = found.collect();
    found.into_iter().collect()
}

impl KubeCluster {
    /// The StatefulSets of the current namespace, then its Deployments, by name.
    ///
    /// # Errors
    /// When one of the two cannot be listed.
    pub async fn find_workloads(&self) -> Result<Vec<FoundWorkload>, ClusterError> {
        let namespace = self.default_namespace.clone();
        let (client, all) = (self.client.clone(), ListParams::default());
        let failed = |error| failure::of(error, &format!("the workloads of namespace {namespace}"));
        let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &namespace);
        let deployments: Api<Deployment> = Api::namespaced(client, &namespace);
        let (sets, deployments) = try_join(sets.list(&all), deployments.list(&all))
            .await
            .map_err(failed)?;
        let found = |kind, name, pod: Option<PodSpec>| FoundWorkload {
            kind,
            namespace: namespace.clone(),
            name,
            pod: pod.unwrap_or_default(),
        };
        let sets = sets
            .into_iter()
            .map(|set| found("StatefulSet", set.name_any(), set.spec.template.spec));
        let deployments = deployments.into_iter().map(|deployment| {
            let name = deployment.name_any();
            found("Deployment", name, deployment.spec.template.spec)
        });
        Ok(sets.chain(deployments).collect())
    }
}
