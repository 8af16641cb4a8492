//! The shop as a program, which is this test binary started once more, and as its clients see it.

use std::{
    net::Ipv4Addr,
    process::{ExitCode, Stdio},
    sync::LazyLock,
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use stepback_sandbox::{
    kubelet::Program,
    shop::{PORT, ShopConfig, serve},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use super::runner::{NotPassed, fail};

/// The argument that makes this binary a shop.
const ARGUMENT: &str = "--be-the-shop";

/// How a kubelet starts the shop.
pub fn program() -> Program {
    static PATH: LazyLock<std::path::PathBuf> =
        LazyLock::new(|| std::env::current_exe().expect("a running program has a path"));
    Program {
        path: PATH.clone(),
        args: vec![ARGUMENT.into()],
    }
}

/// A shop that listens, and ends with this.
pub struct Shop {
    address: Ipv4Addr,
    _process: Child,
}

/// A process of the shop: a release, at an address, on a database.
pub fn command(release: &str, address: Ipv4Addr, url: &str) -> Command {
    let Program { path, args } = program();
    let mut command = Command::new(path);
    command
        .args(args)
        .env("SHOP_RELEASE", release)
        .env("SHOP_ADDRESS", address.to_string())
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Shop {
    /// Starts a shop at an address of its own.
    pub async fn open(release: &str, url: &str) -> Result<Shop, NotPassed> {
        let [.., a, b, c] = ulid::Ulid::generate().random().to_be_bytes();
        let address = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
        let mut process = command(release, address, url).spawn()?;
        let mut log = BufReader::new(process.stderr.take().expect("standard error was asked for as a pipe")).lines();
        match log.next_line().await? {
            Some(line) if line.contains("listens on") => Ok(Shop {
                address,
                _process: process,
            }),
            said => fail(format_args!("the shop does not listen: {said:?}")),
        }
    }

    /// Sends it a request.
    pub async fn ask(&self, method: Method, path: &str, body: Value) -> Result<(StatusCode, Value), NotPassed> {
        ask(self.address, method, path, body).await
    }

    /// Reads something from it.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, Value), NotPassed> {
        self.ask(Method::GET, path, Value::Null).await
    }
}

/// Sends a request to the shop at this address, wherever it runs.
pub async fn ask(address: Ipv4Addr, method: Method, path: &str, body: Value) -> Result<(StatusCode, Value), NotPassed> {
    let stream = TcpStream::connect((address, PORT)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let body = if body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(body.to_string())
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shop")
        .body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, serde_json::from_slice(&body)?))
}

/// Runs the shop if this process was started as one.
#[expect(clippy::print_stderr, reason = "the container's log")]
pub fn run_if_asked() -> Option<ExitCode> {
    if std::env::args().nth(1).as_deref() != Some(ARGUMENT) {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime
            .block_on(async { serve(ShopConfig::from_env()?).await })
            .map_err(|e| e.to_string())
    });
    Some(match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}
