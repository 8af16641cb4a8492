//! One container of a pod: its image is found, its process started, probed, started again after a pause, and ended.
//!
//! Each runs as a task of its own and publishes its state; what the pod as a whole reports is the pod's business.

use std::{
    net::IpAddr,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use k8s_openapi::{
    api::core::v1::{
        Container as Spec, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt;
use tokio::{
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    Shared, env,
    logs::Key,
    place::Standing,
    probe::{Answer, Prober},
};
use crate::{
    record::{Kind, now},
    shop,
};

/// An order to end, with the time that the process is given after SIGTERM.
pub(super) type Stop = watch::Receiver<Option<Duration>>;

pub(super) struct Container {
    pub shared: Arc<Shared>,
    pub pod: Arc<Pod>,
    pub spec: Spec,
    pub address: IpAddr,
    /// Whether a process that ended is started again: the pod's restart policy.
    pub restart: Restart,
    pub stop: Stop,
    /// Where the state is published; the pod waits for changes of it.
    pub state: watch::Sender<ContainerStatus>,
}

/// How long the output of a process that has ended may take to be read. Nobody else should hold its pipes.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// A process that was started, and those who read its output.
struct Process {
    child: Child,
    started: Time,
    readers: Vec<JoinHandle<()>>,
    /// Commands can be run beside it as long as this is there.
    standing: Standing,
}

/// A pod's restart policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// The state of a container that nothing was done for yet.
pub(super) fn unstarted(spec: &Spec, restart_count: i32) -> ContainerStatus {
    ContainerStatus {
        name: spec.name.clone(),
        image: spec.image.clone().unwrap_or_default(),
        started: Some(false),
        restart_count,
        state: Some(waiting("ContainerCreating", None)),
        ..ContainerStatus::default()
    }
}

/// Whether the container has ended for good: `None` while it has not, else whether it succeeded.
pub(super) fn outcome(status: &ContainerStatus) -> Option<bool> {
    let terminated = status.state.as_ref()?.terminated.as_ref()?;
    Some(terminated.exit_code == 0)
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message,
    };
    ContainerState {
        waiting: Some(waiting),
        ..ContainerState::default()
    }
}

impl Container {
    /// Runs the container until it is told to end, or has ended and its pod does not want it again.
    pub async fn run(mut self) {
        let pause = self.shared.options.back_off;
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let refused = match self.begin().await {
                Ok(process) => match self.accompany(process).await {
                    Some(true) => None,
                    Some(false) | None => return,
                },
                Err(refused) => Some(refused),
            };
            // A process that ran for long is not crashing in a loop.
            if refused.is_none() && begun.elapsed() > pause.limit.saturating_mul(2) {
                failures = 0;
            }
            failures += 1;
            let wait = match &refused {
                Some((reason, message)) => {
                    self.say(Kind::Warning, "Failed", &format!("Error: {reason}: {message}"))
                        .await;
                    self.publish(|status| status.state = Some(waiting(reason, Some(message.clone()))));
                    pause.after(failures)
                }
                // The first restart is not delayed.
                None => pause.after(failures - 1),
            };
            let told = if wait.is_zero() {
                self.is_told()
            } else {
                self.hold_off(refused.as_ref(), wait).await
            };
            if told {
                return;
            }
            if refused.is_none() {
                self.publish(|status| status.restart_count += 1);
            }
        }
    }

    /// Waits before the next attempt, and says so. True when the container was told to end meanwhile.
    async fn hold_off(&mut self, refused: Option<&(&'static str, String)>, wait: Duration) -> bool {
        let name = &self.spec.name;
        let (reason, message) = match refused {
            Some(("ErrImagePull", _)) => {
                let image = self.spec.image.as_deref().unwrap_or_default();
                ("ImagePullBackOff", format!("Back-off pulling image {image:?}"))
            }
            Some((reason, message)) => (*reason, message.clone()),
            None => {
                let pod = self.pod.name_any();
                (
                    "CrashLoopBackOff",
                    format!("back-off {wait:?} restarting failed container={name} pod={pod}"),
                )
            }
        };
        if refused.is_none_or(|(reason, _)| *reason == "ErrImagePull") {
            self.say(Kind::Warning, "BackOff", &message).await;
        }
        if reason == "ImagePullBackOff" {
            // The first refusal is seen for a moment before it becomes a pause.
            if stopped_within(&mut self.stop, wait / 2).await {
                return true;
            }
        }
        self.publish(|status| {
            if refused.is_none() {
                status.last_state = status.state.take();
            }
            status.state = Some(waiting(reason, Some(message)));
        });
        stopped_within(&mut self.stop, wait).await
    }

    fn is_told(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Starts the process. The error is a reason as a kubelet gives it, and a message.
    async fn begin(&mut self) -> Result<Process, (&'static str, String)> {
        let image = self.spec.image.clone().unwrap_or_default();
        let Some(release) = release_of(&image) else {
            return Err((
                "ErrImagePull",
                format!("there is no image {image:?} on this node, and none is ever pulled"),
            ));
        };
        let address = self.address.to_string();
        let variables = env::resolve(&self.shared.client, &self.pod, &self.spec, &address).await;
        let variables = variables.map_err(|why| ("CreateContainerConfigError", why))?;
        self.say(
            Kind::Normal,
            "Pulled",
            &format!("Container image {image:?} already present on machine"),
        )
        .await;
        let program = &self.shared.options.program;
        let mut variables = variables;
        for (name, value) in [
            ("HOSTNAME", &*self.pod.name_any()),
            (shop::RELEASE_VARIABLE, release),
            (shop::ADDRESS_VARIABLE, &address),
        ] {
            variables.insert(name.to_owned(), value.to_owned());
        }
        let directory = self.shared.options.directory.clone();
        let mut command = Command::new(&program.path);
        if let Some(directory) = &directory {
            command.current_dir(directory);
        }
        command
            .args(&program.args)
            .env_clear()
            .envs(&variables)
            .env(shop::LIFELINE_VARIABLE, "stdin")
            // The process ends when this pipe does, and the pipe ends with us, however we end.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C in our terminal is not meant for the pods.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            (
                "RunContainerError",
                format!("the program {} cannot be started: {error}", program.path.display()),
            )
        })?;
        let logs = &self.shared.logs;
        logs.begin(&self.key());
        let output = child.stdout.take().map(|stream| logs.collect(self.key(), stream));
        let errors = child.stderr.take().map(|stream| logs.collect(self.key(), stream));
        let standing = self.shared.places.open(self.key(), variables, directory);
        let started = now();
        self.publish(|status| {
            let running = ContainerStateRunning {
                started_at: Some(started.clone()),
            };
            if let Some(
                before @ ContainerState {
                    terminated: Some(_), ..
                },
            ) = status.state.take()
            {
                status.last_state = Some(before);
            }
            status.state = Some(ContainerState {
                running: Some(running),
                ..ContainerState::default()
            });
            status.started = Some(true);
            status.ready = false;
            status.image_id = format!("sandbox://{image}");
            status.container_id = child.id().map(|id| format!("process://{id}"));
        });
        self.say(
            Kind::Normal,
            "Started",
            &format!("Started container {}", self.spec.name),
        )
        .await;
        Ok(Process {
            child,
            started,
            readers: output.into_iter().chain(errors).collect(),
            standing,
        })
    }

    fn key(&self) -> Key {
        let namespace = self.pod.namespace().unwrap_or_default();
        (namespace, self.pod.name_any(), self.spec.name.clone())
    }

    /// Stays with a running process to its end. `None` when it was told to end; else whether it is wanted again.
    async fn accompany(&mut self, process: Process) -> Option<bool> {
        let Process {
            mut child,
            started,
            readers,
            standing,
        } = process;
        // Held, not used: the process lives as long as this pipe does.
        let _lifeline = child.stdin.take();
        let mut prober = Prober::new(&self.spec, self.address, self.shared.options.second);
        let (exit, told) = loop {
            tokio::select! {
                exit = child.wait() => break (exit, false),
                grace = stop_order(&mut self.stop) => {
                    self.publish(|status| status.ready = false);
                    self.say(Kind::Normal, "Killing", &format!("Stopping container {}", self.spec.name)).await;
                    break (end(&mut child, grace).await, true);
                }
                answer = prober.ask() => match answer {
                    None => {}
                    Some(Answer::Ready) => self.publish(|status| status.ready = true),
                    Some(Answer::NotReady(why)) => {
                        self.publish(|status| status.ready = false);
                        self.say(Kind::Warning, "Unhealthy", &format!("Readiness probe failed: {why}")).await;
                    }
                },
            }
        };
        drop(standing);
        // What it wrote last belongs to its log before its end is told.
        drop(timeout(LAST_WORDS, join_all(readers)).await);
        self.shared.logs.end(&self.key());
        let code = exit.as_ref().ok().and_then(exit_code).unwrap_or(255);
        let ended = ContainerStateTerminated {
            exit_code: code,
            reason: Some(if code == 0 { "Completed" } else { "Error" }.to_owned()),
            started_at: Some(started),
            finished_at: Some(now()),
            container_id: self.state.borrow().container_id.clone(),
            ..ContainerStateTerminated::default()
        };
        self.publish(|status| {
            status.state = Some(ContainerState {
                terminated: Some(ended),
                ..ContainerState::default()
            });
            status.ready = false;
            status.started = Some(false);
        });
        if told {
            return None;
        }
        Some(match self.restart {
            Restart::Always => true,
            Restart::OnFailure => code != 0,
            Restart::Never => false,
        })
    }

    fn publish(&self, change: impl FnOnce(&mut ContainerStatus)) {
        self.state.send_modify(change);
    }

    async fn say(&self, kind: Kind, reason: &str, message: &str) {
        self.shared.recorder.say(&*self.pod, kind, reason, message).await;
    }
}

