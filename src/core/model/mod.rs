//! The nouns that every other module of this crate shares.
//!
//! Responsible for: small value types with their text forms and their order. Not for: rules about them (those live in
//! the module that decides). Everybody may use it; it uses nothing of ours.

mod digest;
mod engine;
mod version;

pub use digest::{Digest, DigestError};
pub use engine::{Engine, EngineError};
pub use version::{Version, VersionError};
