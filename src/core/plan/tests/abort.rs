//! The way back of a run that halted, by how far it came, over pods written by hand.

use super::ways::{NEW, OLD, PodOf, SOUND, app, back, shop};
use super::*;
use crate::journal::{By, Entry, RunState, StepState, What};
use crate::model::{MigrationSet, RunId, Token};

/// The journal of a run of the plan in which these steps have begun: the last of them was started, the others passed.
pub(super) fn begun(plan: &Plan, steps: usize) -> RunState {
    let opened = Entry {
        format: 1,
        sequence: 1,
        at: jiff::Timestamp::UNIX_EPOCH,
        token: Token { number: 1, nonce: 0 },
        previous: String::new(),
        what: What::RunOpened {
            run: RunId("01J8".to_owned()),
            plan: plan.id,
            by: By {
                user: "ada".to_owned(),
                host: "here".to_owned(),
                process: 1,
                program: "0".to_owned(),
            },
            aborts: None,
        },
    };
    let mut state = RunState::open(&opened, plan.steps.len()).unwrap();
    state.steps[..steps].fill(StepState::Passed);
    if let Some(last) = steps.checked_sub(1) {
        state.steps[last] = StepState::Started { attempt: 1 };
    }
    state
}

/// How many steps have begun when the first of these has.
fn up_to(plan: &Plan, is_it: impl Fn(&Action) -> bool) -> usize {
    plan.steps.iter().position(|step| is_it(&step.action)).unwrap() + 1
}

fn reverts(action: &Action) -> bool {
    matches!(action, Action::Revert { .. })
}

fn starts(action: &Action) -> bool {
    matches!(action, Action::Scale { from, to, .. } if from < to)
}

fn repoints(action: &Action) -> bool {
    matches!(action, Action::Repoint { .. })
}

/// The shop with so many migrations applied, its set pointed at a release.
fn world(cluster: SeenCluster, applied: usize) -> Seen {
    let mut world = Seen {
        cluster: Some(cluster),
        ..super::seen()
    };
    world.database.ledger.truncate(applied);
    world
}

fn pointed_at_old(set: &mut serde_json::Value) {
    set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("shop:1.2.0");
    set["status"]["updateRevision"] = json!("shop-old");
}

