//! Laws about the archive and about carrying scripts out.

use std::time::{Duration, Instant};

use stepback::database::DbError;
use stepback_core::model::{Capture, Digest, Direction, Engine};

use super::harness::{Fresh, acquire, applied, carry, migration, scripts, stamp};
use crate::support::runner::Outcome;

/// A script of about this many bytes that does not compress.
fn noise(bytes: usize) -> String {
    let mut text = String::from("-- ");
    let mut state = 1u64;
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:016x}", state ^ (state >> 29)));
    }
    text
}

pub async fn d2_bodies_come_back_whole(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let large = noise(5 << 20);
    let odd = "SELECT 'it''s \\ é {now} {s} $1';\r\n-- ü";
    let migrations = [migration("1", odd, &large), migration("2", "SELECT 1", odd)];
    database.stage(token, &migrations).await?;
    let names = [
        Digest::of(&large),
        Digest::of(odd),
        Digest::of("SELECT 1"),
        Digest::of(odd),
    ];
    let bodies = fresh.open().bodies(&names).await?;
    let expected: Vec<&[u8]> = vec![large.as_bytes(), odd.as_bytes(), b"SELECT 1", odd.as_bytes()];
    assert!(bodies.iter().map(Vec::as_slice).eq(expected));
    let missing = database.bodies(&[Digest::of(odd), Digest::of("never stored")]).await;
    assert!(matches!(missing, Err(DbError::Archive { .. })), "{missing:?}");

    fresh
        .place
        .run(&format!("DELETE FROM {} WHERE chunk = 1", fresh.place.own("script")))
        .await?;
    let torn = database.bodies(&[Digest::of(&large)]).await;
    assert!(matches!(torn, Err(DbError::Archive { .. })), "{:?}", torn.err());
    Ok(())
}

pub async fn d3_staged_becomes_captured_when_it_is_applied(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let first = [
        migration("1", "CREATE TABLE a (i int)", "DROP TABLE a"),
        migration("2", "SELECT 1", "-- nothing"),
    ];
    database.stage(token, &first).await?;
    let archive = database.look().await?.archive;
    assert_eq!(archive.len(), 2);
    for (row, down_empty) in archive.iter().zip([false, true]) {
        assert!(
            row.intact && row.capture == Capture::Staged && row.revision == 1,
            "{row:?}"
        );
        assert_eq!((row.ledger_sequence, row.down_empty), (None, down_empty));
    }
    // The same again is nothing; something else is another revision, while it is only staged.
    let second = [
        migration("1", "CREATE TABLE a (i int)", "DROP TABLE IF EXISTS a"),
        first[1].clone(),
    ];
    database.stage(token, &second).await?;
    let archive = database.look().await?.archive;
    assert_eq!(archive.iter().map(|row| row.revision).collect::<Vec<_>>(), [2, 1]);

    carry(&*database, Direction::Up, &scripts(Direction::Up, &second), token).await?;
    let seen = database.look().await?;
    for (row, ledger) in seen.archive.iter().zip(&seen.ledger) {
        assert!(row.intact && row.capture == Capture::Captured, "{row:?}");
        assert!(ledger.sequence.is_some() && row.ledger_sequence == ledger.sequence);
    }
    // What was applied stays what it was, whatever the folder says now.
    database.stage(token, &first).await?;
    assert_eq!(database.look().await?.archive, seen.archive);

    let forge = format!(
        "UPDATE {} SET up_sha256 = down_sha256 WHERE version = '2'",
        fresh.place.own("archive")
    );
    fresh.place.run(&forge).await?;
    let archive = database.look().await?.archive;
    assert_eq!(archive.iter().map(|row| row.intact).collect::<Vec<_>>(), [true, false]);
    Ok(())
}

