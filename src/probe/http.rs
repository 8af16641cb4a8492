//! One HTTP request to a port of a pod.

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

use crate::cluster::Cluster;

/// GET; every status from 200 to 399 is a success, as for a kubelet's probe.
///
/// # Errors
/// Why it was not, in a few words.
pub async fn get(cluster: &dyn Cluster, namespace: &str, pod: &str, port: u16, path: &str) -> Result<(), String> {
    let wire = cluster
        .dial(namespace, pod, port)
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(wire))
        .await
        .map_err(|error| error.to_string())?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, format!("{pod}:{port}"))
        .header(
            hyper::header::USER_AGENT,
            concat!("stepback/", env!("CARGO_PKG_VERSION")),
        )
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = tokio::select! {
        // An answer that has come counts, even if the connection broke right behind it.
        biased;
        response = sender.send_request(request) => response.map_err(|error| error.to_string())?,
        Err(error) = connection => return Err(error.to_string()),
    };
    let status = response.status();
    if (200..400).contains(&status.as_u16()) {
        Ok(())
    } else {
        Err(format!("answered {status}"))
    }
}
