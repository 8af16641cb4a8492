//! The app file's JSON Schema, for editors: kept by hand beside the parser, and held to it by tests.

/// The JSON Schema (draft 2020-12) of the app file, with descriptions. It takes what [`AppFile::parse`] takes and refuses
/// what that refuses, but for contradictions between two places of the file, which no schema can see.
///
/// [`AppFile::parse`]: super::AppFile::parse
pub const JSON_SCHEMA: &str = include_str!("schema/schema.json");

#[cfg(test)]
mod tests;
#[cfg(test)]
mod validator;
