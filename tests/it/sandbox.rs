//! `stepback sandbox`: what it prints is true, and nothing of it is left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{AttachParams, ListParams},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::support::{
    binary::Binary,
    controlplane::connect,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail},
};

pub fn cases() -> Vec<Case> {
    vec![
        case("sandbox::a_shop_that_can_be_rolled_back_and_nothing_is_left", shop),
        case("sandbox::is_empty_unless_a_shop_is_wanted_and_ends_with_ctrl_c", empty),
        case("sandbox::answers_nobody_who_does_not_know_its_secret", secret),
    ]
}

/// A sandbox that runs. Dropping it kills it.
pub struct Sandbox {
    process: Child,
    pub kubeconfig: PathBuf,
    said: Value,
}

impl Sandbox {
    /// With its files in the case's folder; it runs.
    pub async fn start(ctx: &Ctx, arguments: &[&str]) -> Result<Sandbox, NotPassed> {
        let files = files(ctx);
        fs::create_dir_all(&files)?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_stepback"))
            .args(["sandbox", "-o", "json"])
            .args(arguments)
            .env_remove("KUBECONFIG")
            .env("TMPDIR", &files)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut out = process.stdout.take().expect("standard output was asked for as a pipe");
        let mut text = Vec::new();
        // It ends with its document, and goes on running.
        while !text.ends_with(b"\n}\n") {
            let byte = timeout(Duration::from_secs(60), out.read_u8()).await?;
            text.push(byte?);
        }
        let said: Value = serde_json::from_slice(&text)?;
        assert_eq!(said["kind"], "Sandbox");
        let Some(kubeconfig) = said["kubeconfig"].as_str() else {
            return fail(format_args!("it says no kubeconfig: {said}"));
        };
        Ok(Sandbox {
            kubeconfig: kubeconfig.into(),
            process,
            said,
        })
    }

    async fn client(&self) -> Result<Client, NotPassed> {
        connect(&self.kubeconfig).await
    }

    /// Ends it with a signal, as a user or a system does; it must have ended well.
    pub async fn end(mut self, signal: &str) -> Outcome {
        let id = self.process.id().expect("it runs").to_string();
        Command::new("kill").args(["-s", signal, &id]).status().await?;
        let status = timeout(Duration::from_secs(30), self.process.wait()).await??;
        assert!(status.success(), "{status}");
        Ok(())
    }
}

/// Where everything of it is to lie.
fn files(ctx: &Ctx) -> PathBuf {
    ctx.dir().join("tmp")
}

/// No file is there, and no process that was told of one.
fn nothing_is_left(ctx: &Ctx) -> Outcome {
    let files = files(ctx);
    let left: Vec<_> = fs::read_dir(&files)?.collect();
    assert!(left.is_empty(), "{left:?}");
    let files = files.to_string_lossy().into_owned();
    for process in fs::read_dir("/proc")?.flatten() {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        assert!(
            !environment.contains(&files),
            "process {:?} is left",
            process.file_name()
        );
    }
    Ok(())
}

async fn shop(ctx: Ctx) -> Outcome {
    let sandbox = Sandbox::start(&ctx, &["--shop"]).await?;
    let folder = sandbox.said["folder"].as_str().unwrap();
    let kubeconfig = sandbox.kubeconfig.display().to_string();
    let stepback = Binary::in_dir(Path::new(folder)).env("KUBECONFIG", &kubeconfig);
    let plan = stepback.ends(0, "plan --to 1.2.0")?;
    assert!(plan.out.contains("rollback 1.3.0 -> 1.2.0"), "{}", plan.out);
    stepback.ends(0, "rollback --to 1.2.0 --yes")?;

    // A command that would run for long, and knows where it is.
    let pods: Api<Pod> = Api::namespaced(sandbox.client().await?, "shop");
    let command = ["sh", "-c", "touch here; pwd; exec sleep 1000"];
    let mut running = pods
        .exec("shop-0", command, &AttachParams::default().stdin(false))
        .await?;
    let mut place = vec![0; 4096];
    let mut out = running.stdout().unwrap();
    let length = timeout(Duration::from_secs(20), out.read(&mut place)).await??;
    let place = PathBuf::from(String::from_utf8_lossy(&place[..length]).trim());
    assert!(
        place.starts_with(files(&ctx)) && place.join("here").exists(),
        "{place:?}"
    );

    sandbox.end("TERM").await?;
    nothing_is_left(&ctx)
}

async fn empty(ctx: Ctx) -> Outcome {
    let sandbox = Sandbox::start(&ctx, &[]).await?;
    let pods: Api<Pod> = Api::all(sandbox.client().await?);
    assert!(pods.list(&ListParams::default()).await?.items.is_empty());
    assert_eq!(sandbox.said["folder"], Value::Null);
    let folder = sandbox.kubeconfig.parent().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(folder)?.permissions());
    assert_eq!(mode & 0o077, 0, "nobody else may read the kubeconfig");
    sandbox.end("INT").await?;
    nothing_is_left(&ctx)
}

/// What is answered to this request, which is sent as it is.
async fn answer(address: &str, request: &str) -> Result<String, NotPassed> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let length = timeout(Duration::from_secs(20), stream.read(&mut answer)).await??;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Neither the API server nor its node's kubelet, which runs commands.
async fn secret(ctx: Ctx) -> Outcome {
    let sandbox = Sandbox::start(&ctx, &[]).await?;
    let config: Value = serde_json::from_str(&fs::read_to_string(&sandbox.kubeconfig)?)?;
    let url = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    let (address, secret) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    for path in ["/version", "/api/v1/namespaces", "/0000/api/v1/namespaces"] {
        let told = answer(address, &get(path)).await?;
        assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
    }
    let told = answer(address, &get(&format!("/{secret}/version"))).await?;
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");

    let nodes: Api<Node> = Api::all(sandbox.client().await?);
    let status = nodes.get("sandbox").await?.status.unwrap();
    let port = status.daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port;
    let kubelet = format!("127.0.0.1:{port}");
    for path in ["/containerLogs/default/p/c", "/exec/default/p/c?command=id"] {
        let told = answer(&kubelet, &get(path)).await?;
        assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
    }
    sandbox.end("TERM").await
}
