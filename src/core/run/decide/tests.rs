use std::collections::BTreeMap;

use crate::journal::{By, Entry, FORMAT};
use crate::model::{
    DatabaseIdentity, DatabaseRef, Digest, Engine, Failure, JournalPlace, LedgerRef, MigrationSet, PlanId, Progress,
    RunId, Target, TemplateRef, Token, UrlSource, WorkloadKind, WorkloadRef,
};
use crate::plan::{self, Action, Gate, RunLimits, Step};

use super::*;

mod laws;
mod model;
mod standing;

/// A plan with one step for each letter: `d`atabase or `w`orkload. What the steps do is not asked here.
fn plan_of(kinds: &str) -> Plan {
    let target = || Target {
        release: None,
        schema: MigrationSet::default(),
    };
    let step = |(index, kind): (usize, char)| Step {
        id: StepId(u32::try_from(index + 1).unwrap()),
        action: match kind {
            'd' => Action::TakeFingerprint {
                schema: MigrationSet::default(),
                drifted: Default::default(),
            },
            _ => Action::Repoint {
                workload: WorkloadRef {
                    kind: WorkloadKind::StatefulSet,
                    namespace: "production".into(),
                    name: "shop".into(),
                },
                uid: "u".into(),
                from: TemplateRef {
                    revision: None,
                    images: BTreeMap::new(),
                },
                to: TemplateRef {
                    revision: None,
                    images: BTreeMap::new(),
                },
            },
        },
        gate: Gate::None,
        limit_ms: 1000,
    };
    Plan {
        format: plan::FORMAT,
        id: PlanId(Digest::of(kinds)),
        title: kinds.into(),
        app: None,
        from: target(),
        to: target(),
        strategy: None,
        database: DatabaseRef {
            engine: Engine::Sqlite,
            source: UrlSource::Env("DATABASE_URL".into()),
            redacted: "sqlite".into(),
            state_schema: "stepback".into(),
            ledger: LedgerRef::default(),
            identity: DatabaseIdentity::default(),
        },
        cluster: None,
        journal: JournalPlace::Database,
        world: BTreeMap::new(),
        steps: kinds.chars().enumerate().map(step).collect(),
        findings: vec![],
        unready: vec![],
        outdated: BTreeMap::new(),
        rewritten: BTreeMap::new(),
        turns_back: false,
        limits: RunLimits::default(),
    }
}

fn by() -> By {
    By {
        user: "u".into(),
        host: "h".into(),
        process: 1,
        program: "0".into(),
    }
}

/// The state after these; a resume raises the token.
fn state_of(plan: &Plan, whats: &[What]) -> RunState {
    let mut entry = Entry {
        format: FORMAT,
        sequence: 1,
        at: jiff::Timestamp::UNIX_EPOCH,
        token: Token { number: 1, nonce: 0 },
        previous: String::new(),
        what: What::RunOpened {
            run: RunId("r".into()),
            plan: plan.id,
            by: by(),
            aborts: None,
        },
    };
    let mut state = RunState::open(&entry, plan.steps.len()).unwrap();
    for what in whats {
        entry = Entry {
            sequence: state.next_sequence,
            previous: state.last_hash.clone(),
            what: what.clone(),
            ..entry
        };
        entry.token.number += u64::from(matches!(what, What::RunResumed { .. }));
        state.accept(&entry).unwrap();
    }
    state
}

const ONE: StepId = StepId(1);

fn started(step: u32, attempt: u32) -> What {
    What::StepStarted {
        step: StepId(step),
        attempt,
    }
}

fn applied(step: u32) -> What {
    What::StepApplied {
        step: StepId(step),
        seen: "seen".into(),
    }
}

fn passed(step: u32) -> What {
    What::StepPassed {
        step: StepId(step),
        seen: "seen".into(),
    }
}

fn resumed() -> What {
    What::RunResumed {
        by: by(),
        rebound: None,
        dead: Vec::new(),
    }
}

fn done() -> Option<Observed> {
    Some(Observed::Done("seen".into()))
}

fn partial(done: u32) -> Option<Observed> {
    Some(Observed::Partial(Progress { done, of: 9 }))
}

fn failure(retry: bool) -> Failure {
    Failure {
        message: "it failed".into(),
        hint: Some("mend it".into()),
        retry,
        fenced: false,
    }
}

/// The kind of the halt that the move records.
fn halt_of(next: &Move) -> Option<HaltKind> {
    match next {
        Move::Record(What::RunHalted { halt }) => Some(halt.kind),
        _ => None,
    }
}

/// What comes next when step 1 of a plan with one workload step stands like this.
fn next(whats: &[What], facts: Facts) -> Move {
    let plan = plan_of("w");
    decide(&plan, &state_of(&plan, whats), &facts)
}

fn started_next(facts: Facts) -> Move {
    next(&[started(1, 1)], facts)
}

fn performed(observed: Option<Observed>, failure: Option<Failure>) -> Facts {
    Facts {
        observed,
        failure,
        performed: Some(1),
        progress: Some(2),
        ..Facts::default()
    }
}

