//! What is to be read of a pod whose gate did not hold. Nothing that cannot be read hides what happened.

use std::time::Duration;

use futures::future::join_all;
use stepback_core::model::{Evidence, LogTail, SeenWorkload, WorkloadRef};
use stepback_core::plan::Gate;
use stepback_core::workload::{bounded, event_line, evidence_of, logs_to_read, standing_in_the_way};

use super::Seams;
use crate::cluster::{ClusterError, LogOf, Parts, Pods};

/// How long one thing may take to be read: a node that does not answer must not hold the halt back.
const READ: Duration = Duration::from_secs(3);

/// How many lines of a log are asked for.
const LOG_LINES: u32 = 20;

/// Reads what there is to know. `None` where the gate is about no pod.
pub async fn gather(seams: Seams<'_>, gate: &Gate) -> Option<Evidence> {
    let (workload, pod) = match gate {
        Gate::PodHealthy { workload, pod, .. } | Gate::PodGone { workload, pod } => (workload, Some(pod.as_str())),
        Gate::AllGone { workload } => (workload, None),
        _ => return None,
    };
    let evidence = match read(seams.cluster.look_at(workload, Parts::default().and(Pods::All))).await {
        Ok(seen) => of_workload(seams, workload, &seen, pod).await,
        Err(why) => Evidence {
            of: pod.unwrap_or(&workload.name).to_owned(),
            unread: vec![format!("the pod: {why}")],
            ..Evidence::default()
        },
    };
    Some(bounded(evidence, &|text| seams.database.redact(text)))
}

async fn of_workload(seams: Seams<'_>, workload: &WorkloadRef, seen: &SeenWorkload, pod: Option<&str>) -> Evidence {
    let named = |name: &str| {
        seen.pods
            .iter()
            .find(|found| found.metadata.name.as_deref() == Some(name))
    };
    // A pod that is not made has nothing to be read, but for the one that it waits for.
    let found = pod.map_or_else(
        || seen.pods.last(),
        |pod| named(pod).or_else(|| standing_in_the_way(seen, pod)),
    );
    let namespace = &workload.namespace;
    let Some(found) = found else {
        // Why a pod is not made is recorded of its set.
        let uid = seen
            .set
            .as_ref()
            .and_then(|set| set.metadata.uid.clone())
            .unwrap_or_default();
        let mut evidence = Evidence {
            of: workload.to_string(),
            state: pod.map(|pod| format!("pod {pod} does not exist")).into_iter().collect(),
            ..Evidence::default()
        };
        add_events(seams, namespace, &workload.name, &uid, &mut evidence).await;
        return evidence;
    };
    let mut evidence = evidence_of(found);
    let (name, uid) = (evidence.of.clone(), found.metadata.uid.clone().unwrap_or_default());
    add_events(seams, namespace, &name, &uid, &mut evidence).await;
    let logs = logs_to_read(found).into_iter().flat_map(|(container, restarted)| {
        let before = restarted.then(|| (container.clone(), true));
        before.into_iter().chain([(container, false)])
    });
    let logs = logs.map(async |(container, before_restart)| {
        let of = if before_restart {
            LogOf::Before { lines: LOG_LINES }
        } else {
            LogOf::Now { lines: LOG_LINES }
        };
        let lines = read(seams.cluster.log(namespace, &name, &container, of)).await;
        (container, before_restart, lines)
    });
    for (container, before_restart, lines) in join_all(logs).await {
        match lines {
            Ok(lines) => evidence.logs.push(LogTail {
                container,
                before_restart,
                lines,
            }),
            Err(why) => evidence.unread.push(format!("the log of {container}: {why}")),
        }
    }
    evidence
}

async fn add_events(seams: Seams<'_>, namespace: &str, name: &str, uid: &str, evidence: &mut Evidence) {
    match read(seams.cluster.events(namespace, name, uid)).await {
        Ok(events) => evidence.events = events.iter().map(event_line).collect(),
        Err(why) => evidence.unread.push(format!("its events: {why}")),
    }
}

async fn read<T>(reading: impl Future<Output = Result<T, ClusterError>>) -> Result<T, String> {
    match tokio::time::timeout(READ, reading).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", READ.as_secs())),
    }
}
