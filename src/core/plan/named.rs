//! The objects that a pod template names, and that must be there for its pods to start (LAWS W3).
//!
//! Responsible for: finding every name, and saying of each whether pods start without it. Not for: what lies in the
//! objects. What the template itself calls optional is not asked for. Source: the API's `core/v1` PodSpec.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};

use crate::model::{Finding, NamedKind, NamedObject, SeenAround, SeenWorkload, TemplateRef};

use super::start::pod_template;

/// How a template uses an object that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    /// Where it is named, such as `the environment of container shop`.
    place: String,
    /// Whether pods start without it: kubelets go on without a Secret to pull images with.
    needed: bool,
}

/// Every object that the template of the target names, with the first place that does. Claims that the set itself makes
/// are none.
pub(super) fn named_objects(seen: &SeenWorkload, target: &TemplateRef) -> BTreeMap<NamedObject, Use> {
    let made = seen
        .set
        .iter()
        .flat_map(|set| set.spec.volume_claim_templates.iter().flatten());
    let made: Vec<_> = made.filter_map(|claim| claim.metadata.name.as_ref()).collect();
    let pod = pod_template(seen, target).and_then(|template| template.spec);
    let mut pod = pod.unwrap_or_default();
    pod.volumes
        .iter_mut()
        .for_each(|volumes| volumes.retain(|volume| !made.contains(&&volume.name)));
    named_in(&pod)
}

/// Every object that must be there, with the first place that names it.
fn named_in(pod: &PodSpec) -> BTreeMap<NamedObject, Use> {
    let mut named = Named(BTreeMap::new());
    if let Some(account) = &pod.service_account_name {
        named.add(NamedKind::ServiceAccount, account, "its pods run as it");
    }
    let init = pod.init_containers.iter().flatten();
    for container in init.chain(&pod.containers) {
        named.add_container(container);
    }
    for volume in pod.volumes.iter().flatten() {
        named.add_volume(volume);
    }
    for secret in pod.image_pull_secrets.iter().flatten() {
        let object = NamedObject {
            kind: NamedKind::Secret,
            name: secret.name.clone(),
        };
        named.0.entry(object).or_insert(Use {
            place: "its images are pulled with it".to_owned(),
            needed: false,
        });
    }
    named.0.retain(|object, _| !object.name.is_empty());
    named.0
}

struct Named(BTreeMap<NamedObject, Use>);

impl Named {
    fn add(&mut self, kind: NamedKind, name: &str, place: impl Into<String>) {
        let object = NamedObject {
            kind,
            name: name.to_owned(),
        };
        self.0.entry(object).or_insert(Use {
            place: place.into(),
            needed: true,
        });
    }

    fn add_container(&mut self, container: &Container) {
        use NamedKind::{ConfigMap, Secret};
        let place = format!("the environment of container {}", container.name);
        for source in container.env_from.iter().flatten() {
            if let Some(map) = required(&source.config_map_ref, |map| map.optional) {
                self.add(ConfigMap, &map.name, &place);
            }
            if let Some(secret) = required(&source.secret_ref, |secret| secret.optional) {
                self.add(Secret, &secret.name, &place);
            }
        }
        let variables = container.env.iter().flatten();
        for source in variables.filter_map(|variable| variable.value_from.as_ref()) {
            if let Some(key) = required(&source.config_map_key_ref, |key| key.optional) {
                self.add(ConfigMap, &key.name, &place);
            }
            if let Some(key) = required(&source.secret_key_ref, |key| key.optional) {
                self.add(Secret, &key.name, &place);
            }
        }
    }

    fn add_volume(&mut self, volume: &Volume) {
        use NamedKind::{Claim, ConfigMap, Secret};
        let place = format!("volume {}", volume.name);
        if let Some(map) = required(&volume.config_map, |map| map.optional) {
            self.add(ConfigMap, &map.name, &place);
        }
        let secret = required(&volume.secret, |secret| secret.optional);
        if let Some(name) = secret.and_then(|secret| secret.secret_name.as_ref()) {
            self.add(Secret, name, &place);
        }
        if let Some(claim) = &volume.persistent_volume_claim {
            self.add(Claim, &claim.claim_name, &place);
        }
        let projected = volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten());
        for source in projected {
            if let Some(map) = required(&source.config_map, |map| map.optional) {
                self.add(ConfigMap, &map.name, &place);
            }
            if let Some(secret) = required(&source.secret, |secret| secret.optional) {
                self.add(Secret, &secret.name, &place);
            }
        }
        let csi = volume.csi.as_ref().and_then(|csi| csi.node_publish_secret_ref.as_ref());
        let flex = volume.flex_volume.as_ref().and_then(|flex| flex.secret_ref.as_ref());
        let iscsi = volume.iscsi.as_ref().and_then(|iscsi| iscsi.secret_ref.as_ref());
        for reference in [csi, flex, iscsi].into_iter().flatten() {
            self.add(Secret, &reference.name, &place);
        }
        if let Some(share) = &volume.azure_file {
            self.add(Secret, &share.secret_name, &place);
        }
    }
}

