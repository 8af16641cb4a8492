//! Migrations by name, sets of them, and references to their scripts.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Digest, Version};

/// Which way a script goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Towards newer.
    Up,
    /// Towards older.
    Down,
}

/// A migration's version and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MigrationId {
    /// Its version.
    pub version: Version,
    /// Its name, for people; never used to tell migrations apart.
    pub name: String,
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            write!(f, "{}", self.version)
        } else {
            write!(f, "{}_{}", self.version, self.name)
        }
    }
}

/// A script by name and checksum. Its body lies in the archive (LAWS D2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptRef {
    /// The migration it belongs to.
    pub migration: MigrationId,
    /// Up or down.
    pub direction: Direction,
    /// SHA-256 of the script's bytes as captured.
    pub sha256: Digest,
    /// SHA-256 of the migration's up script, which its ledger row and archive row are bound to.
    pub up_sha256: Digest,
}

/// A set of applied migrations. A release is paired with a set and not only with its newest version (LAWS D1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrationSet(pub BTreeSet<Version>);

impl MigrationSet {
    /// The newest version of the set, if it holds any.
    pub fn newest(&self) -> Option<&Version> {
        self.0.last()
    }

    /// Whether the set holds `version`.
    pub fn contains(&self, version: &Version) -> bool {
        self.0.contains(version)
    }

    /// A name for the set: SHA-256 over its versions, one a line, without zeros that do not count: equal sets have one name,
    /// however a ledger or a folder spells them.
    pub fn digest(&self) -> Digest {
        let mut text = String::new();
        for version in &self.0 {
            text.push_str(&version.normal());
            text.push('\n');
        }
        Digest::of(text.as_bytes())
    }
}

impl FromIterator<Version> for MigrationSet {
    fn from_iter<I: IntoIterator<Item = Version>>(versions: I) -> Self {
        Self(versions.into_iter().collect())
    }
}

/// Where a run comes from or goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The release, when there is one: `migrate goto` has none.
    pub release: Option<semver::Version>,
    /// The migrations that are applied there.
    pub schema: MigrationSet,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.release, self.schema.newest()) {
            (Some(release), Some(schema)) => write!(f, "{release} (schema {schema})"),
            (Some(release), None) => write!(f, "{release} (empty schema)"),
            (None, Some(schema)) => write!(f, "schema {schema}"),
            (None, None) => f.write_str("an empty schema"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_have_one_name() {
        let set =
            |versions: &[&str]| -> MigrationSet { versions.iter().map(|text| Version::parse(text).unwrap()).collect() };
        assert_eq!(set(&["0001", "0010"]), set(&["1", "10"]));
        assert_eq!(set(&["0001", "0010"]).digest(), set(&["1", "10"]).digest());
        assert_ne!(set(&["1", "10"]).digest(), set(&["1.10"]).digest());
        assert_ne!(set(&["0"]).digest(), set(&[]).digest());
    }
}
