//! A byte stream to a port of a pod.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, Config};
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
    /// From a pod of this very cluster, by its own ServiceAccount: pod addresses are ours to dial.
    Own,
    /// From a pod of this very cluster, by a kubeconfig.
    Inside,
    /// From anywhere else: a pod's address may be another machine's here.
    Outside,
}

impl Reach {
    /// To the pods of this cluster from where this process runs. In a pod of another cluster, such as a runner's, the same
    /// address is another pod's: what answers there proves nothing (LAWS W17). Where its own account is not mounted, nothing
    /// tells which cluster a pod is in, and it is taken for this one.
    pub fn to(cluster: &Config) -> Self {
        let is_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        let is_elsewhere = || Config::incluster().is_ok_and(|own| !is_same(&own, cluster));
        if is_pod && !is_elsewhere() {
            Self::Inside
        } else {
            Self::Outside
        }
    }

    /// Dials the pod's address where that is the pod's for sure (in the cluster, or on this host's loopback), and goes
    /// through the API server where it is not, or where nothing answers. In its own cluster it does not: past a network
    /// policy, that proves nothing of what the pod's clients will meet (LAWS W17), and the least Role has no right to it.
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
            && (self != Self::Outside || address.is_loopback())
        {
            match tokio::time::timeout(CONNECT, TcpStream::connect((address, port))).await {
                Ok(Ok(stream)) => return Ok(Box::new(stream)),
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                    return Err(ClusterError::NotListening { object, port });
                }
                Ok(Err(error)) => tried = format!("{address}:{port}: {error}"),
                Err(_) => {
                    tried = format!("{address}:{port} does not answer within {} s", CONNECT.as_secs());
                }
            }
        }
        if self == Self::Own {
            let why = match tried.as_str() {
                "" => "it has no address yet",
                tried => &format!("{tried}; does a NetworkPolicy let this pod in?"),
            };
            return Err(ClusterError::Unreachable(format!("{object}: {why}")));
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
                // Nothing but that right is in the way.
                error @ ClusterError::Forbidden(_) if tried.is_empty() => return Err(error),
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

/// Whether these lead to one cluster: to one address, or to one that proves itself by the same authority.
fn is_same(one: &Config, other: &Config) -> bool {
    let authority = |config: &Config| config.root_cert.clone().filter(|certificates| !certificates.is_empty());
    one.cluster_url == other.cluster_url || authority(one).is_some_and(|known| Some(known) == authority(other))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    #[test]
    fn w17_a_cluster_is_told_by_its_address_or_its_authority() {
        let of = |url: &str, authority: Option<&[u8]>| {
            let mut config = Config::new(url.parse().unwrap());
            config.root_cert = authority.map(|certificate| vec![certificate.to_vec()]);
            config
        };
        let own = of("https://kubernetes.default.svc/", Some(b"a"));
        for (other, same) in [
            (of("https://kubernetes.default.svc/", None), true),
            (of("https://10.0.0.1:6443/", Some(b"a")), true),
            (of("https://10.0.0.1:6443/", Some(b"b")), false),
            (of("https://10.0.0.1:6443/", None), false),
        ] {
            assert_eq!(is_same(&own, &other), same, "{}", other.cluster_url);
        }
        let without = of("https://kubernetes.default.svc/", None);
        assert!(!is_same(&without, &of("https://10.0.0.1:6443/", None)));
    }

    /// How dialling a pod at this address ends, and what was asked for, by a role that may read pods and no more.
    async fn dial(reach: Reach, address: Option<&str>, port: u16) -> (Result<(), ClusterError>, Vec<String>) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web-0", "namespace": "a" },
            "status": { "podIP": address },
        });
        let asked = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let (status, body) = if path.ends_with("/portforward") {
                (StatusCode::FORBIDDEN, String::new())
            } else {
                (StatusCode::OK, pod.to_string())
            };
            all.lock().unwrap().push(path);
            let answer = Response::builder().status(status).body(Body::from(body.into_bytes()));
            async move { Ok::<_, std::convert::Infallible>(answer.expect("it is well formed")) }
        });
        let dialled = reach.dial(&Client::new(service, "a"), "a", "web-0", port).await;
        let asked = asked.lock().unwrap().clone();
        (dialled.map(drop), asked)
    }

    /// A port on which connections are neither taken nor refused: the listener's queue is full, and nobody accepts.
    async fn dropping() -> (Vec<TcpStream>, tokio::net::TcpListener, u16) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            waiting.push(stream);
        }
        (waiting, listener, address.port())
    }

    #[tokio::test]
    async fn w17_in_the_cluster_what_does_not_answer_is_out_of_reach_and_no_missing_right() {
        let (_waiting, _listener, port) = dropping().await;
        let (dialled, asked) = dial(Reach::Own, Some("127.0.0.1"), port).await;
        let Err(ClusterError::Unreachable(why)) = dialled else {
            panic!("{dialled:?}")
        };
        assert!(
            why.contains("Pod a/web-0: 127.0.0.1:") && why.contains("does not answer") && why.contains("NetworkPolicy"),
            "{why}"
        );
        assert_eq!(asked, ["/api/v1/namespaces/a/pods/web-0"], "no port-forward is tried");
        let (dialled, asked) = dial(Reach::Own, None, port).await;
        assert!(
            matches!(&dialled, Err(ClusterError::Unreachable(why)) if why.ends_with("it has no address yet")),
            "{dialled:?}"
        );
        assert_eq!(asked.len(), 1);
    }

    #[tokio::test]
    async fn elsewhere_a_missing_right_hides_nothing_that_was_tried_before() {
        let (_waiting, _listener, port) = dropping().await;
        for reach in [Reach::Inside, Reach::Outside] {
            let (dialled, asked) = dial(reach, Some("127.0.0.1"), port).await;
            assert!(
                matches!(&dialled, Err(ClusterError::Unreachable(why)) if why.contains("does not answer") && why.contains("403")),
                "{reach:?}: {dialled:?}"
            );
            assert_eq!(asked.len(), 2);
        }
        // Where the port-forward is the only way, the right is what is missing.
        let (dialled, _) = dial(Reach::Outside, Some("192.0.2.1"), port).await;
        assert!(matches!(&dialled, Err(ClusterError::Forbidden(_))), "{dialled:?}");
    }
}
