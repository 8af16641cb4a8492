//! What the pages look like: a rollback with workloads that halted once and was resumed.

use std::collections::BTreeMap;

use super::*;
use crate::journal::{By, Entry, FORMAT, Halt, HaltKind, Outcome, What};
use crate::model::{
    DatabaseIdentity, DatabaseRef, Digest, Direction, Engine, Finding, JournalPlace, LedgerRef, MigrationId,
    MigrationSet, PlanId, RunId, RunRow, RunStatus, ScriptRef, StepId, Target, TemplateRef, Token, UrlSource, Version,
    WorkloadKind, WorkloadRef,
};
use crate::plan::{Action, Ask, ChosenStrategy, ClusterRef, Gate, Plan, Probe, RunLimits, Step, Strategy};

mod forms;

const PAYMENTS_DOWN: &str = "-- what add_payments made\nDROP TABLE payments;\n";

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn target(release: &str, schema: &[&str]) -> Target {
    Target {
        release: Some(release.parse().unwrap()),
        schema: schema.iter().map(|text| version(text)).collect::<MigrationSet>(),
    }
}

fn down(text: &str, name: &str, body: &str) -> ScriptRef {
    ScriptRef {
        migration: MigrationId {
            version: version(text),
            name: name.into(),
        },
        direction: Direction::Down,
        sha256: Digest::of(body.as_bytes()),
        up_sha256: Digest::of(b"up"),
    }
}

fn plan() -> Plan {
    let workload = WorkloadRef {
        kind: WorkloadKind::StatefulSet,
        namespace: "production".into(),
        name: "shop".into(),
    };
    let template = |tag: &str| TemplateRef {
        revision: None,
        images: BTreeMap::from([("shop".to_owned(), format!("shop:{tag}"))]),
    };
    let uid = String::from("u1");
    let scale = |from, to| Action::Scale {
        workload: workload.clone(),
        uid: uid.clone(),
        from,
        to,
        original: 1,
    };
    let healthy = Gate::PodHealthy {
        workload: workload.clone(),
        pod: "shop-0".into(),
        template: template("1.2.0"),
        min_ready_seconds: 5,
        probes: vec![Probe {
            ask: Ask::Http {
                path: "/healthz".into(),
                port: 8080,
            },
            successes: 3,
            period_ms: 1000,
            timeout_ms: 120_000,
        }],
    };
    let steps = [
        (
            scale(1, 0),
            Gate::PodGone {
                workload: workload.clone(),
                pod: "shop-0".into(),
            },
        ),
        (
            Action::Revert {
                scripts: vec![
                    down("20240301090000", "add_payments", PAYMENTS_DOWN),
                    down("20240220103000", "rename_item_to_product", "x"),
                ],
                accept_loss: true,
            },
            Gate::None,
        ),
        (
            Action::Repoint {
                workload: workload.clone(),
                uid: uid.clone(),
                from: template("1.3.0"),
                to: template("1.2.0"),
            },
            Gate::Repointed {
                workload: workload.clone(),
                to: template("1.2.0"),
            },
        ),
        (scale(0, 1), healthy),
    ];
    Plan {
        format: crate::plan::FORMAT,
        id: PlanId(Digest::of(b"plan")),
        title: "rollback 1.3.0 -> 1.2.0".into(),
        app: Some("shop".into()),
        from: target("1.3.0", &["20240115120000", "20240220103000", "20240301090000"]),
        to: target("1.2.0", &["20240115120000"]),
        strategy: Some(ChosenStrategy {
            strategy: Strategy::Offline,
            reason: "release 1.2.0 does not accept schema 20240301090000, and 1.3.0 does not accept 20240115120000"
                .into(),
            outage: "nothing answers from step 1, when the last pod stops, until the first is healthy in step 5".into(),
        }),
        database: DatabaseRef {
            engine: Engine::Postgres,
            source: UrlSource::Env("DATABASE_URL".into()),
            redacted: "postgres://shop@db/shop".into(),
            state_schema: "stepback".into(),
            ledger: LedgerRef {
                table: "stepback.ledger".into(),
                ..LedgerRef::default()
            },
            identity: DatabaseIdentity::default(),
        },
        cluster: Some(ClusterRef {
            uid: "c1".into(),
            namespace: "production".into(),
        }),
        journal: JournalPlace::Cluster("production".into()),
        world: BTreeMap::new(),
        steps: (1..)
            .zip(steps)
            .map(|(number, (action, gate))| Step {
                id: StepId(number),
                action,
                gate,
                limit_ms: 300_000,
            })
            .collect(),
        findings: vec![Finding::warning(
            "fingerprint-unknown",
            "schema",
            "no fingerprint was recorded when this schema was last current, so the result cannot be compared",
            "apply migrations with stepback from now on",
        )],
        unready: vec![],
        outdated: BTreeMap::new(),
        turns_back: false,
        limits: RunLimits::default(),
    }
}

