//! The executor's laws (ARCHITECTURE, "The executor"), as far as deciding keeps them. `tests/it/crash` keeps them too, in
//! worlds in which everything goes wrong.

use super::*;

/// Every state that two workload steps can be in, in order, as the entries that lead there.
fn states() -> Vec<Vec<What>> {
    let all = [
        started(1, 1),
        applied(1),
        passed(1),
        started(2, 1),
        applied(2),
        passed(2),
    ];
    (0..=all.len()).map(|length| all[..length].to_vec()).collect()
}

/// Every observation and every report of a perform.
fn all_facts() -> Vec<Facts> {
    let observed = [
        None,
        Some(Observed::Untouched),
        partial(1),
        partial(3),
        done(),
        Some(Observed::Doubtful("why".into())),
        Some(Observed::Foreign("why".into())),
    ];
    let failures = [None, Some(failure(true)), Some(failure(false))];
    let settled = [
        None,
        Some(Settled::Healthy("well".into())),
        Some(Settled::Failed("ill".into())),
        Some(Settled::TimedOut("late".into())),
        Some(Settled::Stopped("asked".into())),
        Some(Settled::LeftStanding("it stands".into())),
    ];
    let mut all = Vec::new();
    for observed in &observed {
        for failure in &failures {
            for settled in &settled {
                for performed in [None, Some(1)] {
                    all.push(Facts {
                        observed: observed.clone(),
                        failure: failure.clone(),
                        settled: settled.clone(),
                        performed,
                        progress: performed.map(|_| 2),
                        ..Facts::default()
                    });
                }
            }
        }
    }
    all
}

#[test]
fn law1_intent_before_effect() {
    let plan = plan_of("ww");
    for whats in states() {
        let state = state_of(&plan, &whats);
        for facts in all_facts() {
            let (step, may) = match decide(&plan, &state, &facts) {
                Move::Perform(step) => (step, matches!(state.step(step), Some(StepState::Started { .. }))),
                // The rest of a step that was begun.
                Move::Remove(step) => (step, state.step(step) == Some(StepState::Applied)),
                _ => continue,
            };
            assert!(may, "step {step} is carried out in {state:?}");
        }
    }
}

#[test]
fn law2_ask_dont_assume() {
    let plan = plan_of("ww");
    for whats in states() {
        let state = state_of(&plan, &whats);
        for facts in all_facts() {
            match decide(&plan, &state, &facts) {
                Move::Record(What::StepApplied { .. }) => {
                    assert!(matches!(facts.observed, Some(Observed::Done(_))), "{facts:?}");
                }
                Move::Perform(_) => assert!(
                    matches!(facts.observed, Some(Observed::Untouched | Observed::Partial(_))),
                    "{facts:?}"
                ),
                _ => {}
            }
        }
    }
    // A success that was reported is looked at like everything else.
    assert_eq!(started_next(performed(None, None)), Move::Observe(ONE));
}

#[test]
fn law3_one_road() {
    let plan = plan_of("ww");
    for whats in states() {
        let fresh = state_of(&plan, &whats);
        let again = state_of(&plan, &[&whats[..], &[resumed()]].concat());
        for facts in all_facts() {
            assert_eq!(
                decide(&plan, &again, &facts),
                decide(&plan, &fresh, &facts),
                "{whats:?} {facts:?}"
            );
        }
    }
}

#[test]
fn law4_no_step_past_a_closed_gate() {
    let plan = plan_of("ww");
    for whats in states() {
        let state = state_of(&plan, &whats);
        for facts in all_facts() {
            if let Move::Record(What::StepStarted { step: StepId(2), .. }) = decide(&plan, &state, &facts) {
                assert_eq!(state.step(ONE), Some(StepState::Passed), "{whats:?}");
            }
        }
        // Nor would the journal take it.
        let entry = Entry {
            format: FORMAT,
            sequence: state.next_sequence,
            at: jiff::Timestamp::UNIX_EPOCH,
            token: state.token,
            previous: state.last_hash.clone(),
            what: started(2, 1),
        };
        let taken = state.clone().accept(&entry).is_ok();
        let may_start = state.step(ONE) == Some(StepState::Passed) && state.step(StepId(2)) == Some(StepState::Pending);
        assert_eq!(taken, may_start, "{whats:?}");
    }
}
