//! The command line: one file a command.
//!
//! Responsible for: from what was typed to what is meant, and from what happened to words and an exit code. Not for:
//! deciding or doing anything itself. Nobody uses it but `main`.

mod abort;
mod apply;
mod carry;
mod completions;
#[cfg(all(feature = "sandbox", target_os = "linux"))]
mod dead;
mod demo;
#[cfg(all(feature = "sandbox", target_os = "linux"))]
mod embedded;
mod exit;
mod explain;
mod found;
mod given;
mod ground;
mod guard;
mod hide;
mod init;
mod lost;
mod man;
mod migrate;
mod options;
mod plan;
mod rebind;
mod reconcile;
mod report;
mod resume;
mod rollback;
mod runs;
#[cfg(all(feature = "sandbox", target_os = "linux"))]
mod sandbox;
#[cfg(all(feature = "sandbox", unix))]
mod sandbox_shop;
mod schema;
mod signals;
mod stands;
mod status;
mod terminal;
mod unopened;
mod who;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

pub use exit::Exit;
use given::Given;
use options::{Options, Output};
use terminal::Terminal;

/// Takes a running system back to an earlier release: schema, stored data and workloads together
///
/// A rollback is one plan that is checked whole before the first change, carried out one recorded step at a time, and
/// can be killed at any moment and continued with `stepback resume`.
#[derive(Parser)]
#[command(name = "stepback", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  stepback demo                    the whole story on an embedded cluster
  stepback status                  where things are, and what can be reached
  stepback plan --to 1.2.0         every step, and everything that is wrong
  stepback rollback --to 1.2.0     shows the plan, asks, carries it out
  stepback resume                  after a crash or a halt

Exit codes:
    0  done, or nothing to do          4  halted; `resume` continues
    1  internal error                  5  another run holds the lock
    2  bad usage or bad app file       6  unreachable; nothing was touched
    3  refused; nothing was touched  130  interrupted; `resume` continues")]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Args),
    Status(status::Args),
    Plan(plan::Args),
    Rollback(rollback::Args),
    Apply(apply::Args),
    Reconcile(reconcile::Args),
    Resume(resume::Args),
    Abort(abort::Args),
    #[command(subcommand)]
    Migrate(migrate::Command),
    Guard(guard::Args),
    Runs(runs::Args),
    Report(report::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[cfg(all(feature = "sandbox", target_os = "linux"))]
    Demo(demo::Args),
    #[cfg(all(feature = "sandbox", target_os = "linux"))]
    Sandbox(sandbox::Args),
    #[cfg(all(feature = "sandbox", unix))]
    #[command(hide = true)]
    SandboxShop,
}

impl Command {
    /// The forms in which it answers.
    fn forms(&self) -> &'static [Output] {
        match self {
            Self::Report(_) => &[Output::Text, Output::Json, Output::Markdown, Output::Html],
            Self::Plan(_) => &[Output::Text, Output::Json, Output::Markdown, Output::Sql],
            _ => &[Output::Text, Output::Json],
        }
    }
}

/// Carries out what was typed. The exit codes are those of SPEC 4.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let typed: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&typed) {
        Ok(cli) => cli,
        Err(error) => {
            hide::print(&error, &typed);
            return ExitCode::from(if error.use_stderr() { Exit::Usage } else { Exit::Done });
        }
    };
    #[cfg(all(feature = "sandbox", target_os = "linux"))]
    demo::end_with_the_demo();
    cli.options.start_logging();
    let terminal = Terminal::new(&cli.options, Given::read(Cli::command(), &typed));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return explain::tell(&terminal, &anyhow::Error::new(error).context("cannot start")).into(),
    };
    let exit = match runtime.block_on(perform(cli, &terminal)) {
        Ok(exit) => exit,
        Err(error) => explain::tell(&terminal, &error),
    };
    // Not dropped: that would wait for blocking reads, and everything that matters is durable.
    runtime.shutdown_background();
    exit.into()
}

async fn perform(cli: Cli, terminal: &Terminal) -> anyhow::Result<Exit> {
    let Cli { options, command } = cli;
    options.check_form(command.forms())?;
    match command {
        Command::Init(args) => init::run(&options, terminal, &args).await,
        Command::Status(args) => status::run(&options, terminal, &args).await,
        Command::Plan(args) => plan::run(&options, terminal, &args).await,
        Command::Apply(args) => apply::run(&options, terminal, &args).await,
        Command::Rollback(args) => rollback::run(&options, terminal, &args).await,
        Command::Reconcile(args) => reconcile::run(&options, terminal, &args).await,
        Command::Resume(args) => resume::run(&options, terminal, &args).await,
        Command::Abort(args) => abort::run(&options, terminal, &args).await,
        Command::Migrate(command) => migrate::run(&options, terminal, &command).await,
        Command::Guard(args) => guard::run(terminal, &args),
        Command::Runs(args) => runs::run(&options, terminal, &args).await,
        Command::Report(args) => report::run(&options, terminal, &args).await,
        Command::Schema(_) => schema::run(terminal),
        Command::Completions(args) => completions::run(terminal, &args),
        Command::Man(args) => man::run(terminal, &args),
        #[cfg(all(feature = "sandbox", target_os = "linux"))]
        Command::Demo(args) => demo::run(&args).await,
        #[cfg(all(feature = "sandbox", target_os = "linux"))]
        Command::Sandbox(args) => sandbox::run(terminal, &args).await,
        #[cfg(all(feature = "sandbox", unix))]
        Command::SandboxShop => sandbox_shop::run().await,
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &Command) {
            let said = [command.get_long_about(), command.get_after_help()];
            let has = said
                .into_iter()
                .flatten()
                .any(|text| text.to_string().contains("Examples:\n  stepback"));
            assert!(has, "`{}` has no examples", command.get_name());
            for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
                check(command);
            }
        }
        check(&super::Cli::command());
    }
}
