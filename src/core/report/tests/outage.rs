//! From the last pod's stop to the first one's health, whatever came between.

use super::*;
use crate::model::Removal;
use crate::report::{Outage, Told};

fn shop(name: &str) -> WorkloadRef {
    WorkloadRef {
        kind: WorkloadKind::StatefulSet,
        namespace: "production".into(),
        name: name.into(),
    }
}

fn scale(of: &str, from: i32, to: i32) -> (Action, Gate) {
    let workload = shop(of);
    let gate = match (from, to) {
        (_, 0) => Gate::AllGone {
            workload: workload.clone(),
        },
        _ if to < from => Gate::None,
        _ => healthy(of, to - 1),
    };
    let action = Action::Scale {
        workload,
        uid: "u1".into(),
        from,
        to,
        original: 2,
    };
    (action, gate)
}

fn replace(of: &str, pod: i32) -> (Action, Gate) {
    let action = Action::RemovePod {
        workload: shop(of),
        uid: "u1".into(),
        pod: format!("{of}-{pod}"),
        removal: Removal::Outdated(template()),
        stays: false,
    };
    (action, healthy(of, pod))
}

fn healthy(of: &str, pod: i32) -> Gate {
    Gate::PodHealthy {
        workload: shop(of),
        pod: format!("{of}-{pod}"),
        template: template(),
        rewritten: BTreeMap::new(),
        min_ready_seconds: 0,
        probes: vec![],
    }
}

fn plan_of(steps: impl IntoIterator<Item = (Action, Gate)>) -> Plan {
    let steps = (1..).zip(steps).map(|(number, (action, gate))| Step {
        id: StepId(number),
        action,
        gate,
        limit_ms: 300_000,
    });
    Plan {
        steps: steps.collect(),
        ..plan()
    }
}

/// What happened, each a second after the one before, from this second on.
fn told(from: i64, what: impl IntoIterator<Item = What>) -> Vec<Entry> {
    let start: jiff::Timestamp = "2026-03-04T03:00:00Z".parse().unwrap();
    let what = (from..).zip(what);
    what.map(|(second, what)| Entry {
        format: FORMAT,
        sequence: 1,
        at: start + jiff::SignedDuration::from_secs(second),
        token: Token { number: 1, nonce: 0 },
        previous: String::new(),
        what,
    })
    .collect()
}

fn opened(aborts: Option<&str>) -> What {
    What::RunOpened {
        run: RunId("01J8".into()),
        plan: plan().id,
        by: by(),
        aborts: aborts.map(|run| RunId(run.into())),
    }
}

fn by() -> By {
    By {
        user: "ada".into(),
        host: "desk".into(),
        process: 9,
        program: "stepback 0.1.0".into(),
    }
}

fn started(step: u32, attempt: u32) -> What {
    What::StepStarted {
        step: StepId(step),
        attempt,
    }
}

fn applied(step: u32) -> What {
    What::StepApplied {
        step: StepId(step),
        seen: String::new(),
    }
}

fn passed(step: u32) -> What {
    What::StepPassed {
        step: StepId(step),
        seen: String::new(),
    }
}

/// A step of three seconds.
fn done(step: u32) -> [What; 3] {
    [started(step, 1), applied(step), passed(step)]
}

fn halted(step: u32) -> What {
    What::RunHalted {
        halt: Halt {
            step: Some(StepId(step)),
            kind: HaltKind::Failed,
            message: "no".into(),
            hint: None,
            evidence: None,
        },
    }
}

const CLOSED: What = What::RunClosed { outcome: Outcome::Done };

fn handed_over() -> What {
    What::RunHandedOver {
        to: RunId("01J9".into()),
    }
}

fn outage(plan: &Plan, entries: &[Entry]) -> Option<Outage> {
    Report::new(&RunId("01J8".into()), plan, entries).outage
}

