//! Running a command in a pod.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::failure;
use crate::cluster::{ClusterError, Exited};

/// How much of the end of what a command says is kept, in bytes.
const KEPT: usize = 400;

/// Says which container is meant where nobody names one, as for kubectl.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Runs it and waits for its end.
pub(super) async fn run(
    client: &Client,
    namespace: &str,
    pod: &str,
    container: Option<&str>,
    command: &[String],
) -> Result<Exited, ClusterError> {
    let object = format!("Pod {namespace}/{pod}");
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let found = pods.get(pod).await.map_err(|error| failure::of(error, &object))?;
    let container = choose(&found, container, &object)?;
    let params = AttachParams::default().container(container).stdin(false);
    let mut process = pods
        .exec(pod, command, &params)
        .await
        .map_err(|error| failure::of_upgrade(error, &format!("pods/exec of {object}")))?;
    let broken = || ClusterError::Unreachable(format!("{object}: the stream of the command broke off"));
    let status = process.take_status().ok_or_else(broken)?;
    // Both are read to their ends: nothing else makes the process go on.
    let (output, errors) = tokio::join!(tail(process.stdout()), tail(process.stderr()));
    let status = status.await.ok_or_else(broken)?;
    let said = if errors.trim().is_empty() { output } else { errors };
    Ok(Exited {
        code: code_of(&status, &object)?,
        said: said.trim().to_owned(),
    })
}

/// The container that is meant: the one named, the pod's default one, its first.
fn choose(pod: &Pod, named: Option<&str>, object: &str) -> Result<String, ClusterError> {
    let names: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|container| container.name.as_str())
        .collect();
    let annotated = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(DEFAULT_CONTAINER));
    let default = annotated.map(String::as_str).filter(|name| names.contains(name));
    match named.or(default).or(names.first().copied()) {
        Some(name) if names.contains(&name) => Ok(name.to_owned()),
        name => Err(ClusterError::Refused(format!(
            "{object} has no container {}; it has {}",
            name.unwrap_or_default(),
            names.join(", ")
        ))),
    }
}

/// The exit status, as the kubelet tells it; an error where the command did not run.
fn code_of(status: &Status, object: &str) -> Result<i32, ClusterError> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let code = causes
        .into_iter()
        .flatten()
        .filter(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .find_map(|cause| cause.message.as_ref()?.parse().ok());
    code.ok_or_else(|| {
        let message = status.message.as_deref().unwrap_or("no exit status was told");
        ClusterError::Refused(format!("{object}: the command did not run: {message}"))
    })
}

/// Reads to the end and keeps the last bytes.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut read = [0; 4096];
    // A stream that breaks has told what it told; the exit status says whether that matters.
    while let Ok(count @ 1..) = stream.read(&mut read).await {
        kept.extend_from_slice(&read[..count]);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn the_exit_status_decides() {
        let code = |status| code_of(&from_value(status).unwrap(), "Pod a/web-0");
        assert_eq!(code(json!({ "status": "Success" })).unwrap(), 0);
        let failed = json!({
            "status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated with exit code 7",
            "details": { "causes": [{ "reason": "ExitCode", "message": "7" }] },
        });
        assert_eq!(code(failed).unwrap(), 7);
        let missing = json!({ "status": "Failure", "reason": "InternalError", "message": "no such file" });
        assert!(matches!(code(missing), Err(ClusterError::Refused(why)) if why.contains("no such file")));
    }

    #[test]
    fn the_default_container_is_that_of_kubectl() {
        let pod = |annotations| -> Pod {
            from_value(json!({
                "metadata": { "annotations": annotations },
                "spec": { "containers": [{ "name": "proxy" }, { "name": "app" }] },
            }))
            .unwrap()
        };
        let chosen = |annotations, named| choose(&pod(annotations), named, "Pod a/web-0").ok();
        assert_eq!(chosen(json!({}), None).as_deref(), Some("proxy"));
        assert_eq!(chosen(json!({}), Some("app")).as_deref(), Some("app"));
        assert_eq!(
            chosen(json!({ DEFAULT_CONTAINER: "app" }), None).as_deref(),
            Some("app")
        );
        assert_eq!(
            chosen(json!({ DEFAULT_CONTAINER: "gone" }), None).as_deref(),
            Some("proxy")
        );
        assert_eq!(chosen(json!({}), Some("gone")), None);
    }

    #[tokio::test]
    async fn only_the_end_of_what_is_said_is_kept() {
        let long = "x".repeat(10_000) + "end";
        let kept = tail(Some(long.as_bytes())).await;
        assert!(kept.len() == KEPT && kept.ends_with("end"));
    }
}
