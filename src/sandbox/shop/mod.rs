//! A small HTTP shop, the application that the demo and the tests roll back: `GET /healthz`, `GET /orders`,
//! `POST /orders` over SQLite or PostgreSQL, at one of three releases that really differ in the SQL they run.
//!
//! It does not migrate anything, and it starts on any schema: on one that its release was not written for it answers
//! 500, as an application would. The kubelet runs it as a process of its own; see [`ShopConfig::from_env`].

mod http;
mod release;
mod store;

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

pub use self::release::Release;
use self::store::Store;

/// The port that the shop listens on, on every address.
pub const PORT: u16 = 8080;
/// Names the release to run, such as `1.2.0`; a tag that ends in `-bad` runs a release that cannot start.
pub const RELEASE_VARIABLE: &str = "SHOP_RELEASE";
/// Names the address to listen on.
pub const ADDRESS_VARIABLE: &str = "SHOP_ADDRESS";
/// Names another port than [`PORT`]: two shops in one pod share its address.
pub const PORT_VARIABLE: &str = "SHOP_PORT";
/// Names the database by URL, as the pod's template gives it.
pub const DATABASE_VARIABLE: &str = "DATABASE_URL";
/// Set to `stdin`, the shop ends when its standard input does: whoever started it has died, however suddenly.
pub const LIFELINE_VARIABLE: &str = "SHOP_LIFELINE";

/// How long requests in flight may take once the shop was told to end.
const DRAIN: Duration = Duration::from_secs(2);

/// Why a shop could not start or go on.
#[derive(Debug, Error)]
pub enum ShopError {
    /// A variable that it needs is missing.
    #[error("the environment has no {0}")]
    Missing(&'static str),
    /// The tag names no release that was ever built.
    #[error("there is no release {0} of the shop; there are 1.1.0, 1.2.0 and 1.3.0")]
    UnknownRelease(String),
    /// The release is one that is known to break at its start.
    #[error("release {0} is broken and cannot start")]
    Broken(String),
    /// The address is none.
    #[error("{0} is not an address")]
    Address(String),
    /// The port is none.
    #[error("{0} is not a port")]
    Port(String),
    /// The database's URL cannot be used; the text never holds the URL.
    #[error("the database's URL cannot be used: {0}")]
    Url(String),
    /// The address could not be listened on, or the signals not be watched.
    #[error("cannot serve on {address}")]
    Serve {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// What one shop is to be. Its `Debug` form leaves the database's URL out, which may hold a password.
#[derive(Clone)]
pub struct ShopConfig {
    /// The release, as its image's tag spells it.
    pub release: String,
    /// Where to listen.
    pub address: IpAddr,
    /// The port to listen on there.
    pub port: u16,
    /// `sqlite://FILE` or `postgres://…`.
    pub database_url: String,
    /// Whether the end of standard input ends the shop.
    pub lifeline: bool,
}

impl std::fmt::Debug for ShopConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            release,
            address,
            port,
            lifeline,
            ..
        } = self;
        write!(
            f,
            "ShopConfig {{ release: {release:?}, address: {address}, port: {port}, lifeline: {lifeline} }}"
        )
    }
}

impl ShopConfig {
    /// Reads what the kubelet hands to a container's process.
    ///
    /// # Errors
    /// A variable that is missing, or an address that is none.
    pub fn from_env() -> Result<Self, ShopError> {
        let read = |name| std::env::var(name).map_err(|_| ShopError::Missing(name));
        let address = read(ADDRESS_VARIABLE)?;
        Ok(Self {
            release: read(RELEASE_VARIABLE)?,
            address: address.parse().map_err(|_| ShopError::Address(address))?,
            port: match std::env::var(PORT_VARIABLE) {
                Ok(port) => port.parse().map_err(|_| ShopError::Port(port))?,
                Err(_) => PORT,
            },
            database_url: read(DATABASE_VARIABLE)?,
            lifeline: std::env::var(LIFELINE_VARIABLE).is_ok_and(|value| value == "stdin"),
        })
    }
}

/// Runs the shop until SIGTERM, SIGINT or, with a lifeline, the end of standard input. Says on standard error where it
/// listens. The schema need not be right, nor the database there: requests say so.
///
/// # Errors
/// A release that does not exist or is broken, a URL that cannot be used, an address that cannot be listened on.
pub async fn serve(config: ShopConfig) -> Result<(), ShopError> {
    if config.release.ends_with("-bad") {
        return Err(ShopError::Broken(config.release));
    }
    let release = Release::of(&config.release).ok_or_else(|| ShopError::UnknownRelease(config.release.clone()))?;
    let store = Store::open(&config.database_url)?;
    let address = SocketAddr::new(config.address, config.port);
    let failed = |source| ShopError::Serve { address, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    say(&format!("shop {} listens on {address}", release.version()));
    let mut parent = config.lifeline.then(watch_stdin);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = gone(&mut parent) => break,
        };
        // A connection that breaks before it is accepted concerns its client alone.
        let Ok((stream, _)) = accepted else { continue };
        let store = store.clone();
        let service = service_fn(move |request| http::answer(store.clone(), release, request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a client's connection broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        say("requests were still in flight at the end");
    }
    store.close().await;
    say(&format!("shop {} ends", release.version()));
    Ok(())
}

/// A thread of its own, because a read of standard input cannot be cancelled and must not hold the runtime back.
fn watch_stdin() -> oneshot::Receiver<()> {
    let (ended, parent) = oneshot::channel();
    std::thread::spawn(move || {
        // Whatever ends the copy, an error included, means that nobody holds the other end any more.
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        drop(ended);
    });
    parent
}

async fn gone(parent: &mut Option<oneshot::Receiver<()>>) {
    match parent {
        Some(parent) => drop(parent.await),
        None => std::future::pending().await,
    }
}

/// A line for the container's log. Where nobody reads it, nothing is lost but the line.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

#[cfg(test)]
mod tests;