/// What is named, unless the template calls it optional.
fn required<T>(named: &Option<T>, optional: fn(&T) -> Option<bool>) -> Option<&T> {
    named.as_ref().filter(|named| optional(named) != Some(true))
}

/// Since when pods are made from the present template, where that is not the target's.
pub(super) fn newer_since(seen: &SeenWorkload, target: &TemplateRef) -> Option<Timestamp> {
    let update = seen.set.as_ref()?.status.as_ref()?.update_revision.as_ref()?;
    let mut revisions = seen.revisions.iter();
    let present = revisions.find(|revision| revision.metadata.name.as_ref() == Some(update))?;
    let since = present.metadata.creation_timestamp.as_ref()?.0;
    (target.revision.as_ref() != Some(update)).then_some(since)
}

/// Whether two times belong to one release: a chart sets its configuration shortly before its workloads. What is changed
/// at other times, such as certificates that are renewed, belongs to neither release.
fn is_near(one: Timestamp, other: Timestamp) -> bool {
    one.as_second().abs_diff(other.as_second()) <= 600
}

/// Finds what of it is not there, or not as it was for the target: changed together with the newer release.
pub(super) fn check_named(
    subject: &str,
    named: &BTreeMap<NamedObject, Use>,
    newer_since: Option<Timestamp>,
    seen: &SeenAround,
    findings: &mut Vec<Finding>,
) {
    let mut unknown: Vec<String> = Vec::new();
    let mut why_unknown = None;
    for (object, used) in named {
        let place = &used.place;
        match seen.objects.get(object) {
            Some(Ok(Some(found))) => {
                let changed = found.changed.zip(newer_since);
                let with_newer = changed.filter(|(changed, since)| is_near(*changed, *since));
                if let (Some((changed, _)), NamedKind::ConfigMap | NamedKind::Secret) = (with_newer, object.kind) {
                    findings.push(Finding::warning(
                        "configuration-newer",
                        subject,
                        format!(
                            "{object} ({place}) was changed at {}, when the newer release came: pods of the target would \
                             start with what that release set",
                            changed.strftime("%Y-%m-%d %H:%M:%SZ")
                        ),
                        "compare it with what the target release ran with, and set that again before its pods start",
                    ));
                }
            }
            Some(Ok(None)) if used.needed => findings.push(Finding::refusal(
                "configuration-missing",
                subject,
                format!(
                    "{object} does not exist, and the target's template names it ({place}): its pods would not start"
                ),
                "make it again as it was when the target release ran, from its chart, manifests or backup",
            )),
            Some(Ok(None)) => findings.push(Finding::warning(
                "configuration-missing",
                subject,
                format!("{object} does not exist, and the target's template names it ({place})"),
                "make it again, unless the images can be pulled without it",
            )),
            Some(Err(why)) => {
                unknown.push(object.to_string());
                why_unknown = why_unknown.or(Some(why));
            }
            None => unknown.push(object.to_string()),
        }
    }
    if !unknown.is_empty() {
        let why = why_unknown.map_or("nobody has looked", String::as_str);
        findings.push(Finding::warning(
            "configuration-unknown",
            subject,
            format!(
                "whether these exist, which the target's template names, is not known: {} ({why})",
                unknown.join(", ")
            ),
            "look yourself; or grant `get` on them: of Secrets only the metadata is read",
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{FoundObject, WorkloadKind, WorkloadRef};

    /// Everything that a template can name, once optional and once not.
    fn pod() -> PodSpec {
        serde_json::from_value(json!({
            "serviceAccountName": "account",
            "imagePullSecrets": [{ "name": "pull" }, { "name": "both" }, {}],
            "initContainers": [{ "name": "init", "env": [
                { "name": "A", "valueFrom": { "configMapKeyRef": { "name": "init-map", "key": "a" } } },
                { "name": "B", "valueFrom": { "secretKeyRef": { "name": "key-optional", "key": "a", "optional": true } } },
                { "name": "C", "value": "plain" },
            ] }],
            "containers": [{ "name": "app", "envFrom": [
                { "configMapRef": { "name": "from-map" } }, { "secretRef": { "name": "from-secret", "optional": false } },
                { "configMapRef": { "name": "from-optional", "optional": true } },
            ], "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "both", "key": "a" } } }] }],
            "volumes": [
                { "name": "v1", "configMap": { "name": "volume-map" } },
                { "name": "v2", "configMap": { "name": "volume-optional", "optional": true } },
                { "name": "v3", "secret": { "secretName": "volume-secret" } },
                { "name": "v4", "persistentVolumeClaim": { "claimName": "claim" } },
                { "name": "v5", "projected": { "sources": [
                    { "configMap": { "name": "projected-map" } }, { "secret": { "name": "projected-secret" } },
                    { "secret": { "name": "projected-optional", "optional": true } },
                    { "serviceAccountToken": { "path": "token" } },
                ] } },
                { "name": "v6", "csi": { "driver": "d", "nodePublishSecretRef": { "name": "csi" } } },
                { "name": "v7", "emptyDir": {} },
            ],
        }))
        .unwrap()
    }

    /// Everything that is named is there, and nothing is known of when it changed.
    fn all_there(named: &BTreeMap<NamedObject, Use>) -> SeenAround {
        SeenAround {
            workload: WorkloadRef {
                kind: WorkloadKind::StatefulSet,
                namespace: "a".into(),
                name: "web".into(),
            },
            budgets: Ok(Vec::new()),
            autoscalers: Ok(vec![]),
            objects: named
                .keys()
                .map(|object| (object.clone(), Ok(Some(FoundObject { changed: None }))))
                .collect(),
            nodes: BTreeMap::new(),
            owners: BTreeMap::new(),
            pod: None,
        }
    }

    #[test]
    fn w3_every_name_is_found_and_what_is_optional_is_left_out() {
        let found: Vec<String> = named_in(&pod()).keys().map(ToString::to_string).collect();
        insta::assert_snapshot!(found.join("\n"), @"
        ConfigMap from-map
        ConfigMap init-map
        ConfigMap projected-map
        ConfigMap volume-map
        Secret both
        Secret csi
        Secret from-secret
        Secret projected-secret
        Secret pull
        Secret volume-secret
        ServiceAccount account
        PersistentVolumeClaim claim
        ");
    }

    #[test]
    fn w3_what_is_missing_refuses_and_what_is_not_known_is_said() {
        let named = named_in(&pod());
        let mut seen = all_there(&named);
        let said = |seen: &SeenAround| {
            let mut findings = Vec::new();
            check_named("it", &named, Some(Timestamp::UNIX_EPOCH), seen, &mut findings);
            let said = findings
                .iter()
                .map(|one| format!("{} {}: {}", one.word(), one.code, one.message));
            said.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(said(&seen), "");
        for (object, there) in &mut seen.objects {
            *there = match object.name.as_str() {
                // It is used in two ways, and one of them needs it.
                "both" | "from-map" | "claim" | "account" | "pull" => Ok(None),
                "csi" => Err("may not get secrets".to_owned()),
                _ => Ok(Some(FoundObject { changed: None })),
            };
        }
        seen.objects.remove(&NamedObject {
            kind: NamedKind::Secret,
            name: "volume-secret".to_owned(),
        });
        insta::assert_snapshot!(said(&seen), @"
        refused configuration-missing: ConfigMap from-map does not exist, and the target's template names it (the environment of container app): its pods would not start
        refused configuration-missing: Secret both does not exist, and the target's template names it (the environment of container app): its pods would not start
        warning configuration-missing: Secret pull does not exist, and the target's template names it (its images are pulled with it)
        refused configuration-missing: ServiceAccount account does not exist, and the target's template names it (its pods run as it): its pods would not start
        refused configuration-missing: PersistentVolumeClaim claim does not exist, and the target's template names it (volume v4): its pods would not start
        warning configuration-unknown: whether these exist, which the target's template names, is not known: Secret csi, Secret volume-secret (may not get secrets)
        ");
    }

    #[test]
    fn w3_what_changed_with_the_newer_release_is_told_from_what_changes_at_any_time() {
        let named = named_in(&pod());
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let found = |kind, name: &str, changed| {
            let object = NamedObject {
                kind,
                name: name.to_owned(),
            };
            (object, Ok(Some(FoundObject { changed })))
        };
        let mut seen = all_there(&named);
        seen.objects.extend([
            found(NamedKind::ConfigMap, "from-map", Some(at(10_000 - 60))),
            found(NamedKind::Secret, "both", Some(at(10_060))),
            found(NamedKind::ConfigMap, "volume-map", Some(at(9_000))),
            found(NamedKind::Secret, "csi", Some(at(90_000))),
            found(NamedKind::ServiceAccount, "account", Some(at(10_000))),
        ]);
        let newer = |since| {
            let mut findings = Vec::new();
            check_named("it", &named, since, &seen, &mut findings);
            let said = findings.into_iter().map(|one| {
                let object = one.message.split(" (").next().unwrap_or_default().to_owned();
                (one.code, object)
            });
            said.collect::<Vec<_>>()
        };
        let warned = |object: &str| ("configuration-newer".to_owned(), object.to_owned());
        assert_eq!(
            newer(Some(at(10_000))),
            [warned("ConfigMap from-map"), warned("Secret both")]
        );
        // The present template is the target's: nothing is newer.
        assert_eq!(newer(None), []);
    }
}
