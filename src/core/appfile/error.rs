//! What can be wrong with an app file, and where.

use std::fmt;

use crate::model::{Version, closest};

/// Where something stands in the file: line and column, from 1; columns count characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong with an app file. Its text is `FILE:LINE:COLUMN: what`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppFileError {
    /// The file, as it was named to us.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for AppFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.place.line, self.place.column, self.problem
        )
    }
}

impl std::error::Error for AppFileError {}

/// What is wrong. Keys are written as paths, such as `spec.releases[0].schema`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is no YAML, or uses more of YAML than an app file needs.
    #[error("not readable as YAML: {what}")]
    Yaml {
        /// What the parser says.
        what: String,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {within}{}; the keys are {}", nearest(.key, .choices), list(.choices))]
    UnknownKey {
        /// The key.
        key: String,
        /// The path of the mapping.
        within: String,
        /// The keys that exist.
        choices: Vec<String>,
    },
    /// A value that is none of the choices.
    #[error("{path}: `{value}` is not one of the choices{}; they are {}", nearest(.value, .choices), list(.choices))]
    UnknownValue {
        /// The path of the value.
        path: String,
        /// What stands there.
        value: String,
        /// What may.
        choices: Vec<String>,
    },
    /// A key that must be there.
    #[error("{path} is missing; it is {expected}")]
    Missing {
        /// The path of the key.
        path: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A list where a mapping belongs, or the like.
    #[error("{path}: expected {expected}, found {found}")]
    WrongKind {
        /// The path of the value.
        path: String,
        /// What belongs there.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// A value that cannot be read.
    #[error("{path}: {why}")]
    Invalid {
        /// The path of the value.
        path: String,
        /// Why, and what would be right.
        why: String,
    },
    /// Something is there twice.
    #[error("{path}: `{value}` is there already, in line {first}; remove one of them")]
    Duplicate {
        /// The path of the second.
        path: String,
        /// What is there twice.
        value: String,
        /// The line of the first.
        first: usize,
    },
    /// A literal database URL with a password. The URL is not repeated here.
    #[error(
        "{path}: a URL with a password does not belong in this file; use {{env: NAME}}, {{file: PATH}} or \
         {{secret: NAME, key: KEY}}, and change the password if the file was shared"
    )]
    PasswordInUrl {
        /// The path of the URL.
        path: String,
    },
    /// A schema version that no migration has.
    #[error("{path}: no migration has version {version}{}", among(.version, .known))]
    NoSuchMigration {
        /// The path of the version.
        path: String,
        /// The version.
        version: Version,
        /// The versions that exist, oldest first.
        known: Vec<String>,
    },
}

/// Everything that is wrong with an app file: at least one error, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppFileErrors(Vec<AppFileError>);

impl AppFileErrors {
    pub(super) fn collect(mut errors: Vec<AppFileError>) -> Result<(), Self> {
        errors.sort_by_key(|error| error.place);
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// The errors.
    pub fn errors(&self) -> &[AppFileError] {
        &self.0
    }
}

impl fmt::Display for AppFileErrors {
    /// One a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for AppFileErrors {}

fn list(choices: &[String]) -> String {
    if choices.is_empty() {
        "none".to_owned()
    } else {
        choices.join(", ")
    }
}

/// `, did you mean …?` when one of the choices is close.
fn nearest(value: &str, choices: &[String]) -> String {
    closest(value, choices).map_or_else(String::new, |choice| format!(" (did you mean `{choice}`?)"))
}

/// The neighbours of a version among those that exist; a list of a thousand helps nobody.
fn among(version: &Version, known: &[String]) -> String {
    let newest = known
        .last()
        .map_or_else(String::new, |newest| format!("; the newest is {newest}"));
    match closest(version.as_str(), known) {
        Some(choice) => format!(" (did you mean `{choice}`?){newest}"),
        None => newest,
    }
}
