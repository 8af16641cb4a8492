//! The catalog: all migrations as they lie on disk, checked once.
//!
//! Responsible for: turning file names and bytes into migrations, and finding everything that is wrong with them at once.
//! Not for: reading the folder (the root crate's `load` does), nor for saying which migrations a plan needs: a missing
//! down is legal here and refused by the plan that would have to run it. `assess`, `plan` and `load` may use it.

mod error;
mod layout;
mod script;

use std::sync::Arc;

use crate::model::{Engine, Version};

pub use error::{CatalogError, CatalogErrors};
pub use layout::Layout;
pub use script::Script;

/// One migration: its up script and, perhaps, its down script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its schema version, spelled as in the file's name.
    pub version: Version,
    /// What the file calls it, without version and endings; may be empty.
    pub name: String,
    /// What applies it.
    pub up: Script,
    /// What undoes it.
    pub down: Option<Script>,
}

impl Migration {
    /// Version and name as people write them: `0042_split_name`.
    pub fn label(&self) -> String {
        if self.name.is_empty() {
            self.version.to_string()
        } else {
            format!("{}_{}", self.version, self.name)
        }
    }
}

/// All migrations, oldest version first, no version twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    migrations: Arc<[Migration]>,
    layout: Layout,
}

impl Catalog {
    /// Reads the files of a migrations folder in the layout that their names tell: see [`Catalog::read_as`].
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file names.
    pub fn read(files: &[(String, Vec<u8>)], engine: Engine) -> Result<Self, CatalogErrors> {
        Self::read_as(files, engine, None)
    }

    /// Reads the files of a migrations folder: their names (without the folder) and their bytes, in any order.
    ///
    /// Files that do not end in `.sql` are none of ours and are passed over, and so are scripts whose name says that
    /// they are for another engine. An empty list is an empty catalog: a rollback takes its scripts from the archive.
    /// Without a layout, it is [`Layout::tell`]'s.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file names.
    pub fn read_as(files: &[(String, Vec<u8>)], engine: Engine, layout: Option<Layout>) -> Result<Self, CatalogErrors> {
        let layout = match layout {
            Some(layout) => layout,
            None => Layout::tell(files)?,
        };
        let migrations = match layout {
            Layout::Stepback => layout::stepback::read(files, engine),
            Layout::Sqlx => layout::sqlx::read(files),
        };
        migrations.map(|migrations| Self {
            migrations: migrations.into(),
            layout,
        })
    }

    /// A catalog of migrations that were read before; of two with one version the first counts.
    pub fn of(mut migrations: Vec<Migration>, layout: Layout) -> Self {
        migrations.sort_by(|one, other| one.version.cmp(&other.version));
        migrations.dedup_by(|one, other| one.version == other.version);
        Self {
            migrations: migrations.into(),
            layout,
        }
    }

    /// The layout that the folder was read in.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The migrations, oldest version first.
    pub fn migrations(&self) -> &[Migration] {
        &self.migrations
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.migrations.is_empty()
    }

    /// The migration of a version, however the version is spelled.
    pub fn find(&self, version: &Version) -> Option<&Migration> {
        let at = self
            .migrations
            .binary_search_by(|migration| migration.version.cmp(version))
            .ok()?;
        self.migrations.get(at)
    }

    /// The migrations up to and including a version: what a release with this newest schema consists of when nothing
    /// better is recorded.
    pub fn up_to(&self, version: &Version) -> &[Migration] {
        let count = self
            .migrations
            .partition_point(|migration| migration.version <= *version);
        &self.migrations[..count]
    }

    /// The newest migration.
    pub fn newest(&self) -> Option<&Migration> {
        self.migrations.last()
    }
}

#[cfg(test)]
mod tests;
