//! From a URL to an engine. The URL holds a secret: it is taken apart here and never shown.

use std::path::PathBuf;
use std::time::Duration;

use stepback_core::model::UrlSource;

use super::{Database, DbError, LedgerChoice, PostgresDatabase, SqliteDatabase};

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Where the URL was read from, for plans.
    pub source: UrlSource,
    /// Where our own tables live: a schema on PostgreSQL.
    pub state_schema: String,
    /// What was said about the ledger.
    pub ledger: LedgerChoice,
    /// Waiting for a lock inside the engine.
    pub lock_wait: Duration,
    /// One statement.
    pub statement: Duration,
    /// Whether a missing SQLite file is made by the first change; looking never makes it.
    pub create: bool,
    /// Who acts, for the archive's and the lease's rows.
    pub by: String,
}

/// The URL without its password.
pub fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "(no URL)".to_owned();
    };
    // Everything from the first colon to the last @ can be a password, even one that was not escaped. Passwords can
    // also stand among the parameters, so those are not shown at all; nor is what follows an @ among them, which may be
    // a host or the rest of a password.
    match rest.rsplit_once('@') {
        Some((before, host)) => {
            let user = before.split([':', '/', '?', '@']).next().unwrap_or_default();
            let host = if before.contains('?') { "(hidden)" } else { host };
            format!("{scheme}://{user}@{}", host.split('?').next().unwrap_or_default())
        }
        None => format!("{scheme}://{}", rest.split('?').next().unwrap_or_default()),
    }
}

/// Chooses the engine by the URL's scheme. Connections are made when they are first needed.
///
/// # Errors
/// When the URL's scheme is none that is spoken here, or the URL cannot be read.
pub fn connect(url: &str, options: ConnectOptions) -> Result<Box<dyn Database>, DbError> {
    let redacted = redact(url);
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        "sqlite" => {
            let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
            let path = path.split('?').next().unwrap_or_default();
            if path.is_empty() {
                return Err(DbError::Refused {
                    message: "the URL names no file".to_owned(),
                    hint: Some("write sqlite://FILE, such as sqlite:///var/lib/shop/shop.db".to_owned()),
                });
            }
            Ok(Box::new(SqliteDatabase::new(PathBuf::from(path), redacted, options)))
        }
        "postgres" | "postgresql" => Ok(Box::new(PostgresDatabase::new(url, redacted, options)?)),
        _ => Err(DbError::Refused {
            message: format!("the URL {redacted} is of no engine that stepback speaks to"),
            hint: Some("write sqlite://FILE or postgres://USER@HOST/DATABASE".to_owned()),
        }),
    }
}

/// The state schema in which our own tables were made; `None` where none was, and on an engine that has no schemas.
///
/// # Errors
/// As [`connect`]; when the server cannot be asked; [`DbError::LedgerUnclear`] where there are several.
pub async fn find_state_schema(url: &str, options: ConnectOptions) -> Result<Option<String>, DbError> {
    if !matches!(url.split_once("://"), Some(("postgres" | "postgresql", _))) {
        return Ok(None);
    }
    let found = PostgresDatabase::new(url, redact(url), options)?
        .state_schemas()
        .await?;
    if found.len() > 1 {
        return Err(DbError::LedgerUnclear {
            message: format!("stepback's own tables are in several schemas: {}", found.join(", ")),
            hint: "say which one is meant with --state-schema, or name the app file with --config".to_owned(),
        });
    }
    Ok(found.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn no_password_is_ever_shown() {
        for (url, shown) in [
            ("postgres://shop:s3cret@db:5432/shop", "postgres://shop@db:5432/shop"),
            (
                "postgres://shop:p@ss@db/shop?password=s3cret",
                "postgres://shop@db/shop",
            ),
            ("postgres://shop@db/shop?password=s3@cret", "postgres://shop@(hidden)"),
            ("postgres://shop:s3?cret@db/shop", "postgres://shop@(hidden)"),
            ("postgres://db/shop", "postgres://db/shop"),
            ("sqlite:///var/lib/shop.db", "sqlite:///var/lib/shop.db"),
            ("mysql://root:a/b@db/shop", "mysql://root@db/shop"),
            ("nonsense", "(no URL)"),
        ] {
            assert_eq!(redact(url), shown);
        }
    }
}
