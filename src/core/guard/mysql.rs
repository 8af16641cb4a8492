//! MySQL: page 0 of `mysql.ibd`, `mysql_upgrade_history`, `mysql_upgrade_info`.
//!
//! The server looks at the same header before it starts (`fsp_header_get_server_version`, `DDSE_dict_init`), and refuses
//! by the rules that [`rule`] repeats (`sql/dd/impl/bootstrap/bootstrapper.cc`; from 26.7 on
//! `server_version_transition.cc`). What it also stores in tables, a threshold below which a release of the series may
//! not go, no file shows: an allowed way back within a long-term series says so.

use serde::Deserialize;

use super::{
    DAMAGED, Examined, Found, LET_READ, NAME_IT, Rule, ServerVersion, Volume, Wanted, four, made_by_postgres,
    made_here, postgres, shown,
};

const DICTIONARY: &str = "mysql.ibd";
const HISTORY: &str = "mysql_upgrade_history";
const INFO: &str = "mysql_upgrade_info";

/// What a server of 5.7 has in its data directory, which has no dictionary: the shared tablespace, its own id, and a
/// table of the schema `mysql`.
const MADE_HERE: [&str; 3] = ["ibdata1", "auto.cnf", "mysql/db.frm"];

pub(super) const WANTED: &[Wanted] = &[
    Wanted::head(DICTIONARY, 64),
    Wanted::head(HISTORY, 1 << 20),
    Wanted::head(INFO, 64),
    Wanted::head("mariadb_upgrade_info", 64),
    Wanted::mark("aria_log_control"),
    Wanted::mark(MADE_HERE[0]),
    Wanted::mark(MADE_HERE[1]),
    Wanted::mark(MADE_HERE[2]),
    Wanted::mark(postgres::MARKS[0]),
    Wanted::mark(postgres::MARKS[1]),
];

pub(super) const NEARBY: &[Wanted] = &[Wanted::mark("*/mysql.ibd")];

/// The server's version in page 0 of the dictionary's tablespace: four bytes, big-endian, at offset 8. What surrounds
/// it must be what a page 0 has: page number 0, and the type of a tablespace's first page.
pub(super) fn parse_dictionary(bytes: &[u8]) -> Result<ServerVersion, String> {
    const FIRST_PAGE: [u8; 2] = [0, 8];
    let (Some(page), Some(version), Some(kind)) = (four(bytes, 4), four(bytes, 8), bytes.get(24..26)) else {
        return Err(format!("it ends after {} bytes", bytes.len()));
    };
    if page != [0; 4] || kind != FIRST_PAGE {
        return Err("its head is not that of a tablespace".to_owned());
    }
    match u32::from_be_bytes(version) {
        id @ 80_000..1_000_000 => Ok(ServerVersion::from_id(id)),
        id => Err(format!("{id} is no version of a server")),
    }
}

/// An entry of the history.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) version: ServerVersion,
    /// Whether it calls itself LTS.
    pub(super) lts: Option<bool>,
    /// How many entries there are.
    pub(super) entries: usize,
}

/// The newest entry: each server that takes the data over appends one, before it begins.
pub(super) fn parse_history(bytes: &[u8]) -> Result<Newest, String> {
    #[derive(Deserialize)]
    struct File {
        upgrade_history: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        version: String,
        #[serde(default)]
        maturity: Option<String>,
    }
    let file: File = serde_json::from_slice(bytes)
        .map_err(|error| format!("line {} column {} is not as it should be", error.line(), error.column()))?;
    let last = file.upgrade_history.last().ok_or("it has no entry")?;
    let version: ServerVersion = last
        .version
        .parse()
        .map_err(|_| not_a_version(last.version.as_bytes()))?;
    if version.numbers() < 3 {
        return Err(not_a_version(last.version.as_bytes()));
    }
    let lts = match last.maturity.as_deref() {
        Some("LTS") => Some(true),
        Some("INNOVATION") => Some(false),
        _ => None,
    };
    Ok(Newest {
        version,
        lts,
        entries: file.upgrade_history.len(),
    })
}

fn not_a_version(bytes: &[u8]) -> String {
    format!("`{}` is no version of MySQL", shown(bytes))
}

/// A bare version. 8.0 writes it only where it took the data over from an older server.
pub(super) fn parse_info(bytes: &[u8]) -> Result<ServerVersion, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| not_a_version(bytes))?;
    let version: ServerVersion = text.parse().map_err(|_| not_a_version(bytes))?;
    if version.numbers() < 3 {
        return Err(not_a_version(bytes));
    }
    Ok(version)
}

/// What makes a directory MariaDB's rather than MySQL's.
fn made_by_mariadb(volume: &Volume) -> Option<String> {
    if let Found::Bytes(bytes) = volume.file(INFO)
        && String::from_utf8_lossy(bytes).contains("MariaDB")
    {
        return Some(format!("{INFO} says `{}`", shown(bytes)));
    }
    ["mariadb_upgrade_info", "aria_log_control"]
        .into_iter()
        .find(|file| volume.has(file))
        .map(|file| format!("it has {file}, which MariaDB makes"))
}

