//! A byte stream to a port of a pod.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::net::TcpStream;

use super::failure;
use crate::cluster::{ClusterError, Wire};

/// How long a pod in reach may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// How long a port-forward is given to say that the pod refuses; a connection that is accepted is not announced.
const REFUSAL: Duration = Duration::from_millis(100);

/// From where pods are dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// From a pod of the cluster: pod addresses are ours to dial.
    Inside,
    /// From anywhere else: a pod's address may be another machine's here.
    Outside,
}

impl Reach {
    /// As far as the environment tells.
    pub fn here() -> Self {
        match std::env::var_os("KUBERNETES_SERVICE_HOST") {
            Some(_) => Self::Inside,
            None => Self::Outside,
        }
    }

    /// Dials the pod's address where that is the pod's for sure (in the cluster, or on this host's loopback), and goes
    /// through the API server where it is not, or where nothing answers.
    pub async fn dial(
        self,
        client: &Client,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<Box<dyn Wire>, ClusterError> {
        let object = format!("Pod {namespace}/{pod}");
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let found = pods.get(pod).await.map_err(|error| failure::of(error, &object))?;
        let address = found.status.and_then(|status| status.pod_ip);
        let address: Option<IpAddr> = address.and_then(|address| address.parse().ok());
        let mut tried = String::new();
        if let Some(address) = address
            && (self == Self::Inside || address.is_loopback())
        {
            match tokio::time::timeout(CONNECT, TcpStream::connect((address, port))).await {
                Ok(Ok(stream)) => return Ok(Box::new(stream)),
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                    return Err(ClusterError::NotListening { object, port });
                }
                Ok(Err(error)) => tried = format!("{address}:{port}: {error}"),
                Err(_) => tried = format!("{address}:{port} does not answer"),
            }
        }
        let forwarded = pods.portforward(pod, &[port]).await;
        let why = match forwarded {
            Ok(mut forwarder) => match (forwarder.take_stream(port), forwarder.take_error(port)) {
                (Some(stream), Some(refusal)) => match tokio::time::timeout(REFUSAL, refusal).await {
                    Ok(Some(why)) if why.contains("refused") => {
                        return Err(ClusterError::NotListening { object, port });
                    }
                    Ok(Some(why)) => format!("port-forward: {why}"),
                    Ok(None) => "port-forward: the connection broke".to_owned(),
                    Err(_) => return Ok(Box::new(stream)),
                },
                _ => "the port-forward has no stream".to_owned(),
            },
            Err(error) => match failure::of_upgrade(error, &format!("pods/portforward of {object}")) {
                error @ ClusterError::Forbidden(_) => return Err(error),
                // The pod was there just now: what is gone is the way to it, such as its node.
                other => format!("port-forward: {other}"),
            },
        };
        let tried = if tried.is_empty() {
            why
        } else {
            format!("{tried}; {why}")
        };
        Err(ClusterError::Unreachable(format!("{object}: {tried}")))
    }
}
