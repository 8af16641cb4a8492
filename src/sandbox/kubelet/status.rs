//! What a pod reports, put together from the states of its containers.

use std::net::IpAddr;

use k8s_openapi::{
    api::core::v1::{ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::container::{Restart, outcome};
use crate::record::now;

/// The phase that the containers add up to.
pub(super) fn phase(containers: &[ContainerStatus], restart: Restart) -> &'static str {
    let for_good = |status: &ContainerStatus| match (outcome(status)?, restart) {
        (_, Restart::Always) | (false, Restart::OnFailure) => None,
        (succeeded, _) => Some(succeeded),
    };
    let ended: Option<Vec<_>> = containers.iter().map(for_good).collect();
    match ended {
        Some(ended) if !ended.is_empty() => return if ended.contains(&false) { "Failed" } else { "Succeeded" },
        _ => {}
    }
    let was_started = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            || status.last_state.is_some()
            || status.restart_count > 0
    };
    if containers.iter().all(was_started) {
        "Running"
    } else {
        "Pending"
    }
}

/// The phase of a pod that was told to end, once all of its containers have.
pub(super) fn final_phase(containers: &[ContainerStatus]) -> &'static str {
    if containers.iter().all(|status| outcome(status) == Some(true)) {
        "Succeeded"
    } else {
        "Failed"
    }
}

/// The whole status, with conditions whose times change only when they do.
pub(super) fn compose(
    pod: &Pod,
    before: Option<&PodStatus>,
    phase: &str,
    address: IpAddr,
    started: &Time,
    containers: Vec<ContainerStatus>,
) -> PodStatus {
    let not_ready: Vec<_> = containers
        .iter()
        .filter(|status| !status.ready)
        .map(|status| &*status.name)
        .collect();
    let is_over = matches!(phase, "Succeeded" | "Failed");
    let ready = not_ready.is_empty() && !is_over;
    let reason = match (ready, is_over) {
        (true, _) => None,
        (false, true) => Some("PodCompleted".to_owned()),
        (false, false) => Some("ContainersNotReady".to_owned()),
    };
    let message = (!ready && !is_over).then(|| format!("containers with unready status: [{}]", not_ready.join(" ")));
    let earlier = before
        .or(pod.status.as_ref())
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let condition = |type_: &str, holds: bool, reason: Option<String>, message: Option<String>| {
        let status = if holds { "True" } else { "False" };
        let since = earlier
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == status);
        let since = since.and_then(|condition| condition.last_transition_time.clone());
        PodCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            last_transition_time: Some(since.unwrap_or_else(now)),
            reason,
            message,
            ..PodCondition::default()
        }
    };
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(vec![
            condition("PodScheduled", true, None, None),
            condition("Initialized", true, None, None),
            condition("ContainersReady", ready, reason.clone(), message.clone()),
            condition("Ready", ready, reason, message),
        ]),
        pod_ip: Some(address.to_string()),
        pod_ips: Some(vec![PodIP {
            ip: address.to_string(),
        }]),
        host_ip: Some("127.0.0.1".to_owned()),
        host_ips: Some(vec![HostIP {
            ip: "127.0.0.1".to_owned(),
        }]),
        start_time: Some(started.clone()),
        container_statuses: Some(containers),
        ..PodStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn status(state: Value, restarts: i32) -> ContainerStatus {
        from_value(json!({
            "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": restarts, "state": state,
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_running_once_every_container_was_started_and_ends_with_the_last() {
        let running = || status(json!({ "running": {} }), 0);
        let pulling = || status(json!({ "waiting": { "reason": "ImagePullBackOff" } }), 0);
        let crashing = || status(json!({ "waiting": { "reason": "CrashLoopBackOff" } }), 2);
        let ended = |code: i32| status(json!({ "terminated": { "exitCode": code } }), 0);
        for (containers, restart, expected) in [
            (vec![running()], Restart::Always, "Running"),
            (vec![running(), pulling()], Restart::Always, "Pending"),
            (vec![crashing()], Restart::Always, "Running"),
            (vec![ended(1)], Restart::Always, "Running"),
            (vec![ended(1)], Restart::OnFailure, "Running"),
            (vec![ended(1)], Restart::Never, "Failed"),
            (vec![ended(0), ended(0)], Restart::Never, "Succeeded"),
            (vec![ended(0), running()], Restart::Never, "Running"),
        ] {
            assert_eq!(phase(&containers, restart), expected, "{containers:?} {restart:?}");
        }
    }
}
