//! Laws about the lease and its token.

use std::time::{Duration, Instant};

use stepback::database::{Database, DbError, LeaseRequest, Record};
use stepback_core::model::{Direction, MigrationSet, RunStatus, Token};

use super::harness::{Fresh, acquire, applied, carry, migration, run_row, scripts, stamp};
use crate::support::runner::Outcome;

fn request(holder: &str, life: u64, wait: u64, above: u64) -> LeaseRequest {
    LeaseRequest {
        holder: holder.to_owned(),
        life: Duration::from_millis(life),
        wait: Duration::from_millis(wait),
        above,
    }
}

pub async fn the_lease_is_one_holders(fresh: Fresh) -> Outcome {
    let (one, first) = fresh.holder("one {now} o'clock").await?;
    let other = fresh.open();
    match acquire(&*other, "other").await {
        Err(DbError::Held(lease)) => {
            assert_eq!((lease.holder.as_str(), lease.token), ("one {now} o'clock", first));
            assert!(lease.is_alive() && lease.age_ms < 60_000, "{lease:?}");
        }
        other => panic!("the lease was taken twice: {other:?}"),
    }
    assert_eq!(one.look().await?.lease.unwrap().token, first);
    one.release().await?;
    assert!(one.look().await?.lease.unwrap().released);
    let second = acquire(&*other, "other").await?;
    assert!(second.number > first.number);
    // Giving back what is not ours any more changes nothing.
    one.release().await?;
    assert!(other.look().await?.lease.unwrap().is_alive());
    other.release().await?;
    let third = one.acquire(&request("one", 60_000, 0, 100)).await?;
    assert_eq!(third.number, 101);
    assert_eq!(one.look().await?.highest_token, 101);
    Ok(())
}

pub async fn a_lease_is_taken_over_after_its_life_and_not_before(fresh: Fresh) -> Outcome {
    let one = fresh.open();
    one.prepare().await?;
    let first = one.acquire(&request("one", 900, 0, 0)).await?;
    let other = fresh.open();
    let begun = Instant::now();
    let tried = other.acquire(&request("other", 900, 2500, 0)).await;
    assert!(
        matches!(tried, Err(DbError::Held(_))),
        "a heart that beats was not seen: {tried:?}"
    );
    assert!(begun.elapsed() >= Duration::from_millis(2500));
    // Gone without a word.
    drop(one);
    let second = other.acquire(&request("other", 900, 20_000, 0)).await?;
    assert!(second.number > first.number);
    Ok(())
}

/// The clock was set back after the last heartbeat of a holder that is dead.
pub async fn d4_a_lease_of_the_future_ends_when_nothing_beats_for_its_life(fresh: Fresh) -> Outcome {
    let one = fresh.open();
    one.prepare().await?;
    let first = one.acquire(&request("one", 2_000, 0, 0)).await?;
    drop(one);
    let hour = format!(
        "UPDATE {} SET heartbeat_ms = heartbeat_ms + 3600000",
        fresh.place.own("lease")
    );
    fresh.place.run(&hour).await?;
    let other = fresh.open();
    let begun = Instant::now();
    match other.acquire(&request("other", 2_000, 0, 0)).await {
        Err(error @ DbError::Held(_)) => {
            let said = error.to_string();
            assert!(said.contains("in the future") && !said.contains("ago"), "{said}");
        }
        other => panic!("it was taken at once: {other:?}"),
    }
    // What was seen is kept from one attempt to the next.
    let second = loop {
        match other.acquire(&request("other", 2_000, 500, 0)).await {
            Err(DbError::Held(_)) if begun.elapsed() < Duration::from_secs(30) => {}
            taken => break taken?,
        }
    };
    assert!(second.number > first.number);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    Ok(())
}

