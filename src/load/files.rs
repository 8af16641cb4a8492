//! The app file and the migrations folder.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use stepback_core::appfile::{AppFile, Ask, Trust, check_against};
use stepback_core::catalog::{Catalog, Layout};
use stepback_core::model::Engine;

use super::LoadError;

/// A migrations folder, and how much it matters that it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Where.
    pub path: PathBuf,
    /// Whether it must exist: it was named on the command line, or nothing can be done without it. A rollback takes its
    /// scripts from the archive and needs none.
    pub must_exist: bool,
    /// Its layout; `None`: as its files tell.
    pub layout: Option<Layout>,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LoadError {
    move |source| LoadError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// How far up and how wide below an app file is looked for when there is none; for a hint alone.
const UP: usize = 6;

/// A file of the same name above the folder where it was looked for, or in a folder directly below.
fn near(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut up = PathBuf::new();
    for _ in 0..UP {
        up.push("..");
        let above = folder.join(&up).join(name);
        if above.is_file() {
            return Some(plain(&above));
        }
    }
    let mut below: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path().join(name))
        .filter(|file| file.is_file())
        .collect();
    below.sort();
    below.first().map(|file| plain(file))
}

fn plain(path: &Path) -> PathBuf {
    path.strip_prefix(".").unwrap_or(path).to_owned()
}

/// Reads an app file.
///
/// # Errors
/// When it is not there, cannot be read, or is wrong: then everything that is wrong with it.
pub fn read_app(path: &Path) -> Result<AppFile, LoadError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(LoadError::NoAppFile {
                path: path.to_owned(),
                near: near(path),
            });
        }
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mut app = AppFile::parse(&text, &path.display().to_string()).map_err(LoadError::App)?;
    for probe in &mut app.probes {
        if let Ask::Http { tls: Some(tls), .. } = &mut probe.ask
            && let Trust::File(file) = &tls.trust
        {
            // A run may go on from a machine that does not have this file: the plan holds what is in it.
            let beside = path.parent().unwrap_or(Path::new("")).join(file);
            tls.trust = Trust::Pem(std::fs::read_to_string(&beside).map_err(failed("read", &beside))?);
        }
    }
    Ok(app)
}

/// Reads a migrations folder, and compares it with the app file where there is one.
///
/// # Errors
/// When it cannot be read, or everything that is wrong with it.
pub fn read_catalog(folder: &Folder, engine: Engine, app: Option<&AppFile>) -> Result<Catalog, LoadError> {
    let path = &folder.path;
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound && !folder.must_exist => return Ok(Catalog::default()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(LoadError::NoFolder(path.clone())),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(failed("read", path))?.path();
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if !name.ends_with(".sql") || !file.is_file() {
            continue;
        }
        files.push((name.to_owned(), std::fs::read(&file).map_err(failed("read", &file))?));
    }
    let catalog = Catalog::read_as(&files, engine, folder.layout).map_err(|errors| LoadError::Catalog {
        folder: path.clone(),
        errors,
    })?;
    let unmatched = app.map(|app| check_against(app, &catalog)).unwrap_or_default();
    if unmatched.is_empty() {
        Ok(catalog)
    } else {
        Err(LoadError::Unmatched(unmatched))
    }
}

/// Writes a new file, and never over one that is there.
///
/// # Errors
/// When it is there already, or cannot be written.
pub fn write_new(path: &Path, text: &str) -> Result<(), LoadError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed("write", folder))?;
    }
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(LoadError::Exists(path.to_owned())),
        Err(error) => return Err(failed("write", path)(error)),
    };
    file.write_all(text.as_bytes()).map_err(failed("write", path))
}
