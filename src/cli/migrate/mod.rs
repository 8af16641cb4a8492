//! `stepback migrate`: the schema half alone.

mod capture;
mod down;
mod goto;
mod new;
mod status;
mod up;

use stepback_core::model::Version;

use super::Exit;
use super::options::Options;
use super::terminal::Terminal;

/// Migrate the schema alone, up or down
///
/// Works with an app file, or with `--url` and `--dir`.
///
/// Examples:
///   stepback migrate status --url sqlite://shop.db --dir migrations
///   stepback migrate up
///   stepback migrate down -n 2 --data-loss accept
#[derive(clap::Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Command {
    Up(up::Args),
    Down(down::Args),
    Goto(goto::Args),
    Status(status::Args),
    New(new::Args),
    Capture(capture::Args),
}

pub(super) async fn run(options: &Options, terminal: &Terminal, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Up(args) => up::run(options, terminal, args).await,
        Command::Down(args) => down::run(options, terminal, args).await,
        Command::Goto(args) => goto::run(options, terminal, args).await,
        Command::Status(args) => status::run(options, terminal, args).await,
        Command::Capture(args) => capture::run(options, terminal, args).await,
        Command::New(args) => new::run(options, terminal, args),
    }
}

/// A version, or `0` for the empty database.
fn read_version(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|error| error.to_string())
}

/// `0` is no migration at all.
fn or_nothing(version: &Version) -> Option<Version> {
    (!version.is_zero()).then(|| version.clone())
}
