//! What was read of a data directory, and what is asked for.

use std::collections::BTreeMap;

/// A file that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Where, relative to the data directory, with `/`. One `*` stands for the rest of a name: all that fit are meant.
    pub path: &'static str,
    /// How many of its first bytes are enough.
    pub limit: usize,
}

impl Wanted {
    /// The head of a file.
    pub(super) const fn head(path: &'static str, limit: usize) -> Self {
        Self { path, limit }
    }

    /// A file of which only counts that it is there.
    pub(super) const fn mark(path: &'static str) -> Self {
        Self::head(path, 1)
    }
}

/// What became of a file that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its first bytes.
    Bytes(Vec<u8>),
    /// It is not there.
    Absent,
    /// It is there, or may be, and this is why it was not read.
    Unreadable(String),
}

/// What was read of one data directory.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    files: BTreeMap<String, Found>,
    elsewhere: Vec<String>,
    empty: bool,
}

impl Volume {
    /// A directory that holds nothing (`lost+found`, which file systems make, aside).
    pub fn empty() -> Self {
        Self {
            empty: true,
            ..Self::default()
        }
    }

    /// With this file.
    #[must_use]
    pub fn with(mut self, path: impl Into<String>, found: Found) -> Self {
        self.files.insert(path.into(), found);
        self
    }

    /// With a directory nearby that looks like the one that is meant.
    #[must_use]
    pub fn with_elsewhere(mut self, path: impl Into<String>) -> Self {
        self.elsewhere.push(path.into());
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.empty
    }

    pub(super) fn elsewhere(&self) -> &[String] {
        &self.elsewhere
    }

    /// What became of a file. One that was never asked for is absent.
    pub(super) fn file(&self, path: &str) -> &Found {
        self.files.get(path).unwrap_or(&Found::Absent)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        *self.file(path) != Found::Absent
    }

    /// The files whose path begins and ends like this, in the order of their paths.
    pub(super) fn like<'a>(&'a self, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
        let fits = move |path: &&String| {
            path.len() >= start.len() + end.len() && path.starts_with(start) && path.ends_with(end)
        };
        self.files.keys().filter(fits).map(String::as_str)
    }
}
