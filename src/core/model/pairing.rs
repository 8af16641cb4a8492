//! Which release a revision of a workload is, written on the revision itself (LAWS W1).
//!
//! Responsible for: the annotation's form, reading and adding to it. Not for: deciding when it is written (`plan`) or
//! what it is worth (`plan::template`). Annotations of the workload itself are copied to whatever revision comes next, so
//! each pairing also names the revision that it is about: what was copied is nobody's.

use k8s_openapi::api::apps::v1::ControllerRevision;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Digest, MigrationSet, Version, annotation};

/// As many are kept on one revision; the oldest go first.
const KEPT: usize = 32;

/// A release that pods of a revision were healthy as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pairing {
    /// The app that the release is one of.
    pub app: String,
    /// The release.
    pub release: semver::Version,
    /// The newest migration that was applied; `None` where none was, or where it was another release's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Version>,
    /// The digest of all that were applied; `None` where it was another release's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Digest>,
}

/// A pairing as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    revision: String,
    #[serde(flatten)]
    pairing: Pairing,
}

impl Pairing {
    /// The pairing of a release on its own schema.
    pub fn new(app: impl Into<String>, release: semver::Version, schema: Option<&MigrationSet>) -> Self {
        Self {
            app: app.into(),
            release,
            schema: schema.and_then(|schema| schema.newest().cloned()),
            migrations: schema.map(MigrationSet::digest),
        }
    }

    fn is_about(&self, other: &Self) -> bool {
        self.app == other.app && self.release == other.release
    }
}

fn entries(revision: &ControllerRevision) -> Vec<Value> {
    let annotations = revision.metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(annotation::PAIRINGS));
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn read(entry: &Value, revision: &ControllerRevision) -> Option<Pairing> {
    let written = Written::deserialize(entry).ok()?;
    (revision.metadata.name.as_deref() == Some(&written.revision)).then_some(written.pairing)
}

/// The releases that a revision is paired with, oldest first. What cannot be read, or was copied from another revision,
/// is left out.
pub fn pairings_of(revision: &ControllerRevision) -> Vec<Pairing> {
    let entries = entries(revision);
    entries.iter().filter_map(|entry| read(entry, revision)).collect()
}

/// The annotation of a revision with this pairing added, in place of an earlier one of the same release. What a later
/// version wrote beside it is kept (LAWS W12).
pub fn add_pairing(revision: &ControllerRevision, pairing: &Pairing) -> String {
    let name = revision.metadata.name.clone().unwrap_or_default();
    let mut all = entries(revision);
    all.retain(|entry| {
        let copied = entry.get("revision").and_then(Value::as_str) != Some(&name);
        !copied && !read(entry, revision).is_some_and(|earlier| earlier.is_about(pairing))
    });
    let written = Written {
        revision: name,
        pairing: pairing.clone(),
    };
    all.extend(serde_json::to_value(written));
    let surplus = all.len().saturating_sub(KEPT);
    Value::Array(all.split_off(surplus)).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn revision(name: &str, annotation: Option<String>) -> ControllerRevision {
        let mut revision = ControllerRevision::default();
        revision.metadata.name = Some(name.to_owned());
        revision.metadata.annotations =
            annotation.map(|text| BTreeMap::from([(annotation::PAIRINGS.to_owned(), text)]));
        revision
    }

    fn pairing(app: &str, release: &str) -> Pairing {
        Pairing::new(app, release.parse().unwrap(), Some(&MigrationSet::default()))
    }

    #[test]
    fn a_revision_can_be_several_releases_and_each_once() {
        let mut paired = revision("shop-1", None);
        for release in ["1.2.0", "1.2.1", "1.2.0"] {
            let text = add_pairing(&paired, &pairing("shop", release));
            paired = revision("shop-1", Some(text));
        }
        assert_eq!(
            pairings_of(&paired),
            [pairing("shop", "1.2.1"), pairing("shop", "1.2.0")]
        );
        let text = add_pairing(&paired, &pairing("other", "1.2.0"));
        assert_eq!(pairings_of(&revision("shop-1", Some(text))).len(), 3);
    }

    #[test]
    fn w1_what_was_copied_to_another_revision_is_not_believed_and_goes() {
        let text = add_pairing(&revision("shop-1", None), &pairing("shop", "1.2.0"));
        let copy = revision("shop-2", Some(text));
        assert_eq!(pairings_of(&copy), []);
        let text = add_pairing(&copy, &pairing("shop", "1.3.0"));
        assert!(!text.contains("1.2.0"), "{text}");
    }

    #[test]
    fn w12_what_a_later_version_wrote_is_kept() {
        let theirs = json!([
            { "revision": "shop-1", "kind": "later" },
            { "revision": "shop-1", "app": "shop", "release": "1.2.0", "more": 1 },
        ]);
        let paired = revision("shop-1", Some(theirs.to_string()));
        let bare = Pairing::new("shop", "1.2.0".parse().unwrap(), None);
        assert_eq!(pairings_of(&paired), [bare]);
        let text = add_pairing(&paired, &pairing("shop", "1.3.0"));
        assert!(text.contains("later") && text.contains("more"), "{text}");
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let mut paired = revision("shop-1", None);
        for patch in 0..100 {
            let text = add_pairing(&paired, &pairing("shop", &format!("1.2.{patch}")));
            paired = revision("shop-1", Some(text));
        }
        let kept = pairings_of(&paired);
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept.last(), Some(&pairing("shop", "1.2.99")));
    }

    proptest! {
        /// Whatever somebody has written there: what is added can be read.
        #[test]
        fn anything_can_be_read_and_added_to(text in r#"\PC{0,60}|\[(\{"revision":("shop-1"|3)(,"app":"a")?\},?){0,3}\]"#) {
            let found = revision("shop-1", Some(text));
            pairings_of(&found);
            let added = pairing("shop", "1.2.0");
            let then = revision("shop-1", Some(add_pairing(&found, &added)));
            prop_assert!(pairings_of(&then).contains(&added));
        }
    }
}
