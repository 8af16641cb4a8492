//! `stepback schema`.

use std::io::Write as _;

use stepback_core::appfile::JSON_SCHEMA;

use super::Exit;
use super::terminal::Terminal;

/// Print the JSON Schema of the app file, for editors
///
/// Draft 2020-12, with a description of every key. Editors that know
/// yaml-language-server use it where the app file's first line says so:
///   # yaml-language-server: $schema=stepback.schema.json
///
/// Examples:
///   stepback schema > stepback.schema.json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {}

pub(super) fn run(terminal: &Terminal) -> anyhow::Result<Exit> {
    terminal.print(|out| out.write_all(JSON_SCHEMA.as_bytes()))?;
    Ok(Exit::Done)
}
