//! What the pages look like: a rollback with workloads that halted once and was resumed.

use std::collections::BTreeMap;

use super::*;
use crate::journal::{By, Entry, FORMAT, Halt, HaltKind, Outcome, What};
use crate::model::{
    ClusterPlace, DatabaseIdentity, DatabaseRef, Digest, Direction, Engine, Finding, JournalPlace, LedgerRef,
    MigrationId, MigrationSet, PlanId, RunId, RunRow, RunStatus, ScriptRef, StepId, Target, TemplateRef, Token,
    UrlSource, Version, WorkloadKind, WorkloadRef,
};
use crate::plan::{Action, Ask, ChosenStrategy, ClusterRef, Gate, Plan, Probe, RunLimits, Step, Strategy};

mod broken_off;
mod forms;
mod outage;
mod story;

use story::*;

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

#[test]
fn every_form_of_a_plan_and_of_a_report_names_the_cluster_and_how_it_is_reached() {
    let on = "context prod-eu (https://10.0.0.1:6443), production/shop";
    let plain = |text: String| text.replace('\\', "");
    let report = Report::new(&RunId("01J8".into()), &plan(), &entries());
    let summary = RunSummary::read(&report, JournalPlace::Database, None);
    for text in [
        page(|page| write_plan(page, &plan(), None)),
        plain(written(|out| write_plan_markdown(out, &plan(), &bodies()))),
        written(|out| write_plan_sql(out, &plan(), &bodies())),
        page(|page| write_report(page, &report, false)),
        plain(written(|out| write_report_markdown(out, &report))),
        written(|out| write_report_html(out, &report)),
        page(|page| write_runs(page, std::slice::from_ref(&summary), 0)),
    ] {
        assert!(text.contains(on), "{text}");
    }
    let mut here = plan();
    here.cluster.as_mut().unwrap().place.as_mut().unwrap().context = None;
    let text = page(|page| write_plan(page, &here, None));
    assert!(text.contains("  cluster  in-cluster account (https://10.0.0.1:6443), production/shop\n"));
    here.cluster.as_mut().unwrap().place = None;
    assert_eq!(
        here.acts_on().as_deref(),
        Some("production/shop"),
        "a plan of an older program"
    );
    here.cluster = None;
    assert!(!page(|page| write_plan(page, &here, None)).contains("cluster"));
}

#[test]
fn a_plan_that_goes_back_by_itself_says_until_when() {
    let until = |change: fn(&mut Plan)| {
        let mut plan = Plan {
            turns_back: true,
            ..plan()
        };
        change(&mut plan);
        let text = page(|page| write_plan(page, &plan, None));
        assert_eq!(text.contains("onFailure: abort"), plan.turns_back);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(until(|_| {}).contains("until step 4 starts the first pod of the target: from then on, it halts"));
    let walk = until(|plan| plan.strategy.as_mut().unwrap().strategy = Strategy::AppFirst);
    assert!(walk.contains("until step 2 undoes the first migration"), "{walk}");
    let free = until(|plan| {
        plan.strategy.as_mut().unwrap().strategy = Strategy::AppOnly;
        plan.steps.remove(1);
    });
    assert!(!free.contains("until step"), "{free}");
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
