//! Probes over a cluster: asked of pods that answer, refuse, or are out of reach, and tried before a run (LAWS W17).

use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, from_value, json};
use stepback::{
    cluster::{Cluster as _, ClusterError},
    database::{ConnectOptions, Database, LedgerChoice, connect},
    probe::{Seams, gather, settle, stop, try_probes},
};
use stepback_core::{
    appfile::AppFile,
    model::{SeenWorkload, Settled, TemplateRef, UrlSource},
    plan::{Gate, Tried, TriedProbe},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use super::arena::Arena;
use crate::support::cluster::Kind;
use crate::support::runner::{NotPassed, Outcome, fail, skip};

/// An app file with these probes.
fn app(probes: &str) -> AppFile {
    let text = format!(
        "apiVersion: stepback.dev/v1\nkind: App\nmetadata: {{ name: shop }}\nspec:\n  database: {{ url: sqlite://x }}\n  \
         workloads: [{{ kind: StatefulSet, name: web }}]\n  probes:\n{probes}"
    );
    AppFile::parse(&text, "stepback.yaml")
        .map_err(|errors| errors.to_string())
        .unwrap()
}

/// A database in this file, in which nothing is.
fn database(file: &Path) -> Result<Box<dyn Database>, NotPassed> {
    let options = ConnectOptions {
        source: UrlSource::Env("DATABASE_URL".to_owned()),
        state_schema: "stepback".to_owned(),
        ledger: LedgerChoice::Auto,
        lock_wait: Duration::from_secs(5),
        statement: Duration::from_secs(5),
        step: Duration::from_secs(60),
        create: false,
        by: "a test".to_owned(),
    };
    Ok(connect(&format!("sqlite://{}", file.display()), options)?)
}

async fn tried(arena: &Arena, probes: &str, seen: &SeenWorkload) -> Result<Vec<TriedProbe>, NotPassed> {
    let file = tempfile::NamedTempFile::new()?;
    let database = database(file.path())?;
    let seams = Seams {
        cluster: &arena.cluster,
        database: &*database,
    };
    Ok(try_probes(seams, &app(probes), std::slice::from_ref(seen)).await)
}

pub async fn w17_pods_that_say_no_or_nothing_are_reached(arena: &Arena) -> Outcome {
    arena.create("shop:1.2.0", 1, json!({})).await?;
    arena.until_settled(1).await?;
    // The shop has no database, so it is ready and answers 500.
    let probes = "    - { http: { path: /healthz, port: 8080 } }\n    - { http: { path: /, port: 9 } }\n    \
                  - { tcp: { port: 8080 } }\n    - { tcp: { port: 9 } }\n    - { sql: SELECT 1 }\n    \
                  - { sql: SELECT 1 FROM nowhere }\n    - { sql: CREATE TABLE x (i int) }\n    \
                  - { exec: { command: [\"true\"] } }\n";
    let all = tried(arena, probes, &arena.seen().await?).await?;
    let [healthz, deaf, tcp, deaf_tcp, exec, one, nowhere, write] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert!(
        matches!(&healthz.tried, Some(Tried::Denied(why)) if why.contains("500")),
        "{healthz:?}"
    );
    assert!(
        healthz.healthy && healthz.what == "GET /healthz on web-0:8080",
        "{healthz:?}"
    );
    assert!(
        matches!(&deaf.tried, Some(Tried::Unanswered(why)) if why.contains("port 9")),
        "{deaf:?}"
    );
    assert_eq!(tcp.tried, Some(Tried::Holds));
    assert!(matches!(&deaf_tcp.tried, Some(Tried::Unanswered(_))), "{deaf_tcp:?}");
    assert_eq!(one.tried, Some(Tried::Holds));
    assert!(matches!(&nowhere.tried, Some(Tried::Unanswered(_))), "{nowhere:?}");
    assert!(matches!(&write.tried, Some(Tried::Unfit(_))), "{write:?}");
    assert_eq!(exec.tried, Some(Tried::Holds), "an admin may run commands");
    let refused = arena.cluster.dial(&arena.namespace, "web-0", 9).await.err();
    assert!(
        matches!(refused, Some(ClusterError::NotListening { port: 9, .. })),
        "{refused:?}"
    );

    arena.scale(0).await?;
    arena.until_settled(0).await?;
    let all = tried(arena, "    - { tcp: { port: 8080 } }\n", &arena.seen().await?).await?;
    assert!(all[0].tried.is_none(), "{all:?}");
    Ok(())
}

/// A pod that no kubelet runs, at this address, ready in the server's eyes.
async fn pod_at(arena: &Arena, address: &str) -> Result<SeenWorkload, NotPassed> {
    let pods: Api<Pod> = Api::namespaced(arena.client.clone(), &arena.namespace);
    let pod: Pod = from_value(json!({
        "metadata": { "name": "web-0" },
        "spec": { "nodeName": "elsewhere", "containers": [{ "name": "shop", "image": "shop:1.2.0" }] },
    }))?;
    pods.create(&PostParams::default(), &pod).await?;
    let status = json!({ "status": {
        "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
        "conditions": [{ "type": "Ready", "status": "True" }],
    } });
    let pod = pods
        .patch_status("web-0", &PatchParams::default(), &Patch::Merge::<Value>(status))
        .await?;
    Ok(SeenWorkload {
        workload: arena.web.clone(),
        set: None,
        pods: vec![pod],
        revisions: vec![],
    })
}

pub async fn w17_a_ready_pod_that_cannot_be_reached_is_a_refusal(arena: &Arena) -> Outcome {
    // An address for documentation, and a node that does not exist: neither way leads there.
    let seen = pod_at(arena, "192.0.2.1").await?;
    let all = tried(
        arena,
        "    - { tcp: { port: 8080 } }\n    - { http: { port: 8080 } }\n",
        &seen,
    )
    .await?;
    for one in &all {
        assert!(
            matches!(&one.tried, Some(Tried::Unreachable(_))) && one.healthy,
            "{one:?}"
        );
    }
    Ok(())
}

async fn openssl(dir: &Path, words: &str) -> Outcome {
    let run = Command::new("openssl")
        .args(words.split(' '))
        .current_dir(dir)
        .stdin(Stdio::null())
        .output();
    match run.await {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => fail(String::from_utf8_lossy(&output.stderr)),
        Err(_) => skip("openssl is not installed: a server needs a certificate"),
    }
}

pub async fn a_certificate_is_verified(arena: &Arena) -> Outcome {
    let dir = tempfile::tempdir()?;
    certificates(dir.path()).await?;
    verify(arena, dir.path()).await
}

async fn certificates(dir: &Path) -> Outcome {
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        dir,
        &format!("req {curve} -x509 -days 2 -subj /CN=ours -keyout ca.key -out ca.pem"),
    )
    .await?;
    openssl(
        dir,
        &format!("req {curve} -x509 -days 2 -subj /CN=theirs -keyout no.key -out no.pem"),
    )
    .await?;
    openssl(dir, &format!("req {curve} -subj /CN=web -keyout web.key -out web.csr")).await?;
    std::fs::write(dir.join("names"), "subjectAltName=DNS:web-0.web")?;
    openssl(
        dir,
        "x509 -req -in web.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out web.pem",
    )
    .await
}

