//! Who else writes a workload, and will write over what a rollback sets.
//!
//! Responsible for: telling from the object alone that Argo CD, Flux, Helm or an operator manages it. Not for: asking
//! them whether they are paused; that takes rights in their namespaces, so a person says it (`--accept`).
//!
//! Sources: Argo CD `docs/user-guide/resource_tracking.md` (the tracking id counts only where it names the object it is
//! on; its field manager is `argocd-controller`), Flux `kustomize-controller` and `helm-controller` (labels with name
//! and namespace; `reconcile: disabled`), Helm `pkg/action/validate.go` (annotations of ownership).

use k8s_openapi::api::apps::v1::StatefulSet;

use crate::model::{Finding, SeenWorkload};

/// Finds everybody who manages the workload.
pub(super) fn check_owners(seen: &SeenWorkload, findings: &mut Vec<Finding>) {
    let Some(set) = &seen.set else { return };
    let subject = seen.workload.to_string();
    if let Some(app) = argocd_app(seen, set) {
        findings.push(Finding::refusal(
            "owner-argocd",
            subject.clone(),
            format!("Argo CD manages it (application {app}) and sets it back to what Git says, at once where it heals itself"),
            format!(
                "switch its automatic sync off (argocd app set {app} --sync-policy none), and on again once Git names \
                 the target release too"
            ),
        ));
    }
    let flux = flux_owner(set);
    if let Some(owner) = &flux {
        findings.push(Finding::refusal(
            "owner-flux",
            subject.clone(),
            format!(
                "Flux manages it ({} {}/{}) and sets it back to what its source says, within its interval",
                owner.kind, owner.namespace, owner.name
            ),
            format!(
                "flux suspend {} {} -n {}, and resume it once its source names the target release too",
                owner.kind.to_lowercase(),
                owner.name,
                owner.namespace
            ),
        ));
    }
    // Where Flux drives Helm, Flux is the one to be asked.
    if let Some(release) = annotation(set, "meta.helm.sh/release-name")
        && flux.is_none_or(|owner| owner.kind != "HelmRelease")
    {
        let namespace = annotation(set, "meta.helm.sh/release-namespace").unwrap_or(&seen.workload.namespace);
        findings.push(Finding::refusal(
            "owner-helm",
            subject.clone(),
            format!(
                "Helm manages it (release {namespace}/{release}): its record goes on naming the newer release, and the \
                 next `helm upgrade` sets what that says"
            ),
            format!(
                "know what Helm does next: helm -n {namespace} history {release}; after this rollback `helm rollback` to \
                 the target's revision finds nothing to change and puts the record right"
            ),
        ));
    }
    let owners = set.metadata.owner_references.iter().flatten();
    if let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) {
        findings.push(Finding::refusal(
            "owner-operator",
            subject,
            format!(
                "an operator makes it from {} {} ({}) and sets it back to what that says",
                owner.kind, owner.name, owner.api_version
            ),
            format!(
                "roll {} {} back instead, or pause its operator as its manual says",
                owner.kind, owner.name
            ),
        ));
    }
}

/// The application of Argo CD that has the set; a tracking id that was copied from another object is none.
fn argocd_app<'a>(seen: &SeenWorkload, set: &'a StatefulSet) -> Option<&'a str> {
    let own = format!(":apps/StatefulSet:{}/{}", seen.workload.namespace, seen.workload.name);
    let tracked = annotation(set, "argocd.argoproj.io/tracking-id").and_then(|id| id.strip_suffix(&own));
    if tracked.is_some() {
        return tracked;
    }
    // Older ones track by a label, which charts set too: there the fields that it owns tell.
    let instance = label(set, "argocd.argoproj.io/instance");
    let writes = set.metadata.managed_fields.iter().flatten();
    let writes = writes
        .into_iter()
        .any(|entry| entry.manager.as_deref() == Some("argocd-controller"));
    let by_label = || label(set, "app.kubernetes.io/instance").unwrap_or("APP");
    instance.or_else(|| writes.then(by_label))
}

struct FluxOwner<'a> {
    kind: &'static str,
    namespace: &'a str,
    name: &'a str,
}

fn flux_owner(set: &StatefulSet) -> Option<FluxOwner<'_>> {
    const DISABLED: &str = "kustomize.toolkit.fluxcd.io/reconcile";
    let owner = |kind, group: &str| {
        let part = |name: &str| label(set, &format!("{group}.toolkit.fluxcd.io/{name}"));
        Some(FluxOwner {
            kind,
            name: part("name")?,
            namespace: part("namespace").unwrap_or("flux-system"),
        })
    };
    let disabled = annotation(set, DISABLED).or_else(|| label(set, DISABLED)) == Some("disabled");
    let kustomization = owner("Kustomization", "kustomize").filter(|_| !disabled);
    // A HelmRelease makes the object; a Kustomization may stand above it.
    owner("HelmRelease", "helm").or(kustomization)
}

