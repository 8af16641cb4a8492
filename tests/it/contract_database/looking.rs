//! Laws about what is read, recorded and compared.

use std::task::Poll;

use futures::future::try_join_all;
use stepback::database::{DbError, Record};
use stepback_core::model::{Bound, Direction, MigrationSet, RunId, RunStatus, Token, Version};

use super::harness::{Fresh, carry, migration, scripts, stamp};
use crate::support::runner::Outcome;

fn set(versions: &[&str]) -> MigrationSet {
    versions
        .iter()
        .map(|version| Version::parse(version).unwrap())
        .collect()
}

pub async fn looking_creates_nothing(fresh: Fresh) -> Outcome {
    let before = fresh.place.dump().await?;
    let database = fresh.open();
    let seen = database.look().await?;
    assert!(!seen.prepared && seen.ledger.is_empty() && seen.lease.is_none() && seen.open_run.is_none());
    assert!(seen.server_version.contains(' '), "{}", seen.server_version);
    assert_eq!(database.ledger().await?, []);
    assert_eq!(database.runs().await?, []);
    database.fingerprint().await?;
    assert_eq!(database.recorded_fingerprint(&set(&["1"])).await?, None);
    let release = Record::Release {
        release: semver::Version::new(1, 0, 0),
        schema: set(&["1"]),
    };
    assert!(!database.recorded(&release).await?);
    assert_eq!(
        database.read_lines(&stamp(Token { number: 1, nonce: 1 }).run).await?,
        None
    );
    assert_eq!(database.bodies(&[]).await?, Vec::<Vec<u8>>::new());
    assert_eq!(fresh.place.dump().await?, before);
    Ok(())
}

/// Polls a future this often at most, then drops it. Whether it came to its end.
async fn give_up<T>(polls: usize, work: impl Future<Output = T>) -> bool {
    let mut work = std::pin::pin!(work);
    let mut polled = 0;
    std::future::poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(false);
        }
        polled += 1;
        work.as_mut().poll(context).map(|_| true)
    })
    .await
}

pub async fn a_call_that_is_given_up_leaves_the_next_one_whole(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let staged = [migration("1", "CREATE TABLE a (id INT)", "DROP TABLE a")];
    database.stage(token, &staged).await?;
    let (before, taken) = (database.look().await?, database.fingerprint().await?);
    let mut polls = 0;
    loop {
        let looked = give_up(polls, database.look()).await;
        assert_eq!(database.look().await?.archive, before.archive, "after {polls} polls");
        let compared = give_up(polls, database.fingerprint()).await;
        assert_eq!(database.fingerprint().await?, taken, "after {polls} polls");
        let wrote = give_up(polls, database.stage(token, &staged)).await;
        database.stage(token, &staged).await?;
        if looked && compared && wrote {
            return Ok(());
        }
        polls += 1;
    }
}

pub async fn preparing_is_idempotent_and_several_may_do_it_at_once(fresh: Fresh) -> Outcome {
    let several: Vec<_> = (0..4).map(|_| fresh.open()).collect();
    try_join_all(several.iter().map(|database| database.prepare())).await?;
    let first = several[0].look().await?;
    assert!(first.prepared);
    assert!(!first.database.identity.own.is_empty());
    let before = fresh.place.dump().await?;
    several[1].prepare().await?;
    fresh.open().prepare().await?;
    assert_eq!(several[2].look().await?, first);
    assert_eq!(fresh.place.dump().await?, before, "preparing again writes nothing");
    Ok(())
}

pub async fn d13_an_identity_stays_and_is_no_other_databases(fresh: Fresh) -> Outcome {
    let database = fresh.open();
    let bare = database.look().await?.database.identity;
    database.prepare().await?;
    let identity = database.look().await?.database.identity;
    drop(database);
    assert_eq!(fresh.open().look().await?.database.identity, identity);
    assert_eq!((&bare.system, &bare.database), (&identity.system, &identity.database));

    let other = fresh.harness.fresh(&fresh.ctx).await?.open();
    other.prepare().await?;
    let other = other.look().await?.database.identity;
    assert_ne!(other, identity);
    assert_ne!(other.own, identity.own);
    Ok(())
}

