//! What no assumption stands in for: the data of another server, nothing at all, and what was cut off.

use super::*;

#[test]
fn an_assumed_version_never_stands_in_for_another_servers_data() {
    let of_postgres = postgres("15\n", 1300, 202_209_061);
    let only_a_control_file = Volume::default().with("global/pg_control", control(1300, 202_209_061, 1));
    let nothing_of_the_kind = Volume::default();
    for (server, version) in [(Mariadb, "10.11.6"), (Mysql, "5.7.44")] {
        let target = server.target(version).unwrap();
        for assume in [None, Some(target.clone())] {
            let say = Say {
                assume,
                ..Say::default()
            };
            for volume in [&of_postgres, &only_a_control_file] {
                let judgement = judge(server, volume, &target, &say);
                assert_eq!(judgement.verdict, Refused, "{judgement:#?}");
                assert_eq!(judgement.findings[0].code, "data-foreign");
            }
            let judgement = judge(server, &nothing_of_the_kind, &target, &say);
            assert_eq!(judgement.verdict, Unknown, "{judgement:#?}");
            assert!(!judgement.findings[0].remedy.contains("--assume"), "{judgement:#?}");
        }
    }
    // A database may have any name: a folder is no mark of another server, nor of this one.
    let folder = || Found::Unreadable("not a plain file".to_owned());
    let say = Say {
        assume: Some("10.11.6".parse().unwrap()),
        ..Say::default()
    };
    let target = Mariadb.target("10.11.6").unwrap();
    let named_so = Volume::default().with("PG_VERSION", folder());
    let own = named_so.clone().with("ibdata1", bytes("\0"));
    assert_eq!(judge(Mariadb, &own, &target, &say).verdict, Allowed);
    let locked = named_so.with("ibdata1", Found::Unreadable("permission denied".to_owned()));
    let judgement = judge(Mariadb, &locked, &target, &say);
    assert_eq!(judgement.verdict, Unknown);
    assert!(judgement.findings[0].remedy.contains("let this user read it"));

    let of_5_7 = Volume::default().with("ibdata1", bytes("\0"));
    let target = Mysql.target("8.0.36").unwrap();
    let judgement = judge(Mysql, &of_5_7, &target, &Say::default());
    assert!(judgement.findings[0].remedy.contains("--assume"), "{judgement:#?}");
    let say = Say {
        assume: Some("5.7.44".parse().unwrap()),
        ..Say::default()
    };
    assert_eq!(judge(Mysql, &of_5_7, &target, &say).verdict, Allowed);
    assert_eq!(judged(Postgres, &of_5_7, "15").findings[0].code, "data-foreign");
}

#[test]
fn a_control_file_that_was_cut_off_is_not_understood() {
    for length in [0, 19, 20, 255] {
        let Found::Bytes(mut content) = control(1300, 202_209_061, 1) else {
            unreachable!()
        };
        content.truncate(length);
        let volume = postgres("15\n", 1300, 202_209_061).with("global/pg_control", Found::Bytes(content));
        let judgement = expect(Postgres, &volume, "15.4", Unknown);
        assert!(judgement.findings[0].remedy.contains("from a backup"), "{judgement:#?}");
    }
    let beta = postgres("15\n", 1300, 202_206_291);
    let judgement = expect(Postgres, &beta, "15.4", Unknown);
    assert!(
        judgement.findings[0].remedy.starts_with("start the version that wrote"),
        "{judgement:#?}"
    );
}
