//! A real Kubernetes control plane: etcd, kube-apiserver and kube-controller-manager on free ports, no kubelet.
//!
//! The binary is the project's own, made once by `tests/controlplane/build`; where it was not made, `?` on these ends the
//! case as skipped. The processes cannot outlive the tests ([`Server`]). There are two kinds, each shared by all cases of
//! the test process and started when the first case asks. Certificates are made by the openssl command.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::{
    process::{Server, Start, find_program, free_port, run, scratch},
    runner::{NotPassed, fail, root, skip},
};

/// How often a start is tried: a free port may be taken between our look and the server's.
const STARTS: usize = 3;
/// How long the API server may take from listening to being ready.
const READY: Duration = Duration::from_secs(30);
/// Who may do everything. The server listens on loopback, as long as the tests run.
const TOKEN: &str = "admin-token";

/// Who runs StatefulSets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatefulSets {
    /// Kubernetes' own controller.
    Own,
    /// Nobody: the case brings a controller.
    Left,
}

/// A running control plane. Dropping it ends it and removes what it wrote.
pub struct ControlPlane {
    kubeconfig: PathBuf,
    // In the order in which they must end: each stands on the next.
    _controllers: Server,
    _api: Server,
    _etcd: Server,
}

impl ControlPlane {
    /// The control plane of this kind that all cases share.
    pub async fn shared(sets: StatefulSets) -> Result<&'static ControlPlane, NotPassed> {
        static OWN: OnceLock<Result<ControlPlane, NotPassed>> = OnceLock::new();
        static LEFT: OnceLock<Result<ControlPlane, NotPassed>> = OnceLock::new();
        let shared = match sets {
            StatefulSets::Own => &OWN,
            StatefulSets::Left => &LEFT,
        };
        let start = move || {
            shared
                .get_or_init(|| ControlPlane::create(sets))
                .as_ref()
                .map_err(NotPassed::clone)
        };
        spawn_blocking(start).await?
    }

    /// A kubeconfig with every right.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn create(sets: StatefulSets) -> Result<ControlPlane, NotPassed> {
        let binary = binary()?;
        let Some(openssl) = find_program(&[], "openssl") else {
            return skip("openssl is not installed: the control plane needs certificates");
        };
        let mut last = None;
        for _ in 0..STARTS {
            match Self::launch(&binary, &openssl, sets) {
                Err(NotPassed::Failed(message)) => last = Some(message),
                settled => return settled,
            }
        }
        fail(last.unwrap_or_default())
    }

    fn launch(binary: &Path, openssl: &Path, sets: StatefulSets) -> Result<ControlPlane, NotPassed> {
        let dir = |name: &str| -> Result<PathBuf, NotPassed> {
            Ok(tempfile::Builder::new().prefix(name).tempdir_in(scratch()?)?.keep())
        };
        // Of the three directories each belongs to the process that must be the last to use it.
        let (etcd_dir, api_dir, controllers_dir) = (dir("etcd-")?, dir("apiserver-")?, dir("controllers-")?);
        write_keys(openssl, &api_dir)?;
        let component = |name: &str, flags: &[String]| {
            let words = [binary.into(), name.into()];
            words
                .into_iter()
                .chain(flags.iter().map(OsString::from))
                .collect::<Vec<_>>()
        };
        let file = |name: &str| api_dir.join(name).display().to_string();

        let (client_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let etcd_url = format!("http://127.0.0.1:{client_port}");
        let etcd = Server::start(Start {
            dir: &etcd_dir,
            command: component(
                "etcd",
                &[
                    format!("--data-dir={}", etcd_dir.join("data").display()),
                    format!("--listen-client-urls={etcd_url}"),
                    format!("--advertise-client-urls={etcd_url}"),
                    format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
                    "--unsafe-no-fsync".into(),
                ],
            ),
            ready: "ready to serve client requests",
            end: "KILL",
        })?;
        let api = Server::start(Start {
            dir: &api_dir,
            command: component(
                "kube-apiserver",
                &[
                    format!("--etcd-servers={etcd_url}"),
                    "--bind-address=127.0.0.1".into(),
                    format!("--secure-port={port}"),
                    format!("--tls-cert-file={}", file("api.crt")),
                    format!("--tls-private-key-file={}", file("api.key")),
                    format!("--client-ca-file={}", file("ca.crt")),
                    format!("--service-account-key-file={}", file("sa.key")),
                    format!("--service-account-signing-key-file={}", file("sa.key")),
                    "--service-account-issuer=https://kubernetes.default.svc".into(),
                    "--service-cluster-ip-range=10.0.0.0/24".into(),
                    format!("--token-auth-file={}", file("tokens.csv")),
                    "--authorization-mode=RBAC".into(),
                ],
            ),
            ready: "Serving securely on",
            end: "KILL",
        })?;
        let kubeconfig = api_dir.join("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_text(&api_dir, port))?;
        await_ready(&kubeconfig)?;
        let mut left_out = "*,-node-lifecycle-controller,-node-ipam-controller,-ttl-controller,\
                            -persistentvolume-attach-detach-controller"
            .to_owned();
        if sets == StatefulSets::Left {
            left_out += ",-statefulset-controller";
        }
        let controllers = Server::start(Start {
            dir: &controllers_dir,
            command: component(
                "kube-controller-manager",
                &[
                    format!("--kubeconfig={}", kubeconfig.display()),
                    format!("--service-account-private-key-file={}", file("sa.key")),
                    format!("--root-ca-file={}", file("ca.crt")),
                    "--leader-elect=false".into(),
                    format!("--controllers={left_out}"),
                    "--use-service-account-credentials=false".into(),
                    "--secure-port=0".into(),
                ],
            ),
            ready: "all resource monitors have synced",
            end: "KILL",
        })?;
        Ok(ControlPlane {
            kubeconfig,
            _controllers: controllers,
            _api: api,
            _etcd: etcd,
        })
    }
}

/// The binary in its cache, where `tests/controlplane/build` puts it.
pub fn binary() -> Result<PathBuf, NotPassed> {
    let source = root().join("tests/controlplane");
    let mut sum = Sha256::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        sum.update(fs::read(source.join(file))?);
    }
    let sum: String = sum
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let Some(cache) = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home) else {
        return skip("there is no HOME in which the control plane's binary could lie");
    };
    let binary = cache.join(format!("stepback-tests/controlplane-{sum}/controlplane"));
    if binary.is_file() {
        return Ok(binary);
    }
    skip("the control plane was not built: tests/controlplane/build makes it with Go, once, in about 8 minutes")
}

