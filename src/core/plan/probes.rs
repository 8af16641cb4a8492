//! Probes: what is asked of a pod before the next one is touched, and what trying them beforehand has shown (LAWS W17).

use serde::{Deserialize, Serialize};

use crate::appfile::{AppFile, Ask as FileAsk, Tls as FileTls, Trust};
use crate::model::{Finding, SeenWorkload, TemplateRef, presentable};

/// A probe with its conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// What is asked.
    pub ask: Ask,
    /// How many successes in a row are needed.
    pub successes: u32,
    /// Milliseconds between two tries.
    pub period_ms: u64,
    /// Milliseconds for all of it.
    pub timeout_ms: u64,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Ask {
    /// GET on the pod; every status from 200 to 399 is a success, as for a kubelet's probe.
    Http {
        /// The path with its query.
        path: String,
        /// The port on the pod.
        port: u16,
    },
    /// The same over TLS.
    Https {
        /// The path with its query.
        path: String,
        /// The port on the pod.
        port: u16,
        /// Whose certificate is expected.
        tls: Tls,
    },
    /// A connection that is accepted and not closed at once.
    Tcp {
        /// The port on the pod.
        port: u16,
    },
    /// A query of one statement that returns rows, each of which begins with a value that is true, not zero, not null.
    Sql {
        /// The query.
        query: String,
    },
    /// A command in a container that exits with 0.
    Exec {
        /// The container; none is the pod's default one.
        container: Option<String>,
        /// Program and arguments; there is no shell.
        command: Vec<String>,
    },
}

/// Whose certificate is expected. Holds the authorities themselves, not a file's name: a run goes on from any machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The name that the certificate must be for; `{pod}` stands for the pod's name. None only where nothing is checked.
    pub server_name: Option<String>,
    /// The authorities to trust, as PEM; none are the system's.
    pub ca: Option<String>,
    /// Whether any certificate will do.
    pub insecure: bool,
}

impl Ask {
    /// What is asked of this pod, for messages.
    pub fn of_pod(&self, pod: &str) -> String {
        match self {
            Self::Http { path, port } => format!("GET {path} on {pod}:{port}"),
            Self::Https { path, port, .. } => format!("GET {path} over TLS on {pod}:{port}"),
            Self::Tcp { port } => format!("a connection to {pod}:{port}"),
            Self::Sql { query } => format!("the query `{}`", cut(query.trim())),
            Self::Exec {
                container: Some(container),
                command,
            } => format!("`{}` in {pod}/{container}", cut(&command.join(" "))),
            Self::Exec { command, .. } => format!("`{}` in {pod}", cut(&command.join(" "))),
        }
    }
}

/// The first line, at most 60 characters of it.
fn cut(text: &str) -> String {
    let mut cut: String = text.lines().next().unwrap_or_default().chars().take(60).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// How many bytes are kept of what a probe's other side says.
const SAID: usize = 500;

/// How one try of a probe went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It holds.
    Holds,
    /// Whoever was asked was reached and said no: a status of 500, an exit code, a query's false.
    Denied(String),
    /// The pod or the database was reached, and what was to answer did not: nobody listens, the certificate is not
    /// trusted, the query fails.
    Unanswered(String),
    /// It could not be reached from here.
    Unreachable(String),
    /// It can never hold, whatever it is asked of.
    Unfit(String),
}

impl Tried {
    /// The same, with what the other side said made fit to be shown.
    #[must_use]
    pub fn presentable(self) -> Self {
        let fit = |why: String| presentable(&why, SAID);
        match self {
            Self::Holds => Self::Holds,
            Self::Denied(why) => Self::Denied(fit(why)),
            Self::Unanswered(why) => Self::Unanswered(fit(why)),
            Self::Unreachable(why) => Self::Unreachable(fit(why)),
            Self::Unfit(why) => Self::Unfit(fit(why)),
        }
    }

    /// Why it does not hold; nothing where it does.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Holds => None,
            Self::Denied(why) | Self::Unanswered(why) | Self::Unreachable(why) | Self::Unfit(why) => Some(why),
        }
    }
}

/// What trying one probe has shown before anything was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedProbe {
    /// The workload, or the database.
    pub subject: String,
    /// What was asked of whom.
    pub what: String,
    /// How it went; none where there was no pod to try it on.
    pub tried: Option<Tried>,
    /// Whether whoever was asked counts as healthy: being out of reach is then not its own fault.
    pub healthy: bool,
}

/// The app file's probes of one workload's pods.
pub fn probes_of(app: &AppFile, workload: &str) -> Vec<Probe> {
    let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let of = |probe: &crate::appfile::Probe| Probe {
        ask: ask_of(&probe.ask),
        successes: probe.successes,
        period_ms: ms(probe.period),
        timeout_ms: ms(probe.timeout),
    };
    let concerns = |probe: &&crate::appfile::Probe| probe.workload.as_deref().is_none_or(|name| name == workload);
    app.probes.iter().filter(concerns).map(of).collect()
}