/// From and to, in seconds since the story's beginning, and how long.
fn seconds(outage: &Outage) -> (i64, Option<i64>, u64) {
    let start: jiff::Timestamp = "2026-03-04T03:00:00Z".parse().unwrap();
    let since = |at: jiff::Timestamp| (at - start).get_seconds() + (at - start).get_minutes() * 60;
    (since(outage.from), outage.to.map(since), outage.ms / 1000)
}

/// Two pods stopped and started.
fn stop_and_start() -> Plan {
    plan_of([
        scale("shop", 2, 1),
        scale("shop", 1, 0),
        scale("shop", 0, 1),
        scale("shop", 1, 2),
    ])
}

fn all_of(steps: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = What> {
    std::iter::once(opened(None)).chain(steps.flat_map(done))
}

#[test]
fn an_outage_is_from_the_last_pods_stop_until_the_first_one_is_healthy() {
    let entries = told(0, all_of(1..=4).chain([CLOSED]));
    let found = outage(&stop_and_start(), &entries).unwrap();
    // Step 2 stops the last pod and step 3 starts the first; steps 1 and 4 leave one that answers.
    assert_eq!(seconds(&found), (4, Some(9), 5));
    assert!(!found.began_before && !found.lasts);
}

#[test]
fn an_attempt_that_changed_nothing_stops_no_pod() {
    let begin = [
        opened(None),
        started(1, 1),
        applied(1),
        passed(1),
        started(2, 1),
        started(2, 2),
        applied(2),
    ];
    let entries = told(0, begin.clone());
    let found = outage(&stop_and_start(), &entries).unwrap();
    assert_eq!((seconds(&found), found.lasts), ((5, None, 1), true));
    // One that is under way may have stopped it; one that has halted without being seen done has not.
    assert!(outage(&stop_and_start(), &entries[..6]).unwrap().lasts);
    let stands = told(0, begin[..6].iter().cloned().chain([halted(2)]));
    assert_eq!(outage(&stop_and_start(), &stands), None);
    // Seen after a kill: it was the attempt before it.
    let resumed = What::RunResumed {
        by: by(),
        rebound: None,
        dead: Vec::new(),
    };
    let seen_late = told(0, begin[..6].iter().cloned().chain([resumed, applied(2)]));
    assert_eq!(seconds(&outage(&stop_and_start(), &seen_late).unwrap()), (5, None, 2));
}

#[test]
fn a_run_and_its_abort_have_one_outage_between_them() {
    let plan = stop_and_start();
    let entries = told(0, all_of(1..=2).chain([halted(3), handed_over()]));
    let back = Plan {
        strategy: None,
        ..plan_of([scale("shop", 0, 0), scale("shop", 0, 1), scale("shop", 1, 2)])
    };
    let began = std::iter::once(opened(Some("01J8")));
    let abort = told(60, began.chain((1..=3).flat_map(done)).chain([CLOSED]));
    let run = Told {
        plan: &plan,
        entries: &entries,
    };
    let abort = Told {
        plan: &back,
        entries: &abort,
    };
    let report = |of: Told<'_>| Report::new(&RunId("01J8".into()), of.plan, of.entries);
    let of_run = report(run).beside(run, abort).outage.unwrap();
    let of_abort = report(abort).beside(abort, run).outage.unwrap();
    assert_eq!(seconds(&of_run), (4, Some(66), 62));
    assert_eq!(of_run, of_abort);
    // Where the other journal is not kept any more, what is not known is said to be so.
    let alone = report(run).outage.unwrap();
    assert_eq!((alone.to, alone.lasts), (None, false));
    let alone = report(abort).outage.unwrap();
    assert_eq!((seconds(&alone), alone.began_before), ((60, Some(66), 6), true));
    for report in [report(run), report(abort), report(run).beside(run, abort)] {
        insta::allow_duplicates! {
            page(|page| write_report(page, &report, false));
        }
    }
}

#[test]
fn an_abort_past_the_first_pod_of_the_target_adds_its_part_to_the_same_outage() {
    let plan = stop_and_start();
    // The first pod of the target was healthy at 9, the second never.
    let entries = told(
        0,
        all_of(1..=3).chain([started(4, 1), applied(4), halted(4), handed_over()]),
    );
    let back = Plan {
        strategy: None,
        ..plan_of([
            scale("shop", 2, 1),
            scale("shop", 1, 0),
            scale("shop", 0, 1),
            scale("shop", 1, 2),
        ])
    };
    let began = std::iter::once(opened(Some("01J8")));
    let abort = told(60, began.chain((1..=4).flat_map(done)).chain([CLOSED]));
    let run = Told {
        plan: &plan,
        entries: &entries,
    };
    let abort = Told {
        plan: &back,
        entries: &abort,
    };
    let report = |of: Told<'_>| Report::new(&RunId("01J8".into()), of.plan, of.entries);
    let of_run = report(run).beside(run, abort).outage.unwrap();
    assert_eq!((seconds(&of_run), of_run.parts.len()), ((4, Some(69), 10), 2));
    assert_eq!(report(abort).beside(abort, run).outage.unwrap(), of_run);
    // Each alone knows its own part.
    assert_eq!(seconds(&report(run).outage.unwrap()), (4, Some(9), 5));
    assert_eq!(seconds(&report(abort).outage.unwrap()), (64, Some(69), 5));
}

#[test]
fn an_abort_that_waits_for_no_pod_ends_nothing_that_is_known() {
    let entries = told(
        0,
        all_of(1..=2).chain([What::RunClosed {
            outcome: Outcome::Stopped,
        }]),
    );
    let found = outage(&stop_and_start(), &entries).unwrap();
    assert_eq!((found.to, found.lasts), (None, false));
    let report = Report::new(&RunId("01J8".into()), &stop_and_start(), &entries);
    let text = page(|page| write_report(page, &report, false));
    assert!(text.contains("until when is not known"), "{text}");
    assert!(!text.contains("it lasts"), "{text}");
}

#[test]
fn where_no_pod_ran_the_outage_began_before_the_run() {
    let plan = plan_of([scale("shop", 0, 0), scale("shop", 0, 1)]);
    let entries = told(0, all_of(1..=2).chain([CLOSED]));
    let found = outage(&plan, &entries).unwrap();
    assert_eq!((seconds(&found), found.began_before), ((0, Some(6), 6), true));
    let report = Report::new(&RunId("01J8".into()), &plan, &entries);
    let text = page(|page| write_report(page, &report, false));
    assert!(text.contains("no pod answered when the run began"), "{text}");
    // Stopped before and left so: the run neither ends nor makes anything.
    let held = plan_of([scale("shop", 0, 0)]);
    assert_eq!(outage(&held, &told(0, all_of(1..=1).chain([CLOSED]))), None);
}

#[test]
fn a_walk_has_one_only_where_the_only_pod_of_a_workload_is_replaced() {
    let two = plan_of([replace("shop", 1), replace("shop", 0)]);
    assert_eq!(outage(&two, &told(0, all_of(1..=2).chain([CLOSED]))), None);
    let alone = plan_of([
        replace("shop", 0),
        replace("cart", 1),
        replace("cart", 0),
        replace("mail", 0),
    ]);
    let found = outage(&alone, &told(0, all_of(1..=4).chain([CLOSED]))).unwrap();
    assert_eq!(seconds(&found), (1, Some(12), 4));
    assert_eq!(found.parts.len(), 2);
    // As the plan says: where none is ready, until the first one is.
    let dark = Plan {
        unready: vec!["production/shop-0".into(), "production/shop-1".into()],
        ..two
    };
    let found = outage(&dark, &told(0, all_of(1..=2).chain([CLOSED]))).unwrap();
    assert_eq!((seconds(&found), found.began_before), ((0, Some(3), 3), true));
}

fn template() -> TemplateRef {
    TemplateRef {
        revision: None,
        images: BTreeMap::new(),
    }
}
