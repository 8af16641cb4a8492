use std::path::PathBuf;

use sqlx::{AssertSqlSafe, SqlitePool, sqlite::SqliteConnectOptions};

use super::{
    release::Release,
    store::{NewOrder, Store},
};

fn migrations() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/apps/shop/migrations")
}

/// The scripts of one direction in the order they run: ups oldest first, downs newest first.
fn scripts(direction: &str) -> Vec<(String, String)> {
    let mut scripts: Vec<_> = std::fs::read_dir(migrations())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(&format!(".{direction}.sql")))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    scripts.sort();
    if direction == "down" {
        scripts.reverse();
    }
    scripts
}

async fn run(pool: &SqlitePool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

async fn accepting(store: &Store) -> Vec<&'static str> {
    let mut accepting = Vec::new();
    for release in Release::ALL {
        if store.check(release).await.is_ok() {
            accepting.push(release.version());
        }
    }
    accepting
}

#[tokio::test]
async fn each_release_accepts_its_own_schema_and_no_other_up_and_down_and_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&file).create_if_missing(true))
        .await
        .unwrap();
    let store = Store::open(&format!("sqlite://{}", file.display())).unwrap();
    for _ in 0..2 {
        assert_eq!(accepting(&store).await, Vec::<&str>::new(), "an empty database");
        let mut seen = Vec::new();
        for (_, script) in scripts("up") {
            run(&pool, &script).await;
            seen.push(accepting(&store).await);
        }
        assert_eq!(seen, [vec!["1.1.0"], vec!["1.2.0"], vec![], vec!["1.3.0"]]);
        let mut seen = Vec::new();
        for (_, script) in scripts("down") {
            run(&pool, &script).await;
            seen.push(accepting(&store).await);
        }
        assert_eq!(seen, [vec![], vec!["1.2.0"], vec!["1.1.0"], vec![]]);
    }
}

#[tokio::test]
async fn the_queries_of_a_release_run_on_its_schema_and_an_order_outlives_the_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&file).create_if_missing(true))
        .await
        .unwrap();
    let store = Store::open(&format!("sqlite://{}", file.display())).unwrap();
    let order = |item: &str| NewOrder {
        item: item.into(),
        quantity: 2,
        customer: Some("Ada".into()),
        paid: Some(950),
    };
    let ups = scripts("up");
    for (at, release) in [(0..1, Release::V1_1), (1..2, Release::V1_2), (2..4, Release::V1_3)] {
        for (_, script) in &ups[at] {
            run(&pool, script).await;
        }
        store.place(release, &order(release.version())).await.unwrap();
    }
    let orders = store.orders(Release::V1_3).await.unwrap();
    assert_eq!(orders.iter().map(|order| order.paid).collect::<Vec<_>>(), [0, 0, 950]);
    assert!(
        store.orders(Release::V1_2).await.is_err(),
        "an older release really breaks on the newer schema"
    );
    assert!(store.place(Release::V1_2, &order("tea")).await.is_err());
    for (_, script) in &scripts("down")[..2] {
        run(&pool, script).await;
    }
    let orders = store.orders(Release::V1_2).await.unwrap();
    let items: Vec<_> = orders
        .iter()
        .map(|order| (order.id, order.item.as_str(), order.quantity))
        .collect();
    assert_eq!(items, [(1, "1.1.0", 2), (2, "1.2.0", 2), (3, "1.3.0", 2)]);
    assert!(store.orders(Release::V1_3).await.is_err());
}

#[tokio::test]
async fn orders_placed_at_the_same_time_all_get_an_id() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&file).create_if_missing(true))
        .await
        .unwrap();
    run(&pool, &scripts("up")[0].1).await;
    let store = Store::open(&format!("sqlite://{}", file.display())).unwrap();
    let order = NewOrder {
        item: "tea".into(),
        quantity: 1,
        customer: None,
        paid: None,
    };
    let placed = futures::future::join_all((0..20).map(|_| store.place(Release::V1_1, &order))).await;
    let mut ids: Vec<_> = placed.into_iter().map(|id| id.unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_url_of_another_kind_is_refused_without_being_quoted() {
    let error = Store::open("mysql://root:hunter2@db/shop").unwrap_err().to_string();
    assert!(error.contains("sqlite://") && !error.contains("hunter2"), "{error}");
}
