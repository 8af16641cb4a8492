//! Whether this is the cluster, and are these the workloads, that the ledger's runs act on (LAWS D13).
//!
//! Somebody has the context of another cluster: its pods would be stopped, and this one's schema undone under pods that
//! nobody has stopped. What the last run of the app acted on is written in the database, so it can be compared; before the
//! first run nothing is known, and nothing is said.

use crate::model::{Bound, Finding, RunId, SeenCluster};

use super::Plan;
use super::request::{Request, Seen};

/// What an identity begins with that is the cluster's certificate authority, where the UID of `kube-system` must not be
/// read: two of different kinds tell nothing about each other.
const BY_AUTHORITY: &str = "ca:";

/// Whether the two identities are of clusters that are not the same; `None`: that cannot be told.
fn is_other(one: &str, another: &str) -> Option<bool> {
    let comparable = one.starts_with(BY_AUTHORITY) == another.starts_with(BY_AUTHORITY);
    comparable.then_some(one != another)
}

impl Bound {
    /// What a run of this plan acts on; `None` where no workload takes part.
    pub fn of(run: &RunId, plan: &Plan) -> Option<Self> {
        let cluster = plan.cluster.as_ref()?;
        let workloads = plan.workload_uids().into_iter();
        Some(Self {
            run: run.clone(),
            title: plan.title.clone(),
            app: plan.app.clone(),
            cluster: cluster.uid.clone(),
            place: cluster.place.clone(),
            workloads: workloads.map(|(workload, uid)| (workload.to_string(), uid)).collect(),
        })
    }

    fn describe(&self) -> String {
        let names: Vec<&str> = self.workloads.keys().map(String::as_str).collect();
        let names = names.join(", ");
        match &self.place {
            Some(place) => format!("{names} in {place}"),
            None => names,
        }
    }
}

/// Whether the cluster that was looked at is another one than the plan was made for. Where one of the two was told by its
/// UID and the other, for want of a right, by its certificate authority, the workloads' own UIDs tell.
pub fn is_other_cluster(planned: &Plan, seen: &SeenCluster) -> bool {
    let Some(cluster) = &planned.cluster else { return false };
    is_other(&cluster.uid, &seen.uid).unwrap_or_else(|| {
        let planned = planned.workload_uids();
        !planned.values().any(|uid| has(seen, uid))
    })
}

fn has(seen: &SeenCluster, uid: &str) -> bool {
    seen.workloads.iter().any(|workload| workload.uid() == Some(uid))
}

/// Compares with what the last run of the app on this ledger acted on.
pub(super) fn check_bound(request: &Request<'_>, seen: &Seen, findings: &mut Vec<Finding>) {
    let Some(cluster) = &seen.cluster else { return };
    let app = request.app.map(|app| app.name.as_str());
    let Some(bound) = seen.database.bound.iter().rfind(|bound| bound.app.as_deref() == app) else {
        return;
    };
    // A UID is never given twice: one that is found again is the same workload, whatever the cluster is told by.
    if bound.workloads.values().any(|uid| has(cluster, uid)) {
        return;
    }
    let mut names = cluster.workloads.iter().map(|seen| seen.workload.to_string());
    let is_named = names.any(|name| bound.workloads.contains_key(&name));
    let here = match &cluster.place {
        Some(place) => format!("this is {place}"),
        None => "this is not it".to_owned(),
    };
    let last = format!("run {} ({}) acted on {}", bound.run, bound.title, bound.describe());
    let check = "check --context, --kubeconfig and the namespace, and which database is meant";
    findings.push(match (is_other(&bound.cluster, &cluster.uid), is_named) {
        // Deleted and made again, in the same place of the same cluster.
        (Some(false), true) => return,
        (Some(true), _) => Finding::refusal(
            "cluster-differs",
            "cluster",
            format!("{last}, and that is another cluster: {here}"),
            format!("{check}; where the app has moved, or its cluster was built anew, this is the right one"),
        ),
        (Some(false) | None, false) => Finding::refusal(
            "cluster-differs",
            "cluster",
            format!("{last}, and none of these is among the workloads that the app file names here: {here}"),
            format!("{check}; where the app has moved, or was renamed, these are the right ones"),
        ),
        (None, true) => Finding::warning(
            "cluster-differs",
            "cluster",
            format!(
                "{last}; they were made again since, or this is another cluster: {here}. It cannot be told, because one of \
                 the two could not read the UID of the namespace kube-system"
            ),
            check,
        ),
    });
}