fn entries() -> Vec<Entry> {
    let by = |host: &str| By {
        user: "ada".into(),
        host: host.into(),
        process: 7,
        program: "stepback 0.1.0".into(),
    };
    let step = StepId;
    let seen = |text: &str| text.to_owned();
    let what = [
        (
            0,
            What::RunOpened {
                run: RunId("01J8".into()),
                plan: plan().id,
                by: by("laptop"),
                aborts: None,
            },
        ),
        (
            100,
            What::StepStarted {
                step: step(1),
                attempt: 1,
            },
        ),
        (
            300,
            What::StepApplied {
                step: step(1),
                seen: seen("0 replicas are wanted"),
            },
        ),
        (
            2_300,
            What::StepPassed {
                step: step(1),
                seen: seen("shop-0 is gone"),
            },
        ),
        (
            2_400,
            What::StepStarted {
                step: step(2),
                attempt: 1,
            },
        ),
        (
            2_500,
            What::StepStarted {
                step: step(2),
                attempt: 2,
            },
        ),
        (
            2_700,
            What::RunHalted {
                halt: Halt {
                    step: Some(step(2)),
                    kind: HaltKind::Failed,
                    message: "20240301090000_add_payments failed: table payments is locked by pid 4711 (report, 31 s)"
                        .into(),
                    hint: Some("end that session, then resume".into()),
                    evidence: None,
                },
            },
        ),
        (
            62_700,
            What::RunResumed {
                by: by("pod-x"),
                rebound: None,
            },
        ),
        (
            62_800,
            What::StepStarted {
                step: step(2),
                attempt: 3,
            },
        ),
        (
            62_900,
            What::StepApplied {
                step: step(2),
                seen: seen("2 of 2 in the ledger"),
            },
        ),
        (
            62_901,
            What::StepPassed {
                step: step(2),
                seen: seen("no gate"),
            },
        ),
        (
            63_000,
            What::StepStarted {
                step: step(3),
                attempt: 1,
            },
        ),
        (
            63_100,
            What::StepApplied {
                step: step(3),
                seen: seen("the template is shop:1.2.0"),
            },
        ),
        (
            63_200,
            What::StepPassed {
                step: step(3),
                seen: seen("the controller has seen it"),
            },
        ),
        (
            63_300,
            What::StepStarted {
                step: step(4),
                attempt: 1,
            },
        ),
        (
            63_400,
            What::StepApplied {
                step: step(4),
                seen: seen("1 replica is wanted"),
            },
        ),
        (
            71_300,
            What::StepPassed {
                step: step(4),
                seen: seen("shop-0 is ready, 1 probe passed"),
            },
        ),
        (71_400, What::RunClosed { outcome: Outcome::Done }),
    ];
    let start: jiff::Timestamp = "2026-03-04T03:00:00Z".parse().unwrap();
    (1..)
        .zip(what)
        .map(|(sequence, (ms, what))| Entry {
            format: FORMAT,
            sequence,
            at: start + jiff::SignedDuration::from_millis(ms),
            token: Token { number: 1, nonce: 0 },
            previous: String::new(),
            what,
        })
        .collect()
}

fn page(write: impl FnOnce(&mut Page<'_>) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    write(&mut Page::new(&mut text, 80, false)).unwrap();
    let text = String::from_utf8(text).unwrap();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "too long for a terminal: {line}");
        assert_eq!(line, line.trim_end());
    }
    text
}

