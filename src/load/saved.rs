//! Files of saved plans.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use stepback_core::plan::{SavedPlan, SavedPlanError};

use super::LoadError;

/// Reads a saved plan.
///
/// # Errors
/// When it is not there, cannot be read, or is not exactly what was saved.
pub fn read_saved(path: &Path) -> Result<SavedPlan, LoadError> {
    let text = fs::read(path).map_err(|source| LoadError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    SavedPlan::read(&text).map_err(|error| LoadError::Saved {
        path: path.to_owned(),
        error,
    })
}

/// Writes a saved plan so that its file holds either what it held before or all of the plan, whatever happens. Only its
/// owner may read it: the scripts in it may show what nobody else needs to know.
///
/// # Errors
/// When the file cannot be written, or is there and no saved plan: nothing else is ever replaced.
pub fn write_saved(path: &Path, text: &str) -> Result<(), LoadError> {
    let failed = |source| LoadError::Io {
        doing: "write",
        path: path.to_owned(),
        source,
    };
    match fs::metadata(path) {
        Ok(there) => {
            let ours = there.is_file() && fs::read(path).is_ok_and(|text| is_saved_plan(&text));
            if !ours {
                return Err(LoadError::NotOver(path.to_owned()));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = Unfinished(folder.join(format!(".{name}.{}", std::process::id())));
    let mut file = create(&beside.0).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&beside.0, path).map_err(failed)?;
    // A folder that cannot be synced (not every file system lets one) has the file all the same.
    drop(File::open(folder).and_then(|folder| folder.sync_all()));
    Ok(())
}

/// One that was damaged or is of a newer format is one all the same.
fn is_saved_plan(text: &[u8]) -> bool {
    !matches!(
        SavedPlan::read(text),
        Err(SavedPlanError::Torn { .. } | SavedPlanError::Other { .. })
    )
}

fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A file that is removed unless it got its name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}
