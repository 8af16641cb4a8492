//! Which way back, and the steps of each, over pods written by hand.

use super::*;

/// A pod of the shop: its ordinal, the release that it runs, whether it is ready.
pub(super) type PodOf = (i32, &'static str, bool);

pub(super) const SOUND: [PodOf; 3] = [(0, "1.3.0", true), (1, "1.3.0", true), (2, "1.3.0", true)];

/// The shop with these pods; the set's template is that of 1.3.0.
pub(super) fn shop(pods: &[PodOf], change: impl FnOnce(&mut serde_json::Value)) -> SeenCluster {
    let mut cluster = shop_set(change);
    let pod = |(ordinal, release, ready): &PodOf| {
        let revision = if *release == "1.3.0" { "shop-new" } else { "shop-old" };
        serde_json::from_value(json!({
            "metadata": { "name": format!("shop-{ordinal}"), "uid": format!("p-{ordinal}"),
                          "labels": { "controller-revision-hash": revision } },
            "spec": { "containers": [{ "name": "shop", "image": format!("shop:{release}") }] },
            "status": { "phase": "Running",
                        "conditions": [{ "type": "Ready", "status": if *ready { "True" } else { "False" } }] },
        }))
        .unwrap()
    };
    cluster.workloads[0].pods = pods.iter().map(pod).collect();
    cluster
}

/// The app file in which 1.2.0 accepts schemas up to `old_max` and 1.3.0 from `new_min` on, with `more` in its spec.
pub(super) fn app(old_max: &str, new_min: &str, more: &str) -> AppFile {
    let text = APP
        .replace("max: \"20240115120000\"", &format!("max: \"{old_max}\""))
        .replace("min: \"20240301090000\"", &format!("min: \"{new_min}\""));
    AppFile::parse(&format!("{text}{more}"), "stepback.yaml").unwrap()
}

pub(super) const OLD: &str = "20240115120000";
pub(super) const NEW: &str = "20240301090000";

pub(super) fn back(app: &AppFile, cluster: SeenCluster) -> Result<Plan, Refusals> {
    let empty = Catalog::default();
    let world = Seen {
        cluster: Some(cluster),
        ..seen()
    };
    plan(&ask(Goal::Release("1.2.0".parse().unwrap()), Some(app), &empty), &world)
}

/// Strategy, reason and outage, then the steps.
fn tell(plan: &Plan) -> String {
    let chosen = plan.strategy.clone().unwrap();
    let head = format!("{}: {}\n{}\n", chosen.strategy, chosen.reason, chosen.outage);
    head + &steps(plan).join("\n")
}

#[test]
fn pods_go_first_where_the_target_accepts_the_present_schema() {
    let plan = back(&app(NEW, NEW, ""), shop(&SOUND, |_| {})).unwrap();
    insta::assert_snapshot!(tell(&plan), @"
    app-first: 1.2.0 accepts 20240301090000, the present schema
    none for clients that try another pod where one does not answer: one at a time is away
    set the update strategy of StatefulSet shop/shop to OnDelete
    point StatefulSet shop/shop at revision shop-old
    replace shop-2 of StatefulSet shop/shop
    replace shop-1 of StatefulSet shop/shop
    replace shop-0 of StatefulSet shop/shop
    give StatefulSet shop/shop its update strategy back: RollingUpdate
    revert 2 migrations, 20240301090000 to 20240220103000
    pair revision shop-old with release 1.2.0
    give StatefulSet shop/shop back
    record the pairing of release 1.2.0
    ");
}

#[test]
fn claims_are_in_danger_only_where_pods_are_scaled_down() {
    let deleting = || {
        shop(&SOUND, |set| {
            set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({ "whenScaled": "Delete" });
        })
    };
    let codes = |app: &AppFile| back(app, deleting()).map_err(|refusals| refusals.codes().join(" "));
    assert_eq!(codes(&app(OLD, NEW, "")).unwrap_err(), "claims-deleted");
    let walked = codes(&app(NEW, NEW, "")).unwrap();
    assert_eq!(walked.strategy.unwrap().strategy.to_string(), "app-first");
}

#[test]
fn the_schema_goes_first_where_the_present_release_accepts_the_targets() {
    let plan = back(&app(OLD, OLD, ""), shop(&SOUND, |_| {})).unwrap();
    insta::assert_snapshot!(tell(&plan), @"
    schema-first: 1.3.0 accepts 20240115120000, the target's schema
    none for clients that try another pod where one does not answer: one at a time is away
    revert 2 migrations, 20240301090000 to 20240220103000
    set the update strategy of StatefulSet shop/shop to OnDelete
    point StatefulSet shop/shop at revision shop-old
    replace shop-2 of StatefulSet shop/shop
    replace shop-1 of StatefulSet shop/shop
    replace shop-0 of StatefulSet shop/shop
    give StatefulSet shop/shop its update strategy back: RollingUpdate
    pair revision shop-old with release 1.2.0
    give StatefulSet shop/shop back
    record the pairing of release 1.2.0
    ");
}

/// What a mirror makes of an image counts as the image: the pod's revision says what it was made from (LAWS W1, W13).
#[test]
fn w13_the_schema_goes_first_also_where_the_cluster_rewrites_images() {
    let mut cluster = shop(&SOUND, |_| {});
    for pod in &mut cluster.workloads[0].pods {
        pod.spec.as_mut().unwrap().containers[0].image = Some("mirror.example/shop@sha256:13".to_owned());
    }
    let set = |applied: usize| {
        let ledger = seen().database.ledger.into_iter().take(applied);
        crate::model::MigrationSet(ledger.map(|row| row.migration.version).collect())
    };
    let file = app(OLD, OLD, "");
    let chosen = |cluster: SeenCluster| {
        let choice = super::super::strategy::Choice {
            app: &file,
            release: &"1.2.0".parse().unwrap(),
            from: &set(4),
            to: &set(2),
            workloads: &cluster.workloads,
        };
        choice.choose().0.strategy
    };
    assert_eq!(chosen(cluster.clone()), Strategy::SchemaFirst);
    // Its revision is not kept: the pod's own images are all that there is to go by.
    cluster.workloads[0].revisions.clear();
    assert_eq!(chosen(cluster), Strategy::Offline);
}

#[test]
fn offline_where_neither_accepts_the_others_schema() {
    let plan = back(&app(OLD, NEW, ""), shop(&SOUND, |_| {})).unwrap();
    insta::assert_snapshot!(tell(&plan), @"
    offline: 1.2.0 does not accept 20240301090000, the present schema, and 1.3.0, which shop-0 runs, does not accept 20240115120000
    nothing answers from step 3, when the last pod stops, until the first is healthy in step 6
    stop a pod of StatefulSet shop/shop: 3 -> 2
    stop a pod of StatefulSet shop/shop: 2 -> 1
    stop a pod of StatefulSet shop/shop: 1 -> 0
    revert 2 migrations, 20240301090000 to 20240220103000
    point StatefulSet shop/shop at revision shop-old
    start a pod of StatefulSet shop/shop: 0 -> 1
    start a pod of StatefulSet shop/shop: 1 -> 2
    start a pod of StatefulSet shop/shop: 2 -> 3
    pair revision shop-old with release 1.2.0
    give StatefulSet shop/shop back
    record the pairing of release 1.2.0
    ");
}

#[test]
fn w4_a_strategy_must_hold_for_every_release_that_has_a_live_pod() {
    // 1.3.0 accepts the target's schema; a pod of 1.1.0, left over by an upgrade that is stuck, does not.
    let mut cluster = shop(&SOUND, |_| {});
    let set_image = |cluster: &mut SeenCluster, image: &str| {
        let pod = cluster.workloads[0].pods[0].spec.as_mut().unwrap();
        pod.containers[0].image = Some(image.to_owned());
    };
    set_image(&mut cluster, "shop:1.1.0");
    let two = back(&app(OLD, OLD, ""), cluster.clone()).unwrap().strategy.unwrap();
    assert_eq!(two.strategy, Strategy::Offline);
    assert!(
        two.reason
            .ends_with("1.1.0, which shop-0 runs, does not accept 20240115120000"),
        "{}",
        two.reason
    );
    set_image(&mut cluster, "shop:nightly");
    // Of a revision that is kept, the cluster may have made it (LAWS W13).
    let labels = cluster.workloads[0].pods[0].metadata.labels.as_mut().unwrap();
    labels.insert("controller-revision-hash".to_owned(), "shop-gone".to_owned());
    let unknown = back(&app(OLD, OLD, ""), cluster).unwrap().strategy.unwrap();
    assert_eq!(unknown.strategy, Strategy::Offline);
    assert!(
        unknown
            .reason
            .ends_with("shop-0 runs images that no release of the app file names"),
        "{}",
        unknown.reason
    );
}

#[test]
fn w4_broken_pods_go_first_and_the_lowest_of_them_before_the_others() {
    let pods = [
        (0, "1.2.0", true),
        (1, "1.3.0", false),
        (3, "1.3.0", false),
        (4, "1.3.0", true),
    ];
    let cluster = shop(&pods, |set| set["spec"]["replicas"] = json!(5));
    let plan = back(&app(NEW, NEW, ""), cluster).unwrap();
    let order: Vec<&str> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::RemovePod { pod, .. } => Some(pod.as_str()),
            _ => None,
        })
        .collect();
    // shop-2 is missing, which is broken too.
    assert_eq!(order, ["shop-1", "shop-2", "shop-3", "shop-4", "shop-0"]);
}

#[test]
fn w4_the_update_strategy_is_given_back_whole() {
    let original = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2, "maxUnavailable": 1 } });
    let strategies = |plan: &Plan| -> Vec<(serde_json::Value, serde_json::Value, serde_json::Value)> {
        let of = |step: &Step| match &step.action {
            Action::UpdateStrategy { from, to, original, .. } => {
                Some((from.0.clone(), to.0.clone(), original.0.clone()))
            }
            _ => None,
        };
        plan.steps.iter().filter_map(of).collect()
    };
    let on_delete = json!({ "type": "OnDelete" });
    let partitioned = shop(&SOUND, |set| set["spec"]["updateStrategy"] = original.clone());
    let walked = strategies(&back(&app(NEW, NEW, ""), partitioned).unwrap());
    let to_original = (on_delete.clone(), original.clone(), original.clone());
    assert_eq!(
        walked,
        [
            (original.clone(), on_delete.clone(), original.clone()),
            to_original.clone()
        ]
    );
    // One that is `OnDelete` of its own is not touched.
    let own = shop(&SOUND, |set| set["spec"]["updateStrategy"] = on_delete.clone());
    assert_eq!(strategies(&back(&app(NEW, NEW, ""), own).unwrap()), []);
    // W7: a run that was lost has borrowed it; the object says what it was, and every way gives it back.
    let lost = |set: &mut serde_json::Value| {
        set["spec"]["updateStrategy"] = on_delete.clone();
        set["metadata"]["annotations"] = json!({ annotation::ORIGINAL_UPDATE_STRATEGY: original.to_string() });
    };
    for file in [app(NEW, NEW, ""), app(OLD, NEW, "")] {
        assert_eq!(
            strategies(&back(&file, shop(&SOUND, lost)).unwrap()),
            std::slice::from_ref(&to_original)
        );
    }
    // Somebody has set another one since: that is theirs now, and stays.
    let theirs = |set: &mut serde_json::Value| {
        lost(set);
        set["spec"]["updateStrategy"] = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } });
    };
    assert_eq!(strategies(&back(&app(OLD, NEW, ""), shop(&SOUND, theirs)).unwrap()), []);
}

