//! Which file it is. Another one under the same name is another database: an open connection goes on writing to the one
//! that nobody else sees any more (LAWS D13).
//!
//! Responsible for: telling files apart. Not for: which of them is the right one. The rest of `sqlite` asks it before and
//! after everything that counts.

use std::path::Path;

use super::SqliteDatabase;
use crate::database::DbError;

/// A file, whatever its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file of this name; `None` where there is none.
    ///
    /// # Errors
    /// When the system does not say.
    pub(super) fn of(path: &Path) -> std::io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(file) => Ok(Some(Self::from(&file))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(unix)]
impl From<&std::fs::Metadata> for FileId {
    fn from(file: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self {
            device: file.dev(),
            inode: file.ino(),
        }
    }
}

/// Elsewhere an open file can be neither renamed nor replaced.
#[cfg(not(unix))]
impl From<&std::fs::Metadata> for FileId {
    fn from(_: &std::fs::Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }
}

impl SqliteDatabase {
    /// Keeps which file was opened first. All later connections must lead to it.
    pub(super) fn keep_file(&self) {
        if let Ok(Some(file)) = FileId::of(&self.path) {
            self.file.get_or_init(|| file);
        }
    }

    /// Refuses where the name leads to another file than the first time, or to none. What the system does not say is no
    /// reason: the connection is there.
    pub(super) fn expect_same_file(&self) -> Result<(), DbError> {
        let (Some(first), Ok(now)) = (self.file.get(), FileId::of(&self.path)) else {
            return Ok(());
        };
        let what = match now {
            Some(now) if now == *first => return Ok(()),
            Some(_) => "was replaced by another file",
            None => "was removed or renamed",
        };
        Err(DbError::Refused {
            message: format!(
                "{} {what} while it was open; what was committed last may be missing there",
                self.path.display()
            ),
            hint: Some(
                "find out which is the right one (a restore?) and what its ledger says: `stepback migrate status`"
                    .to_owned(),
            ),
        })
    }
}