async fn verify(arena: &Arena, dir: &Path) -> Outcome {
    let chain = CertificateDer::pem_file_iter(dir.join("web.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(dir.join("web.key"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 1024];
            if stream.read(&mut request).await.is_ok() {
                drop(stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await);
                drop(stream.shutdown().await);
            }
        }
    });
    let seen = pod_at(arena, "127.0.0.1").await?;
    let pem = |name: &str| std::fs::read_to_string(dir.join(name)).map(|pem| pem.replace('\n', "\\n"));
    let (ours, theirs) = (pem("ca.pem")?, pem("no.pem")?);
    let probes = [
        format!("serverName: \"{{pod}}.web\", ca: \"{ours}\""),
        "insecure: true".to_owned(),
        format!("serverName: \"{{pod}}.web\", ca: \"{theirs}\""),
        format!("serverName: web-1.web, ca: \"{ours}\""),
        "serverName: web-0.web".to_owned(),
    ];
    let probes = probes
        .map(|tls| format!("    - {{ https: {{ port: {port}, {tls} }} }}\n"))
        .concat();
    let all = tried(arena, &probes, &seen).await?;
    server.abort();
    let [right, insecure, theirs, name, system] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert_eq!(right.tried, Some(Tried::Holds), "{right:?}");
    assert_eq!(insecure.tried, Some(Tried::Holds), "{insecure:?}");
    let distrusted = |one: &TriedProbe, why: &str| match &one.tried {
        Some(Tried::Unanswered(text)) => assert!(text.contains(why), "{text}"),
        // A machine without any authority cannot verify anything.
        Some(Tried::Unfit(text)) if text.contains("no certificate authorities") => {}
        other => panic!("{other:?}"),
    };
    distrusted(theirs, "UnknownIssuer");
    distrusted(name, "web-1.web");
    distrusted(system, "UnknownIssuer");
    Ok(())
}

