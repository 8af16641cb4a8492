//! Versioned JSON: every document says what it is and by which version of the form.

use std::io::{self, Write};

use serde::Serialize;

/// The version of every JSON document. Fields are added within it, and never renamed, removed or given another meaning.
pub const API_VERSION: &str = "stepback.dev/v1";

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Kind {
    Plan,
    Report,
    RunList,
    Status,
    Error,
    Guard,
    File,
    Capture,
    Sandbox,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a, T: Serialize> {
    api_version: &'static str,
    kind: Kind,
    #[serde(flatten)]
    content: &'a T,
}

/// Writes one document, indented, with a line feed behind it. `content` is a struct: its fields become the document's.
///
/// # Errors
/// When the writer does not take it.
pub fn write_json(out: &mut dyn Write, kind: Kind, content: &impl Serialize) -> io::Result<()> {
    let document = Document {
        api_version: API_VERSION,
        kind,
        content,
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    out.write_all(b"\n")
}
