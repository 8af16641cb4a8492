//! PostgreSQL: `PG_VERSION` and `global/pg_control`.
//!
//! A minor version is not stored, and any minor of a major opens the data; no other major does (PostgreSQL's manual,
//! "Upgrading a PostgreSQL Cluster"; `ValidatePgVersion` and `ReadControlFile` in its source). A shutdown in disorder
//! forbids nothing here: the write-ahead log is replayed by any minor of the same major.

use super::{DAMAGED, Examined, Found, KEEP, NAME_IT, Rule, ServerVersion, Volume, Wanted, four, made_here, shown};

const VERSION: &str = "PG_VERSION";
const CONTROL: &str = "global/pg_control";
/// What makes a directory PostgreSQL's.
pub(super) const MARKS: [&str; 2] = [VERSION, CONTROL];
const CONTROL_OLD: &str = "global/pg_control.old";

/// How much of `pg_control` is read. Every server since 8.1 writes 8 KiB, of which no version uses less than this much
/// or more than twice as much: a shorter file was cut off.
const CONTROL_HEAD: usize = 256;

/// Files of MySQL and MariaDB, which they have in every data directory of theirs.
const OF_OTHERS: [&str; 5] = [
    "ibdata1",
    "mysql.ibd",
    "mysql_upgrade_info",
    "mariadb_upgrade_info",
    "aria_log_control",
];

pub(super) const WANTED: &[Wanted] = &[
    Wanted::head(VERSION, 64),
    Wanted::head(CONTROL, CONTROL_HEAD),
    Wanted::mark(CONTROL_OLD),
    Wanted::head("base/*/PG_VERSION", 64),
    Wanted::mark(OF_OTHERS[0]),
    Wanted::mark(OF_OTHERS[1]),
    Wanted::mark(OF_OTHERS[2]),
    Wanted::mark(OF_OTHERS[3]),
    Wanted::mark(OF_OTHERS[4]),
];

/// `pgdata` by habit, `18/docker` in the official image since 18, `15/main` on Debian.
pub(super) const NEARBY: &[Wanted] = &[
    Wanted::mark("*/PG_VERSION"),
    Wanted::mark("*/docker/PG_VERSION"),
    Wanted::mark("*/main/PG_VERSION"),
];

/// The catalog version that each release was published with, and never changed since.
const CATALOGS: [(u32, u32); 9] = [
    (10, 201_707_211),
    (11, 201_809_051),
    (12, 201_909_212),
    (13, 202_007_201),
    (14, 202_107_181),
    (15, 202_209_061),
    (16, 202_307_071),
    (17, 202_406_281),
    (18, 202_506_291),
];

/// What the first bytes of `pg_control` say: the same place in every version since 8.3.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Control {
    /// Of the file's own layout: 1300, 1700, 1800.
    pub(super) version: u32,
    /// Of the system catalogs: a date and a number.
    pub(super) catalog: u32,
    /// How the server left it.
    pub(super) state: &'static str,
}

/// `16` and a line feed; `9.6` before 10.
pub(super) fn parse_version(bytes: &[u8]) -> Result<ServerVersion, String> {
    let said = || format!("`{}` is no major version", shown(bytes));
    let text = std::str::from_utf8(bytes)
        .map_err(|_| said())?
        .trim_end_matches(['\n', '\r']);
    let version: ServerVersion = text.parse().map_err(|_| said())?;
    let numbers = if version.major() < 10 { 2 } else { 1 };
    // The server reads the numbers alone; anything else here was not written by it.
    if version.numbers() != numbers || version.to_string() != text {
        return Err(said());
    }
    Ok(version)
}

/// The head of `struct ControlFileData`: system identifier, layout, catalog, state, in the byte order of the machine.
pub(super) fn parse_control(bytes: &[u8]) -> Result<Control, String> {
    let (Some(version), Some(catalog), Some(state)) = (four(bytes, 8), four(bytes, 12), four(bytes, 16)) else {
        return Err(format!("it ends after {} bytes", bytes.len()));
    };
    if bytes.len() < CONTROL_HEAD {
        return Err(format!("it ends after {} bytes", bytes.len()));
    }
    let read: fn([u8; 4]) -> u32 = match version {
        little if (800..10_000).contains(&u32::from_le_bytes(little)) => u32::from_le_bytes,
        big if (800..10_000).contains(&u32::from_be_bytes(big)) => u32::from_be_bytes,
        _ => return Err("its head is not that of a control file".to_owned()),
    };
    let state = match read(state) {
        0 => "starting up",
        1 => "shut down",
        2 => "shut down in recovery",
        3 => "shutting down",
        4 => "in crash recovery",
        5 => "in archive recovery",
        6 => "in production: running, or ended in disorder",
        _ => return Err("it names a state that does not exist".to_owned()),
    };
    Ok(Control {
        version: read(version),
        catalog: read(catalog),
        state,
    })
}