#[test]
fn a_plan_says_what_and_why_and_what_it_waits_for() {
    let bodies = Bodies::from([(Digest::of(PAYMENTS_DOWN.as_bytes()), PAYMENTS_DOWN.to_owned())]);
    insta::assert_snapshot!(page(|page| write_plan(page, &plan(), Some(&bodies))));
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    write(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// One body ends without a semicolon, and the other one holds a fence.
fn bodies() -> Bodies {
    Bodies::from([
        (
            Digest::of(PAYMENTS_DOWN.as_bytes()),
            PAYMENTS_DOWN.trim_end_matches([';', '\n']).to_owned(),
        ),
        (Digest::of(b"x"), "/* ``` */ SELECT 'a_b';\n".to_owned()),
    ])
}

#[test]
fn a_plan_as_sql_names_each_script_and_keeps_them_apart() {
    insta::assert_snapshot!(written(|out| write_plan_sql(out, &plan(), &bodies())));
    let mut named = plan();
    named.title = "a\nDROP TABLE b;".into();
    let text = written(|out| write_plan_sql(out, &named, &bodies()));
    assert!(text.starts_with("-- a DROP TABLE b;\n"), "{text}");
}

#[test]
fn a_plan_as_markdown_can_be_pasted_into_a_ticket() {
    insta::assert_snapshot!(written(|out| write_plan_markdown(out, &plan(), &bodies())));
}

#[test]
fn a_report_tells_the_run_with_its_halt_and_its_outage() {
    let report = Report::new(&RunId("01J8".into()), &plan(), &entries());
    insta::assert_snapshot!(page(|page| write_report(page, &report, true)));
    assert_eq!(report.outage.as_ref().map(|outage| outage.ms), Some(71_200));
    let mut json = Vec::new();
    write_json(&mut json, Kind::Report, &report).unwrap();
    insta::assert_snapshot!(String::from_utf8(json).unwrap());
}

#[test]
fn every_prefix_of_a_journal_has_a_report() {
    let entries = entries();
    for length in 0..=entries.len() {
        let report = Report::new(&RunId("01J8".into()), &plan(), &entries[..length]);
        page(|page| write_report(page, &report, true));
        let lasts = report.outage.is_some_and(|outage| outage.to.is_none());
        assert_eq!(lasts, (2..17).contains(&length), "after {length} entries");
    }
}

#[test]
fn a_killed_coordinator_leaves_a_pause_without_a_word() {
    let mut entries = entries();
    entries.truncate(6);
    let mut resumed = entries[5].clone();
    resumed.what = What::RunResumed {
        by: By {
            user: "bob".into(),
            host: "desk".into(),
            process: 9,
            program: "stepback 0.1.0".into(),
        },
        rebound: None,
    };
    entries.push(resumed);
    let report = Report::new(&RunId("01J8".into()), &plan(), &entries);
    let text = page(|page| write_report(page, &report, false));
    assert!(text.contains("its coordinator ended without a word"), "{text}");
    assert_eq!(report.state, "open");
}

#[test]
fn runs_say_when_by_whom_and_how_they_ended() {
    let at = |entries: &[Entry]| {
        let report = Report::new(&RunId("01J8ZQ4T3KX2M9V6B1C5D7E8F0".into()), &plan(), entries);
        RunSummary::read(&report, JournalPlace::Database, None)
    };
    let row = RunRow {
        ledger: "stepback.ledger".into(),
        run: RunId("01J8ZQ4T3KX2M9V6B1C5D7E8F1".into()),
        plan: plan().id,
        app: None,
        journal: JournalPlace::Cluster("production".into()),
        status: RunStatus::Closed,
        title: "migrate goto 20240301090000 -> 20240115120000".into(),
        closes_itself: true,
        token: Token { number: 1, nonce: 0 },
    };
    let all = entries();
    let halted = all
        .iter()
        .position(|entry| matches!(entry.what, What::RunHalted { .. }))
        .unwrap();
    let runs = [
        at(&all),
        at(&all[..=halted]),
        at(&all[..halted]),
        RunSummary::unread(
            &row,
            Some("2024-03-01T09:00:00Z".parse().unwrap()),
            Some("no cluster".into()),
        ),
    ];
    insta::assert_snapshot!(page(|page| write_runs(page, &runs, 2)));
    let mut on_two = runs.clone();
    on_two[0].ledger = "other._sqlx_migrations".into();
    let text = page(|page| write_runs(page, &on_two, 2));
    for ledger in ["on stepback.ledger", "on other._sqlx_migrations"] {
        assert!(text.contains(ledger), "{text}");
    }
    assert_eq!(page(|page| write_runs(page, &[], 0)), "no runs\n");
}

#[test]
fn colour_is_only_where_it_was_asked_for() {
    let mut text = Vec::new();
    write_plan(&mut Page::new(&mut text, 80, true), &plan(), None).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("\x1b[1mrollback"), "{text}");
    let mut plain = text.clone();
    while let Some(start) = plain.find('\x1b') {
        let end = plain[start..].find('m').unwrap();
        plain.replace_range(start..=start + end, "");
    }
    assert_eq!(plain, page(|page| write_plan(page, &plan(), None)));
}
