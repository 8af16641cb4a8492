//! What can be wrong with the user's files, before anything of the world was touched.

use std::path::PathBuf;

use stepback_core::appfile::{AppFileError, AppFileErrors};
use stepback_core::catalog::CatalogErrors;
use stepback_core::plan::SavedPlanError;

/// An error of reading.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder that cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried: `read`, `write`.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// There is no app file where one is looked for.
    #[error("there is no app file {}", path.display())]
    NoAppFile {
        /// Where it was looked for.
        path: PathBuf,
        /// One that lies near: above, or a folder below.
        near: Option<PathBuf>,
    },
    /// There is no migrations folder, and it was asked for or is needed.
    #[error("there is no migrations folder {}", .0.display())]
    NoFolder(PathBuf),
    /// The app file is wrong.
    #[error("the app file is not right")]
    App(#[source] AppFileErrors),
    /// The app file names schemas that no migration has.
    #[error("the app file does not fit the migrations folder")]
    Unmatched(Vec<AppFileError>),
    /// The migrations folder is wrong.
    #[error("the migrations folder {} is not right", folder.display())]
    Catalog {
        /// Which folder.
        folder: PathBuf,
        /// Everything that is wrong with it.
        #[source]
        errors: CatalogErrors,
    },
    /// A file is not a saved plan that can be carried out.
    #[error("the saved plan {} cannot be used: {error}", path.display())]
    Saved {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: SavedPlanError,
    },
    /// A plan is to be saved over something else.
    #[error("{} is there, and is no saved plan", .0.display())]
    NotOver(PathBuf),
    /// A file is already there.
    #[error("{} is already there", .0.display())]
    Exists(PathBuf),
    /// The environment variable that holds the URL is not set.
    #[error("the environment variable {0} is not set, and it holds the database's URL")]
    NoVariable(String),
    /// The URL lies in a Kubernetes Secret.
    #[error("the database's URL lies in the Secret {name}, which this version does not read")]
    Secret {
        /// Its name.
        name: String,
        /// Its key.
        key: String,
    },
    /// The text is no URL of an engine that is spoken here. It is not repeated: it may be a secret.
    #[error("the database's URL ({from}) {why}")]
    Url {
        /// Where it comes from.
        from: String,
        /// What is wrong with it.
        why: String,
    },
    /// A folder in another tool's layout.
    #[error("the layout {0} is not read by this version")]
    Layout(String),
    /// A server's data directory that cannot be reached at all.
    #[error("the data directory {} cannot be reached", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Another tool's ledger.
    #[error("the ledger of {0} is not read by this version")]
    Ledger(String),
}