pub async fn d12_a_fingerprint_is_the_same_after_a_down_and_a_difference_can_be_read(fresh: Fresh) -> Outcome {
    let empty = fresh.open().fingerprint().await?;
    let (database, token) = fresh.holder("a").await?;
    assert_eq!(
        database.fingerprint().await?.digest(),
        empty.digest(),
        "our own tables are left out"
    );
    let one = migration(
        "1",
        "CREATE TABLE orders (id integer PRIMARY KEY, item text NOT NULL)",
        "DROP TABLE orders",
    );
    let two = migration(
        "2",
        "ALTER TABLE orders ADD COLUMN customer text DEFAULT 'x'; CREATE INDEX orders_item ON orders (item)",
        "DROP INDEX orders_item; ALTER TABLE orders DROP COLUMN customer",
    );
    let migrations = [one, two];
    database.stage(token, &migrations).await?;
    carry(
        &*database,
        Direction::Up,
        &scripts(Direction::Up, &migrations[..1]),
        token,
    )
    .await?;
    let before = database.fingerprint().await?;
    let objects: Vec<_> = empty
        .differences(&before)
        .into_iter()
        .map(|difference| difference.object)
        .collect();
    assert!(objects.iter().any(|object| object.contains("orders")), "{objects:?}");
    carry(
        &*database,
        Direction::Up,
        &scripts(Direction::Up, &migrations[1..]),
        token,
    )
    .await?;
    let after = database.fingerprint().await?;
    let differences = before.differences(&after);
    let text: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(text.iter().any(|line| line.contains("orders_item")), "{text:#?}");
    assert!(text.iter().any(|line| line.contains("customer")), "{text:#?}");
    assert_eq!(differences.len(), 2, "{text:#?}");
    carry(
        &*database,
        Direction::Down,
        &scripts(Direction::Down, &migrations[1..]),
        token,
    )
    .await?;
    let back = database.fingerprint().await?;
    assert_eq!(before.differences(&back), []);
    assert_eq!(before.digest(), back.digest());
    Ok(())
}

pub async fn facts_are_recorded_as_they_are_given(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let release = |versions: &[&str]| Record::Release {
        release: semver::Version::new(1, 2, 0),
        schema: set(versions),
    };
    let migrations = [
        migration("1", "CREATE TABLE one (i int)", "DROP TABLE one"),
        migration("2", "CREATE TABLE two (i int)", "DROP TABLE two"),
    ];
    database.stage(token, &migrations).await?;
    let up = scripts(Direction::Up, &migrations);
    let down = scripts(Direction::Down, &migrations);
    carry(&*database, Direction::Up, &up[..1], token).await?;
    database.record(&release(&["1"]), &stamp(token)).await?;
    assert!(database.recorded(&release(&["1"])).await?);
    assert!(!database.recorded(&release(&["1", "2"])).await?);
    carry(&*database, Direction::Up, &up[1..], token).await?;
    database.record(&release(&["1", "2"]), &stamp(token)).await?;
    assert!(database.recorded(&release(&["1", "2"])).await?);
    assert!(!database.recorded(&release(&["1"])).await?, "the newest pairing counts");
    assert_eq!(database.look().await?.releases.len(), 2);
    database.record(&release(&["1", "2"]), &stamp(token)).await?;
    assert_eq!(
        database.look().await?.releases.len(),
        2,
        "recorded again, recorded once"
    );
    carry(&*database, Direction::Down, &down[1..], token).await?;
    database.record(&release(&["1"]), &stamp(token)).await?;
    assert!(database.recorded(&release(&["1"])).await?);
    carry(&*database, Direction::Up, &up[1..], token).await?;
    database.record(&release(&["1", "2"]), &stamp(token)).await?;
    carry(&*database, Direction::Down, &down[1..], token).await?;

    let mut fingerprint = database.fingerprint().await?;
    fingerprint
        .objects
        .insert("table \"o'dd\\\"".to_owned(), "line\nline {now} $1 é".to_owned());
    let record = |fingerprint| Record::Fingerprint {
        schema: set(&["1"]),
        fingerprint,
    };
    assert!(!database.recorded(&record(fingerprint.clone())).await?);
    database.record(&record(fingerprint.clone()), &stamp(token)).await?;
    assert!(database.recorded(&record(fingerprint.clone())).await?);
    assert_eq!(
        database.recorded_fingerprint(&set(&["1"])).await?,
        Some(fingerprint.clone())
    );
    assert_eq!(database.recorded_fingerprint(&set(&["2"])).await?, None);
    let seen = database.look().await?;
    assert_eq!(seen.fingerprints, [(set(&["1"]).digest(), fingerprint.digest())]);
    assert_eq!(
        seen.paired(&semver::Version::new(1, 2, 0)).unwrap().schema,
        set(&["1", "2"])
    );
    fingerprint.objects.clear();
    database.record(&record(fingerprint.clone()), &stamp(token)).await?;
    assert_eq!(database.recorded_fingerprint(&set(&["1"])).await?, Some(fingerprint));
    Ok(())
}

/// A fact about a state that is not the present one is not recorded: another tool migrated, or the database was restored.
pub async fn d13_nothing_is_recorded_of_what_the_ledger_does_not_hold(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let migrations = [
        migration("1", "CREATE TABLE one (i int)", "DROP TABLE one"),
        migration("2", "CREATE TABLE two (i int)", "DROP TABLE two"),
    ];
    database.stage(token, &migrations).await?;
    carry(
        &*database,
        Direction::Up,
        &scripts(Direction::Up, &migrations[..1]),
        token,
    )
    .await?;
    for versions in [&["1", "2"][..], &[], &["2"]] {
        let release = Record::Release {
            release: semver::Version::new(1, 2, 0),
            schema: set(versions),
        };
        let fingerprint = Record::Fingerprint {
            schema: set(versions),
            fingerprint: database.fingerprint().await?,
        };
        for record in [release, fingerprint] {
            let refused = database.record(&record, &stamp(token)).await;
            assert!(matches!(refused, Err(DbError::Own { .. })), "{versions:?}: {refused:?}");
            assert!(!database.recorded(&record).await?);
        }
    }
    let seen = database.look().await?;
    assert!(seen.releases.is_empty() && seen.fingerprints.is_empty());
    Ok(())
}

