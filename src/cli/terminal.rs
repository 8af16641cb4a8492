//! Standard output for the answer, standard error for everything else, and the one question that is asked.

use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::sync::mpsc::channel;

use serde::Serialize;
use stepback_core::plan::Plan;
use stepback_core::report::{Kind, Page, write_json};

use super::explain::CliError;
use super::given::Given;
use super::options::{Color, LogFormat, Options, Output};
use super::signals::{Answer, interrupts_to};
use crate::live::Lines;

/// What the answer and progress look like.
#[derive(Clone)]
pub(super) struct Terminal {
    pub(super) output: Output,
    pub(super) quiet: bool,
    /// Whether progress can be drawn again and again where standard error goes.
    pub(super) draws: bool,
    /// What is repeated in every command that is named.
    pub(super) given: Given,
    yes: bool,
    log_format: LogFormat,
    /// Whether the answer goes to a terminal, which can be closed meanwhile.
    shown: bool,
    color_out: bool,
    color_err: bool,
    width: usize,
}

impl Terminal {
    pub(super) fn new(options: &Options, given: Given) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || dumb;
        let color = |is_terminal: bool| match options.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && !plain,
        };
        let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        Self {
            output: options.output,
            quiet: options.quiet,
            draws: io::stderr().is_terminal() && !dumb && options.log_format == LogFormat::Text,
            given,
            yes: options.yes,
            log_format: options.log_format,
            shown: io::stdout().is_terminal(),
            color_out: color(io::stdout().is_terminal()),
            color_err: color(io::stderr().is_terminal()),
            width: width.unwrap_or(80).min(100),
        }
    }

    /// Writes the answer: text as `write` says, or `content` as JSON.
    pub(super) fn answer(
        &self,
        kind: Kind,
        content: &impl Serialize,
        write: impl FnOnce(&mut Page<'_>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut text = Vec::new();
        match self.output {
            Output::Json => write_json(&mut text, kind, content)?,
            // A form that is none of these two is written by the command itself; what else it says is text.
            Output::Text | Output::Markdown | Output::Sql | Output::Html => {
                write(&mut Page::new(&mut text, self.width, self.color_out).rewritten(&|text| self.given.repeat(text)))?
            }
        }
        put(&mut io::stdout().lock(), &text, self.shown)
    }

    /// Writes an answer in a form of the command's own.
    pub(super) fn print(&self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> anyhow::Result<()> {
        let mut text = Vec::new();
        write(&mut text)?;
        put(&mut io::stdout().lock(), &text, self.shown)
    }

    /// Writes to standard error, whatever the form of the answer; as one log line where logs are for programs.
    pub(super) fn tell(&self, write: impl FnOnce(&mut Page<'_>) -> io::Result<()>) {
        let mut text = Vec::new();
        let color = self.color_err && self.log_format == LogFormat::Text;
        // Writing to memory does not fail, and where nobody reads standard error nothing is lost but the words.
        drop(write(
            &mut Page::new(&mut text, self.width, color).rewritten(&|text| self.given.repeat(text)),
        ));
        if self.log_format == LogFormat::Json {
            text = log_line(&String::from_utf8_lossy(&text));
        }
        drop(put(&mut io::stderr().lock(), &text, true));
    }

    /// The progress of a run of this plan, on standard error.
    pub(super) fn lines(&self, plan: &Plan) -> Lines<Progress> {
        let progress = Progress {
            log_format: self.log_format,
            line: Vec::new(),
        };
        let is_read = io::stderr().is_terminal() && self.log_format == LogFormat::Text;
        Lines::new(progress, plan, self.quiet)
            .drawn(self.draws)
            .within(is_read.then_some(self.width))
    }

    /// Whether somebody is asked before something is changed.
    pub(super) fn asks(&self) -> bool {
        !self.yes
    }

    /// The same for a command that is meant to be run by programs: where nobody can be asked, it goes ahead.
    pub(super) fn unattended(&self) -> Self {
        Self {
            yes: self.yes || !can_ask(),
            ..self.clone()
        }
    }

    /// Asks before something is changed. Where nobody can be asked, `--yes` must have been typed.
    ///
    /// # Errors
    /// [`CliError::NotAsked`], [`CliError::Declined`], or [`CliError::AskedToStop`] at Ctrl-C.
    pub(super) fn confirm(&self, question: &str) -> Result<(), CliError> {
        self.confirm_on(None, question)
    }

    /// The same of a plan: what it acts on stands right above the question, for a plan can be longer than a screen, and
    /// whoever was woken has the context of another cluster.
    ///
    /// # Errors
    /// As [`Terminal::confirm`].
    pub(super) fn confirm_on(&self, plan: Option<&Plan>, question: &str) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        if !can_ask() {
            return Err(CliError::NotAsked);
        }
        if let Some(plan) = plan {
            self.tell(|page| {
                if let Some(on) = plan.acts_on() {
                    page.labelled("on ", None, &on)?;
                }
                page.labelled("on ", None, &plan.database.redacted)
            });
        }
        let answer = ask(question);
        if !matches!(&answer, Answer::Line(Some(line)) if line.ends_with('\n')) {
            // What is said next begins on a line of its own.
            drop(writeln!(io::stderr()));
        }
        match answer {
            Answer::Interrupted => Err(CliError::AskedToStop),
            Answer::Line(Some(line)) if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") => Ok(()),
            Answer::Line(_) => Err(CliError::Declined),
        }
    }
}

/// Asks, and waits for a line that is typed, or Ctrl-C before it.
fn ask(question: &str) -> Answer {
    let (answers, answer) = channel();
    // Listened for before anybody sees that there is something to interrupt. Where that cannot be, Ctrl-C ends the process,
    // as it does everywhere else.
    drop(interrupts_to(answers.clone()));
    let mut asked = io::stderr().lock();
    drop(write!(asked, "{question} [y/N] ").and_then(|()| asked.flush()));
    drop(asked);
    // Nothing else can be read from there: a reader that is left behind takes nothing away.
    std::thread::spawn(move || {
        let mut line = String::new();
        let line = io::stdin().read_line(&mut line).is_ok().then_some(line);
        drop(answers.send(Answer::Line(line)));
    });
    answer.recv().unwrap_or(Answer::Line(None))
}

/// Whether somebody sits there who sees a question and can answer it.
fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Standard error for progress: each line as it is, or as a log line where logs are for programs.
pub(super) struct Progress {
    log_format: LogFormat,
    line: Vec<u8>,
}

impl Write for Progress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = self.line.drain(..=end).collect();
            if self.log_format == LogFormat::Json {
                line = log_line(&String::from_utf8_lossy(&line));
            }
            io::stderr().write_all(&line)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A message in the form in which `tracing` writes its own.
fn log_line(message: &str) -> Vec<u8> {
    let line = serde_json::json!({
        "timestamp": jiff::Timestamp::now().to_string(),
        "level": "INFO",
        "fields": { "message": message.trim_end() },
        "target": "stepback::cli",
    });
    format!("{line}\n").into_bytes()
}

/// What the system answers to whoever writes to a terminal that is closed (EIO).
const CLOSED: i32 = 5;

/// A reader that is gone is no error: it has seen what it wanted. Nor is a terminal that was closed, for the one who closed
/// it.
fn put(out: &mut impl Write, text: &[u8], to_terminal: bool) -> anyhow::Result<()> {
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) if to_terminal && error.raw_os_error() == Some(CLOSED) => Ok(()),
        written => Ok(written?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(CLOSED))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_terminal_that_was_closed_is_no_error_and_a_disk_that_fails_is() {
        put(&mut Closed, b"done", true).unwrap();
        put(&mut Closed, b"done", false).unwrap_err();
    }
}
