//! Laws about a probe's query.

use std::time::{Duration, Instant};

use stepback::database::Reply;

use super::harness::Fresh;
use crate::support::runner::Outcome;

const LIMIT: Duration = Duration::from_secs(10);

pub async fn a_query_holds_when_every_row_begins_with_something_true(fresh: Fresh) -> Outcome {
    fresh
        .place
        .run("CREATE TABLE checks (passed integer, what text); INSERT INTO checks VALUES (1, 'a'), (0, 'b')")
        .await?;
    let database = fresh.open();
    for query in [
        "SELECT 1",
        "SELECT 1 = 1; -- with a comment",
        "SELECT 'f', NULL",
        "SELECT -0.5",
        "SELECT count(*) FROM checks",
        "SELECT what FROM checks",
        "SELECT passed FROM checks WHERE what = 'a'",
    ] {
        assert_eq!(database.ask(query, LIMIT).await?, Reply::Yes, "{query}");
    }
    for (query, says) in [
        ("SELECT 0", "0"),
        ("SELECT 0.0", "0"),
        ("SELECT NULL", "null"),
        ("SELECT count(*) FROM checks WHERE passed > 1", "0"),
        ("SELECT passed FROM checks ORDER BY passed DESC", "0"),
        ("SELECT 1 FROM checks WHERE passed > 1", "no row"),
    ] {
        match database.ask(query, LIMIT).await? {
            Reply::No(why) => assert!(why.contains(says), "{query}: {why}"),
            other => panic!("{query}: {other:?}"),
        }
    }
    // A table that is not there may be there on the target's schema.
    assert!(database.ask("SELECT 1 FROM nowhere", LIMIT).await.is_err());
    Ok(())
}

pub async fn a_query_changes_nothing(fresh: Fresh) -> Outcome {
    fresh.place.run("CREATE TABLE t (i integer)").await?;
    let before = fresh.place.dump().await?;
    let database = fresh.open();
    for query in [
        "INSERT INTO t VALUES (1)",
        "DROP TABLE t",
        "SELECT 1; DROP TABLE t",
        "COMMIT; DROP TABLE t",
        "SELEC 1",
        "",
    ] {
        let reply = database.ask(query, LIMIT).await?;
        assert!(matches!(reply, Reply::Unfit(_)), "{query}: {reply:?}");
    }
    // These say what they like, and write nothing.
    for query in ["COMMIT", "ROLLBACK", "SELECT 1 WHERE 1 = 0"] {
        drop(database.ask(query, LIMIT).await);
    }
    assert_eq!(fresh.place.dump().await?, before);
    Ok(())
}

pub async fn a_query_has_a_limit_and_whoever_stops_waiting_leaves_nothing_behind(fresh: Fresh) -> Outcome {
    let (database, _token) = fresh.holder("ada").await?;
    let slow = fresh.place.slow(20.0);
    // Where only a statement that writes is slow, its query is.
    let slow = slow.strip_prefix("CREATE TABLE slow AS ").unwrap_or(&slow);
    let begun = Instant::now();
    let asked = database.ask(slow, Duration::from_millis(300)).await;
    assert!(asked.is_err(), "{asked:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let left = tokio::time::timeout(Duration::from_millis(100), database.ask(slow, Duration::from_secs(2))).await;
    assert!(left.is_err());
    // The working connection knows nothing of it.
    assert_eq!(database.ledger().await?, []);
    assert_eq!(database.ask("SELECT 1", LIMIT).await?, Reply::Yes);
    Ok(())
}