#[test]
fn the_app_alone_goes_back_where_that_is_asked_for() {
    let mut world = seen();
    world.cluster = Some(shop(&SOUND, |_| {}));
    let file = app(NEW, NEW, "  strategy: app-only\n");
    let empty = Catalog::default();
    let mut request = ask(Goal::Release("1.2.0".parse().unwrap()), Some(&file), &empty);
    // Nothing is destroyed, so there is nothing to accept.
    request.accept_loss = false;
    insta::assert_snapshot!(tell(&plan(&request, &world).unwrap()), @"
    app-only: the app file asks for it; 1.2.0 accepts 20240301090000, the present schema
    none for clients that try another pod where one does not answer: one at a time is away
    set the update strategy of StatefulSet shop/shop to OnDelete
    point StatefulSet shop/shop at revision shop-old
    replace shop-2 of StatefulSet shop/shop
    replace shop-1 of StatefulSet shop/shop
    replace shop-0 of StatefulSet shop/shop
    give StatefulSet shop/shop its update strategy back: RollingUpdate
    pair revision shop-old with release 1.2.0
    give StatefulSet shop/shop back
    ");
}

#[test]
fn a_strategy_that_was_asked_for_and_does_not_hold_is_refused() {
    for (strategy, why) in [
        ("app-first", "1.2.0 does not accept 20240301090000, the present schema"),
        (
            "schema-first",
            "1.3.0, which shop-0 runs, does not accept 20240115120000",
        ),
        ("app-only", "1.2.0 does not accept 20240301090000, the present schema"),
    ] {
        let file = app(OLD, NEW, &format!("  strategy: {strategy}\n"));
        let refusals = back(&file, shop(&SOUND, |_| {})).unwrap_err();
        assert_eq!(refusals.codes(), ["strategy-unfit"]);
        assert_eq!(refusals.findings()[0].message, why);
    }
    let file = app(NEW, OLD, "  strategy: schema-first\n");
    let chosen = back(&file, shop(&SOUND, |_| {})).unwrap().strategy.unwrap();
    assert_eq!(chosen.strategy, Strategy::SchemaFirst);
    let file = app(NEW, OLD, "  strategy: offline\n");
    let chosen = back(&file, shop(&SOUND, |_| {})).unwrap().strategy.unwrap();
    assert_eq!(chosen.strategy, Strategy::Offline);
}

#[test]
fn a_pod_that_runs_the_target_already_is_only_waited_for() {
    // An upgrade to 1.3.0 that a partition holds: shop-0 has never left 1.2.0.
    let held: [PodOf; 3] = [(0, "1.2.0", true), (1, "1.3.0", true), (2, "1.3.0", false)];
    let plan = back(&app(NEW, NEW, ""), shop(&held, |_| {})).unwrap();
    let told = steps(&plan);
    assert_eq!(
        told[2..5],
        [
            "replace shop-2 of StatefulSet shop/shop",
            "replace shop-1 of StatefulSet shop/shop",
            "wait for shop-0 of StatefulSet shop/shop"
        ]
    );
    // It was so when the plan was made; should it run something else by then, it is replaced all the same.
    assert!(matches!(plan.steps[4].action, Action::RemovePod { stays: true, .. }));
    let one = shop(&held[..1], |set| set["spec"]["replicas"] = json!(1));
    let outage = back(&app(NEW, NEW, ""), one).unwrap().strategy.unwrap().outage;
    assert_eq!(outage, "none: every pod runs the target already");
}

#[test]
fn a_plan_that_leaves_the_schema_names_what_goes_back() {
    let mut world = Seen {
        cluster: Some(shop(&SOUND, |_| {})),
        ..seen()
    };
    world.database.ledger.truncate(2);
    let (file, empty) = (app(NEW, NEW, ""), Catalog::default());
    let plan = plan(
        &ask(Goal::Release("1.2.0".parse().unwrap()), Some(&file), &empty),
        &world,
    )
    .unwrap();
    assert_eq!(plan.title, "rollback of the workloads to 1.2.0");
}

#[test]
fn w4_no_downtime_is_said_only_of_more_than_one_pod_that_is_ready() {
    let outage = |pods: &[PodOf]| {
        let cluster = shop(pods, |set| set["spec"]["replicas"] = json!(2));
        back(&app(NEW, NEW, ""), cluster).unwrap().strategy.unwrap().outage
    };
    let sound = "none for clients that try another pod where one does not answer: one at a time is away";
    assert_eq!(outage(&SOUND[..2]), sound);
    assert_eq!(
        outage(&[(0, "1.3.0", true), (1, "1.3.0", false)]),
        format!("{sound}; only shop-0 is ready until step 3 is done")
    );
    assert_eq!(
        outage(&[(0, "1.3.0", false), (1, "1.3.0", false)]),
        "no pod of StatefulSet shop/shop is ready now; the first is healthy in step 3 at the earliest"
    );
    let one = shop(&SOUND[..1], |set| set["spec"]["replicas"] = json!(1));
    let plan = back(&app(NEW, NEW, ""), one).unwrap();
    assert_eq!(
        plan.strategy.unwrap().outage,
        "while an only pod is replaced: shop-0 in step 3"
    );
}

#[test]
fn an_app_that_migrates_at_start_is_never_walked() {
    let plan = back(&app(NEW, OLD, "  migratesAtStart: true\n"), shop(&SOUND, |_| {})).unwrap();
    assert_eq!(plan.strategy.unwrap().strategy, Strategy::Offline);
}

#[test]
fn what_an_interrupted_scale_down_left_standing_is_removed_first() {
    // Somebody scaled it to 1 while two pods were not ready: nothing has moved since.
    let pods = [(0, "1.3.0", true), (1, "1.3.0", false), (2, "1.3.0", false)];
    let cluster = shop(&pods, |set| set["spec"]["replicas"] = json!(1));
    let plan = back(&app(OLD, NEW, ""), cluster).unwrap();
    insta::assert_snapshot!(steps(&plan)[..3].join("\n"), @"
    remove shop-2, which is left over beyond the replicas of StatefulSet shop/shop
    remove shop-1, which is left over beyond the replicas of StatefulSet shop/shop
    stop a pod of StatefulSet shop/shop: 1 -> 0
    ");
}

#[test]
fn a_rollout_that_is_stuck_is_held_while_pods_are_stopped() {
    // Freed of the broken pod, the controller would go on and replace the sound ones by pods of the newer template.
    let pods = [(0, "1.2.0", true), (1, "1.2.0", true), (2, "1.3.0", false)];
    let told = steps(&back(&app(OLD, NEW, ""), shop(&pods, |_| {})).unwrap());
    assert_eq!(told[0], "set the update strategy of StatefulSet shop/shop to OnDelete");
    assert_eq!(told[1], "stop a pod of StatefulSet shop/shop: 3 -> 2");
    let back_again = "give StatefulSet shop/shop its update strategy back: RollingUpdate";
    assert_eq!(told[told.len() - 4], back_again);
}

#[test]
fn w15_those_that_must_start_together_do() {
    let parallel = |set: &mut serde_json::Value| set["spec"]["podManagementPolicy"] = json!("Parallel");
    let codes = |plan: &Plan| {
        plan.findings
            .iter()
            .map(|finding| finding.code.clone())
            .collect::<Vec<_>>()
    };
    let alone = back(&app(OLD, NEW, ""), shop(&SOUND, parallel)).unwrap();
    assert_eq!(codes(&alone), ["fingerprint-unknown", "starts-alone"]);
    let text = APP.replace("name: shop }\n  releases", "name: shop, startTogether: 2 }\n  releases");
    let together = back(&AppFile::parse(&text, "stepback.yaml").unwrap(), shop(&SOUND, parallel)).unwrap();
    assert_eq!(codes(&together), ["fingerprint-unknown"]);
    insta::assert_snapshot!(steps(&together)[5..9].join("\n"), @"
    start 2 pods of StatefulSet shop/shop together: 0 -> 2
    wait for shop-0 of StatefulSet shop/shop
    wait for shop-1 of StatefulSet shop/shop
    start a pod of StatefulSet shop/shop: 2 -> 3
    ");
}

#[test]
fn w5_a_plan_turns_back_by_itself_where_the_app_file_says_so() {
    let turns_back = |more: &str| back(&app(OLD, NEW, more), shop(&SOUND, |_| {})).unwrap().turns_back;
    assert!(turns_back("  onFailure: abort\n"));
    assert!(!turns_back("  onFailure: halt\n") && !turns_back(""));
}
