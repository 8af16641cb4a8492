//! `stepback completions`.

use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::terminal::Terminal;
use super::{Cli, Exit};

/// Print the script with which a shell completes commands and options
///
/// Examples:
///   stepback completions bash > /etc/bash_completion.d/stepback
///   stepback completions zsh > "${fpath[1]}/_stepback"
///   stepback completions fish > ~/.config/fish/completions/stepback.fish
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    terminal.print(|out| {
        generate(args.shell, &mut shown(&Cli::command()), "stepback", out);
        Ok(())
    })?;
    Ok(Exit::Done)
}

/// The command line without what is hidden: a shell would offer that too.
fn shown(command: &Command) -> Command {
    let children = command.get_subcommands().filter(|child| !child.is_hide_set());
    Command::new("stepback")
        .args(command.get_arguments().cloned())
        .subcommands(children.cloned())
}