fn borrowed(set: &mut serde_json::Value) {
    set["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
}

fn told(aborted: Result<Plan, Refusals>) -> String {
    match aborted {
        Ok(plan) => {
            let codes: Vec<&str> = plan.findings.iter().map(|finding| finding.code.as_str()).collect();
            format!("{}\n({})", steps(&plan).join("\n"), codes.join(" "))
        }
        Err(refusals) => format!("refused: {}", refusals.codes().join(" ")),
    }
}

fn offline() -> Plan {
    back(&app(OLD, NEW, ""), shop(&SOUND, |_| {})).unwrap()
}

fn app_first() -> Plan {
    back(&app(NEW, NEW, ""), shop(&SOUND, |_| {})).unwrap()
}

fn schema_first() -> Plan {
    back(&app(OLD, OLD, ""), shop(&SOUND, |_| {})).unwrap()
}

#[test]
fn w5_it_is_free_until_the_target_may_have_written() {
    let before = offline().from.schema;
    let after = MigrationSet(before.0.iter().take(2).cloned().collect());
    let passed = |plan: &Plan, steps: usize, ledger: &MigrationSet| {
        point_of_no_easy_return(plan, &begun(plan, steps), ledger).map(|step| step.0)
    };
    // Offline: the first pod's start, whether or not its effect was seen; not the downs, which nobody has written after.
    let plan = offline();
    assert_eq!(passed(&plan, 0, &before), None);
    assert_eq!(passed(&plan, up_to(&plan, reverts), &after), None);
    assert_eq!(passed(&plan, up_to(&plan, repoints), &after), None);
    assert_eq!(passed(&plan, up_to(&plan, starts), &after), Some(6));
    // Walks: the first down that is committed. One that was only started may not have been.
    for plan in [app_first(), schema_first()] {
        let reverted = up_to(&plan, reverts);
        assert_eq!(passed(&plan, reverted - 1, &before), None);
        assert_eq!(passed(&plan, reverted, &before), None);
        let one_down = MigrationSet(before.0.iter().take(3).cloned().collect());
        assert_eq!(passed(&plan, reverted, &one_down), plan.steps[reverted - 1].id.0.into());
    }
}

#[test]
fn w5_past_that_it_asks_for_the_writes_to_be_accepted() {
    let plan = offline();
    let state = begun(&plan, up_to(&plan, starts));
    let started = shop(&[(0, "1.2.0", true)], |set| {
        pointed_at_old(set);
        set["spec"]["replicas"] = json!(1);
    });
    let seen = world(started, 2);
    let refusals = plan_abort(&plan, &state, &seen, false).unwrap_err();
    assert_eq!(refusals.codes(), ["abort-not-free"]);
    assert!(refusals.findings()[0].remedy.contains("stepback resume"));
    insta::assert_snapshot!(told(plan_abort(&plan, &state, &seen, true)), @"
    stop a pod of StatefulSet shop/shop: 1 -> 0
    apply 2 migrations, 20240220103000 to 20240301090000
    point StatefulSet shop/shop at revision shop-new
    start a pod of StatefulSet shop/shop: 0 -> 1
    start a pod of StatefulSet shop/shop: 1 -> 2
    start a pod of StatefulSet shop/shop: 2 -> 3
    give StatefulSet shop/shop back
    (abort-not-free abort-empty)
    ");
}

#[test]
fn w5_pods_that_were_stopped_start_again_and_the_others_stay() {
    let plan = offline();
    let one_left = shop(&[(0, "1.3.0", true)], |set| set["spec"]["replicas"] = json!(1));
    // W7: the object does not say what it was, because somebody has wiped our annotations off; the plan does.
    insta::assert_snapshot!(told(plan_abort(&plan, &begun(&plan, 2), &world(one_left, 4), false)), @"
    start a pod of StatefulSet shop/shop: 1 -> 2
    start a pod of StatefulSet shop/shop: 2 -> 3
    give StatefulSet shop/shop back
    ()
    ");
}

#[test]
fn w5_after_the_downs_the_schema_goes_up_before_a_pod_starts() {
    let plan = offline();
    let none_left = shop(&[], |set| set["spec"]["replicas"] = json!(0));
    let mut seen = world(none_left, 3);
    let fingerprint = plan.world["schema"];
    seen.database
        .fingerprints
        .push((plan.from.schema.digest(), fingerprint));
    let aborted = plan_abort(&plan, &begun(&plan, 4), &seen, false).unwrap();
    assert_eq!(aborted.to, plan.from);
    assert_eq!(aborted.title, "abort of rollback 1.3.0 -> 1.2.0");
    assert_eq!(aborted.compute_id().unwrap(), aborted.id);
    // Only what is undone is applied, and with the bytes that were captured.
    let ups: Vec<(String, Digest)> = aborted
        .scripts()
        .iter()
        .map(|script| (script.migration.version.to_string(), script.sha256))
        .collect();
    assert_eq!(ups, [(NEW.to_owned(), Digest::of(SHOP[3].2))]);
    insta::assert_snapshot!(told(Ok(aborted)), @"
    hold StatefulSet shop/shop at 0
    apply 20240301090000_payments
    compare the schema with its recorded fingerprint
    start a pod of StatefulSet shop/shop: 0 -> 1
    start a pod of StatefulSet shop/shop: 1 -> 2
    start a pod of StatefulSet shop/shop: 2 -> 3
    give StatefulSet shop/shop back
    (abort-empty)
    ");
}

#[test]
fn w5_a_walk_is_walked_back_and_only_where_it_has_been() {
    let plan = app_first();
    let half = [(0, "1.3.0", true), (1, "1.3.0", true), (2, "1.2.0", true)];
    let on_the_way = |set: &mut serde_json::Value| {
        pointed_at_old(set);
        borrowed(set);
    };
    insta::assert_snapshot!(told(plan_abort(&plan, &begun(&plan, 3), &world(shop(&half, on_the_way), 4), false)), @"
    point StatefulSet shop/shop at revision shop-new
    replace shop-2 of StatefulSet shop/shop
    give StatefulSet shop/shop its update strategy back: RollingUpdate
    give StatefulSet shop/shop back
    ()
    ");
    // Only the update strategy was borrowed.
    insta::assert_snapshot!(told(plan_abort(&plan, &begun(&plan, 1), &world(shop(&SOUND, borrowed), 4), false)), @"
    give StatefulSet shop/shop its update strategy back: RollingUpdate
    give StatefulSet shop/shop back
    ()
    ");
    // The one that was removed last has not come back yet.
    let missing = shop(&SOUND[..2], on_the_way);
    assert!(told(plan_abort(&plan, &begun(&plan, 3), &world(missing, 4), false)).contains("replace shop-2"));
}

#[test]
fn w5_schema_and_pods_go_back_in_the_reverse_of_how_they_went() {
    // The target's pods accept only the target's schema, so they go before it does.
    let plan = schema_first();
    let old = [(0, "1.2.0", true), (1, "1.2.0", true), (2, "1.2.0", true)];
    let walked = shop(&old, pointed_at_old);
    let all = plan.steps.len();
    insta::assert_snapshot!(told(plan_abort(&plan, &begun(&plan, all), &world(walked.clone(), 2), true)), @"
    set the update strategy of StatefulSet shop/shop to OnDelete
    point StatefulSet shop/shop at revision shop-new
    replace shop-2 of StatefulSet shop/shop
    replace shop-1 of StatefulSet shop/shop
    replace shop-0 of StatefulSet shop/shop
    give StatefulSet shop/shop its update strategy back: RollingUpdate
    apply 2 migrations, 20240220103000 to 20240301090000
    give StatefulSet shop/shop back
    (abort-not-free abort-empty)
    ");
    let plan = app_first();
    let first = steps(&plan_abort(&plan, &begun(&plan, plan.steps.len()), &world(walked, 2), true).unwrap());
    assert!(first[0].starts_with("apply 2 migrations"), "{first:?}");
}

#[test]
fn w5_a_pod_that_ran_something_else_before_is_left_as_it_is() {
    // An upgrade to 1.3.0 that was held by a partition: shop-0 has never run anything but 1.2.0.
    let mixed: [PodOf; 3] = [(0, "1.2.0", true), (1, "1.3.0", true), (2, "1.3.0", true)];
    let plan = back(&app(NEW, NEW, ""), shop(&mixed, |_| {})).unwrap();
    assert_eq!(plan.outdated.get("shop/shop-0").map(String::as_str), Some("shop-old"));
    let half = [(0, "1.2.0", true), (1, "1.3.0", true), (2, "1.2.0", true)];
    let seen = world(
        shop(&half, |set| {
            pointed_at_old(set);
            borrowed(set);
        }),
        4,
    );
    let aborted = told(plan_abort(&plan, &begun(&plan, 3), &seen, false));
    assert!(
        aborted.contains("replace shop-2") && !aborted.contains("shop-0"),
        "{aborted}"
    );
}

#[test]
fn w5_pods_of_two_revisions_come_back_each_on_its_own() {
    let mixed: [PodOf; 3] = [(0, "1.2.0", true), (1, "1.2.0", true), (2, "1.3.0", false)];
    // All were stopped: the set points at each revision in turn, and at the end at the template from before.
    let plan = back(&app(OLD, NEW, ""), shop(&mixed, |_| {})).unwrap();
    let stopped = |gone: bool| {
        let mut seen = world(
            shop(&[], |set| {
                set["spec"]["replicas"] = json!(0);
                borrowed(set);
            }),
            4,
        );
        if gone {
            let revisions = &mut seen.cluster.as_mut().unwrap().workloads[0].revisions;
            revisions.retain(|kept| kept.metadata.name.as_deref() != Some("shop-old"));
        }
        seen
    };
    let aborted = plan_abort(&plan, &begun(&plan, 4), &stopped(false), false).unwrap();
    for step in &aborted.steps {
        let Gate::PodHealthy { template, .. } = &step.gate else {
            continue;
        };
        assert_eq!(template.revision.as_deref(), Some("shop-old"), "{step:?}");
        assert_eq!(template.images["shop"], "shop:1.2.0");
    }
    insta::assert_snapshot!(told(Ok(aborted)), @"
    point StatefulSet shop/shop at revision shop-old
    start a pod of StatefulSet shop/shop: 0 -> 1
    start a pod of StatefulSet shop/shop: 1 -> 2
    point StatefulSet shop/shop at revision shop-new
    start a pod of StatefulSet shop/shop: 2 -> 3
    give StatefulSet shop/shop its update strategy back: RollingUpdate
    give StatefulSet shop/shop back
    (abort-unready)
    ");
    // Its revision is not kept any more: it comes back on the template's, and that is said.
    let aborted = told(plan_abort(&plan, &begun(&plan, 4), &stopped(true), false));
    assert!(
        aborted.contains("(abort-unready abort-mixed)") && !aborted.contains("point"),
        "{aborted}"
    );
    // Nobody waits for the first, which may be made only when the set points elsewhere already.
    let unready: [PodOf; 3] = [(0, "1.2.0", false), (1, "1.2.0", true), (2, "1.3.0", true)];
    let plan = back(&app(OLD, NEW, ""), shop(&unready, |_| {})).unwrap();
    let aborted = told(plan_abort(&plan, &begun(&plan, 4), &stopped(false), false));
    assert!(
        aborted.contains("(abort-unready abort-mixed)") && !aborted.contains("point"),
        "{aborted}"
    );
}

#[test]
fn w5_a_walk_over_pods_of_two_revisions_is_walked_back_to_both() {
    // Held by a partition; the walk has brought all of them to what shop-0 and shop-1 do not run.
    let mixed: [PodOf; 3] = [(0, "1.2.0", true), (1, "1.3.0", true), (2, "1.3.0", true)];
    let plan = back(&app(NEW, NEW, ""), shop(&mixed, |_| {})).unwrap();
    // As if the way back had gone past shop-0 to yet another release.
    let walked = shop(&[(0, "1.3.0", true), (1, "1.2.0", true), (2, "1.2.0", true)], |set| {
        pointed_at_old(set);
        borrowed(set);
    });
    insta::assert_snapshot!(told(plan_abort(&plan, &begun(&plan, 4), &world(walked, 4), false)), @"
    point StatefulSet shop/shop at revision shop-new
    replace shop-2 of StatefulSet shop/shop
    replace shop-1 of StatefulSet shop/shop
    point StatefulSet shop/shop at revision shop-old
    replace shop-0 of StatefulSet shop/shop
    point StatefulSet shop/shop at revision shop-new
    give StatefulSet shop/shop its update strategy back: RollingUpdate
    give StatefulSet shop/shop back
    ()
    ");
}

#[test]
fn w5_the_gate_is_the_health_from_before() {
    let broken: [PodOf; 3] = [(0, "1.3.0", true), (1, "1.3.0", false), (2, "1.3.0", true)];
    let waits = |change: fn(&mut serde_json::Value)| -> (Vec<bool>, Vec<String>) {
        let plan = back(&app(OLD, NEW, ""), shop(&broken, change)).unwrap();
        assert_eq!(plan.unready, ["shop/shop-1"]);
        let none_left = shop(&[], |set| {
            set["spec"]["replicas"] = json!(0);
            change(set);
        });
        let aborted = plan_abort(&plan, &begun(&plan, 4), &world(none_left, 4), false).unwrap();
        let starts = aborted.steps.iter().filter(|step| starts(&step.action));
        let codes = aborted.findings.iter().map(|finding| finding.code.clone());
        (starts.map(|step| step.gate != Gate::None).collect(), codes.collect())
    };
    // Ordered: none is made after one that is not ready.
    assert_eq!(
        waits(|_| {}),
        (vec![true, false, false], vec!["abort-unready".to_owned()])
    );
    let parallel: fn(&mut serde_json::Value) = |set| set["spec"]["podManagementPolicy"] = json!("Parallel");
    assert_eq!(waits(parallel).0, [true, false, true]);
}

#[test]
fn w5_what_cannot_be_given_back_is_refused() {
    let plan = offline();
    let none_left = || shop(&[], |set| set["spec"]["replicas"] = json!(0));
    let refused = |steps: usize, applied: usize, change: &dyn Fn(&mut Seen)| {
        let mut seen = world(none_left(), applied);
        change(&mut seen);
        told(plan_abort(&plan, &begun(&plan, steps), &seen, false))
    };
    let other_uid = |seen: &mut Seen| {
        let set = seen.cluster.as_mut().unwrap().workloads[0].set.as_mut().unwrap();
        set.metadata.uid = Some("u-2".to_owned());
    };
    assert_eq!(refused(3, 4, &other_uid), "refused: workload-replaced");
    let gone = |seen: &mut Seen| seen.cluster.as_mut().unwrap().workloads[0].revisions.clear();
    assert_eq!(refused(3, 4, &gone), "refused: revision-gone");
    assert_eq!(
        refused(4, 2, &|seen| seen.bodies.clear()),
        "refused: up-missing up-missing"
    );
    assert_eq!(
        refused(4, 4, &|seen| seen.database.read_only = true),
        "refused: read-only"
    );
    assert_eq!(
        refused(4, 4, &|seen| seen.database.ledger[3].dirty = true),
        "refused: ledger-dirty"
    );
    // Undone although the run has not come to its downs; undone although it has nothing to do with them; applied since.
    assert_eq!(refused(3, 3, &|_| {}), "refused: abort-foreign");
    assert_eq!(refused(4, 1, &|_| {}), "refused: abort-foreign");
    let newer = |seen: &mut Seen| seen.database.ledger[3].migration.version = version("20250101000000");
    assert_eq!(refused(4, 4, &newer), "refused: abort-foreign");
}

#[test]
fn w5_a_walk_back_waits_for_every_pod_that_was_ready() {
    // shop-0 has never been ready on 1.3.0, the walk came past it, and stands still at shop-1.
    let five = |set: &mut serde_json::Value| set["spec"]["replicas"] = json!(5);
    let pods = |release, unready| [0, 1, 2, 3, 4].map(|index| (index, release, index != unready));
    let plan = back(&app(NEW, NEW, ""), shop(&pods("1.3.0", 0), five)).unwrap();
    let walked = shop(&pods("1.2.0", 1), |set| {
        five(set);
        pointed_at_old(set);
        borrowed(set);
    });
    let aborted = plan_abort(&plan, &begun(&plan, 7), &world(walked, 4), false).unwrap();
    let gates: Vec<(&str, bool)> = aborted
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::RemovePod { pod, .. } => Some((pod.as_str(), step.gate != Gate::None)),
            _ => None,
        })
        .collect();
    let last = ("shop-0", false);
    assert_eq!(
        gates,
        [
            ("shop-1", true),
            ("shop-4", true),
            ("shop-3", true),
            ("shop-2", true),
            last
        ]
    );
    let said = &aborted.findings[0].message;
    assert_eq!(said, "nobody waits for shop-0: not ready before the run");
}

#[test]
fn w5_an_abort_waits_for_no_end_of_an_update_that_was_under_way() {
    let settles = |pods: &[PodOf]| {
        let plan = back(&app(NEW, NEW, ""), shop(pods, |_| {})).unwrap();
        let aborted = plan_abort(&plan, &begun(&plan, 1), &world(shop(pods, borrowed), 4), false).unwrap();
        let mut gates = aborted.steps.into_iter().map(|step| step.gate);
        gates.rfind(|gate| matches!(gate, Gate::Settled { .. })).unwrap()
    };
    let gate = |mid_update| Gate::Settled {
        workload: shop_set(|_| {}).workloads[0].workload.clone(),
        mid_update,
    };
    assert_eq!(settles(&SOUND), gate(false));
    // Stuck at a pod that is not ready; held by a partition; stuck at one that is not even there.
    let stuck = [(0, "1.2.0", true), (1, "1.2.0", true), (2, "1.3.0", false)];
    assert_eq!(settles(&stuck), gate(true));
    let canary = [(0, "1.2.0", true), (1, "1.2.0", true), (2, "1.3.0", true)];
    assert_eq!(settles(&canary), gate(true));
    assert_eq!(settles(&SOUND[..2]), gate(true));
}
