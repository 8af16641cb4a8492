//! The options that every command takes.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::explain::CliError;

/// The app file that is read when none is named.
const APP_FILE: &str = "stepback.yaml";

#[derive(Args)]
#[command(next_help_heading = "Common options")]
pub(super) struct Options {
    /// The app file [default: stepback.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Form of the answer on standard output; not every command has every form
    #[arg(short, long, global = true, value_name = "FORM", default_value = "text")]
    pub(super) output: Output,
    /// Go ahead without asking
    #[arg(short, long, global = true)]
    pub(super) yes: bool,
    /// No progress on standard error
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Show more: SQL and what was seen; twice: debug logs
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Form of the logs on standard error
    #[arg(long, global = true, value_name = "FORM", default_value = "text")]
    pub(super) log_format: LogFormat,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: Color,
    /// The schema of stepback's own tables on PostgreSQL, instead of the app file's [default where neither says it: the one
    /// that holds them, else stepback]
    #[arg(long, global = true, value_name = "SCHEMA")]
    pub(super) state_schema: Option<String>,
    /// The kubeconfig file [default: KUBECONFIG, ~/.kube/config, then the cluster that this runs in]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig file
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) context: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Text,
    /// For programs; versioned
    Json,
    /// For tickets and chats
    Markdown,
    /// The scripts alone
    Sql,
    /// One page for a browser or a printer
    Html,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

impl Options {
    /// Whether the answer can be had in the form that was asked for.
    ///
    /// # Errors
    /// [`CliError::Usage`] with the forms that there are.
    pub(super) fn check_form(&self, forms: &[Output]) -> Result<(), CliError> {
        if forms.contains(&self.output) {
            return Ok(());
        }
        let name = |form: &Output| form.to_possible_value().map(|value| value.get_name().to_owned());
        let names: Vec<String> = forms.iter().filter_map(name).collect();
        Err(CliError::Usage {
            message: format!(
                "there is no answer of the form {} here",
                name(&self.output).unwrap_or_default()
            ),
            hint: format!("ask for one of -o {}", names.join("|")),
        })
    }

    /// Where the app file is, or would be.
    pub(super) fn app_file(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(APP_FILE))
    }

    /// Whether the app file was named on the command line.
    pub(super) fn names_app_file(&self) -> bool {
        self.config.is_some()
    }

    /// Logs go to standard error: warnings, with `-v` more. `STEPBACK_LOG` says it finer, as `RUST_LOG` does elsewhere.
    pub(super) fn start_logging(&self) {
        let level = match self.verbose {
            // What the client logs as an error is told in our own words, once; what a script makes the server remark
            // (`IF EXISTS` that does not) is for those who ask for more.
            0 => "warn,kube_client=off,sqlx::postgres::notice=off",
            1 => "warn,kube_client=off",
            2 => "stepback=debug,warn",
            _ => "debug",
        };
        let filter = EnvFilter::try_from_env("STEPBACK_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        // The driver repeats parameters of the URL that it does not know, and one can be a password with a slip.
        let filter = match "sqlx_postgres::options=off".parse() {
            Ok(silent) => filter.add_directive(silent),
            Err(_) => filter,
        };
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            // It would be told where the log could not be written, and panic there.
            .log_internal_errors(false)
            .with_ansi(self.color == Color::Always);
        // Fails only where a logger is there already, and then that one logs.
        drop(match self.log_format {
            LogFormat::Text => logs.try_init(),
            LogFormat::Json => logs.json().try_init(),
        });
    }
}
