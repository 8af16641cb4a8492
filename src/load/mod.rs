//! The user's files: the app file, the migrations folder, saved plans, where a database URL comes from, and a server's
//! data directory.
//!
//! Responsible for: reading them, and saying which file could not be read and why. The only reader of the user's files.
//! Not for: what they mean (`stepback_core`'s `appfile` and `catalog` say that). Only `cli` uses it.

mod error;
mod files;
mod saved;
mod url;
mod volume;

pub use error::LoadError;
pub use files::{Folder, read_app, read_catalog, write_new};
pub use saved::{read_saved, write_saved};
pub use url::{DatabaseUrl, engine_of, from_app, from_plan, given};
pub use volume::read_volume;
