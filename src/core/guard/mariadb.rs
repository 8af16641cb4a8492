//! MariaDB: `mariadb_upgrade_info` or `mysql_upgrade_info`, and who made the logs.
//!
//! A series is the first two numbers: 10.6, 10.11 and 11.4 are three majors. Within a series a server may go back, with
//! rare exceptions; across, it may start and corrupt what it opens (MDEV-30819), so this rule is stricter than the
//! server. The marker is written by `mariadb-upgrade` and `mariadb-install-db`. The redo log and Aria's log name the
//! server that made them, which may be an older one than the last that ran: they can raise the version, never suffice.

use super::{
    Examined, Found, LET_READ, NAME_IT, Rule, ServerVersion, Volume, Wanted, four, made_by_postgres, made_here,
    postgres, shown,
};

const INFO: &str = "mariadb_upgrade_info";
const INFO_OLD: &str = "mysql_upgrade_info";
const REDO: &str = "ib_logfile0";
const DICTIONARY_OF_MYSQL: &str = "mysql.ibd";

/// What a server has in its data directory whether `mariadb-upgrade` ever ran or not: the shared tablespace, Aria's
/// control file, and a table of the schema `mysql`. The redo log counts too.
const MADE_HERE: [&str; 4] = ["ibdata1", "aria_log_control", "mysql/db.frm", REDO];

pub(super) const WANTED: &[Wanted] = &[
    Wanted::head(INFO, 64),
    Wanted::head(INFO_OLD, 64),
    Wanted::head(REDO, 64),
    Wanted::head("aria_log.*", 64),
    Wanted::head(DICTIONARY_OF_MYSQL, 64),
    Wanted::mark(MADE_HERE[0]),
    Wanted::mark(MADE_HERE[1]),
    Wanted::mark(MADE_HERE[2]),
    Wanted::mark(postgres::MARKS[0]),
    Wanted::mark(postgres::MARKS[1]),
];

/// `data` in the images of one well-known maker.
pub(super) const NEARBY: &[Wanted] = &[
    Wanted::mark("*/mariadb_upgrade_info"),
    Wanted::mark("*/mysql_upgrade_info"),
    Wanted::mark("*/aria_log_control"),
];

fn not_a_version(bytes: &[u8]) -> String {
    format!("`{}` is no version of MariaDB", shown(bytes))
}

/// `11.8.6-MariaDB`.
pub(super) fn parse_info(bytes: &[u8]) -> Result<ServerVersion, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| not_a_version(bytes))?;
    let version: ServerVersion = text.parse().map_err(|_| not_a_version(bytes))?;
    if version.numbers() < 3 || !text.contains("MariaDB") {
        return Err(not_a_version(bytes));
    }
    Ok(version)
}

/// The redo log's header names who made it: `MariaDB 10.11.19` in 32 bytes at offset 16. Logs of other makers and of
/// versions before 10.2 name nobody, or somebody else.
pub(super) fn parse_redo(bytes: &[u8]) -> Result<Option<ServerVersion>, String> {
    let Some(creator) = bytes.get(16..48) else {
        return Err(format!("it ends after {} bytes", bytes.len()));
    };
    let end = creator.iter().position(|byte| *byte == 0).unwrap_or(creator.len());
    let text = std::str::from_utf8(&creator[..end]).unwrap_or_default();
    Ok(text.strip_prefix("MariaDB ").and_then(|version| version.parse().ok()))
}

/// The head of Aria's log: a magic word, then the version of the server that made the file, little-endian at offset 24.
pub(super) fn parse_aria(bytes: &[u8]) -> Result<ServerVersion, String> {
    const MAGIC: &[u8] = b"\xfe\xfe\x0b\x01MARIALOG";
    let (Some(magic), Some(version)) = (bytes.get(..MAGIC.len()), four(bytes, 24)) else {
        return Err(format!("it ends after {} bytes", bytes.len()));
    };
    if magic != MAGIC {
        return Err("its head is not that of Aria's log".to_owned());
    }
    match u32::from_le_bytes(version) {
        id @ 50_000..1_000_000 => Ok(ServerVersion::from_id(id)),
        id => Err(format!("{id} is no version of a server")),
    }
}

pub(super) fn examine(volume: &Volume) -> Examined {
    let mut examined = Examined::default();
    if volume.has(DICTIONARY_OF_MYSQL) {
        examined.foreign = Some(format!(
            "it has {DICTIONARY_OF_MYSQL}, which only MySQL 8.0 and later make"
        ));
        return examined;
    }
    examined.foreign = made_by_postgres(volume);
    if examined.foreign.is_some() {
        return examined;
    }
    let mut marked = false;
    for file in [INFO, INFO_OLD] {
        let version = examined.look(volume, file, |bytes| {
            let version = parse_info(bytes)?;
            let says = version.to_string();
            Ok((version, says))
        });
        marked |= version.is_some();
        examined.versions.extend(version);
    }
    let absent = [INFO, INFO_OLD].iter().all(|file| *volume.file(file) == Found::Absent);
    if !marked && absent {
        let why = format!("there is neither {INFO} nor {INFO_OLD}");
        match made_here(volume, &MADE_HERE) {
            Ok(Some(_)) => examined.unmarked.push(format!("{why}: mariadb-upgrade never ran here")),
            Ok(None) => {
                let why = "nothing in it looks like data of MariaDB: neither its marker nor ibdata1 is there";
                examined.unknown.push((why.to_owned(), NAME_IT));
            }
            Err(unread) => examined.unknown.push((format!("{why}; {unread}"), LET_READ)),
        }
    }
    examine_logs(&mut examined, volume);
    examined
}

/// A log that is absent or in another form raises nothing, and takes nothing away from the marker.
fn examine_logs(examined: &mut Examined, volume: &Volume) {
    let mut logs: Vec<&str> = volume.like("aria_log.", "").collect();
    logs.retain(|file| file["aria_log.".len()..].bytes().all(|byte| byte.is_ascii_digit()));
    // Each file names its own maker; the newest file has the newest.
    for file in [REDO].into_iter().chain(logs.last().copied()) {
        let maker = match volume.file(file) {
            Found::Absent => Err("not there".to_owned()),
            Found::Unreadable(why) => {
                examined
                    .unknown
                    .push((format!("{file} cannot be read: {why}"), LET_READ));
                Err(format!("cannot be read: {why}"))
            }
            Found::Bytes(bytes) if file == REDO => parse_redo(bytes),
            Found::Bytes(bytes) => parse_aria(bytes).map(Some),
        };
        match maker {
            Ok(Some(version)) => {
                examined.saw(file, format!("made by {version}"));
                examined.versions.push(version);
            }
            Ok(None) => examined.saw(file, "does not name the server that made it"),
            Err(why) => examined.saw(file, why),
        }
    }
}

pub(super) fn rule(data: &ServerVersion, target: &ServerVersion) -> Rule {
    let (from, to) = (data.two(), target.two());
    if to >= from {
        return Rule::Allowed;
    }
    Rule::Refused(format!(
        "{}.{} and {}.{} are different major versions, and MariaDB goes back only within one",
        from.0, from.1, to.0, to.1
    ))
}
