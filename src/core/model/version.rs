//! Schema versions: what a migration is called by.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest version that is read; longer ones are a mistake, not a version.
const MAX_LEN: usize = 128;

/// A schema version: runs of digits separated by single dots, such as `0009`, `20240301090000` or `1.2.10`.
///
/// Versions are compared as numbers, part by part, of any size: `0009` equals `9` and is before `10`; `1` equals `1.0`
/// (a missing part counts as zero, as Flyway does). The text is kept as it was written, because ledgers and file
/// names spell it so: use [`Version::as_str`] when a spelling matters and `==` when the version does.
#[derive(Debug, Clone)]
pub struct Version(String);

impl Version {
    /// Reads a version.
    ///
    /// # Errors
    /// When the text is empty, is longer than 128 bytes, or is anything but ASCII digits with single dots between them.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        if text.is_empty() {
            return Err(VersionError::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(VersionError::TooLong { len: text.len() });
        }
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !text.split('.').all(is_part) {
            return Err(VersionError::NotDigits { text: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }

    /// The version as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the version before every migration (`0`, however it is spelled).
    pub fn is_zero(&self) -> bool {
        self.parts().next().is_none()
    }

    /// The spelling that all equal versions have in common.
    pub(super) fn normal(&self) -> String {
        self.parts().collect::<Vec<_>>().join(".")
    }

    /// The parts without leading zeros, and without the zero parts at the end.
    fn parts(&self) -> impl Iterator<Item = &str> {
        let significant = self.0.trim_end_matches(['0', '.']);
        // A part may have lost trailing zeros that count ("1.10"): its end is the next dot of the whole text.
        let end = match self.0[significant.len()..].find('.') {
            _ if significant.is_empty() => 0,
            Some(dot) => significant.len() + dot,
            None => self.0.len(),
        };
        let whole = &self.0[..end];
        whole
            .split('.')
            .filter(move |_| !whole.is_empty())
            .map(|part| part.trim_start_matches('0'))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        // Without leading zeros a longer run of digits is the larger number.
        let by_number = |part: &'_ str| (part.len(), part.to_owned());
        self.parts().map(by_number).cmp(other.parts().map(by_number))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for part in self.parts() {
            part.hash(state);
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Why a text is not a [`Version`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// There is nothing there.
    #[error("a schema version is digits, and this is empty")]
    Empty,
    /// Longer than any version in use.
    #[error("a schema version has at most {MAX_LEN} characters, and this has {len}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Something else than digits and single dots.
    #[error("a schema version is digits, perhaps with single dots between them, and `{text}` is not")]
    NotDigits {
        /// What was there.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn compares_as_numbers_of_any_size() {
        assert!(v("0009") < v("10"));
        assert!(v("1.9") < v("1.10"));
        assert!(v("1.1") < v("1.10"));
        assert!(v("10") > v("1.10"));
        assert!(v("20240301090000") > v("20240115120000"));
        assert!(v("99999999999999999999999999") < v("100000000000000000000000000"));
        assert!(v("1") < v("1.0.1"));
    }

    #[test]
    fn spelling_is_kept_and_does_not_count() {
        assert_eq!(v("001"), v("1"));
        assert_eq!(v("1"), v("1.0"));
        assert_eq!(v("1.10"), v("1.10.000"));
        assert_ne!(v("10"), v("1.0"));
        assert_eq!(v("01.010.0").normal(), v("1.10").normal());
        assert_ne!(v("1.0.1").normal(), v("1.1").normal());
        assert_eq!(v("001").to_string(), "001");
        assert!(v("000").is_zero() && v("0.0").is_zero() && !v("100").is_zero());
    }

    #[test]
    fn refuses_what_is_no_version() {
        for text in ["", ".", "1.", ".1", "1..2", "1a", "-1", "+1", " 1", "1 ", "1_2", "１"] {
            assert!(Version::parse(text).is_err(), "{text:?}");
        }
        assert!(matches!(
            Version::parse(&"1".repeat(129)),
            Err(VersionError::TooLong { len: 129 })
        ));
    }

    #[test]
    fn is_a_string_in_json() {
        assert_eq!(serde_json::to_string(&v("0009")).unwrap(), r#""0009""#);
        assert_eq!(serde_json::from_str::<Version>(r#""0009""#).unwrap().as_str(), "0009");
        assert!(serde_json::from_str::<Version>(r#""x""#).is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_the_order_of_lists_of_numbers(
            a in prop::collection::vec(0u64..1200, 1..4),
            b in prop::collection::vec(0u64..1200, 1..4),
            pad in 0usize..3,
        ) {
            let text = |parts: &[u64], pad: usize| {
                parts.iter().map(|n| format!("{}{n}", "0".repeat(pad))).collect::<Vec<_>>().join(".")
            };
            let trim = |parts: &[u64]| {
                let len = parts.iter().rposition(|n| *n != 0).map_or(0, |at| at + 1);
                parts[..len].to_vec()
            };
            prop_assert_eq!(v(&text(&a, pad)).cmp(&v(&text(&b, 0))), trim(&a).cmp(&trim(&b)));
        }
    }
}
