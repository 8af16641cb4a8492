//! Pods that are to go: which, when the controller leaves them standing, and when they have gone.

use super::*;
use crate::model::{Removal, UpdateStrategy};

/// A pod of `web`: its ordinal, its revision, and whether it is ready.
fn pod(ordinal: i32, revision: &str, ready: bool) -> Value {
    json!({
        "metadata": { "name": format!("web-{ordinal}"), "uid": format!("p{ordinal}"),
                      "labels": { "controller-revision-hash": revision } },
        "status": { "phase": "Running", "conditions": [{
            "type": "Ready", "status": if ready { "True" } else { "False" } }] },
    })
}

fn seen(spec: Value, pods: &[Value]) -> SeenWorkload {
    let set = json!({
        "metadata": { "name": "web", "uid": "set-1", "generation": 3 },
        "spec": merged(json!({ "serviceName": "web", "selector": {}, "template": {} }), &spec),
        "status": { "replicas": 1, "observedGeneration": 3, "updateRevision": "new", "currentRevision": "old" },
    });
    SeenWorkload {
        workload: workload(),
        set: Some(typed(set)),
        pods: typed(json!(pods)),
        revisions: Vec::new(),
    }
}

/// Whether `web-2` is left standing.
fn stands(seen: &SeenWorkload) -> bool {
    let gate = Gate::PodGone {
        workload: workload(),
        pod: "web-2".into(),
    };
    matches!(judge(&gate, seen, Duration::ZERO), Verdict::LeftStanding(_))
}

#[test]
fn a_pod_is_left_standing_where_the_controller_waits_for_one_below() {
    let ready = |ordinal| pod(ordinal, "new", true);
    let broken = |ordinal| pod(ordinal, "new", false);
    let of = |pods: &[Value]| stands(&seen(json!({ "replicas": 2 }), pods));
    assert!(!of(&[ready(0), ready(1), ready(2)]));
    // The pod beyond the count may be broken: it is the one that goes.
    assert!(!of(&[ready(0), ready(1), broken(2)]));
    // One below it that is broken, or missing, is waited for.
    assert!(of(&[ready(0), broken(1), ready(2)]));
    assert!(of(&[broken(0), broken(1), broken(2)]));
    assert!(of(&[ready(0), ready(2)]));
    // Nothing is left standing once it is on its way out.
    let mut ending = ready(2);
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(!of(&[ready(0), broken(1), ending]));
    assert!(!of(&[ready(0), broken(1)]));
    // A parallel set waits for nobody.
    let parallel = json!({ "replicas": 2, "podManagementPolicy": "Parallel" });
    assert!(!stands(&seen(parallel, &[ready(0), broken(1), ready(2)])));
    // Nor is one left standing that is counted again, or whose controller has not seen the count.
    assert!(!stands(&seen(
        json!({ "replicas": 3 }),
        &[ready(0), broken(1), ready(2)]
    )));
    let mut unseen = seen(json!({ "replicas": 2 }), &[ready(0), broken(1), ready(2)]);
    unseen.set.as_mut().unwrap().metadata.generation = Some(4);
    assert!(!stands(&unseen));
    // Ready is not long enough for `minReadySeconds`, as the controller counts, and the count begins where the ordinals
    // do.
    let young = [pod(0, "new", true), pod(1, "new", true), pod(2, "new", true)];
    let counted = |spec: Value, ready: i32, available: i32| {
        let mut seen = seen(spec, &young);
        let status = seen.set.as_mut().and_then(|set| set.status.as_mut()).unwrap();
        (status.ready_replicas, status.available_replicas) = (Some(ready), Some(available));
        stands(&seen)
    };
    let start = json!({ "replicas": 2 });
    assert!(!counted(start.clone(), 3, 2));
    let start = merged(start, &json!({ "minReadySeconds": 30 }));
    assert!(!counted(start.clone(), 3, 3));
    assert!(counted(start.clone(), 3, 2));
    assert!(counted(start, 2, 2));
    let from_one = json!({ "replicas": 1, "ordinals": { "start": 1 } });
    assert!(!stands(&seen(from_one.clone(), &[broken(0), ready(1), ready(2)])));
    assert!(stands(&seen(from_one, &[ready(0), broken(1), ready(2)])));
}

#[test]
fn the_count_is_all_that_scaling_is() {
    let scaled = |replicas: i32, from: i32, to: i32| {
        let pods = [pod(0, "new", false), pod(2, "new", true)];
        observe_scale(&seen(json!({ "replicas": replicas }), &pods), "set-1", from, to)
    };
    assert!(matches!(scaled(2, 3, 2), Observed::Done(_)));
    assert!(matches!(scaled(2, 1, 2), Observed::Done(_)));
    assert_eq!(scaled(3, 3, 2), Observed::Untouched);
    assert!(matches!(scaled(5, 3, 2), Observed::Foreign(_)));
}

