//! Reading what lies around a workload: autoscalers, the objects that its pods need, their nodes; and asking for a pod.

use std::fmt::Debug;

use futures::future::{try_join_all, try_join5};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Secret, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{ListParams, PostParams};
use kube::core::{Selector, SelectorExt as _};
use kube::{Api, Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use stepback_core::model::{
    Amount, Autoscaler, Budget, FoundObject, Keeps, LookAround, NamedKind, NamedObject, NodeState, SeenAround,
    TriedPod, WorkloadRef, images_of,
};

use super::{failure, owner, rights};
use crate::cluster::{ClusterError, MANAGER};

/// With this taint somebody says that a node is off; the cluster then takes its pods away by force. Source: Kubernetes'
/// documentation of non-graceful node shutdown.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub(super) async fn look(client: &Client, at: &LookAround) -> Result<SeenAround, ClusterError> {
    let namespace = &at.workload.namespace;
    let objects = at.objects.iter().map(|object| async move {
        let found = find(client, namespace, object).await;
        Ok::<_, ClusterError>((object.clone(), known(found)?))
    });
    let nodes = at.nodes.iter().map(|name| async move {
        let state = node(client, name).await;
        Ok::<_, ClusterError>((name.clone(), known(state)?))
    });
    let owners = at.owners.iter().map(|one| async move {
        let state = owner::state_of(client, one).await?;
        Ok::<_, ClusterError>((one.clone(), state))
    });
    let scalers = async { known(autoscalers(client, &at.workload).await) };
    let budgets = async { known(budgets(client, at).await) };
    let tried = async {
        Ok(match &at.pod {
            Some(pod) => Some(try_pod(client, namespace, pod).await?),
            None => None,
        })
    };
    let named = async { tokio::try_join!(try_join_all(objects), try_join_all(owners)) };
    let (autoscalers, budgets, (objects, owners), nodes, pod) =
        try_join5(scalers, budgets, named, try_join_all(nodes), tried).await?;
    Ok(SeenAround {
        workload: at.workload.clone(),
        autoscalers,
        budgets,
        objects: objects.into_iter().collect(),
        nodes: nodes.into_iter().collect(),
        owners: owners.into_iter().collect(),
        pod,
    })
}

/// What must not be read is not known, and that is an answer too.
fn known<T>(read: Result<T, ClusterError>) -> Result<Result<T, String>, ClusterError> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(ClusterError::Forbidden(why)) => Ok(Err(why)),
        Err(error) => Err(error),
    }
}

async fn autoscalers(client: &Client, workload: &WorkloadRef) -> Result<Vec<Autoscaler>, ClusterError> {
    let all: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), &workload.namespace);
    let listed = match all.list(&ListParams::default()).await {
        Ok(listed) => listed,
        // A server without autoscaling has no autoscalers.
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(failure::of(error, &format!("the autoscalers of {workload}"))),
    };
    let is_of = |scaler: &HorizontalPodAutoscaler| {
        let target = &scaler.spec.scale_target_ref;
        // Of which version it is makes no difference to whom it scales.
        let group = target
            .api_version
            .as_deref()
            .and_then(|version| version.split('/').next());
        group == Some("apps") && target.kind == workload.kind.to_string() && target.name == workload.name
    };
    let found = listed.into_iter().filter(is_of);
    Ok(found
        .map(|scaler| Autoscaler {
            name: scaler.name_any(),
            min: scaler.spec.min_replicas.unwrap_or(1),
            max: scaler.spec.max_replicas,
            keda: scaler.labels().get("scaledobject.keda.sh/name").cloned(),
        })
        .collect())
}

async fn budgets(client: &Client, at: &LookAround) -> Result<Vec<Budget>, ClusterError> {
    let all: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), &at.workload.namespace);
    let listed = match all.list(&ListParams::default()).await {
        Ok(listed) => listed,
        // A server without this version of them (before Kubernetes 1.21) keeps none that could be read.
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(Vec::new()),
        Err(error) => {
            return Err(failure::of(
                error,
                &format!("the disruption budgets of {}", at.workload),
            ));
        }
    };
    Ok(listed.iter().filter_map(|found| budget(found, at)).collect())
}

/// What a budget keeps, where it selects one of the workload's pods.
fn budget(found: &PodDisruptionBudget, at: &LookAround) -> Option<Budget> {
    let spec = found.spec.as_ref()?;
    // None selects nothing, an empty one everything.
    let selector = Selector::try_from(spec.selector.clone()?).ok()?;
    if !at.labels.iter().any(|labels| selector.matches(labels)) {
        return None;
    }
    let keeps = match (&spec.min_available, &spec.max_unavailable) {
        (Some(least), _) => Keeps::Available(amount(least)?),
        (None, Some(most)) => Keeps::AllBut(amount(most)?),
        (None, None) => return None,
    };
    // What the controller said of an older form of it counts for nothing.
    let said = found
        .status
        .as_ref()
        .filter(|status| status.observed_generation == found.metadata.generation);
    Some(Budget {
        name: found.name_any(),
        keeps,
        expected: said.and_then(|status| status.expected_pods),
    })
}

