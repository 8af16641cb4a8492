//! A pod that is to be gone, and that the controller leaves standing.

use super::*;

fn standing() -> Facts {
    Facts {
        settled: Some(Settled::LeftStanding("shop-0 is not ready".into())),
        ..Facts::default()
    }
}

fn next(facts: &Facts) -> Move {
    let plan = plan_of("w");
    let state = state_of(&plan, &[started(1, 1), applied(1)]);
    decide(&plan, &state, facts)
}

#[test]
fn a_pod_that_is_left_standing_is_removed_and_the_gate_asked_again() {
    let mut facts = standing();
    assert_eq!(next(&facts), Move::Remove(ONE));
    facts.begin_removal();
    facts.keep_performed(Ok(()));
    assert_eq!(next(&facts), Move::Settle(ONE));
    // Whether it was this process that began the step makes no difference.
    facts = Facts {
        performed: Some(1),
        observed: done(),
        ..standing()
    };
    assert_eq!(next(&facts), Move::Remove(ONE));
    facts.stop = true;
    assert_eq!(halt_of(&next(&facts)), Some(HaltKind::Interrupted));
}

#[test]
fn one_that_stands_again_is_removed_again_after_a_pause_and_not_for_ever() {
    let mut facts = standing();
    facts.begin_removal();
    for failed in [None, Some(failure(true))] {
        let again = Facts {
            removed: true,
            failure: failed,
            ..standing()
        };
        assert_eq!(next(&again), Move::Pause(ONE));
        let paused = Facts {
            paused: true,
            ..again.clone()
        };
        assert_eq!(next(&paused), Move::Remove(ONE));
        let late = Facts {
            out_of_time: true,
            ..again
        };
        assert_eq!(halt_of(&next(&late)), Some(HaltKind::TimedOut));
    }
    // The first time comes however long the gate was waited for.
    let late = Facts {
        out_of_time: true,
        ..standing()
    };
    assert_eq!(next(&late), Move::Remove(ONE));
    let refused = Facts {
        removed: true,
        failure: Some(failure(false)),
        ..standing()
    };
    assert_eq!(halt_of(&next(&refused)), Some(HaltKind::Failed));
}

#[test]
fn what_was_reported_of_a_step_that_was_seen_done_says_nothing_of_a_removal() {
    let mut facts = Facts {
        performed: Some(1),
        failure: Some(failure(false)),
        observed: done(),
        ..Facts::default()
    };
    facts.keep_recorded(&applied(1));
    facts.settled = standing().settled;
    assert_eq!(next(&facts), Move::Remove(ONE));
}
