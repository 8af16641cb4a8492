//! Readiness probes: asks a container at its pod's address, again and again, and tells when the answer changes.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

/// A readiness probe of one running container.
pub(super) struct Prober {
    action: Action,
    next: Instant,
    period: Duration,
    timeout: Duration,
    /// How many equal answers in a row change the verdict: to ready, to not ready.
    thresholds: (u32, u32),
    in_a_row: (u32, u32),
    ready: bool,
}

enum Action {
    /// No probe: ready as soon as it runs.
    None,
    Http(SocketAddr, Box<HTTPGetAction>),
    Tcp(SocketAddr),
    /// A probe that cannot be carried out here never passes.
    Unknown(String),
}

/// What a probe found out.
pub(super) enum Answer {
    /// The container became ready.
    Ready,
    /// It was ready and is not any more, or a probe failed before it ever was: why.
    NotReady(String),
}

impl Prober {
    /// A prober for `container`, just started at `address`. `second` is how long a second of its period lasts.
    pub fn new(container: &Container, address: IpAddr, second: Duration) -> Self {
        let probe = container.readiness_probe.clone();
        let action = probe
            .as_ref()
            .map_or(Action::None, |probe| action(probe, container, address));
        let probe = probe.unwrap_or_default();
        let at_least_one =
            |value: Option<i32>, default| value.and_then(|v| u32::try_from(v).ok()).unwrap_or(default).max(1);
        let delay = probe
            .initial_delay_seconds
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(0);
        Self {
            action,
            next: Instant::now() + second * delay,
            period: second * at_least_one(probe.period_seconds, 10),
            timeout: Duration::from_secs(at_least_one(probe.timeout_seconds, 1).into()),
            thresholds: (
                at_least_one(probe.success_threshold, 1),
                at_least_one(probe.failure_threshold, 3),
            ),
            in_a_row: (0, 0),
            ready: false,
        }
    }

    /// Waits for the next time to ask, and answers when there is something to tell; until then `None`. May be dropped
    /// at any moment.
    pub async fn ask(&mut self) -> Option<Answer> {
        sleep_until(self.next).await;
        let answer = match &self.action {
            Action::None if self.ready => return std::future::pending().await,
            Action::None => Ok(()),
            Action::Unknown(why) => Err(why.clone()),
            Action::Http(address, get) => limited(self.timeout, ask_http(*address, get)).await,
            Action::Tcp(address) => limited(self.timeout, ask_tcp(*address)).await,
        };
        self.next = Instant::now() + self.period;
        match answer {
            Ok(()) => {
                self.in_a_row = (self.in_a_row.0 + 1, 0);
                if self.ready || self.in_a_row.0 < self.thresholds.0 {
                    return None;
                }
                self.ready = true;
                Some(Answer::Ready)
            }
            Err(why) => {
                self.in_a_row = (0, self.in_a_row.1 + 1);
                if self.ready && self.in_a_row.1 < self.thresholds.1 {
                    return None;
                }
                self.ready = false;
                Some(Answer::NotReady(why))
            }
        }
    }
}

fn action(probe: &Probe, container: &Container, address: IpAddr) -> Action {
    let target = |host: Option<&String>, port: &IntOrString| {
        let host = host.map_or(Ok(address), |host| {
            host.parse().map_err(|_| format!("the host {host} is no address"))
        });
        let port = port_number(container, port).ok_or_else(|| "the probe's port is none of the container's".to_owned());
        Ok::<_, String>(SocketAddr::new(host?, port?))
    };
    let action = if let Some(get) = &probe.http_get {
        if get.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
            Err("probes over HTTPS cannot be carried out here".to_owned())
        } else {
            target(get.host.as_ref(), &get.port).map(|target| Action::Http(target, Box::new(get.clone())))
        }
    } else if let Some(tcp) = &probe.tcp_socket {
        target(tcp.host.as_ref(), &tcp.port).map(Action::Tcp)
    } else {
        Err("only httpGet and tcpSocket probes can be carried out here".to_owned())
    };
    action.unwrap_or_else(Action::Unknown)
}

/// The number of a port given as number or name.
fn port_number(container: &Container, port: &IntOrString) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_ref() == Some(name))?
                .container_port
        }
    };
    u16::try_from(number).ok()
}

async fn limited(limit: Duration, asked: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    timeout(limit, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

async fn ask_tcp(address: SocketAddr) -> Result<(), String> {
    TcpStream::connect(address)
        .await
        .map(drop)
        .map_err(|error| format!("dial {address}: {error}"))
}

/// Passes on a status from 200 to 399, as in Kubernetes.
async fn ask_http(address: SocketAddr, get: &HTTPGetAction) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("GET http://{address}: {error}");
    let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let mut request = Request::get(get.path.as_deref().unwrap_or("/")).header(HOST, address.to_string());
    for header in get.http_headers.iter().flatten() {
        request = request.header(&header.name, &header.value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
    // The body is of no interest, so the connection need not live longer than its head.
    let response = tokio::select! {
        response = sender.send_request(request) => response.map_err(|error| failed(&error))?,
        ended = connection => return Err(ended.err().map_or_else(|| failed(&"no answer"), |error| failed(&error))),
    };
    let status = response.status();
    if (200..400).contains(&status.as_u16()) {
        return Ok(());
    }
    Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
}
