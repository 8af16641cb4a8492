//! Logs and streams, which a kubelet answers.

use super::*;
use k8s_openapi::api::core::v1::Node;
use kube::api::LogParams;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A node whose kubelet listens here, and the pod `p` on it with containers `app` and, if `two`, `side`.
async fn with_pod(client: &Client, two: bool) -> (TcpListener, Api<Pod>) {
    let kubelet = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = kubelet.local_addr().unwrap().port();
    let status = json!({
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    });
    create(
        &Api::<Node>::all(client.clone()),
        &from(json!({"metadata": {"name": "n1"}, "status": status})),
    )
    .await;
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let mut containers = vec![json!({"name": "app", "image": "shop:1"})];
    if two {
        containers.push(json!({"name": "side", "image": "side:1"}));
    }
    create(
        &pods,
        &pod("p", json!({"spec": {"nodeName": "n1", "containers": containers}})),
    )
    .await;
    (kubelet, pods)
}

/// Accepts one request and returns its head.
async fn accept(kubelet: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = kubelet.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn logs_come_from_the_kubelet() {
    let (_server, client) = start().await;
    let (kubelet, pods) = with_pod(&client, false).await;
    let params = LogParams {
        tail_lines: Some(3),
        ..LogParams::default()
    };
    let (log, head) = within(async {
        tokio::join!(pods.logs("p", &params), async {
            let (mut stream, head) = accept(&kubelet).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\none\ntwo\n")
                .await
                .unwrap();
            head
        })
    })
    .await;
    assert_eq!(log.unwrap(), "one\ntwo\n");
    assert!(
        head.starts_with("GET /containerLogs/default/p/app?tailLines=3 HTTP/1.1\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn an_upgraded_stream_passes_through_both_ways() {
    let (server, client) = start().await;
    let (kubelet, _pods) = with_pod(&client, true).await;
    let mut ours = TcpStream::connect(server.address()).await.unwrap();
    let ask = format!(
        "POST /{}/api/v1/namespaces/default/pods/p/exec?container=side&command=sh&stdin=true HTTP/1.1\r\nHost: x\r\n\
         Connection: Upgrade\r\nUpgrade: test\r\n\r\n",
        server.secret().text()
    );
    ours.write_all(ask.as_bytes()).await.unwrap();
    let (mut theirs, head) = within(accept(&kubelet)).await;
    assert!(
        head.starts_with("POST /exec/default/p/side?command=sh&input=1 HTTP/1.1\r\n"),
        "{head}"
    );
    theirs
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\nhello")
        .await
        .unwrap();
    let mut answer = Vec::new();
    within(async {
        while !answer.ends_with(b"hello") {
            answer.push(ours.read_u8().await.unwrap());
        }
    })
    .await;
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    ours.write_all(b"back").await.unwrap();
    let mut back = [0; 4];
    within(theirs.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"back");
    within(server.stop()).await;
    assert_eq!(
        within(ours.read(&mut back)).await.unwrap_or(0),
        0,
        "a stopped server ends its streams"
    );
}

#[tokio::test]
async fn what_no_kubelet_can_answer_is_refused() {
    let (_server, client) = start().await;
    let (kubelet, pods) = with_pod(&client, true).await;
    create(&pods, &pod("free", json!({}))).await;
    let log = async |name: &str, container: Option<&str>| {
        let params = LogParams {
            container: container.map(Into::into),
            ..LogParams::default()
        };
        refusal(pods.logs(name, &params).await)
    };
    assert_eq!(log("gone", None).await.2, "pods \"gone\" not found");
    assert_eq!(
        pods.logs("free", &LogParams::default()).await.unwrap(),
        "",
        "it has not begun"
    );
    let exec = http::Request::post("/api/v1/namespaces/default/pods/free/exec?command=x")
        .body(Vec::new())
        .unwrap();
    let refused = refusal(client.request::<Value>(exec).await);
    assert_eq!(refused.2, "pod free does not have a host assigned");
    let choose = "a container name must be specified for pod p, choose one of: [app side]";
    assert_eq!(log("p", None).await.2, choose);
    assert_eq!(log("p", Some("x")).await.2, "container x is not valid for pod p");
    drop(kubelet);
    let lost = log("p", Some("app")).await;
    assert!(
        lost.0 == 500 && lost.2.contains("error dialing the kubelet"),
        "{lost:?}"
    );
}