pub(super) fn examine(volume: &Volume) -> Examined {
    let mut examined = Examined {
        foreign: made_by_postgres(volume).or_else(|| made_by_mariadb(volume)),
        ..Examined::default()
    };
    if examined.foreign.is_some() {
        return examined;
    }
    let header = examined.look(volume, DICTIONARY, |bytes| {
        let version = parse_dictionary(bytes)?;
        let says = format!("server {version} in the header of page 0");
        Ok((version, says))
    });
    let newest = examined.look(volume, HISTORY, |bytes| {
        let newest = parse_history(bytes)?;
        let maturity = match newest.lts {
            Some(true) => ", LTS",
            Some(false) => ", innovation",
            None => "",
        };
        let says = format!("{}{maturity}, the newest of {}", newest.version, newest.entries);
        Ok((newest, says))
    });
    let info = examined.look(volume, INFO, |bytes| {
        let version = parse_info(bytes)?;
        let says = version.to_string();
        Ok((version, says))
    });
    if *volume.file(DICTIONARY) == Found::Absent && info.as_ref().is_none_or(|info| info.major() >= 8) {
        let why = format!("there is no {DICTIONARY}, which every server from 8.0 on has in its data directory");
        // Data of 5.7 have no dictionary, and no marker where nothing was ever upgraded.
        if volume.has(HISTORY) || info.is_some() {
            examined.unknown.push((why, DAMAGED));
        } else {
            match made_here(volume, &MADE_HERE) {
                Ok(Some(_)) => examined.unmarked.push(why),
                Ok(None) => {
                    let why = "nothing in it looks like data of MySQL: neither mysql.ibd nor ibdata1 is there";
                    examined.unknown.push((why.to_owned(), NAME_IT));
                }
                Err(unread) => examined.unknown.push((format!("{why}; {unread}"), LET_READ)),
            }
        }
    }
    if let (Some(header), Some(newest)) = (&header, &newest)
        && newest.version > *header
    {
        examined.saw(
            HISTORY,
            format!("newer than {DICTIONARY}: {} began to take over", newest.version),
        );
    }
    // Left behind by the upgrade before: an older one says nothing about what came after it.
    let info = info.filter(|info| header.as_ref().is_none_or(|header| info > header));
    examined.lts = newest
        .as_ref()
        .filter(|newest| header.as_ref().is_none_or(|header| newest.version >= *header))
        .and_then(|newest| newest.lts);
    examined.versions.extend(header);
    examined.versions.extend(newest.map(|newest| newest.version));
    examined.versions.extend(info);
    examined
}

/// How a series is maintained.
fn is_lts(version: &ServerVersion, said: Option<bool>) -> Option<bool> {
    match version.two() {
        (8, 4) | (9, 7) => Some(true),
        (8, 1..=3) | (9, 0..=6) => Some(false),
        _ => said,
    }
}

/// The first patch release of 8.0 to which a newer one may go back in place.
const LAST_OF_8_0: u32 = 35;

pub(super) fn rule(data: &ServerVersion, target: &ServerVersion, lts: Option<bool>) -> Rule {
    if target.two() > data.two() {
        return forward(data, target, lts);
    }
    if target.two() < data.two() {
        return Rule::Refused("MySQL goes back in place only between patch releases of one series".to_owned());
    }
    if target.patch() >= data.patch() {
        return Rule::Allowed;
    }
    match data.two() {
        (8, 0) if target.patch() >= LAST_OF_8_0 => Rule::Allowed,
        (8, 0) => Rule::Refused(format!("8.0 goes back in place to 8.0.{LAST_OF_8_0} at most")),
        _ => match is_lts(data, lts) {
            Some(true) => Rule::Noted(
                "within a long-term series; the server itself knows how far back it may go, and says so when it starts"
                    .to_owned(),
            ),
            Some(false) => Rule::Refused("an innovation release does not go back in place".to_owned()),
            None => Rule::Unknown(format!(
                "it is not known whether the series of {data} is a long-term one, and only those go back in place"
            )),
        },
    }
}

/// The first version that is numbered by the calendar.
const CALENDAR: (u32, u32) = (26, 7);

fn forward(data: &ServerVersion, target: &ServerVersion, lts: Option<bool>) -> Rule {
    let (from, to) = (data.two(), target.two());
    let refused = |why: &str| Rule::Refused(format!("it cannot take over in one step: {why}"));
    match (from, to) {
        ((5, 7), (8, 0)) => Rule::Allowed,
        _ if from < (8, 0) => refused("from before 8.0 the way leads over 5.7 to 8.0"),
        _ if from.0 == to.0 && from < CALENDAR => Rule::Allowed,
        ((8, 4), _) if to.0 == 9 => Rule::Allowed,
        ((9, 7), _) if to >= CALENDAR => Rule::Allowed,
        _ if from >= CALENDAR && is_lts(data, lts).is_some() => Rule::Noted(
            "the server itself knows which long-term release it follows, and says so when it starts".to_owned(),
        ),
        _ if from >= CALENDAR => Rule::Unknown(format!("it is not known whether {data} is a long-term release")),
        _ => refused("a new major version follows the last long-term series of the one before"),
    }
}
