//! A pod on a lost node, of which somebody says that it is dead (LAWS W14).

use super::around::{calm, menu, pod, shop};
use super::*;
use crate::model::{NodeState, SeenAround, Severity};

/// The plan to 1.2.0 where the node of the shop's only pod is in this state, and these UIDs are said to be dead.
fn plan_with(node: Result<NodeState, String>, ready: &str, dead: &[&str]) -> Result<Plan, Refusals> {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let empty = Catalog::default();
    let mut cluster = shop();
    cluster.workloads[0].pods = vec![pod(ready)];
    cluster.workloads[0].set.as_mut().unwrap().spec.replicas = Some(1);
    let around = SeenAround {
        objects: menu(true),
        nodes: BTreeMap::from([("n".to_owned(), node)]),
        ..calm()
    };
    let world = Seen {
        cluster: Some(cluster),
        around: vec![around],
        ..seen()
    };
    let request = Request {
        dead: dead.iter().map(|uid| (*uid).to_owned()).collect(),
        ..ask(Goal::Release("1.2.0".parse().unwrap()), Some(&app), &empty)
    };
    plan(&request, &world)
}

fn not_ready() -> Result<NodeState, String> {
    Ok(NodeState::NotReady("why".into()))
}

fn lost(findings: &[Finding]) -> Vec<(String, Severity, bool)> {
    let of = |one: &&Finding| one.code.starts_with("pod-");
    let found = findings.iter().filter(of);
    found
        .map(|one| (one.code.clone(), one.severity, one.accepted))
        .collect()
}

#[test]
fn w14_a_pod_that_is_said_to_be_dead_is_removed_first_and_by_force() {
    let refused = plan_with(not_ready(), "Unknown", &[]).unwrap_err();
    let refused = refused.refusing().next().unwrap();
    assert_eq!(refused.code, "pod-lost");
    assert!(refused.remedy.ends_with("--pod-dead p"), "{}", refused.remedy);

    let plan = plan_with(not_ready(), "Unknown", &["p"]).unwrap();
    assert_eq!(lost(&plan.findings), [("pod-lost".to_owned(), Severity::Warning, true)]);
    // The update that it holds up must not go on while its pods are being stopped.
    assert!(matches!(plan.steps[0].action, Action::UpdateStrategy { .. }));
    let removal = &plan.steps[1];
    assert_eq!(
        removal.action.describe(),
        "remove shop-0 of StatefulSet shop/shop by force, which is said to be dead (p)"
    );
    assert_eq!(removal.gate, Gate::None);
    assert!(matches!(plan.steps[2].action, Action::Scale { .. }));
    let forced = plan
        .steps
        .iter()
        .filter(|step| step.action.describe().contains("force"));
    assert_eq!(forced.count(), 1);
}

#[test]
fn w14_the_word_counts_where_the_node_may_not_be_read() {
    let unknown = || Err("may not get nodes".to_owned());
    let plan = plan_with(unknown(), "False", &["p"]).unwrap();
    assert!(plan.steps[1].action.describe().contains("by force"));
    // One that is ready is in touch with its node.
    let refused = plan_with(unknown(), "True", &["p"]).unwrap_err();
    assert_eq!(lost(refused.findings())[0].0, "pod-alive");
}

#[test]
fn w14_a_pod_on_a_node_in_touch_is_not_dead() {
    for ready in ["True", "False"] {
        let refused = plan_with(Ok(NodeState::Ready), ready, &["p"]).unwrap_err();
        assert_eq!(
            lost(refused.findings()),
            [("pod-alive".to_owned(), Severity::Refusal, false)]
        );
    }
}

#[test]
fn w14_another_uid_removes_nothing_and_lifts_no_refusal() {
    let refused = plan_with(not_ready(), "Unknown", &["q"]).unwrap_err();
    let told: Vec<_> = lost(refused.findings()).into_iter().map(|one| one.1).collect();
    assert_eq!(told, [Severity::Refusal, Severity::Warning]);
    let plan = plan_with(Ok(NodeState::Ready), "True", &["q"]).unwrap();
    assert!(plan.steps.iter().all(|step| !step.action.describe().contains("force")));
}
