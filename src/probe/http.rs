//! One HTTP request over a stream to a pod, with or without TLS.

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use stepback_core::plan::Tried;

use crate::cluster::Wire;

/// GET; every status from 200 to 399 is a success, as for a kubelet's probe.
pub(super) async fn get(wire: Box<dyn Wire>, host: &str, path: &str) -> Tried {
    match status_of(wire, host, path).await {
        Ok(status) if (200..400).contains(&status.as_u16()) => Tried::Holds,
        Ok(status) => Tried::Denied(format!("answered {status}")),
        Err(error) => Tried::Unanswered(error.to_string()),
    }
}

async fn status_of(wire: Box<dyn Wire>, host: &str, path: &str) -> Result<hyper::StatusCode, Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(wire)).await?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, host)
        .header(
            hyper::header::USER_AGENT,
            concat!("stepback/", env!("CARGO_PKG_VERSION")),
        )
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let response = tokio::select! {
        // An answer that has come counts, even if the connection broke right behind it.
        biased;
        response = sender.send_request(request) => response?,
        Err(error) = connection => return Err(error.into()),
    };
    Ok(response.status())
}

type Error = Box<dyn std::error::Error + Send + Sync>;