async fn assert_fenced(database: &dyn Database, token: Token) {
    let migrations = [migration("9", "CREATE TABLE fenced (a int)", "DROP TABLE fenced")];
    let record = Record::Release {
        release: semver::Version::new(9, 9, 9),
        schema: MigrationSet::default(),
    };
    let ledger = database.look().await.expect("it can be looked at").database.ledger;
    let run = run_row(&ledger.table, "01J8ZQ5W3N6M2R0XQ4T1V7B9ZZ", RunStatus::Opening, token);
    let tried = [
        ("stage", database.stage(token, &migrations).await),
        ("write_run", database.write_run(token, &run).await),
        ("hand_over", database.hand_over(token, &run.run, &run).await),
        ("record", database.record(&record, &stamp(token)).await),
        ("write_plan", database.write_plan(token, &run.run, b"plan").await),
        (
            "append_line",
            database.append_line(token, &run.run, 1, "line").await.map(drop),
        ),
    ];
    for (what, outcome) in tried {
        assert!(matches!(outcome, Err(DbError::Fenced)), "{what}: {outcome:?}");
    }
}

pub async fn d4_a_holder_that_was_taken_over_changes_nothing(fresh: Fresh) -> Outcome {
    let (old, old_token) = fresh.holder("old").await?;
    let migrations = [migration("1", "CREATE TABLE a (i int)", "DROP TABLE a")];
    old.stage(old_token, &migrations).await?;
    fresh.silence().await?;
    let new = fresh.open();
    let token = acquire(&*new, "new").await?;
    assert!(token.number > old_token.number);

    let before = fresh.place.dump().await?;
    let up = scripts(Direction::Up, &migrations);
    let advanced = old.advance(Direction::Up, &up, &stamp(old_token)).await;
    assert!(matches!(advanced, Err(DbError::Fenced)), "{advanced:?}");
    assert!(!fresh.has_table("a").await);
    assert_fenced(&*old, old_token).await;
    old.release().await?;
    assert_eq!(fresh.place.dump().await?, before, "the old holder changed something");

    carry(&*new, Direction::Up, &up, token).await?;
    assert_eq!(applied(&*new).await?, ["1"]);
    Ok(())
}

pub async fn d4_work_in_flight_is_over_when_a_takeover_returns(fresh: Fresh) -> Outcome {
    let (old, old_token) = fresh.holder("old").await?;
    let slow = format!(
        "CREATE TABLE a (i int); {}; CREATE TABLE b (i int)",
        fresh.place.slow(3.0)
    );
    let migrations = [migration("1", &slow, "DROP TABLE a")];
    old.stage(old_token, &migrations).await?;
    let up = scripts(Direction::Up, &migrations);
    let work = tokio::spawn(async move {
        let done = old.advance(Direction::Up, &up, &stamp(old_token)).await;
        (old, done)
    });
    // The work begins within the pause, or the law is trivially kept: it is then fenced.
    tokio::time::sleep(Duration::from_millis(500)).await;
    // On an engine whose write transaction is the lock, this waits for the work.
    let new = fresh.open();
    while fresh.silence().await.is_err() {}
    let token = new.acquire(&request("new", 60_000, 30_000, 0)).await?;
    let seen = applied(&*new).await?;
    let (_old, done) = work.await?;
    assert_eq!(
        applied(&*new).await?,
        seen,
        "work of the old holder was committed after the takeover: {done:?}"
    );
    assert_eq!(fresh.has_table("b").await, seen == ["1"]);
    assert!(token.number > old_token.number);
    Ok(())
}

pub async fn d4_nothing_changes_without_the_token(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let migrations = [migration("1", "CREATE TABLE a (i int)", "DROP TABLE a")];
    database.stage(token, &migrations).await?;
    let up = scripts(Direction::Up, &migrations);
    let wrong = [
        Token {
            number: token.number + 1,
            ..token
        },
        Token {
            nonce: token.nonce ^ 1,
            ..token
        },
        Token { number: 0, nonce: 0 },
    ];
    for wrong in wrong {
        let advanced = database.advance(Direction::Up, &up, &stamp(wrong)).await;
        assert!(matches!(advanced, Err(DbError::Fenced)), "{advanced:?}");
        assert_fenced(&*database, wrong).await;
    }
    database.release().await?;
    let advanced = database.advance(Direction::Up, &up, &stamp(token)).await;
    assert!(
        matches!(advanced, Err(DbError::Fenced)),
        "after giving the lease back: {advanced:?}"
    );
    assert_fenced(&*database, token).await;
    assert!(!fresh.has_table("a").await);
    Ok(())
}
