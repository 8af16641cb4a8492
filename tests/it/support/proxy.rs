//! A TCP proxy on loopback that makes the network misbehave at a chosen moment.
//!
//! It forwards bytes until told otherwise: it can hold the traffic at the first bytes that match, let it go on or cut it
//! there, cut everything now, and turn new connections away. A case arms a [`Trap`], awaits the moment, acts, and decides;
//! nothing is timed. It understands no protocol: what to match is the case's business.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client: requests.
    ToServer,
    /// To the client: replies.
    ToClient,
}

/// A running proxy. Dropping it closes every connection through it.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    /// Traps that nothing has run into yet, in the order they were armed.
    armed: Mutex<BTreeMap<u64, Armed>>,
    next: std::sync::atomic::AtomicU64,
    turn_away: AtomicBool,
    /// Counted up to cut every connection that was there before.
    cuts: watch::Sender<u64>,
}

struct Armed {
    way: Way,
    bytes: Vec<u8>,
    caught: oneshot::Sender<()>,
    verdict: oneshot::Receiver<Verdict>,
}

enum Verdict {
    LetThrough,
    Cut,
}

/// A place in the traffic at which it will stop, once. Made by [`Proxy::hold`].
pub struct Trap {
    caught: oneshot::Receiver<()>,
    verdict: oneshot::Sender<Verdict>,
}

impl Trap {
    /// Waits until the bytes have come; they have not been passed on. Its caller decides next.
    pub async fn caught(self) -> Held {
        self.caught
            .await
            .expect("the proxy lives as long as its traps are awaited");
        Held { verdict: self.verdict }
    }
}

/// Traffic that stands still on one connection, in one direction. Dropping it cuts the connection.
pub struct Held {
    verdict: oneshot::Sender<Verdict>,
}

impl Held {
    /// Passes on what was held, and everything after it.
    pub fn let_through(self) {
        // A connection that is gone by now has no more traffic to decide about.
        drop(self.verdict.send(Verdict::LetThrough));
    }

    /// Closes the connection, both directions; what was held never arrives.
    pub fn cut(self) {
        drop(self.verdict.send(Verdict::Cut));
    }
}

impl Proxy {
    /// Starts to forward to a port on 127.0.0.1.
    pub async fn to(port: u16) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            armed: Mutex::default(),
            next: Default::default(),
            turn_away: AtomicBool::new(false),
            cuts: watch::channel(0).0,
        });
        let accepting = tokio::spawn(accept(
            listener,
            (Ipv4Addr::LOCALHOST, port).into(),
            Arc::clone(&shared),
        ));
        Ok(Proxy {
            address,
            shared,
            accepting,
        })
    }

    /// The port clients connect to, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A URL that names the server's port, through the proxy instead.
    pub fn redirect(&self, url: &str, server_port: u16) -> String {
        let (from, to) = (format!("127.0.0.1:{server_port}"), self.address.to_string());
        assert!(url.contains(&from), "the URL does not name {from}");
        url.replacen(&from, &to, 1)
    }

    /// Arms a trap: the first time these bytes come by on any connection, that direction of it stops. What the client or
    /// server sent in the same piece as the last of them is held whole; of bytes that come in several pieces, the
    /// earlier pieces have been passed on.
    pub fn hold(&self, way: Way, bytes: impl AsRef<[u8]>) -> Trap {
        let bytes = bytes.as_ref().to_vec();
        assert!(!bytes.is_empty(), "every piece of traffic matches no bytes at all");
        let (tell_caught, caught) = oneshot::channel();
        let (verdict, wait_verdict) = oneshot::channel();
        let armed = Armed {
            way,
            bytes,
            caught: tell_caught,
            verdict: wait_verdict,
        };
        let key = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.armed().insert(key, armed);
        Trap { caught, verdict }
    }

    /// Closes every connection there is.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Whether new connections are closed as soon as they are made.
    pub fn turn_away(&self, yes: bool) {
        self.shared.turn_away.store(yes, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut_all();
    }
}

impl Shared {
    fn armed(&self) -> MutexGuard<'_, BTreeMap<u64, Armed>> {
        self.armed.lock().expect("nothing panics while it holds this lock")
    }

    /// Takes the first trap that this traffic runs into. `seen` ends with the newest piece.
    fn spring(&self, way: Way, seen: &[u8], newest: usize) -> Option<Armed> {
        let mut armed = self.armed();
        let hit = |trap: &Armed| {
            // Only a match that the newest piece completes; earlier ones were looked for when they came.
            let from = (seen.len() - newest).saturating_sub(trap.bytes.len() - 1);
            trap.way == way
                && seen[from..]
                    .windows(trap.bytes.len())
                    .any(|window| window == trap.bytes)
        };
        let key = armed.iter().find(|(_, trap)| hit(trap)).map(|(key, _)| *key)?;
        armed.remove(&key)
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.turn_away.load(Ordering::SeqCst) {
            continue;
        }
        let cut = shared.cuts.subscribe();
        tokio::spawn(connect(client, server, Arc::clone(&shared), cut));
    }
}

async fn connect(client: TcpStream, server: SocketAddr, shared: Arc<Shared>, mut cut: watch::Receiver<u64>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = forward(Way::ToServer, from_client, to_server, &shared);
    let replies = forward(Way::ToClient, from_server, to_client, &shared);
    // A cut and an error both end here, where all halves of both sockets are dropped and so closed.
    tokio::select! {
        _ = cut.changed() => {}
        _ = async { tokio::try_join!(requests, replies) } => {}
    }
}

/// Passes bytes on until the sender closes its side, which is passed on too; an error is a cut or a broken connection.
async fn forward(way: Way, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    let mut seen = Vec::new();
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        seen.extend_from_slice(&piece[..length]);
        while let Some(trap) = shared.spring(way, &seen, length) {
            // Nobody waits for a trap that was dropped, and its verdict is then an error: cut.
            let _told = trap.caught.send(());
            match trap.verdict.await {
                Ok(Verdict::LetThrough) => {}
                Ok(Verdict::Cut) | Err(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        to.write_all(&piece[..length]).await?;
        // Enough of the past for a match that spans pieces; a longer one is not what a case waits for.
        let keep = seen.len().saturating_sub(4096);
        seen.drain(..keep);
    }
}