/// Makes a CA, the server's certificate and the key of service accounts' tokens.
fn write_keys(openssl: &Path, dir: &Path) -> Result<(), NotPassed> {
    let file = |name: &str| dir.join(name).display().to_string();
    let openssl = |words: &[&str]| {
        let words = words.iter().map(OsString::from);
        run(&[openssl.as_os_str().to_owned()]
            .into_iter()
            .chain(words)
            .collect::<Vec<_>>())
        .map(drop)
    };
    let names = "subjectAltName=IP:127.0.0.1,IP:10.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default";
    fs::write(dir.join("names"), names)?;
    fs::write(dir.join("tokens.csv"), format!("{TOKEN},admin,admin,system:masters\n"))?;
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let (ca_key, ca) = (file("ca.key"), file("ca.crt"));
    let subject = [
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=test-ca",
        "-keyout",
        &ca_key,
        "-out",
        &ca,
    ];
    openssl(&[&["req"], &curve[..], &subject[..]].concat())?;
    let (key, request, certificate) = (file("api.key"), file("api.csr"), file("api.crt"));
    let subject = ["-subj", "/CN=kube-apiserver", "-keyout", &key, "-out", &request];
    openssl(&[&["req"], &curve[..], &subject[..]].concat())?;
    openssl(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-days",
        "2",
        "-out",
        &certificate,
        "-extfile",
        &file("names"),
    ])?;
    openssl(&["genrsa", "-out", &file("sa.key"), "2048"])
}

fn kubeconfig_text(dir: &Path, port: u16) -> String {
    let ca = dir.join("ca.crt");
    // JSON is YAML.
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": ca,
        } }],
        "users": [{ "name": "admin", "user": { "token": TOKEN } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "admin", "namespace": "default" } }],
        "current-context": "test",
    })
    .to_string()
}

/// A client from a kubeconfig. It lives on the runtime that it is made on.
pub async fn connect(kubeconfig: &Path) -> Result<Client, NotPassed> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Blocks until the API server says that it is ready. There is nothing to watch before that, so it is asked.
fn await_ready(kubeconfig: &Path) -> Result<(), NotPassed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = connect(kubeconfig).await?;
        let ready = async {
            loop {
                let request = http::Request::get("/readyz").body(Vec::new())?;
                if client.request_text(request).await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(READY, ready).await {
            Ok(ready) => ready,
            Err(_) => fail(format_args!("the API server did not become ready within {READY:?}")),
        }
    })
}
