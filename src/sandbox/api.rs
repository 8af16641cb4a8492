//! An embedded Kubernetes API: the part of a real API server that the road of a rollback meets, over plain HTTP.
//!
//! Responsible for storing objects, versions and changes, and for answering as Kubernetes 1.37.2 answers: discovery,
//! get, list, watch, create, update, the four patches, delete, and the `status`, `scale`, `binding` and `eviction`
//! subresources; logs, exec, attach and port-forward are passed on to the pod's kubelet. Garbage collection and the emptying of namespaces run in the background. Where a real server answers
//! differently, this one is wrong.
//!
//! Not responsible for running anything: controllers and kubelets are clients like any other, and talk to it through
//! [`kube::Client`]. For tests it can hold a request before its effect ([`ApiServer::hold`]) and tell everything that
//! ever happened ([`ApiServer::history`]).
//!
//! Only who knows the server's secret is answered, anybody else with 401: it is part of [`ApiServer::url`].

mod access;
mod admit;
mod apply;
mod bind;
mod call;
mod collect;
mod defaults;
mod delete;
mod discovery;
mod dispatch;
mod failure;
mod fields;
mod gate;
mod kinds;
mod managed;
mod node;
mod object;
mod openapi;
mod patch;
mod protobuf;
mod read;
mod scale;
mod schema;
mod selector;
mod server;
mod show;
mod store;
mod strategic;
mod table;
#[cfg(test)]
mod tests;
mod validate;
mod watch;
mod write;

pub use access::Forbidden;
pub use gate::{Asked, Hold, Stopped};
pub use kinds::Kind;
pub use store::{Change, EventKind, ResourceVersion};

use crate::secret::Secret;
use serde_json::{Value, json};
use server::Core;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use store::{Key, Store};
use tokio::{net::TcpListener, task::JoinHandle};

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The port on the loopback address; 0 takes a free one.
    pub port: u16,
    /// Kinds to serve beside the built-in ones, as custom resource definitions would add them.
    pub extra_kinds: Vec<Kind>,
    /// What nobody may do.
    pub forbidden: Vec<Forbidden>,
    /// What is done to every new pod once its defaults are filled in, by dry runs too: the work of mutating webhooks, which
    /// add containers and rewrite images.
    pub pod_mutations: Vec<fn(&mut Value)>,
    /// How many changes a watch may reach back before it is answered with 410 Gone.
    pub watch_window: usize,
    /// How many changes [`ApiServer::history`] keeps; never fewer than the watch window.
    pub history: usize,
    /// How often a watch that allows bookmarks is sent one.
    pub bookmark_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            extra_kinds: Vec::new(),
            forbidden: Vec::new(),
            pod_mutations: Vec::new(),
            watch_window: 10_000,
            history: 100_000,
            bookmark_every: Duration::from_secs(60),
        }
    }
}

/// The server could not be started; nothing is running.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox API cannot listen on 127.0.0.1:{port}")]
pub struct StartError {
    port: u16,
    #[source]
    source: io::Error,
}

/// A running API server. Dropping it ends it, and every connection to it.
#[derive(Debug)]
pub struct ApiServer {
    core: Arc<Core>,
    accepting: JoinHandle<()>,
    collecting: JoinHandle<()>,
}

impl ApiServer {
    /// Starts a server on the loopback address, with the namespaces `default`, `kube-system` and `kube-public`. Must be
    /// called on a tokio runtime, which also runs it.
    ///
    /// # Errors
    /// When the port cannot be listened on.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let failed = |source| StartError {
            port: options.port,
            source,
        };
        let listener = TcpListener::bind(at).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut kinds = kinds::builtin();
        kinds.extend(options.extra_kinds);
        let mut store = Store::new(kinds, options.watch_window, options.history);
        store.pod_mutations = options.pod_mutations;
        for namespace in ["default", "kube-system", "kube-public"] {
            found(&mut store, namespace);
        }
        let secret = Secret::make();
        let core = Core::new(store, options.forbidden, options.bookmark_every, address, secret);
        let core = Arc::new(core);
        let accepting = tokio::spawn(server::serve(core.clone(), listener));
        let collecting = tokio::spawn(server::collect_garbage(core.clone()));
        Ok(Self {
            core,
            accepting,
            collecting,
        })
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.core.address
    }

    /// Where clients find the server. Contains the secret without which it answers nobody, so it is not for logs.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/{}", self.address(), self.secret().text())
    }

    /// What shows a kubelet that it is this server that asks: see `KubeletOptions::server_secret`.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.core.secret
    }

    /// The text of a kubeconfig whose current context is this server and `namespace`.
    #[must_use]
    pub fn kubeconfig_yaml(&self, namespace: &str) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "preferences": {},
            "clusters": [{"name": "sandbox", "cluster": {"server": self.url()}}],
            "users": [{"name": "sandbox", "user": {}}],
            "contexts": [{
                "name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox", "namespace": namespace},
            }],
            "current-context": "sandbox",
        });
        // JSON is YAML.
        format!("{config:#}\n")
    }

    /// How [`kube::Client`] reaches the server, in the namespace `default`.
    ///
    /// # Panics
    /// Never: a socket address always makes a URL.
    #[must_use]
    pub fn client_config(&self) -> kube::Config {
        let url = self.url().parse().expect("a socket address always makes a URL");
        kube::Config::new(url)
    }

    /// Holds the first request that `matcher` accepts, before it has any effect. The hold is set when this returns.
    pub fn hold(&self, matcher: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Hold {
        self.hold_nth(1, matcher)
    }

    /// Holds the `nth` request (from 1) that `matcher` accepts; those before it pass. Holds that are set at the same time
    /// count separately, and a request is held by the first whose turn it is.
    pub fn hold_nth(&self, nth: usize, matcher: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Hold {
        self.core.gate.set(nth, Box::new(matcher))
    }

    /// Every change since the start, oldest first, as far back as [`Options::history`] reaches.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<Change>> {
        self.core.store().history()
    }

    /// The version of the last change.
    #[must_use]
    pub fn version(&self) -> ResourceVersion {
        self.core.store().version()
    }

    /// Tells the version of every change as it is made, for a test that waits for something to happen.
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<ResourceVersion> {
        self.core.store().subscribe()
    }

    /// Closes the watch window: watches that begin at an earlier version are answered with 410 Gone.
    pub fn forget_changes(&self) {
        self.core.store().forget();
    }

    /// All objects as text, in a fixed order: equal texts mean that nothing has changed, versions included.
    #[must_use]
    pub fn dump(&self) -> String {
        let store = self.core.store();
        let objects: Vec<&Value> = store.everything().map(|(_, object)| &**object).collect();
        format!("{:#}\n", json!(objects))
    }

    /// Ends the server: no new connection is accepted, and those that exist are cut. Returns when nothing runs any more.
    pub async fn stop(mut self) {
        self.end();
        for task in [&mut self.accepting, &mut self.collecting] {
            if let Err(error) = task.await {
                tracing::trace!(%error, "a task of the sandbox API ended");
            }
        }
    }

    fn end(&self) {
        self.core.end();
        self.accepting.abort();
        self.collecting.abort();
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes a namespace that is there from the start.
fn found(store: &mut Store, name: &str) {
    let row = store
        .kind_named("", "Namespace")
        .expect("the table of kinds has namespaces");
    let mut namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "uid": write::new_uid(), "creationTimestamp": call::now()},
    });
    defaults::fill(store.kind(row), &mut namespace);
    store.put(Key::new(row, "", name), namespace);
    admit::add_default_account(store, name, &call::now());
}
