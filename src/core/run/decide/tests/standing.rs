//! A step whose pod is left standing after it was seen done.

use super::*;

#[test]
fn a_pod_that_is_left_standing_is_pushed_once_more_by_whoever_resumes() {
    let workload = || WorkloadRef {
        kind: WorkloadKind::StatefulSet,
        namespace: "production".into(),
        name: "shop".into(),
    };
    let scale = Action::Scale {
        workload: workload(),
        uid: "u".into(),
        from: 3,
        to: 2,
        original: 3,
    };
    let removal = Action::RemovePod {
        workload: workload(),
        uid: "u".into(),
        pod: "shop-2".into(),
        removal: crate::model::Removal::BeyondCount,
        stays: false,
    };
    for (action, left, is_not) in [
        (scale, partial(1), Some(Observed::Untouched)),
        (removal, Some(Observed::Untouched), partial(1)),
    ] {
        let mut plan = plan_of("w");
        plan.steps[0].action = action;
        plan.steps[0].gate = Gate::PodGone {
            workload: workload(),
            pod: "shop-2".into(),
        };
        let state = state_of(&plan, &[started(1, 1), applied(1)]);
        let next = |facts: Facts| decide(&plan, &state, &facts);
        let seen = |observed: Option<Observed>| Facts {
            observed,
            ..Facts::default()
        };
        assert_eq!(next(Facts::default()), Move::Observe(ONE));
        assert_eq!(next(seen(left.clone())), Move::Perform(ONE));
        // Whatever else is seen, the gate tells.
        for seen_so in [done(), is_not, Some(Observed::Foreign("other".into()))] {
            assert_eq!(next(seen(seen_so)), Move::Settle(ONE));
        }
        // Once only, and not by the process that has just done it.
        for attempt in [0, 1] {
            let facts = Facts {
                performed: Some(attempt),
                failure: Some(failure(true)),
                ..seen(left.clone())
            };
            assert_eq!(next(facts), Move::Settle(ONE));
        }
        let stopped = Facts {
            stop: true,
            ..seen(left)
        };
        assert_eq!(halt_of(&next(stopped)), Some(HaltKind::Interrupted));
        let away = Facts {
            look_failure: Some(failure(true)),
            ..Facts::default()
        };
        assert_eq!(next(away), Move::Pause(ONE));
    }
}
