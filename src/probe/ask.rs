//! Asking one probe: one try of it, and tries until it has held often enough.

use std::time::Duration;

use stepback_core::plan::{Ask, Probe, Tried};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use super::{Seams, http, tls};
use crate::cluster::{ClusterError, Wire};
use crate::database::{DbError, Reply};

/// How long one try may take: one that hangs must not use up the time of those that would not.
pub(super) const TRY: Duration = Duration::from_secs(5);

/// How long one try of a command may take: programs are started for it, and some look at many things.
const TRY_COMMAND: Duration = Duration::from_secs(30);

/// How long a connection that was accepted must stay open: what accepts for somebody else (a port-forward, a sidecar)
/// closes it when nobody is behind.
const STAYS: Duration = Duration::from_millis(300);

/// Whose probes are asked.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) seams: Seams<'a>,
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
}

impl Asked<'_> {
    /// Asks until it has succeeded as often in a row as it must.
    ///
    /// # Errors
    /// The last reason, when its own limit passes first, or when it can never hold.
    pub(super) async fn until_held(self, probe: &Probe, say: &mut (dyn FnMut(String) + Send)) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_millis(probe.timeout_ms);
        let period = Duration::from_millis(probe.period_ms);
        let what = probe.ask.of_pod(self.pod);
        let mut in_a_row = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let tried = self.once(&probe.ask, left).await;
            match tried.why() {
                None => {
                    in_a_row += 1;
                    if in_a_row >= probe.successes {
                        return Ok(());
                    }
                }
                Some(why) => {
                    in_a_row = 0;
                    say(format!("{what}: {why}"));
                }
            }
            if let Tried::Unfit(why) = &tried {
                return Err(format!("{what} can never hold: {why}"));
            }
            if Instant::now() + period >= deadline {
                let seconds = Duration::from_millis(probe.timeout_ms).as_secs_f32();
                let why = tried.why().unwrap_or("too few successes in a row");
                return Err(format!("{what} did not succeed within {seconds} s: {why}"));
            }
            tokio::time::sleep(period).await;
        }
    }

    /// One try, within this time and the limit of a try.
    pub(super) async fn once(self, ask: &Ask, left: Duration) -> Tried {
        let limit = left.min(match ask {
            Ask::Exec { .. } => TRY_COMMAND,
            _ => TRY,
        });
        let silent = |_| Tried::Unreachable(format!("no answer within {} s", limit.as_secs_f32()));
        let tried = match ask {
            Ask::Http { path, port } => self.get(path, *port, None, limit).await,
            Ask::Https { path, port, tls } => self.get(path, *port, Some(tls), limit).await,
            Ask::Tcp { port } => tokio::time::timeout(limit, self.connect(*port))
                .await
                .unwrap_or_else(silent),
            Ask::Sql { query } => match self.seams.database.ask(query, limit).await {
                Ok(Reply::Yes) => Tried::Holds,
                Ok(Reply::No(why)) => Tried::Denied(why),
                Ok(Reply::Unfit(why)) => Tried::Unfit(why),
                Err(error @ DbError::Unreachable { .. }) => Tried::Unreachable(error.to_string()),
                Err(error) => Tried::Unanswered(error.to_string()),
            },
            Ask::Exec { container, command } => tokio::time::timeout(limit, self.run(container.as_deref(), command))
                .await
                .unwrap_or_else(silent),
        };
        tried.presentable()
    }

    async fn get(self, path: &str, port: u16, tls: Option<&stepback_core::plan::Tls>, limit: Duration) -> Tried {
        let deadline = Instant::now() + limit;
        let silent = || format!("no answer within {} s", limit.as_secs_f32());
        // Who does not answer once the connection stands was reached.
        let wire = match tokio::time::timeout_at(deadline, self.dial(port)).await {
            Ok(Ok(wire)) => wire,
            Ok(Err(tried)) => return tried,
            Err(_) => return Tried::Unreachable(silent()),
        };
        let answered = tokio::time::timeout_at(deadline, async {
            let (wire, name) = match tls {
                None => (wire, None),
                Some(tls) => match tls::encrypt(wire, tls, self.pod).await {
                    Ok(wire) => (wire, tls.server_name.as_ref()),
                    Err(tried) => return tried,
                },
            };
            let host = match name {
                Some(name) => format!("{}:{port}", name.replace("{pod}", self.pod)),
                None => format!("{}:{port}", self.pod),
            };
            http::get(wire, &host, path).await
        });
        answered.await.unwrap_or_else(|_| Tried::Unanswered(silent()))
    }

    async fn connect(self, port: u16) -> Tried {
        let mut wire = match self.dial(port).await {
            Ok(wire) => wire,
            Err(tried) => return tried,
        };
        match tokio::time::timeout(STAYS, wire.read(&mut [0; 1])).await {
            Err(_) | Ok(Ok(1..)) => Tried::Holds,
            Ok(Ok(0)) => Tried::Unanswered("the connection was closed at once".to_owned()),
            Ok(Err(error)) => Tried::Unanswered(error.to_string()),
        }
    }

    async fn run(self, container: Option<&str>, command: &[String]) -> Tried {
        let Self { seams, namespace, pod } = self;
        match seams.cluster.exec(namespace, pod, container, command).await {
            Ok(exited) if exited.code == 0 => Tried::Holds,
            Ok(exited) => {
                let said = seams.database.redact(&exited.said);
                let said = said.lines().last().unwrap_or_default();
                Tried::Denied(match said {
                    "" => format!("exit status {}", exited.code),
                    said => format!("exit status {}: {said}", exited.code),
                })
            }
            Err(ClusterError::Refused(why)) => Tried::Unanswered(why),
            Err(error) => Tried::Unreachable(error.to_string()),
        }
    }

    async fn dial(self, port: u16) -> Result<Box<dyn Wire>, Tried> {
        let dialled = self.seams.cluster.dial(self.namespace, self.pod, port).await;
        dialled.map_err(|error| match error {
            // A pod that has gone meanwhile says nothing of the way to it.
            ClusterError::NotListening { .. } | ClusterError::Gone { .. } => Tried::Unanswered(error.to_string()),
            error => Tried::Unreachable(error.to_string()),
        })
    }
}
