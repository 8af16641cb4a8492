//! The version of stored data: whether a server of some version can open a data directory.
//!
//! Responsible for: which files say so, what their bytes mean (one file an engine), and the rule of each engine's
//! series. Not for: reading files (`load` does, within the limits that are given here), or for the schema, whose version
//! is the ledger's. `cli` asks it for `stepback guard`, `plan` for the rule alone.
//!
//! A file that is absent, unreadable or not understood never counts as a pass: it makes the version unknown, and unknown
//! blocks. What is stated of an engine's files was seen on data directories of real servers (PostgreSQL 15 and 18,
//! MariaDB 10.11) or read in the server's source (MySQL).

mod mariadb;
mod mysql;
mod postgres;
mod version;
mod volume;

use serde::Serialize;

use crate::model::{Finding, Severity};

pub use version::{ServerVersion, VersionError};
pub use volume::{Found, Volume, Wanted};

/// A server whose data directory can be judged from its files alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the products' names")]
pub enum Server {
    Postgres,
    Mysql,
    Mariadb,
}

impl Server {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Mysql, Self::Mariadb];

    /// The name as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }

    /// The name as its makers write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Mariadb => "MariaDB",
        }
    }

    /// The files that say which version the data has, relative to the data directory.
    pub fn wanted(self) -> &'static [Wanted] {
        match self {
            Self::Postgres => postgres::WANTED,
            Self::Mysql => mysql::WANTED,
            Self::Mariadb => mariadb::WANTED,
        }
    }

    /// Folders in which a data directory of this server often lies, where the one that was named is its parent.
    pub fn nearby(self) -> &'static [Wanted] {
        match self {
            Self::Postgres => postgres::NEARBY,
            Self::Mysql => mysql::NEARBY,
            Self::Mariadb => mariadb::NEARBY,
        }
    }

    /// Reads the version of the server that shall be started: `15.4`, `8.0.35`, `10.11.8-MariaDB`, `v8.4.2-debian`.
    ///
    /// # Errors
    /// When it is no version, or has too few numbers to be judged: MySQL's rule needs the patch release, MariaDB's two
    /// numbers.
    pub fn target(self, text: &str) -> Result<ServerVersion, VersionError> {
        let version: ServerVersion = text.parse()?;
        let needed = match self {
            Self::Postgres if version.major() < 10 => 2,
            Self::Postgres => 1,
            Self::Mariadb => 2,
            Self::Mysql => 3,
        };
        if version.numbers() < needed {
            return Err(VersionError::TooShort {
                text: text.to_owned(),
                server: self.title(),
                needed,
            });
        }
        Ok(version)
    }
}

/// What the guard says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A server of the target's version can open the data.
    Allowed,
    /// It cannot, or must not.
    Refused,
    /// It is not known which version the data has. This blocks too.
    Unknown,
}

/// What one file said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Marker {
    /// The file, relative to the data directory.
    pub file: String,
    /// What was read in it, or why nothing was.
    pub says: String,
}

/// Whether a server of one version can open the data in one directory, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// Which server.
    pub engine: Server,
    /// The version that shall be started.
    pub target: ServerVersion,
    /// The version of the data: the newest that any file names.
    pub data: Option<ServerVersion>,
    /// The answer.
    pub verdict: Verdict,
    /// Why not, or what else is worth knowing.
    pub findings: Vec<Finding>,
    /// Every file that was asked for, and what it said.
    pub read: Vec<Marker>,
}

/// What the files of a data directory came to.
#[derive(Debug, Default)]
struct Examined {
    read: Vec<Marker>,
    /// Every version that has written here, as far as the files tell. Each must be one that the target can follow.
    versions: Vec<ServerVersion>,
    /// Why these versions do not suffice to allow anything, and what to do about each.
    unknown: Vec<(String, &'static str)>,
    /// As `unknown`, where the data look like this server's: somebody who knows the version may say it.
    unmarked: Vec<String>,
    /// Whose data it is instead, and how that is known.
    foreign: Option<String>,
    /// Whether the newest version's series is maintained for long (MySQL's LTS), where a file says so.
    lts: Option<bool>,
}

impl Examined {
    fn saw(&mut self, file: &str, says: impl Into<String>) {
        self.read.push(Marker {
            file: file.to_owned(),
            says: says.into(),
        });
    }

