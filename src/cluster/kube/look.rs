//! Reading workloads, their pods and revisions.

use std::fmt::Debug;

use futures::future::{join_all, try_join, try_join_all, try_join3};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::{NamespaceResourceScope, Selector};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use stepback_core::model::{Digest, SeenCluster, SeenWorkload, WorkloadRef};

use super::failure;
use crate::cluster::{ClusterError, Parts, Pods, Revisions};

pub(super) async fn look(
    client: &Client,
    default_namespace: &str,
    workloads: &[WorkloadRef],
) -> Result<SeenCluster, ClusterError> {
    let namespace = workloads
        .first()
        .map_or(default_namespace, |first| first.namespace.as_str());
    let each = async {
        join_all(workloads.iter().map(|workload| look_at(client, workload, Parts::ALL)))
            .await
            .into_iter()
            .collect()
    };
    let (uid, workloads) = try_join(cluster_uid(client, namespace), each).await?;
    Ok(SeenCluster {
        uid,
        place: None,
        workloads,
    })
}

/// The UID of `kube-system`. Where a Role of one namespace forbids that, the cluster's own certificate authority, which
/// every namespace holds, tells clusters apart just as well; the prefix says which of the two it is.
async fn cluster_uid(client: &Client, namespace: &str) -> Result<String, ClusterError> {
    let object = "Namespace kube-system";
    match Api::<Namespace>::all(client.clone()).get("kube-system").await {
        Ok(found) => found.metadata.uid.ok_or_else(|| ClusterError::Gone {
            object: object.to_owned(),
            message: "it has no UID".to_owned(),
        }),
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            let roots: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            let found = roots.get("kube-root-ca.crt").await.map_err(|error| {
                let second = failure::of(error, &format!("ConfigMap {namespace}/kube-root-ca.crt"));
                match second {
                    lost @ ClusterError::Unreachable(_) => lost,
                    other => ClusterError::Forbidden(format!(
                        "the cluster cannot be told from others: {}, and {other}",
                        status.message
                    )),
                }
            })?;
            let bundle = found.data.unwrap_or_default().remove("ca.crt").unwrap_or_default();
            if bundle.trim().is_empty() {
                return Err(ClusterError::Forbidden(format!(
                    "the cluster cannot be told from others: {}, and ConfigMap {namespace}/kube-root-ca.crt is empty",
                    status.message
                )));
            }
            Ok(format!("ca:{}", Digest::of(bundle.trim())))
        }
        Err(error) => Err(failure::of(error, object)),
    }
}

/// The set and the named parts are read at once; what is listed is found by the set's selector, and so after it.
pub(super) async fn look_at(
    client: &Client,
    workload: &WorkloadRef,
    parts: Parts<'_>,
) -> Result<SeenWorkload, ClusterError> {
    let named = match parts.revisions {
        Revisions::Named(names) => names,
        Revisions::All => &[],
    };
    let (set, pods, revisions) = try_join3(
        get_set(client, workload),
        get_pod(client, workload, parts.pods),
        get_revisions(client, workload, named),
    )
    .await?;
    let Some(set) = set else {
        return Ok(assemble(workload, None, [], []));
    };
    let listed = ListParams::default().labels_from(&selector(&set, &workload.to_string())?);
    let (pods, revisions) = try_join(
        async {
            match parts.pods {
                Pods::All => list(client, workload, &listed).await,
                Pods::None | Pods::Named(_) => Ok(pods.into_iter().collect()),
            }
        },
        async {
            match parts.revisions {
                Revisions::All => list(client, workload, &listed).await,
                Revisions::Named(_) => Ok(revisions),
            }
        },
    )
    .await?;
    Ok(assemble(workload, Some(set), pods, revisions))
}

async fn list<K>(client: &Client, workload: &WorkloadRef, listed: &ListParams) -> Result<Vec<K>, ClusterError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let found = Api::<K>::namespaced(client.clone(), &workload.namespace)
        .list(listed)
        .await;
    let found = found.map_err(|error| failure::of(error, &format!("{} of {workload}", K::plural(&()))))?;
    Ok(found.items)
}

async fn get_pod(client: &Client, workload: &WorkloadRef, which: Pods<'_>) -> Result<Option<Pod>, ClusterError> {
    let Pods::Named(name) = which else { return Ok(None) };
    let pods: Api<Pod> = Api::namespaced(client.clone(), &workload.namespace);
    let found = pods.get_opt(name).await;
    found.map_err(|error| failure::of(error, &format!("Pod {}/{name}", workload.namespace)))
}

