use proptest::prelude::*;

use super::*;
use crate::model::Severity;

fn bytes(content: impl AsRef<[u8]>) -> Found {
    Found::Bytes(content.as_ref().to_vec())
}

/// Page 0 of `mysql.ibd`, as far as it is read.
fn dictionary(id: u32) -> Found {
    let mut page = vec![0; 64];
    page[8..12].copy_from_slice(&id.to_be_bytes());
    page[12..16].copy_from_slice(&1u32.to_be_bytes());
    page[24..26].copy_from_slice(&[0, 8]);
    page[34..38].copy_from_slice(&0xFFFF_FFFEu32.to_be_bytes());
    Found::Bytes(page)
}

fn history(entries: &[(&str, &str)]) -> Found {
    let entries: Vec<String> = entries
        .iter()
        .map(|(version, maturity)| {
            format!(
                "{{\"date\":\"2024-03-15 22:02:35\",\"version\":\"{version}\",\"maturity\":\"{maturity}\",\"initialize\":true}}"
            )
        })
        .collect();
    bytes(format!(
        "{{\"file_format\":\"1\",\"upgrade_history\":[{}]}}\n",
        entries.join(",")
    ))
}

fn control(layout: u32, catalog: u32, state: u32) -> Found {
    let mut file = vec![0; 512];
    for (at, number) in [(8, layout), (12, catalog), (16, state)] {
        file[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    Found::Bytes(file)
}

fn redo(creator: &str) -> Found {
    let mut head = b"Phys\0\0\0\0\0\0\0\0\0\x000\0".to_vec();
    head.extend_from_slice(creator.as_bytes());
    head.resize(64, 0);
    Found::Bytes(head)
}

fn aria(id: u32) -> Found {
    let mut head = b"\xfe\xfe\x0b\x01MARIALOG".to_vec();
    head.resize(24, 7);
    head.extend_from_slice(&id.to_le_bytes());
    head.resize(64, 0);
    Found::Bytes(head)
}

fn postgres(version: &str, layout: u32, catalog: u32) -> Volume {
    Volume::default()
        .with("PG_VERSION", bytes(version))
        .with("global/pg_control", control(layout, catalog, 1))
}

fn judged(server: Server, volume: &Volume, target: &str) -> Judgement {
    judge(server, volume, &server.target(target).unwrap(), &Say::default())
}

#[track_caller]
fn expect(server: Server, volume: &Volume, target: &str, verdict: Verdict) -> Judgement {
    let judgement = judged(server, volume, target);
    assert_eq!(judgement.verdict, verdict, "{judgement:#?}");
    let refusals = judgement
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Refusal);
    assert_eq!(
        refusals,
        verdict != Verdict::Allowed,
        "a verdict has its reasons: {judgement:#?}"
    );
    judgement
}

mod foreign;

use Server::{Mariadb, Mysql, Postgres};
use Verdict::{Allowed, Refused, Unknown};

#[test]
fn mysql_goes_back_within_8_0_to_35_and_no_further() {
    let volume = Volume::default().with("mysql.ibd", dictionary(80_036));
    expect(Mysql, &volume, "8.0.36", Allowed);
    expect(Mysql, &volume, "8.0.35", Allowed);
    expect(Mysql, &volume, "8.0.34", Refused);
    expect(Mysql, &volume, "8.0.40", Allowed);
    expect(Mysql, &volume, "8.4.2", Allowed);
    expect(Mysql, &volume, "9.1.0", Refused);
    expect(Mysql, &volume, "5.7.44", Refused);
    expect(
        Mysql,
        &Volume::default().with("mysql.ibd", dictionary(80_033)),
        "8.0.32",
        Refused,
    );
}

#[test]
fn mysql_compares_series_by_number() {
    for (id, target, verdict) in [
        (80_411, "8.0.46", Refused),
        (80_411, "8.4.2", Allowed),
        (80_411, "9.7.1", Allowed),
        (80_411, "26.7.0", Refused),
        (80_200, "8.1.0", Refused),
        (90_400, "9.4.1", Allowed),
        (90_401, "9.4.0", Refused),
        (90_701, "8.4.10", Refused),
        (90_702, "9.7.1", Allowed),
        (90_702, "26.7.0", Allowed),
        (261_000, "26.7.0", Refused),
        (261_001, "26.10.0", Unknown),
    ] {
        expect(
            Mysql,
            &Volume::default().with("mysql.ibd", dictionary(id)),
            target,
            verdict,
        );
    }
}

#[test]
fn mysql_believes_the_newest_of_its_markers() {
    let begun = Volume::default()
        .with("mysql.ibd", dictionary(80_036))
        .with("mysql_upgrade_history", history(&[("8.0.36", "LTS"), ("8.4.2", "LTS")]));
    let judgement = expect(Mysql, &begun, "8.0.36", Refused);
    assert_eq!(judgement.data.unwrap().to_string(), "8.4.2");
    expect(Mysql, &begun, "8.4.2", Allowed);

    // Left by the upgrade from 5.7, long ago.
    let old = Volume::default()
        .with("mysql.ibd", dictionary(80_036))
        .with("mysql_upgrade_info", bytes("5.7.44"));
    expect(Mysql, &old, "8.4.2", Allowed);

    let calendar = |maturity| {
        Volume::default()
            .with("mysql.ibd", dictionary(280_403))
            .with("mysql_upgrade_history", history(&[("28.4.3", maturity)]))
    };
    expect(Mysql, &calendar("LTS"), "28.4.1", Allowed);
    expect(Mysql, &calendar("INNOVATION"), "28.4.1", Refused);
    expect(Mysql, &calendar("SOMETHING"), "28.4.1", Unknown);
}

#[test]
fn what_mysql_data_do_not_say_is_unknown() {
    for volume in [
        Volume::default(),
        Volume::default().with("mysql_upgrade_history", history(&[("8.4.2", "LTS")])),
        Volume::default().with("mysql_upgrade_info", bytes("8.0.36")),
        Volume::default().with("mysql.ibd", dictionary(0)),
        Volume::default().with("mysql.ibd", bytes(vec![0; 64])),
        Volume::default().with("mysql.ibd", bytes("short")),
        Volume::default()
            .with("mysql.ibd", Found::Unreadable("permission denied".to_owned()))
            .with("mysql_upgrade_history", history(&[("8.4.2", "LTS")])),
        Volume::default()
            .with("mysql.ibd", dictionary(80_402))
            .with("mysql_upgrade_history", bytes("{")),
    ] {
        expect(Mysql, &volume, "8.4.2", Unknown);
    }
    let of_5_7 = Volume::default().with("mysql_upgrade_info", bytes("5.7.44"));
    expect(Mysql, &of_5_7, "8.0.36", Allowed);
    expect(Mysql, &of_5_7, "8.4.2", Refused);
    expect(Mysql, &of_5_7, "5.7.40", Unknown);
}

#[test]
fn one_servers_data_are_not_anothers() {
    let mariadb = Volume::default().with("mysql_upgrade_info", bytes("10.11.19-MariaDB"));
    let judgement = expect(Mysql, &mariadb, "8.0.36", Refused);
    assert_eq!(judgement.findings[0].code, "data-foreign");
    let mysql = Volume::default().with("mysql.ibd", dictionary(80_036));
    let judgement = expect(Mariadb, &mysql, "10.11.19", Refused);
    assert_eq!(judgement.findings[0].code, "data-foreign");
}

#[test]
fn mariadb_counts_two_numbers_as_its_major() {
    let volume = Volume::default().with("mysql_upgrade_info", bytes("10.11.19-MariaDB"));
    expect(Mariadb, &volume, "10.11.6", Allowed);
    expect(Mariadb, &volume, "10.11", Allowed);
    expect(Mariadb, &volume, "11.4.2", Allowed);
    expect(Mariadb, &volume, "10.6.20", Refused);
    expect(Mariadb, &volume, "10.2.44-MariaDB-1:10.2.44+maria~bionic", Refused);
}

#[test]
fn mariadb_believes_the_newest_of_its_markers() {
    // Taken over by 11.4, whose own marker lies beside the old one; and a server that never ran mariadb-upgrade.
    for volume in [
        Volume::default()
            .with("mysql_upgrade_info", bytes("10.11.19-MariaDB"))
            .with("mariadb_upgrade_info", bytes("11.4.2-MariaDB")),
        Volume::default()
            .with("mysql_upgrade_info", bytes("10.11.19-MariaDB"))
            .with("ib_logfile0", redo("MariaDB 11.4.2")),
        Volume::default()
            .with("mysql_upgrade_info", bytes("10.11.19-MariaDB"))
            .with("aria_log.00000009", aria(101_119))
            .with("aria_log.00000010", aria(110_402)),
    ] {
        let judgement = expect(Mariadb, &volume, "10.11.19", Refused);
        assert_eq!(judgement.data.unwrap().to_string(), "11.4.2");
        expect(Mariadb, &volume, "11.4.5", Allowed);
    }
}

#[test]
fn a_mariadb_log_can_refuse_and_never_allow() {
    let volume = Volume::default()
        .with("ib_logfile0", redo("MariaDB 11.4.2"))
        .with("aria_log.00000001", aria(110_402));
    expect(Mariadb, &volume, "10.11.19", Refused);
    expect(Mariadb, &volume, "11.4.2", Unknown);
    for content in ["", "5.7.44", "11.4-MariaDB", "\x1b[31m11.4.2-MariaDB", "MariaDB"] {
        let volume = Volume::default().with("mysql_upgrade_info", bytes(content));
        let judgement = expect(Mariadb, &volume, "11.4.2", Unknown);
        assert!(!judgement.findings[0].message.contains('\x1b'));
    }
}

#[test]
fn an_assumed_version_makes_up_for_an_absent_marker_only() {
    let say = |version: &str| Say {
        assume: Some(version.parse().unwrap()),
        ..Say::default()
    };
    let target = Mariadb.target("10.11.6").unwrap();
    let unmarked = Volume::default().with("ib_logfile0", redo("MariaDB 10.11.5"));
    assert_eq!(judge(Mariadb, &unmarked, &target, &say("10.11.8")).verdict, Allowed);
    assert_eq!(judge(Mariadb, &unmarked, &target, &say("11.4.2")).verdict, Refused);

    let newer = Volume::default().with("ib_logfile0", redo("MariaDB 11.4.2"));
    assert_eq!(judge(Mariadb, &newer, &target, &say("10.11.8")).verdict, Refused);
    let marked = Volume::default().with("mariadb_upgrade_info", bytes("11.4.2-MariaDB"));
    assert_eq!(judge(Mariadb, &marked, &target, &say("10.11.8")).verdict, Refused);
    let locked = Volume::default().with("mysql_upgrade_info", Found::Unreadable("permission denied".to_owned()));
    assert_eq!(judge(Mariadb, &locked, &target, &say("10.11.8")).verdict, Unknown);
    let nothing = Volume::default();
    let target = Postgres.target("15").unwrap();
    assert_eq!(judge(Postgres, &nothing, &target, &say("15")).verdict, Unknown);
}

#[test]
fn postgres_minors_are_free_and_majors_never() {
    let volume = postgres("15\n", 1300, 202_209_061);
    for target in ["15", "15.1", "15.14", "v15.3-bookworm"] {
        expect(Postgres, &volume, target, Allowed);
    }
    for target in ["14", "16", "14.9", "9.6", "18.1"] {
        expect(Postgres, &volume, target, Refused);
    }
    let old = postgres("9.6\n", 960, 201_608_131);
    expect(Postgres, &old, "9.6.24", Allowed);
    expect(Postgres, &old, "9.5", Refused);
    // A version that was released after this was written.
    expect(Postgres, &postgres("19\n", 1900, 202_607_011), "19.1", Allowed);
}

#[test]
fn what_postgres_data_do_not_say_is_unknown() {
    for volume in [
        Volume::default(),
        Volume::default().with("PG_VERSION", bytes("15\n")),
        Volume::default().with("global/pg_control", control(1300, 202_209_061, 1)),
        postgres("", 1300, 202_209_061),
        postgres("15.4\n", 1300, 202_209_061),
        postgres("fifteen\n", 1300, 202_209_061),
        postgres("15\n", 0, 202_209_061),
        // A beta of 15.
        postgres("15\n", 1300, 202_206_291),
        Volume::default()
            .with("PG_VERSION", bytes("15\n"))
            .with("global/pg_control", Found::Unreadable("permission denied".to_owned())),
        // What pg_upgrade --link leaves of the old cluster.
        Volume::default()
            .with("PG_VERSION", bytes("15\n"))
            .with("global/pg_control.old", control(1300, 202_209_061, 1)),
    ] {
        expect(Postgres, &volume, "15.4", Unknown);
    }
    let mixed = postgres("15\n", 1300, 202_209_061).with("base/5/PG_VERSION", bytes("14\n"));
    expect(Postgres, &mixed, "15.4", Refused);
}

#[test]
fn the_control_file_is_read_in_either_byte_order() {
    let Found::Bytes(mut file) = control(1300, 202_209_061, 6) else {
        unreachable!()
    };
    let little = postgres::parse_control(&file).unwrap();
    for at in [8, 12, 16] {
        file[at..at + 4].reverse();
    }
    assert_eq!(postgres::parse_control(&file).unwrap(), little);
    assert_eq!(little.state, "in production: running, or ended in disorder");
}

#[test]
fn an_empty_directory_passes_only_where_that_was_said() {
    for server in Server::ALL {
        let target = server.target("9.7.1").unwrap();
        let judgement = judge(server, &Volume::empty(), &target, &Say::default());
        assert_eq!(judgement.verdict, Unknown);
        assert!(judgement.findings[0].remedy.contains("--allow-empty"));
        let allow = Say {
            allow_empty: true,
            assume: None,
        };
        assert_eq!(judge(server, &Volume::empty(), &target, &allow).verdict, Allowed);
        assert_eq!(judge(server, &Volume::default(), &target, &allow).verdict, Unknown);
    }
}

#[test]
fn a_target_needs_the_numbers_that_its_rule_compares() {
    for (server, text) in [
        (Mysql, "8.0"),
        (Mysql, "8"),
        (Mariadb, "11"),
        (Postgres, "9"),
        (Postgres, ""),
        (Postgres, "latest"),
        (Postgres, "15."),
        (Postgres, "15.1.2.3"),
        (Postgres, "18beta1"),
        (Postgres, "18rc1"),
        (Mysql, "8.0.36debian"),
        (Mysql, "8.0.999999"),
        (Mysql, "8.0.-1"),
    ] {
        assert!(server.target(text).is_err(), "{text}");
    }
    for (server, text, shown) in [
        (Mysql, "8.0.36-0ubuntu0.22.04.1", "8.0.36"),
        (Mysql, " v8.4.2-oraclelinux9 ", "8.4.2"),
        (Mysql, "26.7.0", "26.7.0"),
        (Mariadb, "10.11.8-MariaDB-ubu2204", "10.11.8"),
        (Mariadb, "11.4", "11.4"),
        (Postgres, "15.4 (Debian 15.4-1.pgdg120+1)", "15.4"),
        (Postgres, "17-alpine", "17"),
    ] {
        assert_eq!(server.target(text).unwrap().to_string(), shown);
    }
}

proptest! {
    /// No bytes make a parser panic.
    #[test]
    fn any_bytes_are_understood_or_not(content in prop::collection::vec(any::<u8>(), 0..600)) {
        drop(postgres::parse_version(&content));
        drop(postgres::parse_control(&content));
        drop(mysql::parse_dictionary(&content));
        drop(mysql::parse_history(&content));
        drop(mysql::parse_info(&content));
        drop(mariadb::parse_info(&content));
        drop(mariadb::parse_redo(&content));
        drop(mariadb::parse_aria(&content));
    }

    /// Nor do bytes that begin as they should, and whatever they say, no file alone of foreign making is a pass.
    #[test]
    fn bytes_that_are_nearly_right_never_panic(
        text in "\\PC{0,12}[0-9.]{0,12}(-MariaDB)?\\PC{0,12}",
        cut in 0usize..64,
        id in any::<u32>(),
        target in "[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]{1,2}",
    ) {
        let cut_off = |found: Found| match found {
            Found::Bytes(mut content) => { content.truncate(cut); Found::Bytes(content) }
            other => other,
        };
        for server in Server::ALL {
            let mut volume = Volume::default();
            for file in ["PG_VERSION", "mysql_upgrade_info", "mariadb_upgrade_info", "mysql_upgrade_history", "base/1/PG_VERSION"] {
                volume = volume.with(file, bytes(&text));
                let volume = volume.clone()
                    .with("mysql.ibd", cut_off(dictionary(id)))
                    .with("ib_logfile0", cut_off(redo(&text)))
                    .with("aria_log.00000001", cut_off(aria(id)))
                    .with("global/pg_control", cut_off(control(id, id, id)));
                let judgement = judged(server, &volume, &target);
                prop_assert_eq!(
                    judgement.verdict == Allowed,
                    judgement.findings.iter().all(|finding| finding.severity != Severity::Refusal)
                );
                for finding in &judgement.findings {
                    prop_assert!(!finding.message.contains('\x1b'));
                }
            }
        }
    }

    /// A version that is printed is read back, and compares as its numbers do.
    #[test]
    fn versions_read_back(one in (0u32..100, 0u32..100, 0u32..100), other in (0u32..100, 0u32..100, 0u32..100)) {
        let version = |(major, minor, patch)| ServerVersion::new(major, Some(minor), Some(patch));
        prop_assert_eq!(version(one).to_string().parse(), Ok(version(one)));
        prop_assert_eq!(version(one).cmp(&version(other)), one.cmp(&other));
        prop_assert_eq!(ServerVersion::from_id(one.0 * 10_000 + one.1 * 100 + one.2), version(one));
    }

    /// Whatever was allowed to go back was allowed in the same series only.
    #[test]
    fn nobody_goes_back_over_a_series(
        data in (1u32..30, 0u32..13, 0u32..50),
        target in (1u32..30, 0u32..13, 0u32..50),
        lts in any::<Option<bool>>(),
    ) {
        let version = |(major, minor, patch)| ServerVersion::new(major, Some(minor), Some(patch));
        let back = (target.0, target.1) < (data.0, data.1);
        let (data, target) = (version(data), version(target));
        if back {
            prop_assert!(matches!(mysql::rule(&data, &target, lts), Rule::Refused(_)));
            prop_assert!(matches!(mariadb::rule(&data, &target), Rule::Refused(_)));
        }
        if data.major() != target.major() {
            prop_assert!(matches!(postgres::rule(&data, &target), Rule::Refused(_)));
        }
    }
}