#[test]
fn a_pending_step_is_recorded_before_anything() {
    assert_eq!(next(&[], Facts::default()), Move::Record(started(1, 1)));
}

#[test]
fn a_started_step_is_looked_at_before_it_is_performed() {
    assert_eq!(started_next(Facts::default()), Move::Observe(ONE));
    for (observed, expected) in [
        (Some(Observed::Untouched), Move::Perform(ONE)),
        (partial(1), Move::Perform(ONE)),
        (done(), Move::Record(applied(1))),
    ] {
        let facts = Facts {
            observed,
            ..Facts::default()
        };
        assert_eq!(started_next(facts), expected);
    }
}

#[test]
fn a_performed_step_is_looked_at_whatever_it_reported() {
    for failure in [None, Some(failure(true)), Some(failure(false))] {
        assert_eq!(started_next(performed(None, failure)), Move::Observe(ONE));
    }
    assert_eq!(
        started_next(performed(done(), Some(failure(false)))),
        Move::Record(applied(1))
    );
}

#[test]
fn progress_goes_on_and_standing_still_does_not() {
    assert_eq!(started_next(performed(partial(3), None)), Move::Perform(ONE));
    assert_eq!(
        started_next(performed(partial(3), Some(failure(false)))),
        Move::Perform(ONE)
    );
    for observed in [Some(Observed::Untouched), partial(2), partial(1)] {
        let still = |failure| performed(observed.clone(), failure);
        assert_eq!(halt_of(&started_next(still(None))), Some(HaltKind::Failed));
        assert_eq!(
            halt_of(&started_next(still(Some(failure(false))))),
            Some(HaltKind::Failed)
        );
        assert_eq!(started_next(still(Some(failure(true)))), Move::Pause(ONE));
        let paused = Facts {
            paused: true,
            ..still(Some(failure(true)))
        };
        assert_eq!(started_next(paused.clone()), Move::Record(started(1, 2)));
        let late = Facts {
            out_of_time: true,
            ..paused
        };
        assert_eq!(halt_of(&started_next(late)), Some(HaltKind::Failed));
    }
}

#[test]
fn the_next_attempt_begins_with_a_look_and_then_performs() {
    let mut facts = performed(Some(Observed::Untouched), Some(failure(true)));
    facts.keep_recorded(&started(1, 2));
    let whats = [started(1, 1), started(1, 2)];
    assert_eq!(next(&whats, facts.clone()), Move::Observe(ONE));
    facts.keep_observed(Ok(Observed::Untouched));
    assert_eq!(next(&whats, facts), Move::Perform(ONE));
}

#[test]
fn doubt_and_strangers_halt() {
    let kind = |observed| halt_of(&started_next(performed(Some(observed), Some(failure(true)))));
    assert_eq!(kind(Observed::Doubtful("why".into())), Some(HaltKind::Doubtful));
    assert_eq!(kind(Observed::Foreign("why".into())), Some(HaltKind::Foreign));
}

#[test]
fn looking_that_fails_is_tried_again_while_that_can_help() {
    let looked = |retry, paused, out_of_time| Facts {
        look_failure: Some(failure(retry)),
        paused,
        out_of_time,
        ..Facts::default()
    };
    assert_eq!(started_next(looked(true, false, false)), Move::Pause(ONE));
    assert_eq!(started_next(looked(true, true, false)), Move::Observe(ONE));
    assert_eq!(
        halt_of(&started_next(looked(true, false, true))),
        Some(HaltKind::Failed)
    );
    assert_eq!(
        halt_of(&started_next(looked(false, false, false))),
        Some(HaltKind::Failed)
    );
}