#[test]
fn the_controllers_reason_is_said_while_a_pod_is_left_standing() {
    let seen = seen(
        json!({ "replicas": 2 }),
        &[pod(0, "new", false), pod(1, "new", true), pod(2, "new", true)],
    );
    let gate = Gate::PodGone {
        workload: workload(),
        pod: "web-2".into(),
    };
    let Verdict::LeftStanding(why) = judge(&gate, &seen, Duration::ZERO) else {
        panic!("it is there")
    };
    assert_eq!(
        why,
        "pod web-2 is running, and the controller waits because web-0 is not ready; it is to go: kubectl -n a delete pod \
         web-2"
    );
}

#[test]
fn only_what_was_planned_for_is_removed() {
    let template = TemplateRef {
        revision: Some("old".into()),
        images: Default::default(),
    };
    let outdated = Removal::Outdated(template);
    let spec = json!({ "replicas": 2, "ordinals": { "start": 3 } });
    let pods = [
        pod(3, "old", false),
        pod(4, "new", false),
        pod(5, "new", false),
        // From before its first number was raised: the controller takes it away too.
        pod(2, "new", false),
    ];
    let seen = seen(spec, &pods);
    let set = seen.set.as_ref().unwrap();
    let going = |removal: &Removal| -> Vec<bool> { seen.pods.iter().map(|pod| is_to_go(set, pod, removal)).collect() };
    assert_eq!(going(&outdated), [false, true, true, true]);
    assert_eq!(going(&Removal::BeyondCount), [false, false, true, true]);
    // By images: what the controller has made of the template.
    let by_images = Removal::Outdated(TemplateRef {
        revision: None,
        images: Default::default(),
    });
    assert_eq!(going(&by_images), [true, false, false, false]);

    let observed = |pod: &str, removal: &Removal| observe_removal(&seen, "set-1", pod, removal);
    assert_eq!(observed("web-5", &Removal::BeyondCount), Observed::Untouched);
    assert_eq!(observed("web-2", &Removal::BeyondCount), Observed::Untouched);
    let gate = Gate::PodGone {
        workload: workload(),
        pod: "web-2".into(),
    };
    // No count that somebody could set back keeps it.
    let Verdict::LeftStanding(why) = judge(&gate, &seen, Duration::ZERO) else {
        panic!("it is there")
    };
    assert!(why.ends_with("kubectl -n a delete pod web-2"), "{why}");
    assert!(matches!(observed("web-4", &Removal::BeyondCount), Observed::Foreign(_)));
    assert!(matches!(observed("web-6", &Removal::BeyondCount), Observed::Done(_)));
    assert_eq!(observed("web-3", &by_images), Observed::Untouched);
    assert!(matches!(observed("web-4", &by_images), Observed::Done(_)));
    // The template is no revision's any more: whatever came in the pod's place would be something else.
    assert!(matches!(observed("web-4", &outdated), Observed::Foreign(_)));
    assert!(matches!(
        observe_removal(&seen, "set-2", "web-5", &Removal::BeyondCount),
        Observed::Foreign(_)
    ));
}

#[test]
fn w4_an_update_strategy_is_done_untouched_or_foreign() {
    let rolling = UpdateStrategy(json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } }));
    let with = |strategy: &UpdateStrategy| seen(json!({ "updateStrategy": strategy.0 }), &[]);
    let observed =
        |seen: &SeenWorkload, uid: &str| observe_update_strategy(seen, uid, &rolling, &UpdateStrategy::on_delete());
    assert_eq!(observed(&with(&rolling), "set-1"), Observed::Untouched);
    assert!(matches!(
        observed(&with(&UpdateStrategy::on_delete()), "set-1"),
        Observed::Done(_)
    ));
    assert_eq!(
        set_back(observed(&with(&UpdateStrategy::rolling()), "set-1")),
        "kubectl -n a patch statefulset web --type merge -p \
         '{\"spec\":{\"updateStrategy\":{\"rollingUpdate\":{\"partition\":2},\"type\":\"RollingUpdate\"}}}'"
    );
    assert!(matches!(observed(&with(&rolling), "set-2"), Observed::Foreign(_)));
}

#[test]
fn a_set_has_settled_when_no_update_is_under_way() {
    let gate = Gate::Settled {
        workload: workload(),
        mid_update: false,
    };
    let rolling = seen(json!({}), &[]);
    assert_eq!(
        judge(&gate, &rolling, Duration::ZERO),
        Verdict::Waiting("the current revision is old, not yet new".into())
    );
    // One that was under way before the run need not come to an end.
    let mid_update = Gate::Settled {
        workload: workload(),
        mid_update: true,
    };
    assert!(matches!(
        judge(&mid_update, &rolling, Duration::ZERO),
        Verdict::Healthy(_)
    ));
    // Under `OnDelete` the controller never advances the current revision.
    let mut on_delete = seen(json!({ "updateStrategy": { "type": "OnDelete" } }), &[]);
    assert!(matches!(judge(&gate, &on_delete, Duration::ZERO), Verdict::Healthy(_)));
    on_delete.set.as_mut().unwrap().metadata.generation = Some(4);
    assert_eq!(
        judge(&gate, &on_delete, Duration::ZERO),
        Verdict::Waiting("the controller has seen generation 3 of 4".into())
    );
}
