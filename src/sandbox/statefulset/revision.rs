//! Revisions of a set's template: what a ControllerRevision holds, how it is named, which one is current and which is
//! the update.
//!
//! Data, hash and name are computed as Kubernetes 1.37 does (`pkg/controller/statefulset/stateful_set_utils.go`,
//! `pkg/controller/history/controller_history.go`), so that one set gets the same revision names from either.

use k8s_openapi::{
    api::apps::v1::{ControllerRevision, StatefulSet},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{SyncError, selector};

const HASH_LABEL: &str = "controller.kubernetes.io/hash";
/// How many revisions that nobody uses are kept where the set does not say.
const HISTORY_LIMIT: i32 = 10;

/// The two revisions that matter in a round, and the collision count to report.
pub(super) struct Revisions {
    pub current: ControllerRevision,
    pub update: ControllerRevision,
    pub collisions: i32,
}

/// The strategic-merge patch body that puts the set's present template back.
fn data(set: &StatefulSet) -> Result<Value, SyncError> {
    let mut template = serde_json::to_value(&set.spec.template).map_err(SyncError::Encode)?;
    if let Value::Object(fields) = &mut template {
        fields.insert("$patch".to_owned(), json!("replace"));
    }
    Ok(json!({ "spec": { "template": template } }))
}

/// `set` with the template that a revision holds.
pub(super) fn restore(set: &StatefulSet, revision: &ControllerRevision) -> Result<StatefulSet, SyncError> {
    let unusable = || SyncError::Revision(revision.name_any());
    let mut template = revision.data.0.pointer("/spec/template").cloned();
    let fields = template.as_mut().and_then(Value::as_object_mut).ok_or_else(unusable)?;
    fields.remove("$patch");
    let template = serde_json::from_value(template.unwrap_or_default()).map_err(|_| unusable())?;
    let mut restored = set.clone();
    restored.spec.template = template;
    Ok(restored)
}

/// The hash in a revision's name: 32-bit FNV-1 over the data's JSON and the collision count, in the safe alphabet.
fn hash(data: &Value, collisions: i32) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    // Go's encoder escapes these, and the bytes it writes are what is hashed. They occur within strings only.
    let mut text = data.to_string();
    for (char, escape) in [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ] {
        text = text.replace(char, escape);
    }
    text.push_str(&collisions.to_string());
    let sum = text.bytes().fold(0x811c_9dc5_u32, |sum, byte| {
        sum.wrapping_mul(0x0100_0193) ^ u32::from(byte)
    });
    sum.to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

fn revision_name(set: &StatefulSet, hash: &str) -> String {
    let set = set.name_any();
    format!("{}-{hash}", &set[..set.len().min(223)])
}

/// A revision of the set's present template, numbered `number`, with a copy of the set's annotations.
fn build(set: &StatefulSet, data: Value, number: i64, collisions: i32) -> ControllerRevision {
    let template = set.spec.template.metadata.as_ref();
    let mut labels = template
        .and_then(|metadata| metadata.labels.clone())
        .unwrap_or_default();
    let hash = hash(&data, collisions);
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(revision_name(set, &hash)),
            namespace: set.namespace(),
            labels: Some(labels),
            annotations: set.metadata.annotations.clone(),
            owner_references: Some(set.controller_owner_ref(&()).into_iter().collect()),
            ..ObjectMeta::default()
        },
        data: RawExtension(data),
        revision: Some(number),
    }
}

/// The set's revisions, oldest number first; orphans that its selector matches are adopted.
pub(super) async fn list(
    api: &Api<ControllerRevision>,
    set: &StatefulSet,
) -> Result<Vec<ControllerRevision>, SyncError> {
    let listed = api.list(&ListParams::default().labels_from(&selector(set)?)).await?;
    let mut owned = Vec::new();
    for revision in listed {
        match revision
            .owner_references()
            .iter()
            .find(|reference| reference.controller == Some(true))
        {
            Some(controller) if Some(&controller.uid) == set.uid().as_ref() => owned.push(revision),
            Some(_) => {}
            None if set.metadata.deletion_timestamp.is_some() => {}
            None => owned.push(adopt(api, set, &revision).await?),
        }
    }
    owned.sort_by(|a, b| {
        let key = |revision: &ControllerRevision| {
            (
                revision.revision,
                revision.creation_timestamp().map(|time| time.0),
                revision.name_any(),
            )
        };
        key(a).cmp(&key(b))
    });
    Ok(owned)
}

async fn adopt(
    api: &Api<ControllerRevision>,
    set: &StatefulSet,
    revision: &ControllerRevision,
) -> Result<ControllerRevision, SyncError> {
    let mut references = revision.owner_references().to_vec();
    references.extend(set.controller_owner_ref(&()));
    let patch = Patch::Merge(json!({ "metadata": { "uid": revision.uid(), "ownerReferences": references } }));
    Ok(api.patch(&revision.name_any(), &PatchParams::default(), &patch).await?)
}

