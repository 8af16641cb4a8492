//! Scripts: what they set, how long they take, what they may not do, how many go at once.

use std::time::{Duration, Instant};

use sqlx::{Executor as _, Row as _};
use stepback::database::DbError;
use stepback_core::model::Direction;

use super::{LOCK_WAIT, down, holder, up};
use crate::contract_database::{Place as _, PostgresPlace, acquire, applied, carry, migration, stamp};
use crate::support::runner::{Ctx, Outcome, fail};

pub async fn settings(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let role = format!("weak_{}", place.url.rsplit('_').next().unwrap_or_default());
    place.run(&format!("CREATE ROLE {role}; CREATE SCHEMA other; CREATE TABLE other.ledger (version text, up_sha256 text); GRANT USAGE, CREATE ON SCHEMA other TO {role}")).await?;
    let leaks = format!(
        "SET search_path = other; SET standard_conforming_strings = off; SET statement_timeout = 1; SET statement_timeout = 0; \
         CREATE TEMP TABLE second (temporary int); SET SESSION AUTHORIZATION {role}; SET ROLE {role}; CREATE TABLE first (i int)"
    );
    let migrations = [
        migration(
            "1",
            &leaks,
            &format!("SET ROLE {role}; SET search_path = other; DROP TABLE first"),
        ),
        migration(
            "2",
            r"CREATE TABLE second (i text DEFAULT 'a\'); INSERT INTO second DEFAULT VALUES",
            "DROP TABLE second",
        ),
    ];
    let (database, token) = holder(&place.url, &migrations).await?;
    // One message.
    database.advance(Direction::Up, &up(&migrations), &stamp(token)).await?;
    assert_eq!(applied(&*database).await?, ["1", "2"]);
    place.run("SELECT * FROM other.first").await?;
    let mut witness = place.connect().await?;
    let value: String = witness.fetch_one("SELECT i FROM public.second").await?.get(0);
    assert_eq!(value, r"a\");
    database
        .advance(Direction::Down, &down(&migrations), &stamp(token))
        .await?;
    assert_eq!(applied(&*database).await?, [""; 0]);
    drop(database);
    place.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await
}

pub async fn batches(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let padding = "-- padding\n".repeat(130_000);
    let migrations: Vec<_> = (1..=5)
        .map(|number| {
            migration(
                &number.to_string(),
                &format!("{padding}CREATE TABLE t{number} (i int)"),
                &format!("DROP TABLE t{number}"),
            )
        })
        .collect();
    let (database, token) = holder(&place.url, &migrations).await?;
    database.advance(Direction::Up, &up(&migrations), &stamp(token)).await?;
    assert_eq!(
        applied(&*database).await?,
        ["1", "2"],
        "4 MiB hold two scripts of 1.4 MB"
    );
    carry(&*database, Direction::Up, &up(&migrations[2..]), token).await?;
    assert_eq!(applied(&*database).await?.len(), 5);
    Ok(())
}

pub async fn commit(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let name = place.url.rsplit('/').next().unwrap_or_default();
    place
        .run(&format!("ALTER DATABASE {name} SET synchronous_commit = off"))
        .await?;
    // A deferred trigger looks when the transaction commits, which is where the setting counts.
    place
        .run(
            "CREATE TABLE noted (setting text); CREATE TABLE noticed (i int); \
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO public.noted VALUES (current_setting('synchronous_commit') || ' ' || current_setting('lock_timeout')); RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER note AFTER INSERT ON noticed DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await?;
    let weak = "SET synchronous_commit = off; SET LOCAL lock_timeout = 0; INSERT INTO noticed VALUES (1)";
    let migrations = [migration("1", weak, weak)];
    let (database, token) = holder(&place.url, &migrations).await?;
    database.advance(Direction::Up, &up(&migrations), &stamp(token)).await?;
    database
        .advance(Direction::Down, &down(&migrations), &stamp(token))
        .await?;
    let mut witness = place.connect().await?;
    let noted = witness.fetch_all("SELECT setting FROM noted").await?;
    let noted: Vec<String> = noted.iter().map(|row| row.get(0)).collect();
    assert_eq!(noted, ["on 2s", "on 2s"]);
    Ok(())
}

pub async fn blocked(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let migrations = [
        migration("1", "CREATE TABLE busy (i int)", "DROP TABLE busy"),
        migration("2", "CREATE TABLE free (i int)", "DROP TABLE free"),
    ];
    let (database, token) = holder(&place.url, &migrations).await?;
    carry(&*database, Direction::Up, &up(&migrations), token).await?;
    let mut other = place.connect().await?;
    other.execute("BEGIN; LOCK TABLE busy IN ACCESS SHARE MODE").await?;
    let begun = Instant::now();
    let done = database
        .advance(Direction::Down, &down(&migrations), &stamp(token))
        .await;
    assert!(begun.elapsed() >= LOCK_WAIT, "{:?}", begun.elapsed());
    match done {
        Err(DbError::Script {
            migration,
            message,
            retry,
        }) => {
            assert_eq!((migration.version.as_str(), retry), ("1", true), "{message}");
            assert!(
                message.contains("blocked by process") && message.contains("LOCK TABLE busy"),
                "{message}"
            );
        }
        other => return fail(format_args!("{other:?}")),
    }
    assert_eq!(applied(&*database).await?, ["1"]);
    other.execute("ROLLBACK").await?;
    database
        .advance(Direction::Down, &down(&migrations[..1]), &stamp(token))
        .await?;
    assert_eq!(applied(&*database).await?, [""; 0]);
    Ok(())
}

pub async fn statement_limit(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let migrations = [migration(
        "1",
        "CREATE TABLE a (i int); SELECT pg_sleep(60)",
        "DROP TABLE a",
    )];
    let limits = (LOCK_WAIT, Duration::from_millis(300));
    let database = PostgresPlace::open_with(&place.url, limits.0, limits.1);
    database.prepare().await?;
    let token = acquire(&*database, "holder").await?;
    database.stage(token, &migrations).await?;
    match database.advance(Direction::Up, &up(&migrations), &stamp(token)).await {
        Err(DbError::Script { message, retry, .. }) => {
            assert!(message.contains("statement timeout") && !retry, "{message}")
        }
        other => return fail(format_args!("{other:?}")),
    }
    assert!(place.run("SELECT * FROM a").await.is_err());
    Ok(())
}

pub async fn no_transaction(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let migrations = [
        migration("1", "CREATE TABLE a (i int)", "DROP TABLE a"),
        migration("2", "CREATE INDEX CONCURRENTLY i ON a (i)", "DROP INDEX i"),
    ];
    let (database, token) = holder(&place.url, &migrations).await?;
    match database.advance(Direction::Up, &up(&migrations), &stamp(token)).await {
        Err(DbError::Check { migration, message, .. }) => {
            assert_eq!(migration.version.as_str(), "2");
            assert!(
                message.contains("CONCURRENTLY") && message.contains("nothing of this batch was run"),
                "{message}"
            );
        }
        other => return fail(format_args!("{other:?}")),
    }
    assert_eq!(applied(&*database).await?, [""; 0]);
    Ok(())
}

pub async fn thousand(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let migrations: Vec<_> = (1..=1000)
        .map(|number| {
            migration(
                &number.to_string(),
                &format!("CREATE TABLE t{number} (i int)"),
                &format!("DROP TABLE t{number}"),
            )
        })
        .collect();
    let (database, token) = holder(&place.url, &migrations).await?;
    let begun = Instant::now();
    for batch in up(&migrations).chunks(100) {
        database.advance(Direction::Up, batch, &stamp(token)).await?;
    }
    let ups = begun.elapsed();
    assert_eq!(applied(&*database).await?.len(), 1000);
    let downs = down(&migrations);
    let begun = Instant::now();
    for batch in downs.chunks(100) {
        database.advance(Direction::Down, batch, &stamp(token)).await?;
    }
    let taken = begun.elapsed();
    assert_eq!(applied(&*database).await?, [""; 0]);
    if std::env::var_os("STEPBACK_TEST_SPEED").is_some() {
        return fail(format_args!("1 000 ups in {ups:?}, 1 000 downs in {taken:?}"));
    }
    Ok(())
}

/// Of what one script leaves in its session the next finds nothing, nor of ours.
pub async fn leavings(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let leaves =
        "PREPARE p AS SELECT 1; DECLARE c CURSOR WITH HOLD FOR SELECT 1; LISTEN x; SELECT pg_advisory_lock(7);";
    // The second finds a number where our row has drawn one.
    let finds = "DO $$ BEGIN PERFORM lastval(); RAISE 'lastval is %', lastval(); \
        EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL; END $$; \
        DO $$ BEGIN IF EXISTS (SELECT FROM pg_listening_channels()) OR EXISTS (SELECT FROM pg_cursors WHERE is_holdable) \
        THEN RAISE 'something is left'; END IF; END $$;";
    let migrations: Vec<_> = (1..=3)
        .map(|number| {
            let down = if number == 1 { "SELECT 1/0" } else { "" };
            migration(
                &number.to_string(),
                &format!("{finds} {leaves}"),
                &format!("{finds} {leaves} {down}"),
            )
        })
        .collect();
    let (database, token) = holder(&place.url, &migrations).await?;
    let mut other = place.connect().await?;
    let mut is_free = async || -> Result<bool, sqlx::Error> {
        let taken = other.fetch_one("SELECT pg_try_advisory_lock(7)").await?.get(0);
        other.execute("SELECT pg_advisory_unlock_all()").await?;
        Ok(taken)
    };
    for batch in up(&migrations).chunks(2) {
        carry(&*database, Direction::Up, batch, token).await?;
    }
    assert!(is_free().await?);
    let down = down(&migrations);
    carry(&*database, Direction::Down, &down[..2], token).await?;
    for _ in 0..2 {
        match database.advance(Direction::Down, &down[2..], &stamp(token)).await {
            Err(DbError::Script { message, .. }) => assert!(message.contains("division by zero"), "{message}"),
            other => return fail(format_args!("{other:?}")),
        }
        assert!(is_free().await?, "also after a script that failed");
    }
    Ok(())
}

pub async fn isolation(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let noted = "CREATE TABLE noted AS SELECT current_setting('transaction_isolation') AS level";
    let migrations = [
        migration(
            "1",
            &format!("BEGIN ISOLATION LEVEL SERIALIZABLE; {noted}; COMMIT"),
            "SELECT",
        ),
        migration("2", &noted.replace("noted", "usual"), "SELECT"),
    ];
    let (database, token) = holder(&place.url, &migrations).await?;
    carry(&*database, Direction::Up, &up(&migrations), token).await?;
    let mut witness = place.connect().await?;
    let levels = "SELECT n.level || ', ' || u.level FROM noted n, usual u";
    let levels: String = witness.fetch_one(levels).await?.get(0);
    assert_eq!(levels, "serializable, read committed");
    Ok(())
}

/// Another program has undone and applied it since: its scripts are not known to be those that were captured (LAWS D3).
pub async fn redone(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let migrations = [migration("1", "CREATE TABLE a (i int)", "DROP TABLE a")];
    let (database, token) = holder(&place.url, &migrations).await?;
    carry(&*database, Direction::Up, &up(&migrations), token).await?;
    place
        .run(
            "DELETE FROM stepback.ledger; \
             INSERT INTO stepback.ledger (version, name, up_sha256, applied_at) \
             SELECT version, name, up_sha256, 'later' FROM stepback.archive",
        )
        .await?;
    match database
        .advance(Direction::Down, &down(&migrations), &stamp(token))
        .await
    {
        Err(DbError::Check { message, .. }) => assert!(message.contains("the ledger does not hold it"), "{message}"),
        other => return fail(format_args!("{other:?}")),
    }
    place.run("SELECT * FROM a").await
}