/// Finds commands that are to run in a container that the target's pods do not have.
pub(super) fn check_containers(
    probes: &[Probe],
    seen: &SeenWorkload,
    target: &TemplateRef,
    findings: &mut Vec<Finding>,
) {
    for probe in probes {
        let Ask::Exec {
            container: Some(container),
            ..
        } = &probe.ask
        else {
            continue;
        };
        if !target.images.contains_key(container) {
            let has: Vec<&str> = target.images.keys().map(String::as_str).collect();
            findings.push(Finding::refusal(
                "probe-unfit",
                seen.workload.to_string(),
                format!("a probe runs a command in container {container}, which the target's pods do not have"),
                format!(
                    "name one that they have: {}; with several workloads, say by `workload` whose probe it is",
                    has.join(", ")
                ),
            ));
        }
    }
}

fn ask_of(ask: &FileAsk) -> Ask {
    match ask.clone() {
        FileAsk::Http { tls: None, path, port } => Ask::Http { path, port },
        FileAsk::Http {
            tls: Some(FileTls { server_name, trust }),
            path,
            port,
        } => Ask::Https {
            path,
            port,
            tls: Tls {
                server_name,
                insecure: trust == Trust::Anyone,
                ca: match trust {
                    Trust::Pem(pem) => Some(pem),
                    // Whoever reads the app file reads the file that it names; one that was not read trusts nobody.
                    Trust::File(_) => Some(String::new()),
                    Trust::System | Trust::Anyone => None,
                },
            },
        },
        FileAsk::Tcp { port } => Ask::Tcp { port },
        FileAsk::Sql { query } => Ask::Sql { query },
        FileAsk::Exec { container, command } => Ask::Exec { container, command },
    }
}

/// What trying the probes means for the plan (LAWS W17).
///
/// The pods that are there may be the broken ones that a rollback is to replace, so nothing that *they* do wrong forbids
/// it: a probe that is answered with no, or by nobody, has reached. Out of reach is one refusal where the pod is ready
/// in its kubelet's eyes, and a warning where it is not.
pub(super) fn judge_tries(tries: &[TriedProbe], findings: &mut Vec<Finding>) {
    for try_ in tries {
        let TriedProbe {
            subject,
            what,
            tried,
            healthy,
        } = try_;
        match tried {
            Some(Tried::Holds | Tried::Denied(_)) => {}
            Some(Tried::Unanswered(why)) => findings.push(Finding::warning(
                "probe-unanswered",
                subject,
                format!("{what} got no answer: {why}"),
                "nothing needs to be done if the target release answers it; else correct the probe in the app file",
            )),
            Some(Tried::Unreachable(why)) if *healthy => findings.push(Finding::refusal(
                "probe-unreachable",
                subject,
                format!("{what} cannot be asked from here: {why}"),
                "run stepback where it can reach the pods (such as a Job in the cluster), allow it in the \
                 NetworkPolicy or the Role, or take the probe out of the app file",
            )),
            Some(Tried::Unreachable(why)) => findings.push(Finding::warning(
                "probe-untried",
                subject,
                format!("{what} did not get through to a pod that is not ready: {why}"),
                "make sure that pods of the target release can be reached from here",
            )),
            Some(Tried::Unfit(why)) => findings.push(Finding::refusal(
                "probe-unfit",
                subject,
                format!("{what} can never hold: {why}"),
                "correct the probe in the app file",
            )),
            None => findings.push(Finding::warning(
                "probe-untried",
                subject,
                format!("{what} was not tried: no pod is running that could be asked"),
                "make sure that pods of the target release can be reached from here",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(tried: Option<Tried>, healthy: bool) -> Vec<String> {
        let mut findings = Vec::new();
        let tries = [TriedProbe {
            subject: "StatefulSet a/web".to_owned(),
            what: "GET / on web-0:80".to_owned(),
            tried,
            healthy,
        }];
        judge_tries(&tries, &mut findings);
        let code = |finding: Finding| format!("{} {:?}", finding.code, finding.severity);
        findings.into_iter().map(code).collect()
    }

    #[test]
    fn w17_out_of_reach_refuses_and_a_broken_release_does_not() {
        let why = || "why".to_owned();
        assert_eq!(codes(Some(Tried::Holds), true), [""; 0]);
        assert_eq!(codes(Some(Tried::Denied(why())), true), [""; 0]);
        assert_eq!(codes(Some(Tried::Denied(why())), false), [""; 0]);
        for healthy in [true, false] {
            assert_eq!(
                codes(Some(Tried::Unanswered(why())), healthy),
                ["probe-unanswered Warning"]
            );
            assert_eq!(codes(Some(Tried::Unfit(why())), healthy), ["probe-unfit Refusal"]);
            assert_eq!(codes(None, healthy), ["probe-untried Warning"]);
        }
        assert_eq!(
            codes(Some(Tried::Unreachable(why())), true),
            ["probe-unreachable Refusal"]
        );
        assert_eq!(codes(Some(Tried::Unreachable(why())), false), ["probe-untried Warning"]);
    }

    #[test]
    fn long_questions_are_cut() {
        let ask = Ask::Sql {
            query: "SELECT 1\nFROM t".to_owned(),
        };
        assert_eq!(ask.of_pod("web-0"), "the query `SELECT 1…`");
        let ask = Ask::Exec {
            container: Some("app".to_owned()),
            command: vec!["x".repeat(61)],
        };
        assert_eq!(ask.of_pod("web-0"), format!("`{}…` in web-0/app", "x".repeat(60)));
    }
}