/// Finds the current and the update revision among `existing` (as [`list`] returns them). A template never seen makes
/// a new revision; one that equals an earlier revision makes that one the newest, under the same name.
pub(super) async fn choose(
    api: &Api<ControllerRevision>,
    set: &StatefulSet,
    existing: &[ControllerRevision],
) -> Result<Revisions, SyncError> {
    let mut collisions = set
        .status
        .as_ref()
        .and_then(|status| status.collision_count)
        .unwrap_or(0);
    let data = data(set)?;
    let next = existing.last().map_or(1, |newest| newest.revision.unwrap_or(0) + 1);
    let is_equal = |revision: &&ControllerRevision| revision.data.0 == data;
    let update = match (existing.last(), existing.iter().rev().find(is_equal)) {
        (Some(newest), Some(equal)) if newest.metadata.name == equal.metadata.name => newest.clone(),
        (_, Some(equal)) => renumber(api, equal, next).await?,
        (Some(newest), None) if reads_the_same(set, newest, &data) => newest.clone(),
        (_, None) => create(api, set, data, next, &mut collisions).await?,
    };
    let current_name = set.status.as_ref().and_then(|status| status.current_revision.as_ref());
    let current = existing
        .iter()
        .find(|revision| revision.metadata.name.as_ref() == current_name);
    // The update may be the current one under a new number; either copy has the same name and data.
    let current = current.cloned().unwrap_or_else(|| update.clone());
    Ok(Revisions {
        current,
        update,
        collisions,
    })
}

/// Whether a revision that is spelled differently (by an older server's defaults) still means the present template.
fn reads_the_same(set: &StatefulSet, revision: &ControllerRevision, wanted: &Value) -> bool {
    restore(set, revision)
        .and_then(|restored| data(&restored))
        .is_ok_and(|data| data == *wanted)
}

async fn renumber(
    api: &Api<ControllerRevision>,
    revision: &ControllerRevision,
    number: i64,
) -> Result<ControllerRevision, SyncError> {
    let mut renumbered = revision.clone();
    renumbered.revision = Some(number);
    // A conflict ends the round; the next one begins from what is there then.
    Ok(api
        .replace(&revision.name_any(), &PostParams::default(), &renumbered)
        .await?)
}

async fn create(
    api: &Api<ControllerRevision>,
    set: &StatefulSet,
    data: Value,
    number: i64,
    collisions: &mut i32,
) -> Result<ControllerRevision, SyncError> {
    let mut revision = build(set, data, number, *collisions);
    loop {
        match api.create(&PostParams::default(), &revision).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let existing = api.get(&revision.name_any()).await?;
                if existing.data == revision.data {
                    return Ok(existing);
                }
                *collisions += 1;
                let hash = hash(&revision.data.0, *collisions);
                revision.metadata.name = Some(revision_name(set, &hash));
            }
            created => return Ok(created?),
        }
    }
}

/// Deletes the oldest revisions that are neither current, nor the update, nor a pod's, beyond the set's limit.
pub(super) async fn truncate(
    api: &Api<ControllerRevision>,
    set: &StatefulSet,
    existing: &[ControllerRevision],
    is_live: impl Fn(&str) -> bool,
) -> Result<(), SyncError> {
    let limit = set.spec.revision_history_limit.unwrap_or(HISTORY_LIMIT);
    let Ok(limit) = usize::try_from(limit) else {
        return Ok(());
    };
    let history: Vec<_> = existing
        .iter()
        .map(ResourceExt::name_any)
        .filter(|name| !is_live(name))
        .collect();
    for name in &history[..history.len().saturating_sub(limit)] {
        match api.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            deleted => drop(deleted?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_kubernetes_computes() {
        // FNV-1 of nothing but the count "0", 0x050c5d0d ^ '0' = 84696381 in decimal, digit by digit.
        let expected = |sum: u32| -> String {
            let alphabet = "bcdfghjklmnpqrstvwxz2456789".as_bytes();
            sum.to_string()
                .bytes()
                .map(|digit| char::from(alphabet[usize::from(digit) % 27]))
                .collect()
        };
        let bytes = br#"{"a":"\u003c\u0026"}7"#;
        let sum = bytes.iter().fold(2_166_136_261_u32, |sum, byte| {
            sum.wrapping_mul(16_777_619) ^ u32::from(*byte)
        });
        assert_eq!(hash(&json!({ "a": "<&" }), 7), expected(sum));
    }

    #[test]
    fn a_revision_restores_the_template_it_was_made_from_and_nothing_else() {
        let set = |image: &str, replicas: i32| -> StatefulSet {
            serde_json::from_value(json!({
                "metadata": { "name": "web" },
                "spec": { "replicas": replicas, "selector": {}, "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": { "containers": [{ "name": "c", "image": image }] },
                } },
            }))
            .unwrap()
        };
        let old = set("shop:1.2.0", 3);
        let data = data(&old).unwrap();
        assert_eq!(data.pointer("/spec/template/$patch"), Some(&json!("replace")));
        let revision = build(&old, data, 1, 0);
        let restored = restore(&set("shop:1.3.0", 5), &revision).unwrap();
        assert_eq!(restored, set("shop:1.2.0", 5));
    }
}
