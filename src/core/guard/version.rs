//! Versions of database servers: one to three numbers, compared as numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A server's version. How many of its numbers make a series differs from engine to engine: see each rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerVersion {
    major: u32,
    minor: Option<u32>,
    patch: Option<u32>,
}

/// A text is not a version that can be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// No version at all.
    #[error("`{text}` is no version of a server")]
    NoVersion {
        /// What was there.
        text: String,
    },
    /// A version before a release, whose data are its own.
    #[error("`{text}` is a version before a release, whose stored data no released version shares")]
    PreRelease {
        /// What was there.
        text: String,
    },
    /// Too few numbers.
    #[error("`{text}` says too little: the rule of {server} needs {needed} numbers")]
    TooShort {
        /// What was there.
        text: String,
        /// Whose rule.
        server: &'static str,
        /// How many numbers it needs.
        needed: usize,
    },
}

impl ServerVersion {
    /// The version with these numbers.
    pub fn new(major: u32, minor: Option<u32>, patch: Option<u32>) -> Self {
        Self { major, minor, patch }
    }

    /// From the number in which MySQL and MariaDB write theirs: 80036 is 8.0.36, 101119 is 10.11.19.
    pub(super) fn from_id(id: u32) -> Self {
        Self::new(id / 10_000, Some(id / 100 % 100), Some(id % 100))
    }

    pub(super) fn major(&self) -> u32 {
        self.major
    }

    /// The first two numbers.
    pub(super) fn two(&self) -> (u32, u32) {
        (self.major, self.minor.unwrap_or(0))
    }

    pub(super) fn patch(&self) -> u32 {
        self.patch.unwrap_or(0)
    }

    /// As three numbers, those that are not said 0: to be compared with a range.
    pub fn to_semver(&self) -> semver::Version {
        let number = |number: Option<u32>| u64::from(number.unwrap_or(0));
        semver::Version::new(u64::from(self.major), number(self.minor), number(self.patch))
    }

    pub(super) fn numbers(&self) -> usize {
        1 + usize::from(self.minor.is_some()) + usize::from(self.patch.is_some())
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.major)?;
        for number in [self.minor, self.patch].into_iter().flatten() {
            write!(f, ".{number}")?;
        }
        Ok(())
    }
}

impl Serialize for ServerVersion {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl FromStr for ServerVersion {
    type Err = VersionError;

    /// Takes what servers print and images are tagged with: a `v` before the numbers and a suffix after `-`, `+`, `~`,
    /// `_` or a blank do not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let no_version = || VersionError::NoVersion {
            text: text.chars().take(40).collect::<String>().escape_debug().to_string(),
        };
        let bare = text.trim();
        let bare = bare.strip_prefix('v').unwrap_or(bare);
        let end = bare
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(bare.len());
        let (numbers, rest) = bare.split_at(end);
        let parts: Vec<u32> = numbers
            .split('.')
            .map(|part| if part.len() > 5 { None } else { part.parse().ok() })
            .collect::<Option<_>>()
            .ok_or_else(no_version)?;
        if !matches!(parts.len(), 1..=3) {
            return Err(no_version());
        }
        let before = ["alpha", "beta", "rc", "devel", "dmr", "m"];
        let suffix = rest.trim_start_matches(['-', '+', '~', '_', ' ', '.']);
        if before.iter().any(|word| {
            suffix
                .strip_prefix(word)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
        }) {
            return Err(VersionError::PreRelease { text: bare.to_owned() });
        }
        if !rest.is_empty() && !rest.starts_with(['-', '+', '~', '_', ' ']) {
            return Err(no_version());
        }
        Ok(Self::new(parts[0], parts.get(1).copied(), parts.get(2).copied()))
    }
}
