//! A schema's fingerprint: a definition for every object, so that a difference can be read (LAWS D12).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Digest, cut};

/// Objects that were changed by hand, each with the digest of the definition that it was found with; `None`: it was gone.
pub type Drift = BTreeMap<String, Option<Digest>>;

/// The definition of every object of a schema, in a form that is the same whenever the schema is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The version of this form; fingerprints of different formats are not compared.
    pub format: u32,
    /// The server that it was taken from; a different version may print the same object in another way.
    pub server: String,
    /// Object, such as `table public.orders` or `index public.orders_pkey`, to its definition.
    pub objects: BTreeMap<String, String>,
    /// What had been changed by hand by the time it was recorded, since the first one that was. An earlier state was
    /// recorded without it, so a way back to that one does not bring it back (LAWS D12). No part of the digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drifted: Drift,
}

/// One object that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which object.
    pub object: String,
    /// How it was expected; `None`: it should not exist.
    pub expected: Option<String>,
    /// How it is; `None`: it does not exist.
    pub found: Option<String>,
}

impl Fingerprint {
    /// SHA-256 over format and objects. The server's version and the drift are not part of it.
    pub fn digest(&self) -> Digest {
        let mut text = format!("stepback fingerprint {}\n", self.format);
        for (object, definition) in &self.objects {
            // Lengths keep two neighbouring texts from running into one another.
            text.push_str(&format!(
                "{} {}\n{object}\n{definition}\n",
                object.len(),
                definition.len()
            ));
        }
        Digest::of(text.as_bytes())
    }

    /// Whether two fingerprints can be compared: the same form, of the same server in the same major version. Another
    /// one may print the same object in another way.
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.format == other.format && major(&self.server) == major(&other.server)
    }

    /// What differs in `found` from `self`, by object, in their order; tables whose columns merely stand in another order are
    /// [`reordered`](Self::reordered). Means something only where the two are [comparable](Self::is_comparable).
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        let names: std::collections::BTreeSet<&String> = self.objects.keys().chain(found.objects.keys()).collect();
        names
            .into_iter()
            .filter(|name| self.objects.get(*name) != found.objects.get(*name))
            .filter(|name| !self.is_reordered(found, name))
            .map(|name| Difference {
                object: name.clone(),
                expected: self.objects.get(name).cloned(),
                found: found.objects.get(name).cloned(),
            })
            .collect()
    }

    /// The tables of `found` that have the same columns as here in another order. No engine can put a column back to where
    /// it stood, so the down of a `DROP COLUMN` cannot do better.
    pub fn reordered(&self, found: &Self) -> Vec<&str> {
        let names = self.objects.keys().filter(|name| self.is_reordered(found, name));
        names.map(String::as_str).collect()
    }

    fn is_reordered(&self, found: &Self, name: &str) -> bool {
        match (self.objects.get(name), found.objects.get(name)) {
            (Some(one), Some(other)) if name.starts_with("table ") => {
                one != other && one.len() == other.len() && parts(one) == parts(other)
            }
            _ => false,
        }
    }
}

/// What a table's definition says, in no order: on SQLite columns are parts of it like any other, on PostgreSQL they stand in
/// parentheses in the first one.
fn parts(definition: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in split_outside(definition, "; ") {
        let is_table = |kind: &str| {
            let kind = kind.strip_suffix(" unlogged").unwrap_or(kind);
            matches!(kind, "table" | "partitioned table" | "foreign table")
        };
        let columns = part.split_once(" (").filter(|(kind, _)| is_table(kind));
        match columns.and_then(|(kind, rest)| Some((kind, rest.strip_suffix(')')?))) {
            Some((kind, columns)) => {
                parts.push(kind.to_owned());
                let columns = split_outside(columns, ", ").into_iter();
                parts.extend(columns.map(|column| format!("column {column}")));
            }
            None => parts.push(part.to_owned()),
        }
    }
    parts.sort();
    parts
}

/// Cuts a text at what stands outside of quotes and parentheses.
fn split_outside<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let mut cut = Vec::new();
    let (mut from, mut depth, mut quote) = (0, 0_usize, None);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(open)) => quote = (c != open).then_some(open),
            ('\'' | '"', None) => quote = Some(c),
            ('(', None) => depth += 1,
            (')', None) => depth = depth.saturating_sub(1),
            _ if depth == 0 && at >= from && text[at..].starts_with(separator) => {
                cut.push(&text[from..at]);
                from = at + separator.len();
            }
            _ => {}
        }
    }
    cut.push(&text[from..]);
    cut
}

/// The server's name and the first number of its version.
fn major(server: &str) -> (&str, &str) {
    let (name, version) = server.split_once(' ').unwrap_or((server, ""));
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    (name, &version[..end])
}

impl Difference {
    /// How the object was found, for [`Drift`].
    pub fn found_digest(&self) -> Option<Digest> {
        self.found.as_ref().map(|found| Digest::of(found.as_bytes()))
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.expected, &self.found) {
            (Some(expected), Some(found)) => {
                let from = first_difference(expected, found);
                write!(
                    f,
                    "~ {}: expected {}, found {}",
                    self.object,
                    part(expected, from),
                    part(found, from)
                )
            }
            (Some(expected), None) => write!(f, "- {}: expected {}, not there", self.object, part(expected, 0)),
            (None, found) => write!(
                f,
                "+ {}: not expected, found {}",
                self.object,
                part(found.as_deref().unwrap_or(""), 0)
            ),
        }
    }
}

/// The bytes of a definition that are shown: a function's body, or the grants of a table, can be of any length.
const SHOWN: usize = 400;

/// The bytes that are shown before two definitions begin to differ.
const BEFORE: usize = 60;