fn amount(value: &IntOrString) -> Option<Amount> {
    match value {
        IntOrString::Int(count) => Some(Amount::Count(*count)),
        IntOrString::String(text) => text.strip_suffix('%')?.parse().ok().map(Amount::Percent),
    }
}

async fn find(client: &Client, namespace: &str, object: &NamedObject) -> Result<Option<FoundObject>, ClusterError> {
    async fn found<K>(
        client: &Client,
        namespace: &str,
        object: &NamedObject,
    ) -> Result<Option<FoundObject>, ClusterError>
    where
        K: kube::Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let all: Api<K> = Api::namespaced(client.clone(), namespace);
        let found = all.get_metadata_opt(&object.name).await;
        let found = found.map_err(|error| failure::of(error, &object.to_string()))?;
        Ok(found.map(|found| {
            let writes = found.metadata.managed_fields.iter().flatten();
            let writes = writes.filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty());
            let times = writes.filter_map(|entry| entry.time.as_ref());
            // An object without a field of its own has no writer.
            let times = times.chain(&found.metadata.creation_timestamp);
            FoundObject {
                changed: times.map(|time| time.0).max(),
            }
        }))
    }
    match object.kind {
        NamedKind::ConfigMap => found::<ConfigMap>(client, namespace, object).await,
        NamedKind::Secret => found::<Secret>(client, namespace, object).await,
        NamedKind::ServiceAccount => found::<ServiceAccount>(client, namespace, object).await,
        NamedKind::Claim => found::<PersistentVolumeClaim>(client, namespace, object).await,
    }
}

async fn node(client: &Client, name: &str) -> Result<NodeState, ClusterError> {
    let found = Api::<Node>::all(client.clone()).get_opt(name).await;
    let Some(node) = found.map_err(|error| failure::of(error, &format!("Node {name}")))? else {
        return Ok(NodeState::Gone);
    };
    Ok(state_of(&node))
}

fn state_of(node: &Node) -> NodeState {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    if taints.into_iter().any(|taint| taint.key == OUT_OF_SERVICE) {
        return NodeState::OutOfService;
    }
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    match ready {
        Some(ready) if ready.status == "True" => NodeState::Ready,
        None => NodeState::NotReady("it has never said that it is".to_owned()),
        Some(ready) => {
            let said = ready.reason.as_deref().or(ready.message.as_deref());
            let said = said.unwrap_or("no reason given");
            NodeState::NotReady(match &ready.last_transition_time {
                Some(since) => format!("{said}, since {}", since.0.strftime("%Y-%m-%d %H:%M:%SZ")),
                None => said.to_owned(),
            })
        }
    }
}

/// Asks for the pod as a dry run: admission, quota and webhooks answer as they would, and nothing is made.
async fn try_pod(client: &Client, namespace: &str, pod: &Pod) -> Result<TriedPod, ClusterError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let asking = PostParams {
        dry_run: true,
        field_manager: Some(MANAGER.to_owned()),
    };
    let status = match pods.create(&asking, pod).await {
        Ok(made) => {
            let images = made.spec.as_ref().map(images_of).unwrap_or_default();
            return Ok(TriedPod::Made { images });
        }
        Err(kube::Error::Api(status)) => status,
        Err(error) => return Err(failure::of(error, "the dry run of a pod")),
    };
    let said = status.message.clone();
    Ok(match status.code {
        403 if !rights::may_create_pods(client, namespace).await? => TriedPod::Untried(said),
        400 if said.contains("does not support dry run") => TriedPod::Untried(said),
        // Whoever makes the pod in earnest meets the same webhook.
        500 if said.contains("failed calling webhook") => TriedPod::Refused(said),
        400 | 403 | 404 | 422 => TriedPod::Refused(said),
        // Everything else that was asked was answered: one question that was not is no reason to stay down.
        _ => TriedPod::Untried(said),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn w14_a_node_that_is_not_ready_is_told_from_one_that_is_off() {
        let state = |spec, conditions| {
            let node = json!({ "metadata": { "name": "n" }, "spec": spec, "status": { "conditions": conditions } });
            state_of(&serde_json::from_value(node).unwrap())
        };
        let ready = |status: &str| {
            json!([{ "type": "MemoryPressure", "status": "False" }, { "type": "Ready", "status": status,
                "reason": "NodeStatusUnknown", "lastTransitionTime": "2024-03-01T02:58:00Z" }])
        };
        assert_eq!(state(json!({}), ready("True")), NodeState::Ready);
        let lost = NodeState::NotReady("NodeStatusUnknown, since 2024-03-01 02:58:00Z".to_owned());
        assert_eq!(state(json!({}), ready("Unknown")), lost);
        assert_eq!(state(json!({}), ready("False")), lost);
        assert!(matches!(state(json!({}), json!([])), NodeState::NotReady(_)));
        let off = json!({ "taints": [{ "key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute" }] });
        assert_eq!(state(off, ready("Unknown")), NodeState::OutOfService);
    }
}
