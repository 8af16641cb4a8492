//! The app file against the migrations.

use super::error::{AppFileError, Problem};
use super::shape::AppFile;
use crate::catalog::Catalog;

/// Every schema that the file names and no migration has; version 0, the empty database, always exists.
///
/// An empty catalog proves nothing, because a rollback must work without the migrations folder. Nor does one that ends
/// before a version: an older release's folder has never seen the newer migrations, and going back from them is what
/// this program is for. Whether the database knows such a version is for the plan to say.
pub fn check_against(app: &AppFile, catalog: &Catalog) -> Vec<AppFileError> {
    let Some(newest) = catalog.newest() else {
        return Vec::new();
    };
    let known: Vec<_> = catalog
        .migrations()
        .iter()
        .map(|migration| migration.version.to_string())
        .collect();
    let named = app.releases.iter().flat_map(|release| &release.named_schemas);
    named
        .filter(|(_, version, _)| !version.is_zero() && *version <= newest.version)
        .filter(|(_, version, _)| catalog.find(version).is_none())
        .map(|(path, version, place)| AppFileError {
            file: app.file.clone(),
            place: *place,
            problem: Problem::NoSuchMigration {
                path: path.clone(),
                version: version.clone(),
                known: known.clone(),
            },
        })
        .collect()
}
