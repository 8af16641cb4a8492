//! What the runs of this ledger acted on, against what is there.

use super::around::{calm, shop};
use super::*;
use crate::model::{Bound, ClusterPlace, RunId, Severity};
use crate::plan::is_other_cluster;

fn place(context: &str) -> Option<ClusterPlace> {
    Some(ClusterPlace {
        context: Some(context.to_owned()),
        server: "https://10.0.0.1:6443".to_owned(),
    })
}

/// What a run of the shop acted on, in this cluster.
fn bound(cluster: &str, workload: &str, uid: &str) -> Bound {
    Bound {
        run: RunId("01J8".into()),
        title: "rollback 1.4.0 -> 1.3.0".into(),
        app: Some("shop".into()),
        cluster: cluster.into(),
        place: place("prod"),
        workloads: BTreeMap::from([(workload.to_owned(), uid.to_owned())]),
    }
}

const SHOP: &str = "StatefulSet shop/shop";

/// The plan back to 1.2.0 in the cluster of this identity, after runs that acted on these.
fn planned(uid: &str, bound: Vec<Bound>, accept: &[&str]) -> Result<Plan, Refusals> {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let empty = Catalog::default();
    let mut world = Seen {
        cluster: Some(SeenCluster {
            uid: uid.into(),
            place: place("staging"),
            ..shop()
        }),
        around: vec![crate::model::SeenAround {
            objects: super::around::menu(true),
            ..calm()
        }],
        ..seen()
    };
    world.database.bound = bound;
    let mut request = ask(Goal::Release("1.2.0".parse().unwrap()), Some(&app), &empty);
    request.accepted = accept.iter().map(|code| (*code).to_owned()).collect();
    plan(&request, &world)
}

/// What is said of it, and how strongly.
fn said(uid: &str, bound: Vec<Bound>) -> Option<(Severity, String)> {
    let findings = match planned(uid, bound, &[]) {
        Ok(plan) => plan.findings,
        Err(refusals) => refusals.findings().to_vec(),
    };
    let found = findings.into_iter().find(|one| one.code == "cluster-differs");
    found.map(|one| (one.severity, format!("{}; {}", one.message, one.remedy)))
}

#[test]
fn d13_a_ledger_whose_runs_acted_on_another_cluster_refuses_until_that_is_accepted() {
    let other = || vec![bound("cluster-9", SHOP, "u-9")];
    let (severity, text) = said("cluster-1", other()).unwrap();
    assert_eq!(severity, Severity::Refusal);
    for part in [
        "run 01J8 (rollback 1.4.0 -> 1.3.0) acted on StatefulSet shop/shop in context prod (https://10.0.0.1:6443)",
        "another cluster: this is context staging (https://10.0.0.1:6443)",
        "check --context",
        "built anew",
        "--accept cluster-differs",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let plan = planned("cluster-1", other(), &["cluster-differs"]).unwrap();
    assert!(
        plan.findings
            .iter()
            .any(|one| one.code == "cluster-differs" && one.accepted)
    );
}

#[test]
fn d13_another_namespace_of_the_same_cluster_refuses() {
    let text = said(
        "cluster-1",
        vec![bound("cluster-1", "StatefulSet production/shop", "u-9")],
    );
    let (severity, text) = text.unwrap();
    assert_eq!(severity, Severity::Refusal);
    assert!(text.contains("none of these is among the workloads"), "{text}");
}

#[test]
fn d13_nothing_is_said_of_what_is_the_same_or_not_known() {
    assert_eq!(said("cluster-1", vec![]), None, "no run yet");
    assert_eq!(
        said("cluster-1", vec![bound("cluster-1", SHOP, "u-9")]),
        None,
        "made again"
    );
    // Its own UID tells more than whatever the cluster is told by.
    assert_eq!(
        said("ca:b", vec![bound("ca:a", SHOP, "u-1")]),
        None,
        "the authority was renewed"
    );
    assert_eq!(said("ca:b", vec![bound("cluster-1", SHOP, "u-1")]), None, "a Job");
    let another_app = Bound {
        app: Some("other".into()),
        ..bound("cluster-9", SHOP, "u-9")
    };
    assert_eq!(said("cluster-1", vec![another_app.clone()]), None);
    // The newest run of this app is what counts.
    let moved = vec![
        bound("cluster-9", SHOP, "u-9"),
        bound("cluster-1", SHOP, "u-1"),
        another_app,
    ];
    assert_eq!(said("cluster-1", moved), None);
}

#[test]
fn d13_what_cannot_be_told_is_a_warning() {
    let (severity, text) = said("ca:b", vec![bound("cluster-1", SHOP, "u-9")]).unwrap();
    assert_eq!(severity, Severity::Warning);
    assert!(text.contains("cannot be told"), "{text}");
    let elsewhere = vec![bound("cluster-1", "StatefulSet production/shop", "u-9")];
    assert_eq!(said("ca:b", elsewhere).unwrap().0, Severity::Refusal);
}

/// A run that a person began, who may read `kube-system`, and that a Job goes on with, which may not.
#[test]
fn d13_a_cluster_is_the_same_to_whoever_may_read_less() {
    let plan = planned("cluster-1", vec![], &[]).unwrap();
    let seen_by = |uid: &str, workload: &str| {
        let mut cluster = SeenCluster {
            uid: uid.into(),
            ..shop()
        };
        let set = cluster.workloads[0].set.as_mut().unwrap();
        set.metadata.uid = Some(workload.to_owned());
        cluster
    };
    assert!(!is_other_cluster(&plan, &seen_by("cluster-1", "u-9")));
    assert!(!is_other_cluster(&plan, &seen_by("ca:a", "u-1")));
    assert!(is_other_cluster(&plan, &seen_by("ca:a", "u-9")));
    assert!(is_other_cluster(&plan, &seen_by("cluster-2", "u-1")));
    let noted = Bound::of(&RunId("01J8".into()), &plan).unwrap();
    assert_eq!(noted.workloads, BTreeMap::from([(SHOP.to_owned(), "u-1".to_owned())]));
}
