//! `stepback init`: a first app file from what is there, and our own tables as SQL.

mod find;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use stepback_core::appfile::AppFile;
use stepback_core::model;
use stepback_core::report::Kind;

use super::Exit;
use super::explain::CliError;
use super::ground::STATE_SCHEMA;
use super::options::Options;
use super::terminal::Terminal;
use crate::database::own_tables;
use crate::load::{self, LoadError};

/// Write a commented stepback.yaml from what is there
///
/// Looks for the migrations folder, at the database of DATABASE_URL or --url,
/// and at the workloads of the kubeconfig's current namespace, and changes none
/// of them. What it cannot find stands in the file as a commented example. A
/// file that is there is never overwritten.
///
/// With --sql it prints the SQL of stepback's own tables instead, for a DBA:
/// where they are made beforehand, stepback needs no right to make them.
///
/// Examples:
///   stepback init
///   stepback init --sql --engine postgres > own-tables.sql
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// What the app is called [default: the workload's or the folder's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The database to look at [default: DATABASE_URL]
    #[arg(long, value_name = "URL", hide_env_values = true)]
    url: Option<String>,
    /// The migrations folder [default: the first of the usual ones]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Print the SQL of stepback's own tables, and write nothing
    #[arg(long)]
    sql: bool,
    /// The engine of that SQL [default: that of the database]
    #[arg(long, value_name = "ENGINE", requires = "sql")]
    engine: Option<Engine>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Postgres,
    Sqlite,
}

impl From<Engine> for model::Engine {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Postgres => Self::Postgres,
            Engine::Sqlite => Self::Sqlite,
        }
    }
}

pub(super) async fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    if args.sql {
        return print_tables(options, terminal, args);
    }
    let path = options.app_file();
    // Said before anything is looked at: that can take seconds.
    if path.exists() {
        return Err(LoadError::Exists(path.to_owned()).into());
    }
    let found = find::look_around(options, args).await;
    let text = found.draft.write();
    if let Err(errors) = AppFile::parse(&text, &path.display().to_string()) {
        return Err(anyhow::Error::new(errors).context("the app file that was to be written is not right"));
    }
    load::write_new(path, &text)?;
    let items = serde_json::json!({ "items": [path], "found": found.lines });
    terminal.answer(Kind::File, &items, |page| {
        page.line(&format!("wrote {}", path.display()))?;
        for (what, line) in &found.lines {
            page.labelled(&format!("  {what:<10}"), None, line)?;
        }
        page.labelled(
            "",
            None,
            "look at it and fill in what is missing; then: stepback status",
        )
    })?;
    Ok(Exit::Done)
}

fn print_tables(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let app = match load::read_app(options.app_file()) {
        Err(LoadError::NoAppFile { .. }) if !options.names_app_file() => None,
        read => Some(read?),
    };
    let engine = match (args.engine, &args.url) {
        (Some(engine), _) => engine.into(),
        (None, Some(url)) => load::engine_of(url, "--url")?,
        (None, None) => {
            let url = match &app {
                Some(app) => load::from_app(&app.database.url, options.app_file())
                    .ok()
                    .map(|url| url.url),
                None => std::env::var("DATABASE_URL").ok(),
            };
            match url {
                Some(url) => load::engine_of(&url, "as given")?,
                None => {
                    return Err(CliError::Usage {
                        message: "it is not known which engine the SQL is for".to_owned(),
                        hint: "name it: stepback init --sql --engine postgres".to_owned(),
                    }
                    .into());
                }
            }
        }
    };
    let of_app = app.and_then(|app| app.database.state_schema);
    let state_schema = options.state_schema.clone().or(of_app);
    let state_schema = state_schema.unwrap_or_else(|| STATE_SCHEMA.to_owned());
    let Some(sql) = own_tables(engine, &state_schema) else {
        return Err(CliError::Usage {
            message: format!("there are no tables for {} yet", engine.title()),
            hint: "name one of --engine postgres|sqlite".to_owned(),
        }
        .into());
    };
    let rights = match engine {
        model::Engine::Postgres => format!(
            "-- Afterwards, for the role that runs stepback:\n\
             --   GRANT USAGE ON SCHEMA {state_schema} TO role;\n\
             --   GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {state_schema} TO role;\n\
             --   GRANT USAGE ON ALL SEQUENCES IN SCHEMA {state_schema} TO role;\n"
        ),
        _ => String::new(),
    };
    terminal.print(|out| out.write_all(format!("{rights}{sql}").as_bytes()))?;
    Ok(Exit::Done)
}

/// The folder that paths in the app file are relative to.
fn beside(app_file: &Path) -> PathBuf {
    app_file.parent().map(PathBuf::from).unwrap_or_default()
}
