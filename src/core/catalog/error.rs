//! What can be wrong with a migrations folder.

use std::fmt;

use crate::model::Version;

/// One thing that is wrong with a migrations folder. Each names the file and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// A name that ends in `.sql` and is no migration's.
    #[error(
        "{file}: this is no migration's name ({why}); expected VERSION_name.up.sql and VERSION_name.down.sql, \
         or VERSION_name.ENGINE.up.sql for one engine"
    )]
    UnreadableName {
        /// The file.
        file: String,
        /// What the name lacks.
        why: &'static str,
    },
    /// A name that sqlx would not read.
    #[error(
        "{file}: sqlx would stop at this name ({why}); expected VERSION_name.sql, or VERSION_name.up.sql and VERSION_name.down.sql"
    )]
    UnreadableForSqlx {
        /// The file.
        file: String,
        /// What the name lacks.
        why: &'static str,
    },
    /// A script in another tool's layout.
    #[error("{file}: this is a script for {tool}, whose layout this version does not read")]
    OtherTool {
        /// The file.
        file: String,
        /// The tool.
        tool: &'static str,
    },
    /// Two ups (or two downs) spell the same version.
    #[error("{file}: version {version} is taken by {other}; give one of them another version")]
    DuplicateVersion {
        /// The later file.
        file: String,
        /// The file that has it.
        other: String,
        /// The version.
        version: Version,
    },
    /// Two spellings of the same number, such as 1 and 001.
    #[error("{file}: version {version} is the same number as in {other}; spell it the same or give it another version")]
    EqualVersion {
        /// The later file.
        file: String,
        /// The file that has it.
        other: String,
        /// The version as the later file spells it.
        version: Version,
    },
    /// A down whose name is not its up's.
    #[error("{file}: the up script of version {version} is {other}; give both the same name")]
    NameDiffers {
        /// The down.
        file: String,
        /// The up.
        other: String,
        /// The version.
        version: Version,
    },
    /// A down that no up belongs to.
    #[error("{file}: there is no up script for version {version}, and nothing would ever be undone by it")]
    DownWithoutUp {
        /// The down.
        file: String,
        /// The version.
        version: Version,
    },
    /// Version 0 means "no migration at all".
    #[error("{file}: version 0 stands for the empty database; number migrations from 1")]
    VersionZero {
        /// The file.
        file: String,
    },
    /// Bytes that are not UTF-8.
    #[error("{file}: not UTF-8 from byte {offset} on; save it as UTF-8")]
    NotUtf8 {
        /// The file.
        file: String,
        /// The first byte that is not.
        offset: usize,
    },
    /// A byte order mark or a NUL, which servers refuse.
    #[error("{file}: contains {what} at byte {offset}, which database servers refuse; save it as UTF-8 without it")]
    StrayCharacter {
        /// The file.
        file: String,
        /// The character, in words.
        what: &'static str,
        /// Where.
        offset: usize,
    },
    /// An up that does nothing.
    #[error("{file}: the up script is empty: it holds no statement")]
    EmptyUp {
        /// The file.
        file: String,
    },
}

impl CatalogError {
    /// The file it is about.
    pub fn file(&self) -> &str {
        match self {
            Self::UnreadableName { file, .. }
            | Self::UnreadableForSqlx { file, .. }
            | Self::OtherTool { file, .. }
            | Self::DuplicateVersion { file, .. }
            | Self::EqualVersion { file, .. }
            | Self::NameDiffers { file, .. }
            | Self::DownWithoutUp { file, .. }
            | Self::VersionZero { file }
            | Self::NotUtf8 { file, .. }
            | Self::StrayCharacter { file, .. }
            | Self::EmptyUp { file } => file,
        }
    }
}

/// Everything that is wrong with a migrations folder: at least one error, in the order of the file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogErrors(Vec<CatalogError>);

impl CatalogErrors {
    /// The errors, or nothing when there are none.
    pub(crate) fn collect(errors: Vec<CatalogError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// The errors.
    pub fn errors(&self) -> &[CatalogError] {
        &self.0
    }
}

impl fmt::Display for CatalogErrors {
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

impl std::error::Error for CatalogErrors {}
