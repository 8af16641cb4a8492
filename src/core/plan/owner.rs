//! Who else writes a workload, and will write over what a rollback sets.
//!
//! Responsible for: telling from the object alone that Argo CD, Flux, Helm or an operator manages it, and what is said of it
//! where somebody has asked whether they act just now. Not for: asking them. Where that takes rights that are missing, a
//! person says it (`--accept`).
//!
//! Sources: Argo CD `docs/user-guide/resource_tracking.md` (the tracking id counts only where it names the object it is
//! on; its field manager is `argocd-controller`), Flux `kustomize-controller` and `helm-controller` (labels with name
//! and namespace; `reconcile: disabled`), Helm `pkg/action/validate.go` (annotations of ownership).

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::StatefulSet;

use crate::model::{Finding, OwnerRef, OwnerState, SeenAround, SeenWorkload, Severity};

/// Those who manage the workload, and may be asked whether they act just now.
pub(super) fn owners_of(seen: &SeenWorkload) -> BTreeSet<OwnerRef> {
    let Some(set) = &seen.set else {
        return BTreeSet::new();
    };
    let argo_cd = argocd_app(seen, set).map(argocd_ref);
    let flux = flux_owner(set);
    let helm = helm_release(seen, set, flux.as_ref());
    argo_cd.into_iter().chain(flux).chain(helm).collect()
}

