//! `stepback man`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::terminal::Terminal;
use super::{Cli, Exit};
use crate::load::LoadError;

/// Print the manual page, or write one for every command into a folder
///
/// Examples:
///   stepback man | man -l -
///   stepback man /usr/local/share/man/man1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The folder; it is made where it does not exist
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) fn run(terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let Some(folder) = &args.folder else {
        terminal.print(|out| write_page(out, &root))?;
        return Ok(Exit::Done);
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::Io {
            doing: "write",
            path,
            source,
        }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut written = Vec::new();
    for command in with_children(&root) {
        let path = folder.join(Man::new(command.clone()).get_filename());
        let mut page = Vec::new();
        write_page(&mut page, command)?;
        std::fs::write(&path, page).map_err(failed(&path))?;
        written.push(path);
    }
    terminal.print(|out| {
        for path in &written {
            writeln!(out, "{}", path.display())?;
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

/// A command and everything below it, hidden ones left out.
fn with_children(command: &Command) -> Vec<&Command> {
    let mut all = vec![command];
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        all.extend(with_children(child));
    }
    all
}

/// What the command says of itself, cut into a description and sections of lines that are kept as they are.
fn sections(command: &Command) -> (String, Vec<(String, String)>) {
    let text = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string).unwrap_or_default();
    let about = match command.get_long_about() {
        Some(long) => text(Some(long)),
        None => text(command.get_about()),
    };
    let mut description = String::new();
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in about.lines().chain([""]).chain(text(command.get_after_help()).lines()) {
        let heading = line
            .strip_suffix(':')
            .filter(|name| matches!(*name, "Examples" | "Exit codes"));
        match (heading, sections.last_mut()) {
            (Some(heading), _) => sections.push((heading.to_uppercase(), String::new())),
            (None, Some((_, lines))) => lines.push_str(&format!("{line}\n")),
            (None, None) => description.push_str(&format!("{line}\n")),
        }
    }
    (description.trim_end().to_owned(), sections)
}

fn write_page(out: &mut dyn Write, command: &Command) -> io::Result<()> {
    let (description, sections) = sections(command);
    let page = Man::new(command.clone().long_about(description));
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    if command.has_subcommands() {
        page.render_subcommands_section(out)?;
    }
    page.render_options_section(out)?;
    let mut rest = Roff::default();
    for (heading, lines) in sections {
        rest.control("SH", [heading.as_str()]);
        rest.control("nf", []);
        for line in lines.trim_end().lines() {
            rest.text([roman(line)]);
        }
        rest.control("fi", []);
    }
    if let Some(parent) = command
        .get_display_name()
        .and_then(|name| Some(name.rsplit_once('-')?.0))
    {
        rest.control("SH", ["SEE ALSO"]);
        rest.text([bold(parent), roman("(1)")]);
    }
    rest.to_writer(out)
}
