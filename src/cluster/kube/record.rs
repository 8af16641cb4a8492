//! What is recorded of a pod: logs and events.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};
use stepback_core::model::PodEvent;

use super::failure;
use crate::cluster::{ClusterError, LogOf};

/// A log is asked for by lines, and a line can be anything: no more bytes than this are read of it.
const LOG_BYTES: i64 = 64 * 1024;

/// The last lines of a container's log.
pub(super) async fn log(
    client: &Client,
    namespace: &str,
    pod: &str,
    container: &str,
    of: LogOf,
) -> Result<Vec<String>, ClusterError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let (LogOf::Now { lines } | LogOf::Before { lines }) = of;
    let params = LogParams {
        container: Some(container.to_owned()),
        previous: matches!(of, LogOf::Before { .. }),
        tail_lines: Some(lines.into()),
        limit_bytes: Some(LOG_BYTES),
        ..LogParams::default()
    };
    let object = format!("the log of {namespace}/{pod}/{container}");
    let text = pods
        .logs(pod, &params)
        .await
        .map_err(|error| failure::of(error, &object))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What was recorded of this very pod, oldest first.
pub(super) async fn events(
    client: &Client,
    namespace: &str,
    pod: &str,
    uid: &str,
) -> Result<Vec<PodEvent>, ClusterError> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let of_it = ListParams::default().fields(&format!("involvedObject.name={pod},involvedObject.uid={uid}"));
    let object = format!("the events of {namespace}/{pod}");
    let found = events.list(&of_it).await.map_err(|error| failure::of(error, &object))?;
    let mut seen: Vec<PodEvent> = found.items.iter().map(read).collect();
    seen.sort_by_key(|event| event.at);
    Ok(seen)
}

/// Older writers fill the first and last times, newer ones the event's own time and its series.
fn read(event: &Event) -> PodEvent {
    let series = event.series.as_ref();
    let at = series
        .and_then(|series| series.last_observed_time.as_ref().map(|time| time.0))
        .or(event.last_timestamp.as_ref().map(|time| time.0))
        .or(event.event_time.as_ref().map(|time| time.0))
        .or(event.first_timestamp.as_ref().map(|time| time.0))
        .or(event.metadata.creation_timestamp.as_ref().map(|time| time.0));
    PodEvent {
        at,
        warning: event.type_.as_deref() == Some("Warning"),
        reason: event.reason.clone().unwrap_or_default(),
        message: event.message.clone().unwrap_or_default(),
        count: series.and_then(|series| series.count).or(event.count).unwrap_or(1),
    }
}