fn annotation<'a>(set: &'a StatefulSet, name: &str) -> Option<&'a str> {
    let found = set.metadata.annotations.as_ref()?.get(name)?;
    Some(found.as_str()).filter(|text| !text.is_empty())
}

fn label<'a>(set: &'a StatefulSet, name: &str) -> Option<&'a str> {
    let found = set.metadata.labels.as_ref()?.get(name)?;
    Some(found.as_str()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{WorkloadKind, WorkloadRef};

    /// What is found of a set with this metadata: code and message.
    fn found(mut metadata: Value) -> Vec<(String, String)> {
        metadata["name"] = json!("shop");
        let set = serde_json::from_value(json!({ "metadata": metadata,
            "spec": { "serviceName": "shop", "selector": {}, "template": {} } }));
        let seen = SeenWorkload {
            workload: WorkloadRef {
                kind: WorkloadKind::StatefulSet,
                namespace: "prod".into(),
                name: "shop".into(),
            },
            set: Some(set.unwrap()),
            pods: vec![],
            revisions: vec![],
        };
        let mut findings = Vec::new();
        check_owners(&seen, &mut findings);
        findings.into_iter().map(|one| (one.code, one.message)).collect()
    }

    fn codes(metadata: Value) -> Vec<String> {
        found(metadata).into_iter().map(|(code, _)| code).collect()
    }

    #[test]
    fn nobody_owns_what_a_hand_applied() {
        let fields = json!([{ "manager": "kubectl-client-side-apply", "operation": "Update" }]);
        let labels = json!({ "app.kubernetes.io/instance": "shop", "app.kubernetes.io/managed-by": "Helm" });
        let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u" }]);
        assert_eq!(
            codes(json!({ "managedFields": fields, "labels": labels, "ownerReferences": owner })),
            [""; 0]
        );
    }

    #[test]
    fn argo_cd_by_tracking_id_label_or_fields() {
        let id = |id: &str| json!({ "annotations": { "argocd.argoproj.io/tracking-id": id } });
        let own = found(id("team_shop-prod:apps/StatefulSet:prod/shop"));
        assert_eq!(own.len(), 1);
        assert!(own[0].1.contains("application team_shop-prod)"), "{own:?}");
        for copied in [
            "shop:apps/StatefulSet:stage/shop",
            "shop:apps/Deployment:prod/shop",
            "shop:apps/StatefulSet:prod/web-shop",
            "",
        ] {
            assert_eq!(codes(id(copied)), [""; 0], "{copied}");
        }
        assert_eq!(
            codes(json!({ "labels": { "argocd.argoproj.io/instance": "shop" } })),
            ["owner-argocd"]
        );
        let fields = found(json!({
            "labels": { "app.kubernetes.io/instance": "store" },
            "managedFields": [{ "manager": "argocd-controller", "operation": "Apply" }],
        }));
        assert!(fields[0].1.contains("application store)"), "{fields:?}");
    }

    #[test]
    fn flux_by_its_labels_and_what_it_was_told_to_leave_alone() {
        let kustomization = json!({
            "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux",
        });
        let by = found(json!({ "labels": kustomization }));
        assert!(by[0].1.contains("(Kustomization flux/apps)"), "{by:?}");
        let disabled = json!({ "kustomize.toolkit.fluxcd.io/reconcile": "disabled" });
        assert_eq!(
            codes(json!({ "labels": kustomization, "annotations": disabled })),
            [""; 0]
        );
        // Its Helm release is Flux's own: one owner, said once.
        let release = json!({ "labels": {
            "helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": "prod",
        }, "annotations": { "meta.helm.sh/release-name": "shop" } });
        let by = found(release);
        assert_eq!(by.len(), 1);
        assert!(by[0].1.contains("(HelmRelease prod/shop)"), "{by:?}");
    }

    #[test]
    fn helm_and_an_operator_each_by_itself() {
        let all = found(json!({
            "annotations": { "meta.helm.sh/release-name": "store", "meta.helm.sh/release-namespace": "prod" },
            "ownerReferences": [{ "apiVersion": "db.example/v1", "kind": "Postgres", "name": "main", "uid": "u",
                                  "controller": true }],
        }));
        assert!(all[0].1.contains("release prod/store"), "{all:?}");
        assert!(all[1].1.contains("Postgres main (db.example/v1)"), "{all:?}");
        assert_eq!(all.len(), 2);
    }
}
