//! A workload that is at 0 replicas when the plan is made.

use super::*;

#[test]
fn w7_a_plan_made_at_zero_replicas_knows_the_original_count() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let empty = Catalog::default();
    let stopped = shop_set(|set| {
        set["spec"]["replicas"] = json!(0);
        set["metadata"]["annotations"] = json!({ annotation::ORIGINAL_REPLICAS: "2" });
    });
    let world = Seen {
        cluster: Some(stopped),
        ..seen()
    };
    let plan = plan(
        &ask(Goal::Release("1.2.0".parse().unwrap()), Some(&app), &empty),
        &world,
    )
    .unwrap();
    let scales: Vec<(i32, i32, i32)> = plan
        .steps
        .iter()
        .filter_map(|step| match step.action {
            Action::Scale { from, to, original, .. } => Some((from, to, original)),
            _ => None,
        })
        .collect();
    assert_eq!(scales, [(0, 0, 2), (0, 1, 2), (1, 2, 2)]);
    // No pod is left that could stop.
    assert_eq!(
        plan.strategy.unwrap().outage,
        "no pod runs now; the first is healthy in step 4"
    );
}

#[test]
fn a_set_that_somebody_scaled_to_zero_is_held_there_until_its_last_pod_is_gone() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let empty = Catalog::default();
    let world = Seen {
        cluster: Some(shop_set(|set| set["spec"]["replicas"] = json!(0))),
        ..seen()
    };
    let plan = plan(
        &ask(Goal::Release("1.2.0".parse().unwrap()), Some(&app), &empty),
        &world,
    )
    .unwrap();
    let told = steps(&plan);
    assert_eq!(told[0].trim(), "hold StatefulSet shop/shop at 0");
    assert_eq!(plan.title, "rollback 1.3.0 -> 1.2.0");
    assert!(
        matches!(plan.steps[0].gate, Gate::AllGone { .. }),
        "{:?}",
        plan.steps[0]
    );
    let downs = plan
        .steps
        .iter()
        .find(|step| matches!(step.action, Action::Revert { .. }));
    assert_eq!(plan.stopped_at(downs.unwrap().id).len(), 1);
}

#[test]
fn w7_an_original_below_the_present_count_is_not_believed() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let empty = Catalog::default();
    let left_over = shop_set(|set| {
        set["spec"]["replicas"] = json!(3);
        set["metadata"]["annotations"] = json!({ annotation::ORIGINAL_REPLICAS: "0" });
    });
    let world = Seen {
        cluster: Some(left_over),
        ..seen()
    };
    let plan = plan(
        &ask(Goal::Release("1.2.0".parse().unwrap()), Some(&app), &empty),
        &world,
    )
    .unwrap();
    let last = plan.steps.iter().rev().find_map(|step| match step.action {
        Action::Scale { to, original, .. } => Some((to, original)),
        _ => None,
    });
    assert_eq!(last, Some((3, 3)));
}
