//! From a URL to an engine. The URL holds a secret: it is taken apart here and never shown.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stepback_core::model::{UrlSource, closest};

use super::{Database, DbError, LedgerChoice, PostgresDatabase, SqliteDatabase, parameters};

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
    /// One migration, all of its statements and our checks around them (LAWS D17).
    pub step: Duration,
    /// Whether a missing SQLite file is made by the first change; looking never makes it.
    pub create: bool,
    /// Who acts, for the archive's and the lease's rows.
    pub by: String,
}

/// The URL without its password.
pub fn redact(url: &str) -> String {
    // The short form `sqlite:FILE` holds no user, and so no password.
    if let Some(path) = sqlite_file(url) {
        let slashes = if url.starts_with("sqlite://") { "//" } else { "" };
        return format!("sqlite:{slashes}{}", path.display());
    }
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

/// The file that a SQLite URL names: `sqlite://FILE` or `sqlite:FILE`. `None`: the URL is of another engine.
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    Some(PathBuf::from(path.split('?').next().unwrap_or_default()))
}

/// The name of a file beside this one that differs from it by a slip.
pub fn similar_file(path: &Path) -> Option<String> {
    let folder = std::fs::read_dir(path.parent()?).ok()?;
    let names: Vec<String> = folder
        .flatten()
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    closest(path.file_name()?.to_str()?, &names).map(str::to_owned)
}

/// Chooses the engine by the URL's scheme. Connections are made when they are first needed.
///
/// # Errors
/// When the URL's scheme is none that is spoken here, or the URL cannot be read.
pub fn connect(url: &str, options: ConnectOptions) -> Result<Box<dyn Database>, DbError> {
    parameters::check(url)?;
    let redacted = redact(url);
    if let Some(path) = sqlite_file(url) {
        if path.as_os_str().is_empty() {
            return Err(DbError::Url {
                message: "the database's URL names no file".to_owned(),
                hint: "write sqlite://FILE, such as sqlite:///var/lib/shop/shop.db".to_owned(),
            });
        }
        return Ok(Box::new(SqliteDatabase::new(path, redacted, options)));
    }
    match url.split_once("://") {
        Some(("postgres" | "postgresql", _)) => Ok(Box::new(PostgresDatabase::new(url, redacted, options)?)),
        _ => Err(DbError::Url {
            message: format!("the URL {redacted} is of no engine that stepback speaks to"),
            hint: "write sqlite://FILE or postgres://USER@HOST/DATABASE".to_owned(),
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
    parameters::check(url)?;
    let found = PostgresDatabase::new(url, redact(url), options)?
        .state_schemas()
        .await?;
    if found.len() > 1 {
        return Err(DbError::LedgerUnclear {
            message: format!("stepback's own tables are in several schemas: {}", found.join(", ")),
            hint: "say which one is meant: with --state-schema, or as `stateSchema` in the app file".to_owned(),
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
            ("sqlite:shop.db", "sqlite:shop.db"),
            ("sqlite:shop.db?key=s3cret", "sqlite:shop.db"),
            ("postgres:shop:s3cret@db/shop", "(no URL)"),
            ("mysql://root:a/b@db/shop", "mysql://root@db/shop"),
            ("nonsense", "(no URL)"),
        ] {
            assert_eq!(redact(url), shown);
        }
    }
}
