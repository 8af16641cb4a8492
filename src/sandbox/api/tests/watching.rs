//! Watches, bookmarks, history.

use super::{super::EventKind, *};
use futures::{StreamExt, TryStreamExt};
use kube::{
    ResourceExt,
    api::{DeleteParams, WatchEvent, WatchParams},
    runtime::{WatchStreamExt, watcher},
};
use std::pin::pin;

fn short<K: ResourceExt>(event: &WatchEvent<K>) -> String {
    match event {
        WatchEvent::Added(object) => format!("+{}", object.name_any()),
        WatchEvent::Modified(object) => format!("~{}", object.name_any()),
        WatchEvent::Deleted(object) => format!("-{}", object.name_any()),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
        WatchEvent::Error(status) => format!("error {}", status.code),
    }
}

#[tokio::test]
async fn a_watcher_lists_then_follows_then_survives_410() {
    let (server, client) = start_with(Options {
        bookmark_every: Duration::from_millis(20),
        ..Options::default()
    })
    .await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    create(&maps, &config_map("a", &[])).await;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut seen = pin!(watcher(maps.clone(), config).applied_objects());
        assert_eq!(within(seen.next()).await.unwrap().unwrap().name_any(), "a");
        merge(&maps, "a", json!({"data": {"k": server.version().to_string()}}))
            .await
            .unwrap();
        assert!(within(seen.next()).await.unwrap().unwrap().data.is_some());
    }
}

#[tokio::test]
async fn a_watch_shows_every_change_in_order() {
    let (_server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let made = create(&maps, &config_map("a", &[])).await;
    merge(&maps, "a", json!({"data": {"k": "1"}})).await.unwrap();
    create(&maps, &config_map("b", &[])).await;
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let params = WatchParams::default().timeout(1);
    let events = maps.watch(&params, &made.resource_version().unwrap()).await.unwrap();
    let events: Vec<_> = within(events.try_collect()).await.unwrap();
    let seen: Vec<_> = events.iter().map(short).filter(|event| event != "bookmark").collect();
    assert_eq!(seen, ["~a", "+b", "-a"]);
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_is_deleted_to_the_watcher() {
    let (_server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let made = create(&maps, &config_map("a", &[("k", "old")])).await;
    let label = |value: Value| json!({"metadata": {"labels": {"app": value}}, "data": {"k": "new"}});
    merge(&maps, "a", json!({"metadata": {"labels": {"app": "web"}}}))
        .await
        .unwrap();
    let left = merge(&maps, "a", label(Value::Null)).await.unwrap();
    merge(&maps, "a", label(json!("web"))).await.unwrap();
    let params = WatchParams::default().labels("app=web").timeout(1).disable_bookmarks();
    let events = maps.watch(&params, &made.resource_version().unwrap()).await.unwrap();
    let events: Vec<_> = within(events.try_collect()).await.unwrap();
    assert_eq!(events.iter().map(short).collect::<Vec<_>>(), ["+a", "-a", "+a"]);
    let WatchEvent::Deleted(last) = &events[1] else {
        panic!("it left")
    };
    assert_eq!(
        last.data.as_ref().unwrap()["k"],
        "old",
        "shown as it last was in the selection"
    );
    assert_eq!(last.resource_version(), left.resource_version());
}

#[tokio::test]
async fn too_old_a_version_is_gone() {
    let (server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let made = create(&maps, &config_map("a", &[])).await;
    create(&maps, &config_map("b", &[])).await;
    server.forget_changes();
    let mut events = pin!(
        maps.watch(&WatchParams::default(), &made.resource_version().unwrap())
            .await
            .unwrap()
    );
    assert_eq!(short(&within(events.next()).await.unwrap().unwrap()), "error 410");
    assert!(within(events.next()).await.is_none());
}

#[tokio::test]
async fn bookmarks_carry_the_version_forward() {
    let (server, client) = start_with(Options {
        bookmark_every: Duration::from_millis(5),
        ..Options::default()
    })
    .await;
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let mut events = pin!(
        maps.watch(&WatchParams::default(), &server.version().to_string())
            .await
            .unwrap()
    );
    create(&Api::<Pod>::default_namespaced(client), &pod("p", json!({}))).await;
    let version = server.version().to_string();
    within(async {
        loop {
            let Some(Ok(WatchEvent::Bookmark(mark))) = events.next().await else {
                panic!("only bookmarks")
            };
            if mark.metadata.resource_version == version {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_history_tells_everything_in_order() {
    let (server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    create(&maps, &config_map("a", &[])).await;
    merge(&maps, "a", json!({"data": {"k": "1"}})).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let history = server.history();
    let of_maps: Vec<_> = history
        .iter()
        .filter(|change| change.object["kind"] == "ConfigMap")
        .collect();
    let events: Vec<_> = of_maps.iter().map(|change| change.event).collect();
    assert_eq!(events, [EventKind::Added, EventKind::Modified, EventKind::Deleted]);
    assert!(
        of_maps
            .windows(2)
            .all(|pair| pair[0].version < pair[1].version && pair[0].time <= pair[1].time)
    );
    assert_eq!(of_maps[1].before.as_ref().unwrap().get("data"), None);
}

#[tokio::test]
async fn a_stopped_server_ends_its_watches() {
    let (server, client) = start().await;
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let mut events = pin!(maps.watch(&WatchParams::default(), "0").await.unwrap());
    within(server.stop()).await;
    within(async { while let Some(Ok(_)) = events.next().await {} }).await;
    assert!(maps.get("a").await.is_err());
}
