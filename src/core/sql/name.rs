//! Names of tables as an engine compares them.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sqlparser::ast::{Ident, ObjectName};

use crate::model::Engine;

/// A table, view or other relation as a script names it, folded the way the engine folds names: PostgreSQL lowers what is
/// not quoted, SQLite lowers everything, MySQL and MariaDB keep names as they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The schema (MySQL, MariaDB: the database), when the script says it.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
}

impl TableName {
    /// `None` for a name that is computed, or empty.
    pub(super) fn read(name: &ObjectName, engine: Engine) -> Option<Self> {
        let parts: Option<Vec<_>> = name
            .0
            .iter()
            .map(|part| part.as_ident().map(|ident| fold(ident, engine)))
            .collect();
        let mut parts = parts?;
        let name = parts.pop()?;
        Some(Self {
            schema: parts.pop(),
            name,
        })
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

pub(super) fn fold(ident: &Ident, engine: Engine) -> String {
    match engine {
        Engine::Postgres if ident.quote_style.is_some() => ident.value.clone(),
        Engine::Postgres => ident.value.to_lowercase(),
        Engine::Sqlite => ident.value.to_ascii_lowercase(),
        Engine::Mysql | Engine::Mariadb => ident.value.clone(),
    }
}

/// The tables that a script names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedTables {
    /// All of them, and perhaps some words that are no tables: never too few, but for what triggers, cascades and
    /// functions do behind the script's back.
    Known(BTreeSet<TableName>),
    /// The script can reach tables that it does not name, or cannot be read.
    Unknown,
}

impl NamedTables {
    /// Whether the script names this table. Case and missing schemas are not held against it: where it is unclear, the
    /// table counts as named. Always true when unknown.
    pub fn may_name(&self, schema: Option<&str>, table: &str) -> bool {
        let Self::Known(names) = self else { return true };
        let agrees = |named: &Option<String>| match (named, schema) {
            (Some(named), Some(schema)) => named.eq_ignore_ascii_case(schema),
            _ => true,
        };
        names
            .iter()
            .any(|named| named.name.eq_ignore_ascii_case(table) && agrees(&named.schema))
    }

    /// What either of two scripts names.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Known(mut names), Self::Known(others)) => {
                names.extend(others);
                Self::Known(names)
            }
            _ => Self::Unknown,
        }
    }
}

/// A name as an identifier of PostgreSQL or SQLite: `"` is doubled, so that any name stays one identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
