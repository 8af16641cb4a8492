//! From a pod to what a person wants to read of it when its gate did not hold. Pure.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

use crate::model::{Evidence, LogTail, PodEvent, cut, hide_passwords, plain};

/// The longest line that is kept, in bytes.
const LINE: usize = 240;
/// How much of state, events and what could not be read is kept, in lines each.
const LINES: usize = 8;
/// How much of all logs together is kept, in bytes.
const LOGS: usize = 4096;
/// Of how many containers logs are read.
const CONTAINERS: usize = 3;

/// The state of a pod: conditions that do not hold, and what its containers do.
pub fn evidence_of(pod: &Pod) -> Evidence {
    let status = pod.status.as_ref();
    let mut state = Vec::new();
    if pod.metadata.deletion_timestamp.is_some() {
        let held = pod
            .metadata
            .finalizers
            .iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        state.push(match held.as_str() {
            "" => "terminating".to_owned(),
            held => format!("terminating, held by the finalizers {held}"),
        });
    }
    if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) {
        state.push(format!("on node {node}"));
    }
    for condition in status.iter().flat_map(|status| status.conditions.iter().flatten()) {
        // `Ready` says the same.
        if condition.status == "True" || condition.type_ == "ContainersReady" {
            continue;
        }
        let why = [&condition.reason, &condition.message]
            .into_iter()
            .flatten()
            .filter(|why| !why.is_empty());
        let why: Vec<&str> = why.map(String::as_str).collect();
        let since = condition.last_transition_time.as_ref();
        let since = since
            .map(|at| format!(" since {}", at.0.strftime("%H:%M:%S")))
            .unwrap_or_default();
        state.push(format!(
            "{} is {}{since}: {}",
            condition.type_,
            condition.status,
            why.join(", ")
        ));
    }
    state.extend(containers(pod).map(describe));
    Evidence {
        of: pod.metadata.name.clone().unwrap_or_default(),
        state,
        ..Evidence::default()
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    })
}

fn describe(container: &ContainerStatus) -> String {
    let mut text = format!("container {} ", container.name);
    text.push_str(
        &container
            .state
            .as_ref()
            .map_or_else(|| "has no state".to_owned(), of_state),
    );
    match container.restart_count {
        0 => {}
        1 => text.push_str("; restarted once"),
        count => text.push_str(&format!("; restarted {count} times")),
    }
    if let Some(before) = container
        .last_state
        .as_ref()
        .filter(|before| before.terminated.is_some())
    {
        text.push_str(&format!("; before, it {}", of_state(before)));
    }
    text
}

fn of_state(state: &ContainerState) -> String {
    let with = |what: String, message: &Option<String>| match message.as_deref().map(str::trim) {
        None | Some("") => what,
        Some(message) => format!("{what} ({message})"),
    };
    if let Some(waiting) = &state.waiting {
        return with(
            format!("waits: {}", waiting.reason.as_deref().unwrap_or("no reason given")),
            &waiting.message,
        );
    }
    if let Some(ended) = &state.terminated {
        let reason = ended.reason.as_deref().unwrap_or("no reason given");
        return with(
            format!("ended with exit code {}: {reason}", ended.exit_code),
            &ended.message,
        );
    }
    if state.running.is_some() {
        "runs"
    } else {
        "has no state"
    }
    .to_owned()
}

/// Whose logs are worth reading, those in trouble first; and whether a process before the last restart left one.
pub fn logs_to_read(pod: &Pod) -> Vec<(String, bool)> {
    let mut all: Vec<(bool, &ContainerStatus)> = containers(pod)
        // One that never ran has no log; an init container that did its work is not in trouble.
        .filter(|one| one.restart_count > 0 || one.state.as_ref().is_some_and(|state| state.waiting.is_none()))
        .map(|one| {
            let done = one
                .state
                .as_ref()
                .and_then(|state| state.terminated.as_ref())
                .is_some_and(|end| end.exit_code == 0);
            (one.ready || done, one)
        })
        .collect();
    all.sort_by_key(|(fine, _)| *fine);
    let names = all.into_iter().take(CONTAINERS);
    names
        .map(|(_, one)| (one.name.clone(), one.restart_count > 0))
        .collect()
}

/// An event as a line.
pub fn event_line(event: &PodEvent) -> String {
    let at = event
        .at
        .map(|at| format!("{} ", at.strftime("%H:%M:%S")))
        .unwrap_or_default();
    let times = if event.count > 1 {
        format!(" ({} times)", event.count)
    } else {
        String::new()
    };
    format!("{at}{}{times}: {}", event.reason, event.message)
}