pub(super) fn examine(volume: &Volume) -> Examined {
    let mut examined = Examined::default();
    if *volume.file(VERSION) == Found::Absent
        && *volume.file(CONTROL) == Found::Absent
        && let Ok(Some(file)) = made_here(volume, &OF_OTHERS)
    {
        examined.foreign = Some(format!("it has {file}, which MySQL and MariaDB make"));
        return examined;
    }
    let version = examined.look(volume, VERSION, |bytes| {
        let version = parse_version(bytes)?;
        let says = version.to_string();
        Ok((version, says))
    });
    let control = examined.look(volume, CONTROL, |bytes| {
        let control = parse_control(bytes)?;
        let says = format!(
            "layout {}, catalog {}, {}",
            control.version, control.catalog, control.state
        );
        Ok((control, says))
    });
    if *volume.file(VERSION) == Found::Absent {
        examined.unknown.push((format!("there is no {VERSION}"), NAME_IT));
    }
    if *volume.file(CONTROL) == Found::Absent {
        let absent = if volume.has(CONTROL_OLD) {
            examined.saw(CONTROL_OLD, "there: pg_upgrade has taken this cluster's files over");
            let why = format!("{CONTROL} was renamed by pg_upgrade: a newer cluster may share these files");
            (why, "look for the newer cluster, and name its data directory")
        } else {
            (
                format!("there is no {CONTROL}, without which no server starts"),
                NAME_IT,
            )
        };
        examined.unknown.push(absent);
    }
    if let Some(version) = version {
        if let Some(control) = control {
            compare_catalog(&mut examined, &version, &control);
        }
        check_databases(&mut examined, volume, &version);
        examined.versions.push(version);
    }
    examined
}

fn compare_catalog(examined: &mut Examined, version: &ServerVersion, control: &Control) {
    let known = CATALOGS.iter().find(|(major, _)| *major == version.major());
    if let Some((major, catalog)) = known.filter(|(_, catalog)| *catalog != control.catalog) {
        let why = format!(
            "{CONTROL} has catalog {}, and PostgreSQL {major} was released with {catalog}: a version before the release, \
             or another product",
            control.catalog
        );
        examined.unknown.push((why, KEEP));
    }
}

/// Each database has a `PG_VERSION` of its own, and a server turns away connections to one that is not its own.
fn check_databases(examined: &mut Examined, volume: &Volume, version: &ServerVersion) {
    let files: Vec<&str> = volume.like("base/", "/PG_VERSION").collect();
    let mut same = 0;
    for file in &files {
        let Found::Bytes(bytes) = volume.file(file) else {
            continue;
        };
        match parse_version(bytes) {
            Ok(other) if other == *version => same += 1,
            Ok(other) => {
                examined.saw(file, other.to_string());
                examined.versions.push(other);
            }
            Err(why) => {
                examined.saw(file, format!("not understood: {why}"));
                examined
                    .unknown
                    .push((format!("{file} is not understood: {why}"), DAMAGED));
            }
        }
    }
    if same > 0 {
        examined.saw("base/*/PG_VERSION", format!("{version} in {same} of {}", files.len()));
    }
}

fn series(version: &ServerVersion) -> (u32, u32) {
    let (major, minor) = version.two();
    if major < 10 { (major, minor) } else { (major, 0) }
}

pub(super) fn rule(data: &ServerVersion, target: &ServerVersion) -> Rule {
    if series(data) == series(target) {
        return Rule::Allowed;
    }
    Rule::Refused(if series(data) < series(target) {
        "a newer major version takes data over with pg_upgrade or a dump, never by starting on them".to_owned()
    } else {
        "no major version opens the data of a newer one".to_owned()
    })
}