#[test]
fn an_applied_step_waits_for_its_gate() {
    let settled = |settled: Settled| {
        next(
            &[started(1, 1), applied(1)],
            Facts {
                settled: Some(settled),
                ..Facts::default()
            },
        )
    };
    let why = || "seen".to_owned();
    assert_eq!(next(&[started(1, 1), applied(1)], Facts::default()), Move::Settle(ONE));
    assert_eq!(settled(Settled::Healthy(why())), Move::Record(passed(1)));
    assert_eq!(halt_of(&settled(Settled::Failed(why()))), Some(HaltKind::Unhealthy));
    assert_eq!(halt_of(&settled(Settled::Foreign(why()))), Some(HaltKind::Foreign));
    assert_eq!(halt_of(&settled(Settled::TimedOut(why()))), Some(HaltKind::TimedOut));
    // The person is the cause; the gate's state is what was seen by then.
    match settled(Settled::Stopped(why())) {
        Move::Record(What::RunHalted { halt }) => {
            assert_eq!(halt.kind, HaltKind::Interrupted);
            assert_eq!(
                halt.message,
                "it was asked to stop while its gate was waited for; last seen: seen"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gate_that_failed_is_asked_again_after_a_resume() {
    let halted = match halt(ONE, HaltKind::Unhealthy, "ill".into(), None) {
        Move::Record(what) => what,
        other => panic!("{other:?}"),
    };
    let whats = [started(1, 1), applied(1), halted];
    assert_eq!(next(&whats, Facts::default()), Move::Finish);
    let whats = [&whats[..], &[resumed()]].concat();
    assert_eq!(next(&whats, Facts::default()), Move::Settle(ONE));
}

#[test]
fn the_last_pass_closes_the_run_and_that_ends_it() {
    let whats = [started(1, 1), applied(1), passed(1)];
    let closed = What::RunClosed { outcome: Outcome::Done };
    assert_eq!(next(&whats, Facts::default()), Move::Record(closed.clone()));
    assert_eq!(next(&[&whats[..], &[closed]].concat(), Facts::default()), Move::Finish);
}

#[test]
fn a_wish_to_stop_begins_nothing_and_forgets_nothing() {
    let stop = |facts: Facts| Facts { stop: true, ..facts };
    for whats in [&[][..], &[started(1, 1)], &[started(1, 1), applied(1)]] {
        assert_eq!(
            halt_of(&next(whats, stop(Facts::default()))),
            Some(HaltKind::Interrupted)
        );
    }
    // An effect that was carried out, and not refused, is seen before it is told.
    assert_eq!(started_next(stop(performed(None, None))), Move::Observe(ONE));
    let refused = performed(None, Some(failure(true)));
    assert_eq!(halt_of(&started_next(stop(refused))), Some(HaltKind::Interrupted));
    let untouched = performed(Some(Observed::Untouched), Some(failure(true)));
    assert_eq!(halt_of(&started_next(stop(untouched))), Some(HaltKind::Interrupted));
    assert_eq!(started_next(stop(performed(done(), None))), Move::Record(applied(1)));
    let foreign = performed(Some(Observed::Foreign("why".into())), None);
    assert_eq!(halt_of(&started_next(stop(foreign))), Some(HaltKind::Foreign));
    let ill = Facts {
        settled: Some(Settled::Failed("ill".into())),
        ..Facts::default()
    };
    assert_eq!(
        halt_of(&next(&[started(1, 1), applied(1)], stop(ill))),
        Some(HaltKind::Unhealthy)
    );
    let whats = [started(1, 1), applied(1), passed(1)];
    let closed = Move::Record(What::RunClosed { outcome: Outcome::Done });
    assert_eq!(next(&whats, stop(Facts::default())), closed, "nothing is left to stop");
}

#[test]
fn a_fence_ends_it_without_another_word() {
    let fenced = || {
        Some(Failure {
            fenced: true,
            ..failure(false)
        })
    };
    for observed in [
        None,
        Some(Observed::Untouched),
        done(),
        Some(Observed::Foreign("why".into())),
    ] {
        assert_eq!(started_next(performed(observed, fenced())), Move::Finish);
    }
    let looked = Facts {
        look_failure: fenced(),
        stop: true,
        ..Facts::default()
    };
    assert_eq!(started_next(looked), Move::Finish);
}

#[test]
fn d13_a_resume_looks_again_at_every_database_step_that_was_done() {
    let plan = plan_of("dwdw");
    let mut whats = vec![];
    for step in 1..=2 {
        whats.extend([started(step, 1), applied(step), passed(step)]);
    }
    whats.extend([started(3, 1), applied(3)]);
    let undisturbed = state_of(&plan, &whats);
    assert_eq!(decide(&plan, &undisturbed, &Facts::default()), Move::Settle(StepId(3)));

    whats.push(resumed());
    let state = state_of(&plan, &whats);
    let mut facts = Facts::default();
    assert_eq!(decide(&plan, &state, &facts), Move::Recheck(StepId(1)));
    facts.keep_rechecked(StepId(1), Err(failure(true)));
    assert_eq!(
        decide(&plan, &state, &facts),
        Move::Pause(StepId(1)),
        "a look that fails is no hot loop"
    );
    facts.paused = true;
    assert_eq!(decide(&plan, &state, &facts), Move::Recheck(StepId(1)));
    facts.keep_rechecked(StepId(1), Ok(Observed::Done("seen".into())));
    assert_eq!(
        decide(&plan, &state, &facts),
        Move::Recheck(StepId(3)),
        "applied counts, a workload does not"
    );
    let mut lost = facts.clone();
    lost.keep_rechecked(StepId(3), Ok(Observed::Untouched));
    assert_eq!(halt_of(&decide(&plan, &state, &lost)), Some(HaltKind::Foreign));
    facts.keep_rechecked(StepId(3), Ok(Observed::Done("seen".into())));
    assert_eq!(decide(&plan, &state, &facts), Move::Settle(StepId(3)));
    facts.stop = true;
    assert_eq!(halt_of(&decide(&plan, &state, &facts)), Some(HaltKind::Interrupted));
}

#[test]
fn d17_a_step_of_many_migrations_is_tried_in_vain_for_as_long_as_one_of_them_may_take() {
    let mut plan = plan_of("dw");
    let one = plan.limits.step_ms;
    plan.steps[0].action = Action::Apply { scripts: Vec::new() };
    plan.steps[0].limit_ms = one * 200;
    plan.steps[1].limit_ms = one * 2;
    assert_eq!(plan.trying_ms(&plan.steps[0]), one);
    assert_eq!(plan.trying_ms(&plan.steps[1]), one * 2, "a pod has a limit of its own");
}
