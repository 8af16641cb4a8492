//! Trying probes before anything is changed, from where the run executes (LAWS W17).
//!
//! The pods that are there may be the broken ones that a rollback is to replace: what counts is whether they can be
//! reached. Nothing is changed: commands are not run, their right is asked for; a query is asked, a port is dialled, a
//! page is got.

use futures::future::{join, join_all};
use k8s_openapi::api::core::v1::Pod;
use stepback_core::appfile::AppFile;
use stepback_core::model::SeenWorkload;
use stepback_core::plan::{Ask, Tried, TriedProbe, probes_of};

use super::Seams;
use super::ask::{Asked, TRY};

/// On how many pods of a workload a probe is tried, ready ones first.
const PODS: usize = 3;

/// Tries every probe of the app file on the workloads as they are.
pub async fn try_probes(seams: Seams<'_>, app: &AppFile, seen: &[SeenWorkload]) -> Vec<TriedProbe> {
    let mut queries: Vec<Ask> = Vec::new();
    let mut of_pods: Vec<(&SeenWorkload, Ask)> = Vec::new();
    for workload in seen {
        for probe in probes_of(app, &workload.workload.name) {
            match probe.ask {
                ask @ Ask::Sql { .. } if !queries.contains(&ask) => queries.push(ask),
                Ask::Sql { .. } => {}
                ask => of_pods.push((workload, ask)),
            }
        }
    }
    let pods = join_all(of_pods.into_iter().map(|(workload, ask)| try_on(seams, workload, ask)));
    let database = async {
        let mut tried = Vec::new();
        // One after the other: each takes a connection.
        for ask in queries {
            tried.push(try_query(seams, ask).await);
        }
        tried
    };
    let (mut tried, queries) = join(pods, database).await;
    tried.extend(queries);
    tried
}

async fn try_query(seams: Seams<'_>, ask: Ask) -> TriedProbe {
    let asked = Asked {
        seams,
        namespace: "",
        pod: "",
    };
    TriedProbe {
        subject: "the database".to_owned(),
        what: ask.of_pod(""),
        tried: Some(asked.once(&ask, TRY).await),
        healthy: true,
    }
}

async fn try_on(seams: Seams<'_>, workload: &SeenWorkload, ask: Ask) -> TriedProbe {
    let of = |what: String, tried: Option<Tried>, healthy: bool| TriedProbe {
        subject: workload.workload.to_string(),
        what,
        tried,
        healthy,
    };
    let namespace = &workload.workload.namespace;
    if matches!(ask, Ask::Exec { .. }) {
        let tried = match seams.cluster.missing_exec_rights(namespace).await {
            Ok(missing) if missing.is_empty() => Tried::Holds,
            Ok(missing) => Tried::Unreachable(missing.join(", ")),
            Err(error) => Tried::Unanswered(format!("whether it is allowed cannot be asked: {error}")),
        };
        return of(ask.of_pod(&format!("{}-…", workload.workload.name)), Some(tried), true);
    }
    let mut pods: Vec<(bool, &str)> = workload.pods.iter().filter_map(candidate).collect();
    pods.sort_by_key(|(ready, _)| !ready);
    pods.truncate(PODS);
    let tries = pods.into_iter().map(async |(ready, pod)| {
        let asked = Asked { seams, namespace, pod };
        (asked.once(&ask, TRY).await, ready, pod)
    });
    let best = join_all(tries)
        .await
        .into_iter()
        .min_by_key(|(tried, ready, _)| (rank(tried), !ready));
    match best {
        Some((tried, ready, pod)) => of(ask.of_pod(pod), Some(tried), ready),
        None => of(ask.of_pod(&format!("{}-…", workload.workload.name)), None, false),
    }
}

/// A pod that can be dialled, and whether it is ready.
fn candidate(pod: &Pod) -> Option<(bool, &str)> {
    let status = pod.status.as_ref()?;
    if pod.metadata.deletion_timestamp.is_some() || status.phase.as_deref() != Some("Running") {
        return None;
    }
    status.pod_ip.as_ref()?;
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|one| one.type_ == "Ready" && one.status == "True");
    Some((ready, pod.metadata.name.as_deref()?))
}

/// What says most of what can be reached comes first: one pod that was reached is enough.
fn rank(tried: &Tried) -> u8 {
    match tried {
        Tried::Unfit(_) => 0,
        Tried::Holds => 1,
        Tried::Denied(_) => 2,
        Tried::Unanswered(_) => 3,
        Tried::Unreachable(_) => 4,
    }
}
