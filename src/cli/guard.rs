//! `stepback guard`.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;
use stepback_core::guard::{Judgement, Say, Server, ServerVersion, Verdict, VersionError, judge};
use stepback_core::report::{Kind, write_judgement};

use super::Exit;
use super::explain::CliError;
use super::terminal::Terminal;
use crate::load::read_volume;

/// Say whether a database server can open the data in a directory
///
/// Reads files only: no server, no cluster, nothing is written. It is made for an
/// init container in front of a database server that may be rolled back: the
/// server starts only where its version can open the data. What is not known
/// blocks, like what is known to be wrong.
///
/// Exit codes: 0 the target can open the data; 3 it cannot, or it is not known; 2
/// bad usage; 6 the directory cannot be reached at all.
///
/// Examples:
///   stepback guard mysql --data-dir /var/lib/mysql --target 8.0.35
///   stepback guard postgres --data-dir "$PGDATA" --target 15 --allow-empty
///   stepback guard mariadb --data-dir /var/lib/mysql --target 10.11 --explain
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The server whose data they are
    #[arg(value_name = "ENGINE")]
    engine: Engine,
    /// The directory of the server's data
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The version of the server that shall be started, as it or its image says
    #[arg(long, value_name = "VERSION")]
    target: String,
    /// Let a truly empty directory pass (lost+found aside), or one that does not exist yet in an empty volume
    #[arg(long)]
    allow_empty: bool,
    /// The version of the data where no server has written it down
    #[arg(long, value_name = "VERSION")]
    assume: Option<String>,
    /// Say what was read where
    #[arg(long)]
    explain: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Postgres,
    Mysql,
    Mariadb,
}

impl From<Engine> for Server {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Postgres => Self::Postgres,
            Engine::Mysql => Self::Mysql,
            Engine::Mariadb => Self::Mariadb,
        }
    }
}

/// The answer for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    data_dir: String,
    #[serde(flatten)]
    judgement: &'a Judgement,
}

pub(super) fn run(terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let server = Server::from(args.engine);
    let version = |option: &'static str, text: &String| server.target(text).map_err(|error| misspelt(option, error));
    let target = version("--target", &args.target)?;
    let assume: Option<ServerVersion> = args.assume.as_ref().map(|text| version("--assume", text)).transpose()?;
    let say = Say {
        allow_empty: args.allow_empty,
        assume,
    };
    let volume = read_volume(server, &args.data_dir, say.allow_empty)?;
    let judgement = judge(server, &volume, &target, &say);
    let data_dir = args.data_dir.display().to_string();
    let answer = Answer {
        data_dir: data_dir.clone(),
        judgement: &judgement,
    };
    // The answer of a check is its verdict, whichever it is.
    terminal.answer(Kind::Guard, &answer, |page| {
        write_judgement(page, &data_dir, &judgement, args.explain)
    })?;
    Ok(match judgement.verdict {
        Verdict::Allowed => Exit::Done,
        Verdict::Refused | Verdict::Unknown => Exit::Refused,
    })
}

fn misspelt(option: &str, error: VersionError) -> CliError {
    let hint = match error {
        VersionError::TooShort { server: "MySQL", .. } => {
            "name the patch release, such as 8.0.35: `mysqld --version` says it"
        }
        VersionError::TooShort { server: "MariaDB", .. } => {
            "name the series, such as 10.11: `mariadbd --version` says it"
        }
        _ => "write it as the server does: 15.4, 8.0.35, 10.11.8-MariaDB",
    };
    CliError::Usage {
        message: format!("{option}: {error}"),
        hint: hint.to_owned(),
    }
}
