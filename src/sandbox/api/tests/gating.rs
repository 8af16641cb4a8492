//! Requests that are held before their effect.

use super::{
    super::{Asked, Stopped},
    *,
};

fn writes(asked: &Asked) -> bool {
    asked.method == http::Method::PATCH && asked.path.ends_with("/configmaps/a")
}

fn value(server: &ApiServer) -> String {
    let object = server
        .history()
        .iter()
        .rev()
        .find(|change| change.object["kind"] == "ConfigMap")
        .unwrap()
        .object
        .clone();
    object["data"]["k"].as_str().unwrap_or_default().to_owned()
}

async fn with_map() -> (ApiServer, Api<ConfigMap>) {
    let (server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    create(&maps, &config_map("a", &[("k", "0")])).await;
    (server, maps)
}

fn write(maps: &Api<ConfigMap>, value: &str) -> tokio::task::JoinHandle<kube::Result<ConfigMap>> {
    let (maps, patch) = (maps.clone(), json!({"data": {"k": value}}));
    tokio::spawn(async move { merge(&maps, "a", patch).await })
}

#[tokio::test]
async fn a_held_request_has_no_effect_until_it_is_let_through() {
    let (server, maps) = with_map().await;
    let mut hold = server.hold_nth(2, writes);
    write(&maps, "1").await.unwrap().unwrap();
    let second = write(&maps, "2");
    let asked = within(hold.arrived()).await.unwrap();
    assert_eq!(asked.json(), json!({"data": {"k": "2"}}));
    assert_eq!(value(&server), "1");
    maps.get("a").await.expect("others go on meanwhile");
    assert_eq!(within(hold.let_through()).await, Ok(200));
    assert_eq!(value(&server), "2", "the effect is there when let_through returns");
    second.await.unwrap().unwrap();
    write(&maps, "3").await.unwrap().expect("a hold holds once");
}

#[tokio::test]
async fn a_lost_reply_leaves_its_effect() {
    let (server, maps) = with_map().await;
    let hold = server.hold(writes);
    let client = write(&maps, "1");
    assert_eq!(within(hold.perform_and_drop_reply()).await, Ok(200));
    assert!(
        !matches!(within(client).await.unwrap().unwrap_err(), kube::Error::Api(_)),
        "no answer came"
    );
    assert_eq!(value(&server), "1");
}

#[tokio::test]
async fn a_refused_or_dropped_request_has_none() {
    let (server, maps) = with_map().await;
    let hold = server.hold(writes);
    let client = write(&maps, "1");
    within(hold.refuse()).await.unwrap();
    assert_eq!(refusal(within(client).await.unwrap()).0, 500);
    let hold = server.hold(writes);
    let client = write(&maps, "2");
    within(hold.drop_request()).await.unwrap();
    assert!(!matches!(
        within(client).await.unwrap().unwrap_err(),
        kube::Error::Api(_)
    ));
    assert_eq!(value(&server), "0");
}

#[tokio::test]
async fn a_request_outlives_its_client() {
    let (server, maps) = with_map().await;
    let mut hold = server.hold(writes);
    let client = write(&maps, "1");
    within(hold.arrived()).await.unwrap();
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_eq!(within(hold.let_through()).await, Ok(200));
    assert_eq!(value(&server), "1");
}

#[tokio::test]
async fn letting_go_of_a_hold_lets_the_request_through() {
    let (server, maps) = with_map().await;
    drop(server.hold(writes));
    write(&maps, "1").await.unwrap().unwrap();
    let mut hold = server.hold(writes);
    let client = write(&maps, "2");
    within(hold.arrived()).await.unwrap();
    drop(hold);
    within(client).await.unwrap().unwrap();
    let mut never = server.hold(writes);
    server.stop().await;
    assert_eq!(within(never.arrived()).await.unwrap_err(), Stopped);
}
