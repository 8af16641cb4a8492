//! Where a database URL comes from. It may hold a password: it is handed on and never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use stepback_core::appfile;
use stepback_core::model::{Engine, UrlSource};

use super::LoadError;
use crate::database::{redact, sqlite_file};

/// The variable that is read when nothing else says where the URL is.
const DEFAULT_VARIABLE: &str = "DATABASE_URL";

/// A URL with the place that a later process can read it from again. Its `Debug` form does not show the URL.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// The URL, password and all.
    pub url: String,
    /// Where a plan says that it is to be read from.
    pub source: UrlSource,
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({}, {:?})", redact(&self.url), self.source)
    }
}

/// The engine that a URL is for.
///
/// # Errors
/// When the text is no URL, or of no engine that is spoken here.
pub fn engine_of(url: &str, from: &str) -> Result<Engine, LoadError> {
    let wrong = |why: String| LoadError::Url {
        from: from.to_owned(),
        why,
    };
    match url.split_once(':') {
        Some(("sqlite", _)) => Ok(Engine::Sqlite),
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Engine::Postgres),
        // The driver would take all of it for something else, and connect to this machine.
        Some((scheme @ ("postgres" | "postgresql"), _)) => Err(wrong(format!("lacks the // behind `{scheme}:`"))),
        Some((scheme @ ("mysql" | "mariadb"), _)) => Err(wrong(format!(
            "is of {scheme}, an engine that this version does not speak to yet"
        ))),
        _ => Err(wrong(
            "is none of sqlite://FILE and postgres://USER@HOST/DATABASE".to_owned(),
        )),
    }
}

/// A URL from the command line. One that holds a secret is never written down: a resume reads it from `DATABASE_URL`.
///
/// # Errors
/// When it is of no engine that is spoken here.
pub fn given(url: &str) -> Result<DatabaseUrl, LoadError> {
    engine_of(url, "--url")?;
    // A file's name is no secret.
    let source = if sqlite_file(url).is_some() || redact(url) == url {
        UrlSource::Url(absolute(url))
    } else {
        UrlSource::Env(DEFAULT_VARIABLE.to_owned())
    };
    Ok(DatabaseUrl {
        url: url.to_owned(),
        source,
    })
}

/// The URL that an app file points to. A file is relative to the app file.
///
/// # Errors
/// When its source cannot be read.
pub fn from_app(source: &appfile::UrlSource, app_file: &Path) -> Result<DatabaseUrl, LoadError> {
    match source {
        appfile::UrlSource::Env(name) => from_plan(&UrlSource::Env(name.clone())),
        appfile::UrlSource::File(file) => {
            let path = app_file.parent().unwrap_or(Path::new("")).join(file);
            let path = std::path::absolute(&path).unwrap_or(path);
            from_plan(&UrlSource::File(path.display().to_string()))
        }
        appfile::UrlSource::Literal(url) => {
            engine_of(url, "in the app file")?;
            Ok(DatabaseUrl {
                url: url.clone(),
                source: UrlSource::Url(absolute(url)),
            })
        }
        appfile::UrlSource::Secret { name, key } => Err(LoadError::Secret {
            name: name.clone(),
            key: key.clone(),
        }),
    }
}

/// The URL that a plan points to.
///
/// # Errors
/// When its source cannot be read.
pub fn from_plan(source: &UrlSource) -> Result<DatabaseUrl, LoadError> {
    let (url, from) = match source {
        UrlSource::Env(name) => {
            let url = std::env::var(name).ok().filter(|url| !url.trim().is_empty());
            let url = url.ok_or_else(|| LoadError::NoVariable(name.clone()))?;
            (url, format!("from {name}"))
        }
        UrlSource::File(path) => {
            let url = std::fs::read_to_string(path).map_err(|source| LoadError::Io {
                doing: "read",
                path: PathBuf::from(path),
                source,
            })?;
            (url, format!("from {path}"))
        }
        UrlSource::Url(url) => (url.clone(), "of the plan".to_owned()),
    };
    let url = url.trim().to_owned();
    engine_of(&url, &from)?;
    Ok(DatabaseUrl {
        url,
        source: source.clone(),
    })
}

/// A relative SQLite file is found again from another directory too.
fn absolute(url: &str) -> String {
    let Some(file) = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) else {
        return url.to_owned();
    };
    match std::path::absolute(file) {
        Ok(path) => format!("sqlite://{}", path.display()),
        Err(_) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_on_the_command_line_is_not_written_down() {
        let url = given("postgres://shop:s3cret@db/shop").unwrap();
        assert_eq!(url.source, UrlSource::Env("DATABASE_URL".into()));
        assert!(!format!("{url:?}").contains("s3cret"));
    }

    #[test]
    fn a_relative_file_is_found_from_elsewhere() {
        let UrlSource::Url(url) = given("sqlite://shop.db").unwrap().source else {
            panic!("a URL without a secret is kept");
        };
        assert!(url.starts_with("sqlite:///") && url.ends_with("/shop.db"), "{url}");
        for short in ["sqlite:shop.db", "sqlite:shop.db?mode=rwc"] {
            let source = given(short).unwrap().source;
            assert!(
                matches!(&source, UrlSource::Url(url) if url.starts_with("sqlite:///")),
                "{source:?}"
            );
        }
        assert_eq!(
            given("sqlite:///var/shop.db").unwrap().source,
            UrlSource::Url("sqlite:///var/shop.db".into())
        );
    }

    #[test]
    fn what_is_no_url_is_not_repeated() {
        let error = given("hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        for slip in [
            "postgres:shop:hunter2@db/shop",
            "postgresql:/shop:hunter2@db/shop",
            "postgres:",
        ] {
            let error = given(slip).unwrap_err().to_string();
            assert!(error.contains("lacks the //") && !error.contains("hunter2"), "{error}");
        }
        assert!(given("mysql://root@db/shop").unwrap_err().to_string().contains("mysql"));
    }
}
