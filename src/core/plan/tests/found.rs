//! Which template a workload must have while the schema moves under its pods (LAWS W4).

use super::ways::{NEW, OLD, PodOf, SOUND, app, back, shop};
use super::*;

/// The revision that the shop must be at when the downs run: the one it was pointed at, and the one it was found with.
fn at_the_downs(plan: &Plan) -> (Option<&str>, Option<&str>) {
    let is_it = |step: &&Step| matches!(step.action, Action::Revert { .. });
    let downs = plan.steps.iter().find(is_it).unwrap();
    let workload = &plan.workloads()[0];
    let name = |template: Option<&'_ crate::model::TemplateRef>| template.map(|template| template.revision.clone());
    let pointed = name(plan.template_at(downs, workload)).map(Option::unwrap);
    let found = name(plan.template_found(downs, workload)).map(Option::unwrap);
    let known = ["shop-new", "shop-old"];
    let of = |name: Option<String>| name.and_then(|name| known.into_iter().find(|known| *known == name));
    (of(pointed), of(found))
}

#[test]
fn w4_before_the_template_is_moved_it_is_the_one_that_was_found() {
    let plan = back(&app(OLD, OLD, ""), shop(&SOUND, |_| {})).unwrap();
    assert_eq!(plan.strategy.as_ref().unwrap().strategy, Strategy::SchemaFirst);
    assert_eq!(at_the_downs(&plan), (None, Some("shop-new")));
    let plan = back(&app(OLD, NEW, ""), shop(&SOUND, |_| {})).unwrap();
    assert_eq!(plan.strategy.as_ref().unwrap().strategy, Strategy::Offline);
    assert_eq!(at_the_downs(&plan), (None, Some("shop-new")));
}

#[test]
fn w4_once_it_is_moved_it_is_the_one_that_it_was_pointed_at() {
    let plan = back(&app(NEW, NEW, ""), shop(&SOUND, |_| {})).unwrap();
    assert_eq!(plan.strategy.as_ref().unwrap().strategy, Strategy::AppFirst);
    assert_eq!(at_the_downs(&plan), (Some("shop-old"), None));
}

#[test]
fn w4_where_it_is_the_targets_already_it_is_the_one_that_pods_are_waited_for_with() {
    const BACK: [PodOf; 3] = [(0, "1.2.0", true), (1, "1.3.0", true), (2, "1.2.0", true)];
    let undone = || {
        shop(&BACK, |set| {
            set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("shop:1.2.0");
            set["status"]["updateRevision"] = json!("shop-old");
            set["status"]["currentRevision"] = json!("shop-old");
        })
    };
    for (old_max, new_min) in [(NEW, NEW), (OLD, OLD)] {
        let plan = back(&app(old_max, new_min, ""), undone()).unwrap();
        let moves = plan
            .steps
            .iter()
            .any(|step| matches!(step.action, Action::Repoint { .. }));
        assert!(!moves, "{:#?}", steps(&plan));
        assert_eq!(at_the_downs(&plan), (None, Some("shop-old")), "{:#?}", steps(&plan));
    }
}