pub async fn a_script_is_committed_with_its_ledger_row(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    // 10 is after 9, and the last one ends in a comment without a line feed.
    let migrations = [
        migration("9", "CREATE TABLE nine (i int);", "DROP TABLE nine;"),
        migration(
            "10",
            "CREATE TABLE ten (i int); INSERT INTO ten VALUES (10)",
            "DELETE FROM ten; DROP TABLE ten",
        ),
        migration(
            "11",
            "ALTER TABLE ten ADD COLUMN t text -- eleven",
            "ALTER TABLE ten DROP COLUMN t -- eleven",
        ),
    ];
    database.stage(token, &migrations).await?;
    carry(&*database, Direction::Up, &scripts(Direction::Up, &migrations), token).await?;
    let ledger = database.ledger().await?;
    assert_eq!(applied(&*database).await?, ["9", "10", "11"]);
    assert!(
        // sqlx on SQLite counts seconds; ties are ordered by version.
        ledger.windows(2).all(|pair| pair[0].sequence <= pair[1].sequence),
        "{ledger:?}"
    );
    let ten = &migrations[1].up;
    assert_eq!(ledger[1].names_up(&ten.sha256(), ten.text().as_bytes()), Some(true));
    assert!(ledger[0].applied_at.ends_with('Z'), "{}", ledger[0].applied_at);
    assert!(fresh.place.run("SELECT t FROM ten").await.is_ok() && fresh.has_table("nine").await);

    let mut downs = scripts(Direction::Down, &migrations);
    downs.reverse();
    carry(&*database, Direction::Down, &downs, token).await?;
    assert_eq!(applied(&*database).await?, [""; 0]);
    assert!(!fresh.has_table("nine").await && !fresh.has_table("ten").await);
    // And up again: the archive still has everything.
    carry(&*database, Direction::Up, &scripts(Direction::Up, &migrations), token).await?;
    assert_eq!(applied(&*database).await?, ["9", "10", "11"]);
    Ok(())
}

/// What changes rows and nothing else leaves the schema as it was; done or untouched is told by the ledger alone.
pub async fn d6_the_ledger_alone_says_whether_data_was_changed(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let raise = "UPDATE price SET cents = cents * 100";
    let migrations = [
        migration(
            "1",
            "CREATE TABLE price (cents int); INSERT INTO price VALUES (5)",
            "DROP TABLE price",
        ),
        migration("2", raise, "UPDATE price SET cents = cents / 100"),
        migration("3", &format!("{raise}; INSERT INTO nowhere VALUES (1)"), "SELECT 1"),
    ];
    database.stage(token, &migrations).await?;
    let up = scripts(Direction::Up, &migrations);
    let down = scripts(Direction::Down, &migrations);
    carry(&*database, Direction::Up, &up[..1], token).await?;
    let before = database.fingerprint().await?.digest();
    carry(&*database, Direction::Up, &up[1..2], token).await?;
    assert_eq!(database.fingerprint().await?.digest(), before);
    let again = database.advance(Direction::Up, &up[1..2], &stamp(token)).await;
    assert!(matches!(again, Err(DbError::Check { .. })), "{again:?}");
    let failed = database.advance(Direction::Up, &up[2..], &stamp(token)).await;
    assert!(matches!(failed, Err(DbError::Script { .. })), "{failed:?}");
    assert_eq!(applied(&*database).await?, ["1", "2"]);
    let cents = |cents: u32| {
        format!(
            "CREATE TEMP TABLE expected (cents int CHECK (cents = {cents})); INSERT INTO expected SELECT cents FROM price"
        )
    };
    fresh.place.run(&cents(500)).await?;
    carry(&*database, Direction::Down, &down[1..2], token).await?;
    assert_eq!(database.fingerprint().await?.digest(), before);
    fresh.place.run(&cents(5)).await?;
    let again = database.advance(Direction::Down, &down[1..2], &stamp(token)).await;
    assert!(matches!(again, Err(DbError::Check { .. })), "{again:?}");
    fresh.place.run(&cents(5)).await
}

