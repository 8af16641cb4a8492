//! A server's data directory, as far as it says which version the data has.
//!
//! The directory is a volume that others write to, and a guard often runs as root: files are read only where they are
//! plain files inside it. A symbolic link is not followed (no server makes one of these files), a pipe is not waited
//! for, and of each file only the first bytes are taken.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use stepback_core::guard::{Found, Server, Volume, Wanted};

use super::LoadError;

/// How many names of one folder are looked at.
const NAMES: usize = 10_000;

/// How many directories nearby are named.
const NEARBY: usize = 3;

/// What ext4 and its kin put into the root of every volume.
const MADE_BY_THE_FILE_SYSTEM: &str = "lost+found";

/// Reads what says which version a server's data have. The directory itself may be reached over symbolic links.
///
/// With `allow_empty`, a directory that does not exist below one that is truly empty counts as empty: images that keep
/// their data in a folder of the volume make it when they first start.
///
/// # Errors
/// When the directory is not there, is no directory, or cannot be listed. Whatever is wrong inside is part of the answer.
pub fn read_volume(server: Server, dir: &Path, allow_empty: bool) -> Result<Volume, LoadError> {
    let failed = |source| LoadError::DataDir {
        path: dir.to_owned(),
        source,
    };
    match fs::metadata(dir) {
        Ok(seen) if seen.is_dir() => {}
        Ok(_) => return Err(failed(ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == ErrorKind::NotFound && allow_empty && lies_in_an_empty_one(dir) => {
            return Ok(Volume::empty());
        }
        Err(error) => return Err(failed(error)),
    }
    if is_empty(dir).map_err(failed)? {
        return Ok(Volume::empty());
    }
    let mut volume = Volume::default();
    for wanted in server.wanted() {
        match expand(dir, wanted) {
            Ok(paths) => {
                for path in paths {
                    let found = read_file(dir, &path, wanted.limit);
                    volume = volume.with(path, found);
                }
            }
            Err(why) => volume = volume.with(wanted.path, Found::Unreadable(why)),
        }
    }
    Ok(with_nearby(volume, server, dir))
}

/// Whether nothing is in it but what a file system puts there.
fn is_empty(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        if entry?.file_name() != MADE_BY_THE_FILE_SYSTEM {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the nearest directory above that exists is empty. A dangling link is something, and so not nothing.
fn lies_in_an_empty_one(dir: &Path) -> bool {
    if fs::symlink_metadata(dir).is_ok() {
        return false;
    }
    let mut above = dir.ancestors().skip(1).map(|above| {
        // Above a single name is the directory that we are in.
        if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        }
    });
    above
        .find(|above| fs::symlink_metadata(above).is_ok())
        .is_some_and(|above| is_empty(above).unwrap_or(false))
}

/// The paths that a wanted one means: itself, or all that fit its `*`.
fn expand(dir: &Path, wanted: &Wanted) -> Result<Vec<String>, String> {
    let Some((before, after)) = wanted.path.split_once('*') else {
        return Ok(vec![wanted.path.to_owned()]);
    };
    let (folder, start) = before.rsplit_once('/').unwrap_or(("", before));
    let in_folder = if folder.is_empty() {
        dir.to_owned()
    } else {
        dir.join(folder)
    };
    let entries = match fs::read_dir(&in_folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(words(&error)),
    };
    let mut paths = Vec::new();
    for (count, entry) in entries.enumerate() {
        if count == NAMES {
            return Err(format!("its folder holds more than {NAMES} names"));
        }
        let name = entry.map_err(|error| words(&error))?.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(start)) else {
            continue;
        };
        let path = format!("{before}{rest}{after}");
        if fs::symlink_metadata(dir.join(&path)).is_ok() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_file(dir: &Path, path: &str, limit: usize) -> Found {
    match read_plain(dir, path, limit) {
        Ok(Some(bytes)) => Found::Bytes(bytes),
        Ok(None) => Found::Absent,
        Err(why) => Found::Unreadable(why),
    }
}

/// The first bytes of a plain file. `None`: it is not there.
fn read_plain(dir: &Path, path: &str, limit: usize) -> Result<Option<Vec<u8>>, String> {
    let mut at = PathBuf::from(dir);
    let mut seen = None;
    for part in path.split('/') {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_symlink() => {
                return Err("a symbolic link, which no server makes here, and which is not followed".to_owned());
            }
            Ok(found) => seen = Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(words(&error)),
        }
    }
    let seen = seen.filter(Metadata::is_file).ok_or("not a plain file")?;
    let file = File::open(&at).map_err(|error| words(&error))?;
    let opened = file.metadata().map_err(|error| words(&error))?;
    if !is_same(&seen, &opened) {
        return Err("it was replaced while it was read".to_owned());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| words(&error))?;
    Ok(Some(bytes))
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, other: &Metadata) -> bool {
    other.is_file()
}

/// What the system says, without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

/// Names data directories that lie below: an image's path is easily taken for its parent.
fn with_nearby(mut volume: Volume, server: Server, dir: &Path) -> Volume {
    let paths = server
        .nearby()
        .iter()
        .filter_map(|wanted| expand(dir, wanted).ok())
        .flatten();
    let mut folders: Vec<PathBuf> = paths
        .filter_map(|path| dir.join(path).parent().map(Path::to_owned))
        .collect();
    folders.sort();
    folders.dedup();
    for folder in folders.iter().take(NEARBY) {
        volume = volume.with_elsewhere(folder.display().to_string());
    }
    volume
}