    /// Looks at a file: what `parse` makes of its bytes, and `None` where it is absent or not understood. Why it is not
    /// understood is noted; absence alone is not yet a reason.
    fn look<T>(
        &mut self,
        volume: &Volume,
        file: &str,
        parse: impl FnOnce(&[u8]) -> Result<(T, String), String>,
    ) -> Option<T> {
        match volume.file(file) {
            Found::Absent => {
                self.saw(file, "not there");
                None
            }
            Found::Unreadable(why) => {
                self.saw(file, format!("cannot be read: {why}"));
                self.unknown.push((format!("{file} cannot be read: {why}"), LET_READ));
                None
            }
            Found::Bytes(bytes) => match parse(bytes) {
                Ok((value, says)) => {
                    self.saw(file, says);
                    Some(value)
                }
                Err(why) => {
                    self.saw(file, format!("not understood: {why}"));
                    self.unknown.push((format!("{file} is not understood: {why}"), DAMAGED));
                    None
                }
            },
        }
    }
}

/// Whether one of these plain files is there: what a server makes in every data directory of its own.
///
/// `Err`: none was read, and this one cannot be.
fn made_here<'a>(volume: &'a Volume, marks: &[&'a str]) -> Result<Option<&'a str>, String> {
    let read = |file: &&&str| matches!(volume.file(file), Found::Bytes(_));
    if let Some(file) = marks.iter().find(read) {
        return Ok(Some(file));
    }
    marks.iter().try_fold(None, |none, file| match volume.file(file) {
        Found::Unreadable(why) => Err(format!("{file} cannot be read: {why}")),
        _ => Ok(none),
    })
}

/// What makes a directory PostgreSQL's. A plain file only: a folder of this name is a database that somebody named so.
fn made_by_postgres(volume: &Volume) -> Option<String> {
    let mark = made_here(volume, &postgres::MARKS).ok().flatten();
    mark.map(|file| format!("it has {file}, which PostgreSQL makes"))
}

/// What a rule says of going from one version to another.
#[derive(Debug, PartialEq, Eq)]
enum Rule {
    Allowed,
    /// Allowed as far as files can tell; something remains to be known.
    Noted(String),
    Refused(String),
    Unknown(String),
}

const NAME_IT: &str = "name the data directory itself";
const LET_READ: &str = "name the data directory itself, and let this user read it";
const ASSUME: &str = "name the data directory itself; where you know which version wrote it last, say --assume VERSION";
const DAMAGED: &str =
    "restore the data from a backup, or start the version that wrote them and see what it says of them";
const KEEP: &str = "start the version that wrote the data, or restore a backup or dump that the target can read";

/// What the user takes upon themself.
#[derive(Clone, Debug, Default)]
pub struct Say {
    /// A truly empty directory passes: on a fresh volume there is no data that could be harmed. Nobody else can say so,
    /// because an empty directory may as well be a volume that was not mounted.
    pub allow_empty: bool,
    /// The version of data whose marker was never written. It can make up for an absent marker only, in data
    /// that look like this server's, and takes nothing back of what the files do say.
    pub assume: Option<ServerVersion>,
}

/// Judges a data directory by what was read of it.
pub fn judge(server: Server, volume: &Volume, target: &ServerVersion, say: &Say) -> Judgement {
    let mut judgement = Judgement {
        engine: server,
        target: target.clone(),
        data: None,
        verdict: Verdict::Unknown,
        findings: Vec::new(),
        read: Vec::new(),
    };
    if volume.is_empty() {
        judge_empty(&mut judgement, say.allow_empty);
        return judgement;
    }
    let mut examined = match server {
        Server::Postgres => postgres::examine(volume),
        Server::Mysql => mysql::examine(volume),
        Server::Mariadb => mariadb::examine(volume),
    };
    match (&say.assume, examined.unmarked.is_empty()) {
        (Some(version), false) => {
            let files = std::mem::take(&mut examined.unmarked).join("; ");
            examined.saw("--assume", format!("{version}, because {files}"));
            examined.versions.push(version.clone());
        }
        (Some(_), true) if examined.foreign.is_some() || !examined.unknown.is_empty() => {
            examined.saw("--assume", "of no use here: it stands in for an absent marker only");
        }
        (Some(_), true) => examined.saw("--assume", "not needed: the files say it"),
        (None, _) => {}
    }
    judgement.read = std::mem::take(&mut examined.read);
    examined.versions.sort_by(|one, other| other.cmp(one));
    examined.versions.dedup();
    judgement.data = examined.versions.first().cloned();
    weigh(&mut judgement, examined, volume);
    judgement
}

fn judge_empty(judgement: &mut Judgement, allow_empty: bool) {
    if allow_empty {
        judgement.verdict = Verdict::Allowed;
        return;
    }
    judgement.findings.push(Finding::refusal(
        "data-version-unknown",
        "the data directory",
        "it is empty: a fresh volume, or one that is not mounted",
        "say --allow-empty where volumes may be fresh; look at the mount where they may not",
    ));
}

fn weigh(judgement: &mut Judgement, examined: Examined, volume: &Volume) {
    let (server, target) = (judgement.engine, judgement.target.clone());
    let title = server.title();
    if let Some(whose) = examined.foreign {
        judgement.verdict = Verdict::Refused;
        judgement.data = None;
        judgement.findings.push(Finding::refusal(
            "data-foreign",
            "the data directory",
            format!("it is not {title}'s: {whose}"),
            "name the directory of this server's data, and the engine that wrote it",
        ));
        return;
    }
    let mut unknown = examined.unknown;
    for version in &examined.versions {
        let subject = format!("data of {title} {version}");
        match rule_of(server, version, &target, examined.lts) {
            Rule::Allowed => {}
            Rule::Noted(note) => {
                judgement
                    .findings
                    .push(Finding::new(Severity::Note, "data-version", subject, note, ""))
            }
            Rule::Unknown(why) => unknown.push((why, KEEP)),
            Rule::Refused(why) => judgement.findings.push(Finding::refusal(
                "data-version",
                subject,
                format!("{title} {target} must not open it: {why}"),
                KEEP,
            )),
        }
    }
    let refused = judgement
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Refusal);
    unknown.extend(examined.unmarked.into_iter().map(|why| (why, ASSUME)));
    if !unknown.is_empty() {
        let mut remedies: Vec<&str> = unknown.iter().map(|(_, remedy)| *remedy).collect();
        remedies.dedup();
        let remedy = match volume.elsewhere() {
            [] => remedies.join("; "),
            found => format!("{NAME_IT}; there is one in {}", found.join(", ")),
        };
        let why: Vec<&str> = unknown.iter().map(|(why, _)| why.as_str()).collect();
        judgement.findings.push(Finding::refusal(
            "data-version-unknown",
            "the data directory",
            why.join("; "),
            remedy,
        ));
    }
    judgement.verdict = match (refused, unknown.is_empty()) {
        (true, _) => Verdict::Refused,
        (false, false) => Verdict::Unknown,
        (false, true) => Verdict::Allowed,
    };
}

/// Whether a server of the target's version may be started on data that one of another version wrote, by the rule of its
/// series alone.
///
/// # Errors
/// Why not, in a sentence without its subject.
pub fn may_follow(server: Server, data: &ServerVersion, target: &ServerVersion) -> Result<(), String> {
    match rule_of(server, data, target, None) {
        Rule::Allowed | Rule::Noted(_) => Ok(()),
        Rule::Refused(why) | Rule::Unknown(why) => Err(why),
    }
}

fn rule_of(server: Server, data: &ServerVersion, target: &ServerVersion, lts: Option<bool>) -> Rule {
    match server {
        Server::Postgres => postgres::rule(data, target),
        Server::Mysql => mysql::rule(data, target, lts),
        Server::Mariadb => mariadb::rule(data, target),
    }
}

/// Text of a file as it may be shown: short, on one line, and with nothing that a terminal would obey.
fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(24).collect();
    text.trim().escape_debug().to_string()
}

/// Four bytes at an offset.
fn four(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok()
}

#[cfg(test)]
mod tests;