pub async fn d7_a_failing_script_keeps_nothing_and_earlier_ones_stay(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let migrations = [
        migration("1", "CREATE TABLE a (i int)", "DROP TABLE a"),
        migration(
            "2",
            "CREATE TABLE b (i int);\nINSERT INTO nowhere VALUES (1)",
            "DROP TABLE b",
        ),
        migration("3", "CREATE TABLE c (i int)", "DROP TABLE c"),
    ];
    database.stage(token, &migrations).await?;
    let failed = carry(&*database, Direction::Up, &scripts(Direction::Up, &migrations), token).await;
    match failed {
        Err(DbError::Script {
            migration,
            message,
            retry,
        }) => {
            assert_eq!((migration.version.as_str(), retry), ("2", false), "{message}");
            assert!(message.contains("nowhere") && message.contains("line 2"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(applied(&*database).await?, ["1"]);
    assert!(fresh.has_table("a").await && !fresh.has_table("b").await && !fresh.has_table("c").await);
    // Corrected from outside, the same goes on.
    fresh.place.run("CREATE TABLE nowhere (i int)").await?;
    carry(
        &*database,
        Direction::Up,
        &scripts(Direction::Up, &migrations[1..]),
        token,
    )
    .await?;
    assert_eq!(applied(&*database).await?, ["1", "2", "3"]);
    Ok(())
}

pub async fn d7_a_syntax_error_is_found_and_blamed(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let migrations = [
        migration("1", "CREATE TABLE a (i int)", "DROP TABLE a"),
        migration("2", "CREATE TABLE b (i int)", "DROP TABLE b"),
        migration("3", "CREATE TABLE c (i int);\n\nCREATE TABEL d (i int)", "DROP TABLE c"),
        migration("4", "CREATE TABLE e (i int)", "DROP TABLE e"),
    ];
    database.stage(token, &migrations).await?;
    match carry(&*database, Direction::Up, &scripts(Direction::Up, &migrations), token).await {
        Err(DbError::Script {
            migration,
            message,
            retry,
        }) => {
            assert_eq!((migration.version.as_str(), retry), ("3", false), "{message}");
            assert!(message.contains("TABEL") && message.contains("line 3"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(applied(&*database).await?, ["1", "2"]);
    assert!(fresh.has_table("b").await && !fresh.has_table("c").await);
    Ok(())
}

pub async fn d7_a_script_that_the_plan_does_not_name_is_not_run(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let migrations = [migration("1", "CREATE TABLE a (i int)", "DROP TABLE a")];
    let other = [migration("2", "CREATE TABLE z (i int)", "DROP TABLE z")];
    database.stage(token, &migrations).await?;
    database.stage(token, &other).await?;
    let down = scripts(Direction::Down, &migrations);
    let refused = database.advance(Direction::Down, &down, &stamp(token)).await;
    assert!(
        matches!(refused, Err(DbError::Check { .. })),
        "a down of what is not applied: {refused:?}"
    );
    let up = scripts(Direction::Up, &migrations);
    carry(&*database, Direction::Up, &up, token).await?;
    let refused = database.advance(Direction::Up, &up, &stamp(token)).await;
    assert!(
        matches!(refused, Err(DbError::Check { .. })),
        "an up of what is applied: {refused:?}"
    );
    // The ledger was changed by hand: it is not what the plan undoes.
    fresh.place.run(&fresh.place.edit_ledger()).await?;
    let refused = database.advance(Direction::Down, &down, &stamp(token)).await;
    assert!(
        matches!(refused, Err(DbError::Check { .. })),
        "a down of another migration: {refused:?}"
    );
    assert!(fresh.has_table("a").await);
    Ok(())
}

pub async fn d7_a_script_that_the_archive_no_longer_holds_is_not_run(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let migrations = [migration("1", "CREATE TABLE a (i int)", "DROP TABLE a")];
    database.stage(token, &migrations).await?;
    let archive = fresh.place.own("archive");
    let other = Digest::of("another script");
    let (up, down) = (
        scripts(Direction::Up, &migrations),
        scripts(Direction::Down, &migrations),
    );
    fresh
        .place
        .run(&format!("UPDATE {archive} SET up_sha256 = '{other}'"))
        .await?;
    let refused = database.advance(Direction::Up, &up, &stamp(token)).await;
    assert!(matches!(refused, Err(DbError::Archive { .. })), "{refused:?}");
    assert!(!fresh.has_table("a").await);
    let back = format!("UPDATE {archive} SET up_sha256 = '{}'", migrations[0].up.sha256());
    fresh.place.run(&back).await?;
    carry(&*database, Direction::Up, &up, token).await?;
    fresh
        .place
        .run(&format!("UPDATE {archive} SET down_sha256 = '{other}'"))
        .await?;
    let refused = database.advance(Direction::Down, &down, &stamp(token)).await;
    assert!(matches!(refused, Err(DbError::Archive { .. })), "{refused:?}");
    assert!(fresh.has_table("a").await);
    Ok(())
}

pub async fn d8_transaction_control_is_refused(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    let migrations = [
        migration(
            "1",
            "CREATE TABLE a (i int); COMMIT; CREATE TABLE b (i int)",
            "DROP TABLE a",
        ),
        migration(
            "2",
            "-- wrapped\nBEGIN;\nCREATE TABLE c (i int);\nCOMMIT;\n",
            "DROP TABLE c",
        ),
    ];
    database.stage(token, &migrations).await?;
    let up = scripts(Direction::Up, &migrations);
    let refused = database.advance(Direction::Up, &up[..1], &stamp(token)).await;
    match refused {
        Err(DbError::Check { migration, message, .. }) => {
            assert_eq!(migration.version.as_str(), "1");
            assert!(message.contains("COMMIT"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!fresh.has_table("a").await && !fresh.has_table("b").await);
    carry(&*database, Direction::Up, &up[1..], token).await?;
    assert_eq!(applied(&*database).await?, ["2"]);
    assert!(fresh.has_table("c").await);
    Ok(())
}

/// What one script leaves in its session is not there for the next: neither where it was carried out nor where it failed.
pub async fn d8_session_state_does_not_reach_the_next_script(fresh: Fresh) -> Outcome {
    let (database, token) = fresh.holder("a").await?;
    // Names of ours and of the next script's, in front of the real ones.
    let own = |table: &str| fresh.place.own(table).replace("stepback.", "");
    let leaks = format!(
        "CREATE TEMP TABLE {} (version text, up_sha256 text); CREATE TEMP TABLE {} (version text); \
         CREATE TEMP TABLE shadowed (i int); CREATE TABLE first (i int)",
        own("ledger"),
        own("archive"),
    );
    let settings = match database.engine() {
        Engine::Sqlite => {
            "PRAGMA ignore_check_constraints = ON; PRAGMA legacy_alter_table = ON; PRAGMA recursive_triggers = ON; \
             PRAGMA query_only = OFF"
        }
        _ => "SET session_replication_role = replica; SET search_path = pg_temp",
    };
    let migrations = [
        migration("1", &leaks, "DROP TABLE first; CREATE TEMP TABLE checked (i int)"),
        migration(
            "2",
            "CREATE TABLE shadowed (i int CHECK (i > 0))",
            "DROP TABLE shadowed; CREATE TEMP TABLE checked (i int)",
        ),
        migration("3", settings, "SELECT 1"),
        migration("4", "INSERT INTO shadowed VALUES (-1)", "SELECT 1"),
        migration("5", &format!("{settings}; SELECT * FROM nowhere"), "SELECT 1"),
        migration("6", "INSERT INTO shadowed VALUES (1)", "DELETE FROM shadowed"),
    ];
    database.stage(token, &migrations).await?;
    let up = scripts(Direction::Up, &migrations);
    carry(&*database, Direction::Up, &up[..3], token).await?;
    fresh.place.run("SELECT i FROM shadowed").await?;
    for _after_one_that_was_carried_out_and_one_that_failed in 0..2 {
        let refused = database.advance(Direction::Up, &up[3..4], &stamp(token)).await;
        assert!(
            matches!(refused, Err(DbError::Script { .. })),
            "a setting of the script before let a check be broken: {refused:?}"
        );
        let failed = database.advance(Direction::Up, &up[4..5], &stamp(token)).await;
        assert!(matches!(failed, Err(DbError::Script { .. })), "{failed:?}");
    }
    carry(&*database, Direction::Up, &up[5..], token).await?;
    assert_eq!(applied(&*database).await?, ["1", "2", "3", "6"]);
    let mut down = scripts(Direction::Down, &migrations);
    down.retain(|script| !["4", "5"].contains(&script.migration.version.as_str()));
    down.reverse();
    carry(&*database, Direction::Down, &down, token).await?;
    assert_eq!(applied(&*database).await?, [""; 0]);
    assert!(!fresh.has_table("shadowed").await);
    assert!(database.look().await?.archive.iter().all(|row| row.intact));
    Ok(())
}

/// Each statement is quick enough; all of them together are not.
pub async fn d17_a_migration_ends_at_its_limit_however_quick_its_statements_are(fresh: Fresh) -> Outcome {
    let database = fresh.place.open_within(Duration::from_secs(3));
    database.prepare().await?;
    let token = acquire(&*database, "a").await?;
    let slow = format!("{}; DROP TABLE IF EXISTS slow;\n", fresh.place.slow(0.5)).repeat(40);
    let migrations = [
        migration("1", "CREATE TABLE a (i int)", "DROP TABLE a"),
        migration("2", &format!("CREATE TABLE b (i int);\n{slow}"), "DROP TABLE b"),
    ];
    database.stage(token, &migrations).await?;
    let begun = Instant::now();
    match carry(&*database, Direction::Up, &scripts(Direction::Up, &migrations), token).await {
        Err(error @ DbError::Limit { .. }) => {
            let failure = error.to_failure();
            assert!(
                failure.message.contains("m2") && failure.message.contains("limits.step"),
                "{failure:?}"
            );
            assert!(!failure.retry && failure.hint.is_some(), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(
        begun.elapsed() < Duration::from_secs(18),
        "it was carried out to its end"
    );
    assert_eq!(applied(&*database).await?, ["1"]);
    assert!(fresh.has_table("a").await && !fresh.has_table("b").await);
    // The same value goes on.
    let third = [migration("3", "CREATE TABLE c (i int)", "DROP TABLE c")];
    database.stage(token, &third).await?;
    carry(&*database, Direction::Up, &scripts(Direction::Up, &third), token).await?;
    Ok(())
}