/// Cuts it to a size that a journal can take, without escape sequences, and without what `hide` and any URL's password
/// would give away. The ends of lists are kept: there stands what happened last.
pub fn bounded(evidence: Evidence, hide: &dyn Fn(&str) -> String) -> Evidence {
    // Escape sequences first, or one within a secret would hide it from `hide`; cutting last, for it could leave a half.
    let line = |text: &String| cut(&hide_passwords(&hide(&plain(text))), LINE);
    let last =
        |lines: &[String]| -> Vec<String> { lines[lines.len().saturating_sub(LINES)..].iter().map(line).collect() };
    let share = LOGS / evidence.logs.len().max(1);
    let logs = evidence.logs.iter().map(|tail| {
        let mut left = share;
        let mut lines: Vec<String> = Vec::new();
        for text in tail.lines.iter().rev().map(line) {
            if text.len() + 1 > left {
                break;
            }
            left -= text.len() + 1;
            lines.push(text);
        }
        lines.reverse();
        LogTail {
            container: tail.container.clone(),
            before_restart: tail.before_restart,
            lines,
        }
    });
    Evidence {
        logs: logs.filter(|tail| !tail.lines.is_empty()).collect(),
        state: evidence.state.iter().take(2 * LINES).map(line).collect(),
        events: last(&evidence.events),
        unread: last(&evidence.unread),
        of: evidence.of,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{from_value, json};

    use super::*;

    fn crashing() -> Pod {
        from_value(json!({
            "metadata": { "name": "web-0" },
            "spec": { "nodeName": "n1", "containers": [] },
            "status": {
                "conditions": [
                    { "type": "PodScheduled", "status": "True" },
                    {
                        "type": "Ready", "status": "False", "reason": "ContainersNotReady",
                        "message": "containers with unready status: [shop]",
                        "lastTransitionTime": "2026-11-23T03:04:05Z",
                    },
                ],
                "containerStatuses": [
                    { "name": "proxy", "ready": true, "restartCount": 0, "image": "", "imageID": "", "state": { "running": {} } },
                    {
                        "name": "shop", "ready": false, "restartCount": 3, "image": "", "imageID": "",
                        "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s" } },
                        "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } },
                    },
                    {
                        "name": "late", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                        "state": { "waiting": { "reason": "ContainerCreating" } },
                    },
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_crashing_pod_is_told_whole() {
        insta::assert_snapshot!(evidence_of(&crashing()).state.join("\n"), @r"
        on node n1
        Ready is False since 03:04:05: ContainersNotReady, containers with unready status: [shop]
        container proxy runs
        container shop waits: CrashLoopBackOff (back-off 40s); restarted 3 times; before, it ended with exit code 1: Error
        container late waits: ContainerCreating
        ");
        let read = [("shop".to_owned(), true), ("proxy".to_owned(), false)];
        assert_eq!(logs_to_read(&crashing()), read);
    }

    #[test]
    fn nothing_secret_and_nothing_that_a_terminal_obeys_is_kept() {
        let lines = vec![
            "\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}and\tplain\u{202e}".to_owned(),
            "cannot reach amqp://shop:hunter2@mq/a, see http://x:80/".to_owned(),
            "the key is s\u{1b}[1mesame".to_owned(),
        ];
        let evidence = Evidence {
            logs: vec![LogTail {
                lines,
                ..LogTail::default()
            }],
            ..Evidence::default()
        };
        let kept = bounded(evidence, &|text| text.replace("sesame", "(hidden)"));
        assert_eq!(
            kept.logs[0].lines,
            [
                "red and plain",
                "cannot reach amqp://shop:(hidden)@mq/a, see http://x:80/",
                "the key is (hidden)",
            ]
        );
    }

    proptest! {
        #[test]
        fn w10_it_is_small_and_keeps_the_ends(lines in prop::collection::vec("\\PC{0,400}", 0..60)) {
            let tail = |container: &str| LogTail { container: container.to_owned(), lines: lines.clone(), before_restart: false };
            let evidence = Evidence {
                of: "web-0".to_owned(),
                state: lines.clone(),
                events: lines.clone(),
                logs: vec![tail("a"), tail("b"), tail("c")],
                unread: lines.clone(),
            };
            let kept = bounded(evidence, &|text| text.to_owned());
            prop_assert!(serde_json::to_string(&kept).unwrap().len() < 24 * 1024);
            prop_assert!(kept.events.len() <= LINES);
            let last = lines.last().map(|line| cut(&hide_passwords(&plain(line)), LINE));
            prop_assert_eq!(kept.events.last(), last.as_ref());
        }
    }
}