/// Resolves to the grace period once the container is told to end.
async fn stop_order(stop: &mut Stop) -> Duration {
    match stop.wait_for(Option::is_some).await {
        Ok(order) => order.unwrap_or_default(),
        // Whoever could have told it is gone, and with it the pod.
        Err(_) => Duration::ZERO,
    }
}

async fn stopped_within(stop: &mut Stop, wait: Duration) -> bool {
    timeout(wait, stop_order(stop)).await.is_ok()
}

/// Ends a process: SIGTERM, and SIGKILL when it takes longer than `grace`.
async fn end(child: &mut Child, grace: Duration) -> std::io::Result<ExitStatus> {
    if let Some(id) = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw)
        && !grace.is_zero()
    {
        if let Err(error) = rustix::process::kill_process(id, rustix::process::Signal::TERM) {
            tracing::debug!(%error, "a process that is to end has ended by itself");
        }
        if let Ok(exit) = timeout(grace, child.wait()).await {
            return exit;
        }
    }
    child.start_kill()?;
    child.wait().await
}

/// The exit code; 128 and the signal's number for a process that a signal ended, as shells and runtimes say it.
pub(super) fn exit_code(exit: &ExitStatus) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    exit.code().or_else(|| exit.signal().map(|signal| 128 + signal))
}

/// The release that an image runs, as its tag spells it: `shop:1.2.0`, `registry.example/team/shop:1.2.0`,
/// `shop:1.3.0-bad`. `None` for an image that is not on this node.
pub(super) fn release_of(image: &str) -> Option<&str> {
    let (_, name) = image.rsplit_once('/').unwrap_or(("", image));
    let tag = name.strip_prefix("shop:")?;
    shop::Release::of(tag.strip_suffix("-bad").unwrap_or(tag)).map(|_| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_the_shop_are_here_and_no_others() {
        for (image, release) in [
            ("shop:1.2.0", Some("1.2.0")),
            ("registry.example:5000/team/shop:1.3.0", Some("1.3.0")),
            ("shop:1.3.0-bad", Some("1.3.0-bad")),
            ("shop:9.9.9", None),
            ("shop", None),
            ("workshop:1.2.0", None),
            ("registry.example/nginx:1", None),
        ] {
            assert_eq!(release_of(image), release, "{image}");
        }
    }
}