/// The gate of the set's first pod, at the image that its template has.
fn gate(arena: &Arena, image: &str) -> Gate {
    Gate::PodHealthy {
        workload: arena.web.clone(),
        pod: "web-0".to_owned(),
        template: TemplateRef {
            revision: None,
            images: [("shop".to_owned(), image.to_owned())].into(),
        },
        rewritten: Default::default(),
        min_ready_seconds: 0,
        probes: vec![],
    }
}

pub async fn a_pod_that_crashes_is_shown_with_its_events_and_last_words(arena: &Arena) -> Outcome {
    let file = tempfile::NamedTempFile::new()?;
    let database = database(file.path())?;
    let seams = Seams {
        cluster: &arena.cluster,
        database: &*database,
    };
    arena.create("shop:1.2.0-bad", 1, json!({})).await?;
    arena
        .until(&arena.pods, "the pod has restarted", |pods| {
            let status = pods.get("web-0")?.status.as_ref()?;
            status
                .container_statuses
                .iter()
                .flatten()
                .any(|one| one.restart_count > 0)
                .then_some(())
        })
        .await?;
    let evidence = gather(seams, &gate(arena, "shop:1.2.0-bad"))
        .await
        .expect("it is about a pod");
    let text = format!("{evidence:#?}");
    assert_eq!(evidence.of, "web-0");
    assert!(
        text.contains("exit code 1") && text.contains("Ready is False"),
        "{text}"
    );
    assert!(evidence.events.iter().any(|event| event.contains("Started")), "{text}");
    // Our kubelet has no certificate that a real API server would take for a kubelet's.
    let words = text.contains("release 1.2.0-bad is broken and cannot start");
    let unread = evidence.unread.iter().any(|what| what.starts_with("the log of shop: "));
    assert!(words != unread, "{text}");
    if arena.kind == Kind::Sandbox {
        assert!(words, "{text}");
    }
    Ok(())
}

pub async fn a_pod_that_is_not_made_is_explained_by_its_set(arena: &Arena) -> Outcome {
    let file = tempfile::NamedTempFile::new()?;
    let database = database(file.path())?;
    let seams = Seams {
        cluster: &arena.cluster,
        database: &*database,
    };
    arena.empty_set("shop:1.2.0").await?;
    let evidence = gather(seams, &gate(arena, "shop:1.2.0"))
        .await
        .expect("it is about a pod");
    assert_eq!(evidence.state, ["pod web-0 does not exist"]);
    assert!(evidence.unread.is_empty(), "{evidence:?}");
    Ok(())
}

pub async fn w13_a_pod_that_cannot_be_made_ends_the_wait(arena: &Arena) -> Outcome {
    let file = tempfile::NamedTempFile::new()?;
    let database = database(file.path())?;
    let seams = Seams {
        cluster: &arena.cluster,
        database: &*database,
    };
    arena.create("shop:1.2.0", 0, json!({})).await?;
    let account = json!({ "spec": { "serviceAccountName": "departed" } });
    arena.change_template(account).await?;
    let gate = gate(arena, "shop:1.2.0");
    let (_stopper, stop) = stop();
    arena.scale(1).await?;
    let (begun, mut said) = (Instant::now(), Vec::new());
    let settled = settle(seams, &gate, Duration::from_secs(60), &stop, &mut |reason| {
        said.push(reason)
    })
    .await;
    let Settled::Failed(why) = &settled else {
        panic!("{settled:?}, {said:#?}")
    };
    assert!(
        why.contains("pod web-0 cannot be made") && why.contains("serviceaccount \"departed\" not found"),
        "{why}"
    );
    assert!(
        begun.elapsed() > Duration::from_secs(5),
        "a webhook may be away for a moment"
    );
    assert!(
        said.iter()
            .any(|reason| reason.contains("tries again: ") && reason.contains("departed")),
        "{said:#?}"
    );

    // What was recorded by then ends no wait that comes later.
    let accounts: Api<ServiceAccount> = Api::namespaced(arena.client.clone(), &arena.namespace);
    let account = from_value(json!({ "metadata": { "name": "departed" } }))?;
    accounts.create(&PostParams::default(), &account).await?;
    arena.scale(0).await?;
    arena.scale(1).await?;
    let settled = settle(seams, &gate, Duration::from_secs(60), &stop, &mut |_| {}).await;
    assert!(matches!(settled, Settled::Healthy(_)), "{settled:?}");
    Ok(())
}
