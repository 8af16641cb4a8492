//! What was typed to say where things are, repeated in every command that is named to be typed next: a hint that is typed as
//! it stands must do what it says.
//!
//! Responsible for: which flags those are, which command takes them, and where in a text a command is named. Not for: the
//! texts. What the environment or the app file says need not be repeated.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::hide::{hide, hide_one};

/// The flags that say which database, cluster, files and journal are meant.
const PLACES: [&str; 9] = [
    "config",
    "url",
    "journal",
    "dir",
    "layout",
    "ledger",
    "state-schema",
    "kubeconfig",
    "context",
];

/// Of two, a command takes one.
const EITHER: [(&str, &str); 2] = [("url", "journal"), ("journal", "url")];

/// They need no place.
const NOWHERE: [&str; 6] = ["schema", "completions", "man", "guard", "demo", "sandbox"];

/// The flags that were typed, and the commands that can take them.
#[derive(Clone, Default)]
pub(super) struct Given {
    /// Each with its value as a shell reads it.
    flags: Vec<(&'static str, String)>,
    /// Each command, a blank between its words, with the flags that it takes.
    commands: Vec<(String, Vec<&'static str>)>,
}

impl Given {
    /// What was typed for this program; nothing where that means nothing.
    pub(super) fn read(program: Command, typed: &[OsString]) -> Self {
        let mut built = program.clone();
        built.build();
        let Ok(mut matches) = program.try_get_matches_from(typed) else {
            return Self::default();
        };
        let mut command = &built;
        while let Some((name, inner)) = matches.remove_subcommand() {
            let Some(found) = command.find_subcommand(name) else {
                break;
            };
            (command, matches) = (found, inner);
        }
        let flags = places(command).filter_map(|(long, id)| Some((long, value_of(&matches, id)?)));
        let flags = flags.collect::<Vec<_>>();
        let mut commands = Vec::new();
        if !flags.is_empty() {
            list(&built, "", &mut commands);
        }
        Self { flags, commands }
    }

    /// The text, with the flags behind every command in it that takes them and does not have them.
    pub(super) fn repeat(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((at, end, flags)) = self.find(rest) {
            let (head, tail) = rest.split_at(end);
            out.push_str(head);
            let own = &tail[..tail.find(['`', ';', ')', '\n']).unwrap_or(tail.len())];
            let own = own.split(" stepback ").next().unwrap_or_default();
            let has = |long: &str| own.split_whitespace().any(|word| word.strip_prefix("--") == Some(long));
            for (long, value) in &self.flags {
                let other = EITHER.iter().find(|(one, _)| one == long).map(|(_, other)| *other);
                if flags.contains(long) && !has(long) && !other.is_some_and(has) {
                    out.push_str(&format!(" --{long} {value}"));
                }
            }
            debug_assert!(at < end, "it goes on");
            rest = tail;
        }
        out + rest
    }

    /// The first command that the text names: where it begins and ends, and the flags that it takes.
    fn find(&self, text: &str) -> Option<(usize, usize, &[&'static str])> {
        let ends = |c: char| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '/' | '.' | '=');
        let mut found = text
            .match_indices("stepback ")
            .filter(|(at, _)| text[..*at].chars().next_back().is_none_or(ends));
        found.find_map(|(at, word)| {
            let behind = &text[at + word.len()..];
            let is_named = |name: &str| {
                let after = behind.strip_prefix(name)?.chars().next();
                after
                    .is_none_or(|c| c.is_whitespace() || matches!(c, '`' | ',' | ';' | ')' | '.' | ':'))
                    .then_some(name.len())
            };
            // The longest name: `migrate` is one too.
            let named = self
                .commands
                .iter()
                .filter_map(|(name, flags)| Some((is_named(name)?, flags)));
            let (length, flags) = named.max_by_key(|(length, _)| *length)?;
            Some((at, at + word.len() + length, flags.as_slice()))
        })
    }
}

/// The flags of a command that say where things are, and what clap calls them.
fn places(command: &Command) -> impl Iterator<Item = (&'static str, &str)> {
    PLACES.into_iter().filter_map(|long| {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(long))?;
        Some((long, arg.get_id().as_str()))
    })
}

fn list(command: &Command, before: &str, to: &mut Vec<(String, Vec<&'static str>)>) {
    for command in command.get_subcommands() {
        let name = format!("{before}{}", command.get_name());
        if !NOWHERE.contains(&name.as_str()) {
            list(command, &format!("{name} "), to);
            to.push((name, places(command).map(|(long, _)| long).collect()));
        }
    }
}

/// The value that was typed, as a shell reads it. One that holds a password is left for whoever knows it.
fn value_of(matches: &ArgMatches, id: &str) -> Option<String> {
    if matches.value_source(id) != Some(ValueSource::CommandLine) {
        return None;
    }
    let value = matches.get_raw(id)?.next()?.to_str()?;
    // As one word, as it was typed: a password may hold blanks.
    if hide_one(value, value) != value || hide(value) != value {
        return Some("URL".to_owned());
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    Some(match !value.is_empty() && value.chars().all(is_plain) {
        true => value.to_owned(),
        false => format!("'{}'", value.replace('\'', r"'\''")),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn given(typed: &str) -> Given {
        let typed: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
        Given::read(Cli::command(), &typed)
    }

    #[test]
    fn a_command_gets_what_it_takes_and_does_not_have() {
        let here = given("stepback --config a.yaml migrate down --url sqlite://a.db --dir x --yes");
        for (text, typed) in [
            (
                "to continue: stepback resume 01J8",
                "to continue: stepback resume --config a.yaml --url sqlite://a.db 01J8",
            ),
            (
                "`stepback migrate goto 2`; else `stepback migrate status`",
                "`stepback migrate goto --config a.yaml --url sqlite://a.db --dir x 2`; else `stepback migrate status \
                 --config a.yaml --url sqlite://a.db --dir x`",
            ),
            (
                "stepback report --journal file:j 01J8",
                "stepback report --config a.yaml --journal file:j 01J8",
            ),
            (
                "stepback resume A --url sqlite://b.db, or stepback status",
                "stepback resume --config a.yaml A --url sqlite://b.db, or stepback status --config a.yaml --url \
                 sqlite://a.db --dir x",
            ),
            // No commands, or commands that need no place.
            ("stepback schema", "stepback schema"),
            ("every stepback statusline", "every stepback statusline"),
            ("by my-stepback status", "by my-stepback status"),
            ("of stepback itself", "of stepback itself"),
        ] {
            assert_eq!(here.repeat(text), typed);
            assert_eq!(here.repeat(typed), typed, "said twice");
        }
        let nothing = given("stepback status --yes");
        assert_eq!(nothing.repeat("stepback status"), "stepback status");
    }

    #[test]
    fn what_is_repeated_can_be_typed_and_holds_no_password() {
        let typed = ["stepback", "status", "--url", "sqlite:///my files/it's.db"].map(OsString::from);
        let said = Given::read(Cli::command(), &typed).repeat("stepback runs");
        assert_eq!(said, r"stepback runs --url 'sqlite:///my files/it'\''s.db'");
        let secret = given("stepback status --url postgres://ada:hunter2@h/shop");
        assert_eq!(secret.repeat("stepback runs"), "stepback runs --url URL");
        let typed = ["stepback", "status", "--url", "postgres://u:hunt er2@h/db"].map(OsString::from);
        let said = Given::read(Cli::command(), &typed).repeat("stepback runs");
        assert_eq!(said, "stepback runs --url URL");
    }
}
