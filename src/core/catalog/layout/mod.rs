//! Layouts: names and contents of files to migrations. One file a layout.

pub(super) mod sqlx;
pub(super) mod stepback;

use serde::{Deserialize, Serialize};

use super::{CatalogError, CatalogErrors, Script};

/// How a migrations folder is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Ours: `V_name.up.sql` and `V_name.down.sql`, with an engine before `.up` where it matters.
    #[default]
    Stepback,
    /// sqlx's: the same names without engines, or `V_name.sql` alone for what cannot be undone.
    Sqlx,
}

impl Layout {
    /// The name in app files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stepback => "stepback",
            Self::Sqlx => "sqlx",
        }
    }

    /// The layout that the files of a folder tell. sqlx's pairs have the same names as ours and mean the same, so only a
    /// folder in which every migration is `V_name.sql` tells anything: it is sqlx's.
    ///
    /// # Errors
    /// When the files are another tool's, by the marks inside.
    pub fn tell(files: &[(String, Vec<u8>)]) -> Result<Self, CatalogErrors> {
        let is_pair = |name: &str| name.ends_with(".up.sql") || name.ends_with(".down.sql");
        let numbered = |name: &str| name.starts_with(|c: char| c.is_ascii_digit()) && name.contains('_');
        let mut scripts = files.iter().filter(|(name, _)| name.ends_with(".sql")).peekable();
        if scripts.peek().is_none() || !scripts.all(|(name, _)| numbered(name) && !is_pair(name)) {
            return Ok(Self::Stepback);
        }
        let foreign = files.iter().filter_map(|(name, bytes)| {
            let tool = other_tool(bytes)?;
            name.ends_with(".sql").then(|| CatalogError::OtherTool {
                file: name.clone(),
                tool,
            })
        });
        CatalogErrors::collect(foreign.collect()).map(|()| Self::Sqlx)
    }
}

/// The tool whose marks stand in a script.
fn other_tool(bytes: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(bytes);
    let marks = [("-- migrate:up", "dbmate"), ("-- +goose up", "goose")];
    let marked = |mark: &str| text.lines().any(|line| line.to_ascii_lowercase().starts_with(mark));
    marks.iter().find(|(mark, _)| marked(mark)).map(|(_, tool)| *tool)
}

/// The script of a file: UTF-8, without what servers refuse.
fn read_script(file: &str, bytes: &[u8]) -> Result<Script, CatalogError> {
    let file = file.to_owned();
    let text = std::str::from_utf8(bytes).map_err(|error| CatalogError::NotUtf8 {
        file: file.clone(),
        offset: error.valid_up_to(),
    })?;
    let stray = |what, offset| CatalogError::StrayCharacter {
        file: file.clone(),
        what,
        offset,
    };
    if text.starts_with('\u{feff}') {
        return Err(stray("a byte order mark", 0));
    }
    if let Some(offset) = text.find('\0') {
        return Err(stray("a NUL character", offset));
    }
    Ok(Script::new(file, text))
}