/// Finds everybody who manages the workload. One who does nothing by itself just now is no refusal.
pub(super) fn check_owners(seen: &SeenWorkload, around: &[SeenAround], findings: &mut Vec<Finding>) {
    let Some(set) = &seen.set else { return };
    let subject = seen.workload.to_string();
    let around = around.iter().find(|around| around.workload == seen.workload);
    let state = |owner: &OwnerRef| around.and_then(|around| around.owners.get(owner)?.as_ref().ok());
    if let Some(app) = argocd_app(seen, set) {
        let who = format!("Argo CD manages it (application {app})");
        let refusal = Finding::refusal(
            "owner-argocd",
            subject.clone(),
            format!("{who} and sets it back to what Git says, at once where it heals itself"),
            format!(
                "switch its automatic sync off (argocd app set {} --sync-policy none), and on again once Git names the \
                 target release too",
                app.replace('_', "/")
            ),
        );
        let then = "leave it so until Git names the target release too: a sync sets the newer one";
        findings.push(unless_paused(refusal, state(&argocd_ref(app)), &who, then));
    }
    let flux = flux_owner(set);
    if let Some(owner @ (OwnerRef::Kustomization { namespace, name } | OwnerRef::HelmRelease { namespace, name })) =
        &flux
    {
        let kind = match owner {
            OwnerRef::HelmRelease { .. } => "HelmRelease",
            _ => "Kustomization",
        };
        let verb = |verb: &str| format!("flux {verb} {} {name} -n {namespace}", kind.to_lowercase());
        let who = format!("Flux manages it ({kind} {namespace}/{name})");
        let refusal = Finding::refusal(
            "owner-flux",
            subject.clone(),
            format!("{who} and sets it back to what its source says, within its interval"),
            format!(
                "{}, and resume it once its source names the target release too",
                verb("suspend")
            ),
        );
        let then = format!("once its source names the target release too: {}", verb("resume"));
        findings.push(unless_paused(refusal, state(owner), &who, &then));
    }
    // Where Flux drives Helm, Flux is the one to be asked.
    if let Some(owner @ OwnerRef::Helm { namespace, release }) = &helm_release(seen, set, flux.as_ref()) {
        let pending = match state(owner) {
            Some(OwnerState::Pending(status)) => Some(status),
            _ => None,
        };
        findings.extend(pending.map(|status| {
            Finding::warning(
                "helm-pending",
                subject.clone(),
                format!(
                    "the newest record of Helm release {namespace}/{release} is {status}: Helm is at work on it, or died \
                     there, and takes no other upgrade before that is put right"
                ),
                format!(
                    "see who runs it: helm -n {namespace} history {release}; of one that died, `helm rollback` to the target's \
                     revision after this puts the record right"
                ),
            )
        }));
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

/// A refusal because of an owner that would act; of one that does nothing by itself just now, what to do afterwards.
fn unless_paused(refusal: Finding, state: Option<&OwnerState>, who: &str, then: &str) -> Finding {
    match state {
        Some(OwnerState::Paused(how)) => Finding {
            severity: Severity::Warning,
            message: format!("{who}, and {how}"),
            remedy: then.to_owned(),
            ..refusal
        },
        _ => refusal,
    }
}

/// An application by the name that it writes on what it manages: in another namespace than Argo CD's own, behind that.
fn argocd_ref(app: &str) -> OwnerRef {
    let (namespace, app) = app.split_once('_').unwrap_or(("argocd", app));
    OwnerRef::ArgoCd {
        namespace: namespace.to_owned(),
        app: app.to_owned(),
    }
}

/// The release of Helm that made the set; none where Flux drives Helm.
fn helm_release(seen: &SeenWorkload, set: &StatefulSet, flux: Option<&OwnerRef>) -> Option<OwnerRef> {
    if matches!(flux, Some(OwnerRef::HelmRelease { .. })) {
        return None;
    }
    let namespace = annotation(set, "meta.helm.sh/release-namespace").unwrap_or(&seen.workload.namespace);
    Some(OwnerRef::Helm {
        namespace: namespace.to_owned(),
        release: annotation(set, "meta.helm.sh/release-name")?.to_owned(),
    })
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

fn flux_owner(set: &StatefulSet) -> Option<OwnerRef> {
    const DISABLED: &str = "kustomize.toolkit.fluxcd.io/reconcile";
    let owner = |group: &str| {
        let part = |name: &str| label(set, &format!("{group}.toolkit.fluxcd.io/{name}"));
        let namespace = part("namespace").unwrap_or("flux-system").to_owned();
        Some((namespace, part("name")?.to_owned()))
    };
    let disabled = annotation(set, DISABLED).or_else(|| label(set, DISABLED)) == Some("disabled");
    let kustomization = owner("kustomize").filter(|_| !disabled);
    // A HelmRelease makes the object; a Kustomization may stand above it.
    let release = owner("helm").map(|(namespace, name)| OwnerRef::HelmRelease { namespace, name });
    release.or_else(|| kustomization.map(|(namespace, name)| OwnerRef::Kustomization { namespace, name }))
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
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::{WorkloadKind, WorkloadRef};

    /// What is found of a set with this metadata: code and message.
    fn found(metadata: Value) -> Vec<(String, String)> {
        let findings = findings_of(metadata, &Err("must not be read".into()));
        findings.into_iter().map(|one| (one.code, one.message)).collect()
    }

    /// The same where each owner is in this state.
    fn findings_of(mut metadata: Value, state: &Result<OwnerState, String>) -> Vec<Finding> {
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
        let owners = owners_of(&seen).into_iter();
        let around = SeenAround {
            workload: seen.workload.clone(),
            autoscalers: Ok(vec![]),
            budgets: Ok(vec![]),
            objects: BTreeMap::new(),
            nodes: BTreeMap::new(),
            owners: owners.map(|owner| (owner, state.clone())).collect(),
            pod: None,
        };
        check_owners(&seen, &[around], &mut findings);
        findings
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

    #[test]
    fn w2_an_owner_that_was_paused_is_told_and_refuses_nothing() {
        let tracked =
            json!({ "annotations": { "argocd.argoproj.io/tracking-id": "team_web:apps/StatefulSet:prod/shop" } });
        let flux = json!({ "labels": {
            "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux",
        } });
        for (metadata, code) in [(tracked, "owner-argocd"), (flux, "owner-flux")] {
            let told = |state: Result<OwnerState, String>| {
                let found = findings_of(metadata.clone(), &state);
                assert_eq!(found.len(), 1);
                assert_eq!(found[0].code, code);
                found.into_iter().next().unwrap()
            };
            let paused = told(Ok(OwnerState::Paused("it is suspended".into())));
            assert_eq!(paused.severity, Severity::Warning);
            assert!(paused.message.ends_with(", and it is suspended"), "{}", paused.message);
            assert!(
                paused.remedy.contains("names the target release too"),
                "{}",
                paused.remedy
            );
            // Whoever acts, and of whom nothing is known, refuses.
            assert_eq!(told(Ok(OwnerState::Acts)).severity, Severity::Refusal);
            assert_eq!(told(Err("not found".into())).severity, Severity::Refusal);
        }
    }

    #[test]
    fn w3_a_pending_release_of_helm_is_said() {
        let metadata = json!({ "annotations": { "meta.helm.sh/release-name": "store" } });
        let codes = |state| -> Vec<String> {
            let found = findings_of(metadata.clone(), &Ok(state));
            found.into_iter().map(|one| one.code).collect()
        };
        let pending = OwnerState::Pending("pending-upgrade".into());
        assert_eq!(codes(pending), ["helm-pending", "owner-helm"]);
        assert_eq!(codes(OwnerState::Acts), ["owner-helm"]);
    }
}