pub(super) async fn get_set(client: &Client, workload: &WorkloadRef) -> Result<Option<StatefulSet>, ClusterError> {
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &workload.namespace);
    let found = sets.get_opt(&workload.name).await;
    found.map_err(|error| failure::of(error, &workload.to_string()))
}

/// Revisions by their names, as far as they are there.
pub(super) async fn get_revisions(
    client: &Client,
    workload: &WorkloadRef,
    names: &[&str],
) -> Result<Vec<ControllerRevision>, ClusterError> {
    let revisions: Api<ControllerRevision> = Api::namespaced(client.clone(), &workload.namespace);
    let found = try_join_all(names.iter().map(|name| revisions.get_opt(name))).await;
    let found = found.map_err(|error| failure::of(error, &format!("revisions of {workload}")))?;
    Ok(found.into_iter().flatten().collect())
}

/// The label selector of a set. It cannot be changed as long as the set exists.
pub(super) fn selector(set: &StatefulSet, object: &str) -> Result<Selector, ClusterError> {
    Selector::try_from(set.spec.selector.clone())
        .map_err(|error| ClusterError::Refused(format!("{object} has a selector that cannot be read: {error}")))
}

/// What was read, put together: only what the set owns, pods by ordinal and revisions by number.
pub(super) fn assemble(
    workload: &WorkloadRef,
    set: Option<StatefulSet>,
    pods: impl IntoIterator<Item = Pod>,
    revisions: impl IntoIterator<Item = ControllerRevision>,
) -> SeenWorkload {
    let uid = set.as_ref().and_then(|set| set.metadata.uid.clone());
    let mut pods: Vec<Pod> = pods.into_iter().filter(|pod| is_owned(&pod.metadata, &uid)).collect();
    pods.sort_by_cached_key(|pod| {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let ordinal = name.rsplit_once('-').and_then(|(_, number)| number.parse::<u64>().ok());
        (ordinal, name)
    });
    let mut revisions: Vec<ControllerRevision> = revisions
        .into_iter()
        .filter(|revision| is_owned(&revision.metadata, &uid))
        .collect();
    revisions.sort_by_cached_key(|revision| (revision.revision, revision.metadata.name.clone()));
    SeenWorkload {
        workload: workload.clone(),
        set,
        pods,
        revisions,
    }
}

/// Whether the object's controller is the one with this UID: labels alone can be anybody's.
fn is_owned(object: &ObjectMeta, uid: &Option<String>) -> bool {
    let owners = object.owner_references.iter().flatten();
    owners
        .into_iter()
        .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepback_core::model::WorkloadKind;

    use super::*;

    fn pod(name: &str, owner: &str, controller: bool) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": name, "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "shop", "uid": owner, "controller": controller },
        ] } }))
        .unwrap()
    }

    #[test]
    fn only_what_the_set_controls_in_the_order_of_ordinals() {
        let workload = WorkloadRef {
            kind: WorkloadKind::StatefulSet,
            namespace: "a".into(),
            name: "shop".into(),
        };
        let set = serde_json::from_value(json!({ "metadata": { "name": "shop", "uid": "u1" },
            "spec": { "serviceName": "shop", "selector": {}, "template": {} } }))
        .unwrap();
        let pods = [
            pod("shop-10", "u1", true),
            pod("shop-9", "u1", true),
            pod("shop-3", "u0", true),
            pod("shop-4", "u1", false),
            pod("shop-0", "u1", true),
        ];
        let seen = assemble(&workload, Some(set), pods, []);
        let names: Vec<_> = seen
            .pods
            .iter()
            .filter_map(|pod| pod.metadata.name.as_deref())
            .collect();
        assert_eq!(names, ["shop-0", "shop-9", "shop-10"]);
    }

    #[test]
    fn nothing_is_owned_by_a_set_that_is_not_there() {
        let workload = WorkloadRef {
            kind: WorkloadKind::StatefulSet,
            namespace: "a".into(),
            name: "shop".into(),
        };
        assert!(
            assemble(&workload, None, [pod("shop-0", "u1", true)], [])
                .pods
                .is_empty()
        );
    }
}
