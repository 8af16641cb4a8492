//! Whether those who manage a workload from outside act just now. What must not be read, or is not there, is not known.
//!
//! Sources: Flux `kustomize-controller` and `helm-controller` (`spec.suspend`); Argo CD
//! `docs/user-guide/auto_sync.md` (`spec.syncPolicy.automated` and its `enabled`) and `skip_reconcile.md` (the annotation);
//! Helm `pkg/storage/driver/secrets.go` (labels of a record) and `pkg/release/status.go` (`pending-*`).

use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use stepback_core::model::{OwnerRef, OwnerState};

use super::failure;
use crate::cluster::ClusterError;

/// What the owner does just now.
pub(super) async fn state_of(client: &Client, owner: &OwnerRef) -> Result<Result<OwnerState, String>, ClusterError> {
    let found = match owner {
        OwnerRef::ArgoCd { namespace, app } => {
            let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application");
            custom(client, &kind, namespace, app).await.map(|found| argo_cd(&found))
        }
        OwnerRef::Kustomization { namespace, name } => {
            let kind = GroupVersionKind::gvk("kustomize.toolkit.fluxcd.io", "v1", "Kustomization");
            custom(client, &kind, namespace, name).await.map(|found| flux(&found))
        }
        OwnerRef::HelmRelease { namespace, name } => {
            let kind = GroupVersionKind::gvk("helm.toolkit.fluxcd.io", "v2", "HelmRelease");
            custom(client, &kind, namespace, name).await.map(|found| flux(&found))
        }
        OwnerRef::Helm { namespace, release } => helm(client, namespace, release).await,
    };
    match found {
        Ok(state) => Ok(Ok(state)),
        // Not there, not in this version, or not to be read: a person has to say it then.
        Err(kube::Error::Api(status)) if status.code < 500 => Ok(Err(status.message.clone())),
        Err(error) => Err(failure::of(error, "who manages the workload")),
    }
}

async fn custom(client: &Client, kind: &GroupVersionKind, namespace: &str, name: &str) -> kube::Result<DynamicObject> {
    let resource = ApiResource::from_gvk(kind);
    Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource)
        .get(name)
        .await
}

fn flux(found: &DynamicObject) -> OwnerState {
    match found.data["spec"]["suspend"].as_bool() {
        Some(true) => OwnerState::Paused("it is suspended".to_owned()),
        _ => OwnerState::Acts,
    }
}

fn argo_cd(found: &DynamicObject) -> OwnerState {
    let skips = found.annotations().get("argocd.argoproj.io/skip-reconcile");
    if skips.is_some_and(|skips| skips == "true") {
        return OwnerState::Paused("it is told to skip reconciling".to_owned());
    }
    match &found.data["spec"]["syncPolicy"]["automated"] {
        Value::Null => OwnerState::Paused("it does not sync by itself".to_owned()),
        automated if automated["enabled"] == Value::Bool(false) => {
            OwnerState::Paused("its automatic sync is switched off".to_owned())
        }
        _ => OwnerState::Acts,
    }
}

/// Of the records only labels are read.
async fn helm(client: &Client, namespace: &str, release: &str) -> kube::Result<OwnerState> {
    let all: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let wanted = ListParams::default().labels(&format!("owner=helm,name={release}"));
    let records = all.list_metadata(&wanted).await?;
    let number = |record: &&_| {
        let version = kube::ResourceExt::labels(*record).get("version");
        version.and_then(|version| version.parse::<u64>().ok())
    };
    let newest = records.items.iter().max_by_key(number);
    let status = newest.and_then(|newest| newest.labels().get("status").cloned());
    Ok(match status {
        Some(status) if status.starts_with("pending-") => OwnerState::Pending(status),
        _ => OwnerState::Acts,
    })
}
