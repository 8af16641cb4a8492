//! Why a pod is not ready, in words, and whether it can never be.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use super::lost::sign_of_loss;
use super::pods::{condition, is_terminating};
use crate::model::cut;

/// How many bytes are kept of what a kubelet says of a container.
const SAID: usize = 300;

/// In which phase of its life it is, in words; on its way out, what keeps it (LAWS W14).
pub(super) fn phase(pod: &Pod) -> String {
    if is_terminating(pod) {
        let uid = pod.metadata.uid.as_deref().filter(|_| sign_of_loss(pod).is_some());
        return uid.map_or_else(
            || "terminating".to_owned(),
            |uid| {
                format!(
                    "terminating on a node that the cluster has lost touch with; bring it back, or where its machine is \
                     known to be off: stepback resume --pod-dead {uid}"
                )
            },
        );
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.map_or_else(|| "in no phase yet".to_owned(), str::to_lowercase)
}

/// The likeliest reason in a few words: what a container waits for, how one ended, why the pod has no node, or what the
/// condition says.
pub(super) fn why_not_ready(pod: &Pod) -> String {
    let Some(status) = &pod.status else {
        return "no status yet".to_owned();
    };
    for container in containers(status) {
        let Some(state) = &container.state else { continue };
        let restarts = match container.restart_count {
            0 => String::new(),
            1 => ", 1 restart".to_owned(),
            count => format!(", {count} restarts"),
        };
        let waits_for = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        // While init containers run, the others wait for them: that is no reason of its own.
        if let Some(reason) = waits_for.filter(|reason| *reason != "PodInitializing") {
            let said = state.waiting.as_ref().and_then(|waiting| waiting.message.as_deref());
            return format!(
                "{}: {reason}{restarts}{}",
                container.name,
                details(reason, said.unwrap_or_default())
            );
        }
        // An init container that has done its work has ended too.
        if let Some(ended) = state.terminated.as_ref().filter(|ended| ended.exit_code != 0) {
            return format!("{}: ended with exit code {}{restarts}", container.name, ended.exit_code);
        }
    }
    let unscheduled = condition(pod, "PodScheduled").filter(|scheduled| scheduled.status == "False");
    if let Some(unscheduled) = unscheduled {
        let message = unscheduled.message.as_ref().or(unscheduled.reason.as_ref());
        return format!("no node for it: {}", message.map_or("no reason given", String::as_str));
    }
    match condition(pod, "Ready").and_then(|ready| ready.reason.clone().or_else(|| ready.message.clone())) {
        Some(reason) => reason,
        None => phase(pod),
    }
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten())
}

/// What a kubelet says of a reason for waiting, where that tells more: which image cannot be had and why, which object of its
/// configuration is missing, or for how long it pauses. While an image is being pulled it says nothing. Sources:
/// `pkg/kubelet/images/types.go`, `pkg/kubelet/kuberuntime/kuberuntime_manager.go` (`back-off 5m0s restarting failed …`).
fn details(reason: &str, said: &str) -> String {
    let said = said.trim();
    if reason == "CrashLoopBackOff" {
        let pause = said.strip_prefix("back-off ").and_then(|said| said.split(' ').next());
        return pause.map_or_else(String::new, |pause| format!(", back-off {pause} before the next"));
    }
    match said {
        "" => String::new(),
        said => format!(": {}", cut(said, SAID)),
    }
}

/// Why the pod can never start: the name of an image of it is none. Whatever else keeps an image away (a registry, a
/// secret, a tag that is not pushed yet) can change, and is waited for.
pub(super) fn why_never_ready(pod: &Pod) -> Option<String> {
    let mut containers = pod.status.iter().flat_map(containers);
    containers.find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting
            .reason
            .as_deref()
            .filter(|reason| *reason == "InvalidImageName")?;
        let said = waiting.message.as_deref().unwrap_or_default();
        Some(format!("{}: {reason}{}", container.name, details(reason, said)))
    })
}