pub async fn a_journal_line_is_written_once(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let run = stamp(token).run;
    assert_eq!(database.read_lines(&run).await?, None);
    database.write_plan(token, &run, &[0, 1, 255]).await?;
    database.write_plan(token, &run, &[0, 1, 255]).await?;
    assert!(
        database
            .append_line(token, &run, 1, "0123 {\"a\":\"it's \\\\ {s}\"}")
            .await?
    );
    assert!(!database.append_line(token, &run, 1, "another").await?);
    assert!(database.append_line(token, &run, 2, "second").await?);
    let lines = vec!["0123 {\"a\":\"it's \\\\ {s}\"}".to_owned(), "second".to_owned()];
    assert_eq!(fresh.open().read_lines(&run).await?, Some((vec![0, 1, 255], lines)));
    Ok(())
}

pub async fn one_run_is_open_at_a_time(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let first = |status| fresh.run_row("01J8ZQ5W3N6M2R0XQ4T1V7B9CA", status, token);
    let second = |status| fresh.run_row("01J8ZQ5W3N6M2R0XQ4T1V7B9CB", status, token);
    for status in [RunStatus::Opening, RunStatus::Open, RunStatus::Halted] {
        database.write_run(token, &first(status)).await?;
        let seen = database.look().await?;
        assert_eq!(seen.open_run, Some(first(status)));
        assert!(seen.highest_token >= token.number);
        match database.write_run(token, &second(RunStatus::Opening)).await {
            Err(DbError::RunOpen(other)) => assert_eq!(*other, first(status)),
            other => panic!("a second run was let in: {other:?}"),
        }
    }
    database.write_run(token, &first(RunStatus::Closed)).await?;
    assert_eq!(database.look().await?.open_run, None);
    database.write_run(token, &second(RunStatus::Open)).await?;
    assert_eq!(
        database.runs().await?,
        [second(RunStatus::Open), first(RunStatus::Closed)]
    );
    Ok(())
}

pub async fn d13_what_a_run_acts_on_is_remembered_by_app(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    assert_eq!(database.look().await?.bound, []);
    let bound = |run: &str, app: Option<&str>, cluster: &str| Bound {
        run: RunId(run.to_owned()),
        title: "it's \\ 1".to_owned(),
        app: app.map(str::to_owned),
        cluster: cluster.to_owned(),
        place: None,
        workloads: [("StatefulSet shop/shop".to_owned(), "u".to_owned())].into(),
    };
    // By the order in which they were begun, not by what some machine's clock has made of their names.
    let (first, second) = (bound("02", Some("shop"), "one"), bound("01", Some("shop"), "two"));
    let nameless = bound("03", None, "three");
    for bound in [&first, &nameless, &second, &bound("02", Some("shop"), "again")] {
        database.bind(token, bound).await?;
    }
    assert_eq!(database.look().await?.bound, [nameless.clone(), second.clone()]);
    let stale = Token {
        number: token.number + 1,
        ..token
    };
    assert!(database.bind(stale, &bound("04", Some("shop"), "four")).await.is_err());
    assert_eq!(fresh.open().look().await?.bound, [nameless, second]);
    Ok(())
}

pub async fn w5_a_run_is_handed_over_as_a_whole_or_not_at_all(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let halted = fresh.run_row("01J8ZQ5W3N6M2R0XQ4T1V7B9CA", RunStatus::Halted, token);
    database.write_run(token, &halted).await?;
    let abort = fresh.run_row("01J8ZQ5W3N6M2R0XQ4T1V7B9CB", RunStatus::Open, token);
    let closed = fresh.run_row("01J8ZQ5W3N6M2R0XQ4T1V7B9CA", RunStatus::Closed, token);
    // From another run than the one that is open: nothing changes.
    let other = RunId("01J8ZQ5W3N6M2R0XQ4T1V7B9CZ".to_owned());
    match database.hand_over(token, &other, &abort).await {
        Err(DbError::RunOpen(open)) => assert_eq!(*open, halted),
        other => panic!("a run was closed that was not named: {other:?}"),
    }
    assert_eq!(database.runs().await?, std::slice::from_ref(&halted));
    database.hand_over(token, &halted.run, &abort).await?;
    assert_eq!(database.look().await?.open_run, Some(abort.clone()));
    assert_eq!(database.runs().await?, [abort.clone(), closed.clone()]);
    // After a lost reply it is said again, and nothing changes; so a run is never open twice, and never none.
    database.hand_over(token, &halted.run, &abort).await?;
    assert_eq!(database.runs().await?, [abort, closed]);
    Ok(())
}