/// Where two texts begin to differ, in bytes.
fn first_difference(one: &str, other: &str) -> usize {
    let pairs = one.char_indices().zip(other.chars());
    pairs
        .take_while(|((_, a), b)| a == b)
        .last()
        .map_or(0, |((at, a), _)| at + a.len_utf8())
}

/// What is shown of a definition that differs from another one from this byte on: all of it, where it is short.
fn part(text: &str, from: usize) -> String {
    let begin = if text.len() <= SHOWN || from <= BEFORE {
        0
    } else {
        (from - BEFORE..=from)
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0)
    };
    let before = if begin > 0 { "…" } else { "" };
    format!("{before}{}", cut(&text[begin..], SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_definitions_the_part_that_differs_is_shown() {
        let body = "x ".repeat(500);
        let difference = Difference {
            object: "function f".to_owned(),
            expected: Some(format!("{body}RETURN 1;{body}")),
            found: Some(format!("{body}RETURN 2;{body}")),
        };
        let shown = difference.to_string();
        assert!(shown.contains("RETURN 1;") && shown.contains("RETURN 2;"), "{shown}");
        assert!(shown.len() < 2 * SHOWN + 100, "{}", shown.len());
    }

    fn fingerprint(objects: &[(&str, &str)]) -> Fingerprint {
        Fingerprint {
            format: 1,
            server: "SQLite 3".into(),
            objects: objects
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
            drifted: Drift::new(),
        }
    }

    #[test]
    fn the_same_objects_have_the_same_digest_whatever_the_server() {
        let one = fingerprint(&[("table a", "x")]);
        let mut other = one.clone();
        other.server = "SQLite 4".into();
        other.drifted.insert("index a".into(), None);
        assert_eq!(one.digest(), other.digest());
        assert_ne!(one.digest(), fingerprint(&[("table a", "y")]).digest());
        assert_ne!(
            fingerprint(&[("a", "b\nc")]).digest(),
            fingerprint(&[("a\nb", "c")]).digest()
        );
    }

    #[test]
    fn d12_fingerprints_of_different_servers_are_not_compared() {
        let of = |server: &str| Fingerprint {
            server: server.to_owned(),
            ..fingerprint(&[])
        };
        for (one, other, comparable) in [
            ("PostgreSQL 15.4", "PostgreSQL 15.18 (Debian 15.18-0+deb12u1)", true),
            ("PostgreSQL 15.4", "PostgreSQL 16.1", false),
            ("PostgreSQL 9.6", "PostgreSQL 96", false),
            ("SQLite 3.40.1", "SQLite 3.51.0", true),
            ("SQLite 3", "PostgreSQL 3", false),
        ] {
            assert_eq!(of(one).is_comparable(&of(other)), comparable, "{one} and {other}");
        }
        let newer = Fingerprint {
            format: 2,
            ..fingerprint(&[])
        };
        assert!(!newer.is_comparable(&fingerprint(&[])));
    }

    #[test]
    fn d12_the_order_of_columns_alone_is_no_difference() {
        for (one, other) in [
            (
                "table (a integer not null, b numeric(4, 2) default 'x, (y'::text); replica identity d; owner o",
                "table (b numeric(4, 2) default 'x, (y'::text, a integer not null); replica identity d; owner o",
            ),
            (
                "partitioned table (\"a, b\" text, c text); RANGE (a, c); replica identity d",
                "partitioned table (c text, \"a, b\" text); RANGE (a, c); replica identity d",
            ),
            (
                "check ( a > 0 ); a integer primary key 1; b text default 'x; y'; foreign key a references t (i)",
                "check ( a > 0 ); b text default 'x; y'; a integer primary key 1; foreign key a references t (i)",
            ),
        ] {
            let (one, other) = (fingerprint(&[("table t", one)]), fingerprint(&[("table t", other)]));
            assert_eq!(one.differences(&other), []);
            assert_eq!(one.reordered(&other), ["table t"]);
            assert_eq!(one.reordered(&one), [""; 0]);
            assert_ne!(one.digest(), other.digest());
        }
        for (one, other) in [
            (
                "table (a integer, b text); owner o",
                "table (a text, b integer); owner o",
            ),
            ("table (a integer, b text)", "table (b text, a integer, c text)"),
            (
                "table (a integer, b text); RANGE (a, b)",
                "table (b text, a integer); RANGE (b, a)",
            ),
            ("table (a text default 'x, y')", "table (a text default 'y, x')"),
            ("a integer; b text", "b text; a integer not null"),
            (
                "a integer; constraint (a, b) from u",
                "a integer; constraint (b, a) from u",
            ),
        ] {
            let (one, other) = (fingerprint(&[("table t", one)]), fingerprint(&[("table t", other)]));
            assert_eq!(one.differences(&other).len(), 1);
            assert_eq!(one.reordered(&other), [""; 0]);
        }
        // What else holds a list is another thing in another order.
        let of = |text| fingerprint(&[("type t", text)]);
        assert_eq!(of("a; b").differences(&of("b; a")).len(), 1);
    }

    #[test]
    fn differences_name_each_object_once_and_in_order() {
        let expected = fingerprint(&[("table a", "x"), ("table b", "x")]);
        let found = fingerprint(&[("table b", "y"), ("table c", "x")]);
        let names: Vec<_> = expected
            .differences(&found)
            .into_iter()
            .map(|d| (d.object, d.expected, d.found))
            .collect();
        assert_eq!(
            names,
            [
                ("table a".into(), Some("x".into()), None),
                ("table b".into(), Some("x".into()), Some("y".into())),
                ("table c".into(), None, Some("x".into())),
            ]
        );
    }
}
