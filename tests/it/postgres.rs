//! What only PostgreSQL can be asked for: sessions that outlive their client, settings that leak, rights, limits.

use std::time::{Duration, Instant};

use sqlx::{Executor as _, Row as _};
use stepback::database::{Database, DbError};
use stepback_core::catalog::Migration;
use stepback_core::model::{Direction, ScriptRef, Token};

use crate::contract_database::{Place as _, PostgresPlace, acquire, applied, carry, migration, scripts, stamp};
use crate::support::proxy::{Proxy, Way};
use crate::support::runner::{Case, Ctx, NotPassed, Outcome, case, fail};
use crate::support::servers::Postgres;

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "postgres::d5_a_dead_clients_script_is_over_when_a_rival_has_the_lease",
            dead_client,
        ),
        case(
            "postgres::d5_a_lost_session_of_ours_is_gone_before_anything_is_read",
            lost_session,
        ),
        case("postgres::d7_a_lost_reply_is_answered_by_the_ledger", lost_reply),
        case(
            "postgres::d8_settings_of_one_script_do_not_reach_the_next_or_our_rows",
            settings,
        ),
        case("postgres::d7_a_batch_is_cut_at_its_size", batches),
        case("postgres::d13_a_script_cannot_weaken_our_commit", commit),
        case("postgres::d15_a_missing_right_is_said_plainly", rights),
        case(
            "postgres::d17_a_lock_that_is_not_free_can_be_tried_again_and_names_who_holds_it",
            blocked,
        ),
        case("postgres::d17_a_statement_ends_at_its_limit", statement_limit),
        case(
            "postgres::d12_a_fingerprint_covers_what_a_migration_can_change",
            fingerprint,
        ),
        case(
            "postgres::scripts_that_cannot_run_in_a_transaction_are_refused",
            no_transaction,
        ),
        case("postgres::a_read_only_database_is_seen_and_refuses", read_only),
        case(
            "postgres::an_unreachable_server_is_named_without_its_password",
            unreachable,
        ),
        case("postgres::a_thousand_downs_take_few_round_trips", thousand),
    ]
}

const LOCK_WAIT: Duration = Duration::from_secs(2);

/// A value with the lease, and migrations in its archive.
async fn holder(url: &str, migrations: &[Migration]) -> Result<(Box<dyn Database>, Token), NotPassed> {
    let database = PostgresPlace::open_at(url, LOCK_WAIT);
    database.prepare().await?;
    let token = acquire(&*database, "holder").await?;
    database.stage(token, migrations).await?;
    Ok((database, token))
}

fn up(migrations: &[Migration]) -> Vec<ScriptRef> {
    scripts(Direction::Up, migrations)
}

fn down(migrations: &[Migration]) -> Vec<ScriptRef> {
    let mut downs = scripts(Direction::Down, migrations);
    downs.reverse();
    downs
}

/// Whether a session of the database sleeps in `pg_sleep`.
async fn sleeps(place: &PostgresPlace) -> Result<bool, NotPassed> {
    let mut witness = place.connect().await?;
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    Ok(witness.fetch_one(asked).await?.get::<i64, _>(0) > 0)
}

async fn wait_until_it_sleeps(place: &PostgresPlace) -> Outcome {
    while !sleeps(place).await? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn behind_proxy(ctx: &Ctx) -> Result<(PostgresPlace, Proxy, String), NotPassed> {
    let place = PostgresPlace::new(ctx).await?;
    let port = Postgres::shared().await?.port();
    let proxy = Proxy::to(port).await?;
    let through = proxy.redirect(&place.url, port);
    Ok((place, proxy, through))
}

async fn dead_client(ctx: Ctx) -> Outcome {
    let (place, proxy, through) = behind_proxy(&ctx).await?;
    let migrations = [migration(
        "1",
        "CREATE TABLE early (i int); SELECT pg_sleep(60); CREATE TABLE late (i int)",
        "DROP TABLE late",
    )];
    let (old, token) = holder(&through, &migrations).await?;
    let script = up(&migrations);
    let work = tokio::spawn(async move { old.advance(Direction::Up, &script, &stamp(token)).await });
    wait_until_it_sleeps(&place).await?;
    // The client is gone at once, as after `kill -9` on a lost node; the server works on and does not know.
    proxy.turn_away(true);
    proxy.cut_all();
    assert!(work.await?.is_err());
    assert!(
        sleeps(&place).await?,
        "the server should still be working: this is what the law is about"
    );
    place.run("UPDATE stepback.lease SET heartbeat_ms = 0").await?;

    let begun = Instant::now();
    let rival = PostgresPlace::open_at(&place.url, LOCK_WAIT);
    // The first attempt finds work in flight and ends it, so it may take a second look.
    let request = stepback::database::LeaseRequest {
        holder: "rival".to_owned(),
        life: Duration::from_secs(60),
        wait: Duration::from_secs(20),
        above: 0,
    };
    let next = rival.acquire(&request).await?;
    assert!(next.number > token.number);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it waited for the dead one's script"
    );
    assert!(
        !sleeps(&place).await?,
        "a statement of the dead coordinator is still running"
    );
    assert_eq!(applied(&*rival).await?, [""; 0]);
    assert!(place.run("SELECT * FROM early").await.is_err());
    Ok(())
}

async fn lost_session(ctx: Ctx) -> Outcome {
    let (place, proxy, through) = behind_proxy(&ctx).await?;
    let migrations = [migration(
        "1",
        "SELECT pg_sleep(30); CREATE TABLE once (i int)",
        "DROP TABLE once",
    )];
    let (database, token) = holder(&through, &migrations).await?;
    let script = up(&migrations);
    let work = tokio::spawn(async move {
        let done = database.advance(Direction::Up, &script, &stamp(token)).await;
        (database, done)
    });
    wait_until_it_sleeps(&place).await?;
    proxy.cut_all();
    let (database, done) = work.await?;
    assert!(matches!(done, Err(DbError::Unreachable { .. })), "{done:?}");
    // It reads over a new connection, and what it reads is final: the old session does nothing any more.
    assert_eq!(applied(&*database).await?, [""; 0]);
    assert!(!sleeps(&place).await?, "the lost session is still working");
    let mut witness = place.connect().await?;
    let session: String = witness.fetch_one("SELECT session FROM stepback.lease").await?.get(0);
    let alive = sqlx::query("SELECT count(*) FROM pg_stat_activity WHERE pid = split_part($1, ' ', 1)::int")
        .bind(&session)
        .fetch_one(&mut witness)
        .await?;
    assert_eq!(
        alive.get::<i64, _>(0),
        1,
        "the lease row names a session that is gone: {session}"
    );
    Ok(())
}

async fn lost_reply(ctx: Ctx) -> Outcome {
    let (place, proxy, through) = behind_proxy(&ctx).await?;
    let migrations = [migration("1", "CREATE TABLE once (i int)", "DROP TABLE once")];
    let (database, token) = holder(&through, &migrations).await?;
    let trap = proxy.hold(Way::ToClient, "CREATE TABLE\0");
    let script = up(&migrations);
    let work = tokio::spawn(async move {
        let done = database.advance(Direction::Up, &script, &stamp(token)).await;
        (database, done)
    });
    trap.caught().await.cut();
    let (database, done) = work.await?;
    assert!(matches!(done, Err(DbError::Unreachable { .. })), "{done:?}");
    assert_eq!(applied(&*database).await?, ["1"]);
    assert!(place.run("SELECT * FROM once").await.is_ok());
    Ok(())
}

async fn settings(ctx: Ctx) -> Outcome {
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

async fn batches(ctx: Ctx) -> Outcome {
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

async fn commit(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
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

async fn rights(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let role = format!("reader_{}", place.url.rsplit('_').next().unwrap_or_default());
    place.run(&format!("CREATE ROLE {role} LOGIN")).await?;
    let url = place
        .url
        .replacen("postgres:hidden-word", &format!("{role}:hidden-word"), 1);
    let reader = PostgresPlace::open_at(&url, LOCK_WAIT);
    assert!(!reader.look().await?.prepared);
    match reader.prepare().await {
        Err(DbError::Refused { message, hint }) => {
            assert!(message.contains("permission denied"), "{message}");
            assert!(hint.is_some_and(|hint| hint.contains("grant")));
        }
        other => return fail(format_args!("{other:?}")),
    }
    // Where a DBA has made the tables, no right on the database or the schema itself is asked for.
    place.open().prepare().await?;
    place.run(&format!("GRANT USAGE ON SCHEMA stepback TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA stepback TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA stepback TO {role}")).await?;
    reader.prepare().await?;
    let token = acquire(&*reader, "reader").await?;
    let migrations = [migration("1", "CREATE SCHEMA forbidden", "DROP SCHEMA forbidden")];
    reader.stage(token, &migrations).await?;
    match reader.advance(Direction::Up, &up(&migrations), &stamp(token)).await {
        Err(DbError::Script { message, retry, .. }) => {
            assert!(message.contains("permission denied") && !retry, "{message}")
        }
        other => return fail(format_args!("{other:?}")),
    }
    drop(reader);
    place.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await
}

async fn blocked(ctx: Ctx) -> Outcome {
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

async fn statement_limit(ctx: Ctx) -> Outcome {
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

async fn fingerprint(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let database = place.open();
    place
        .run(
            "CREATE TABLE parent (id bigserial PRIMARY KEY, at date, note text); CREATE TYPE mood AS ENUM ('a', 'b'); \
             CREATE FUNCTION f(i int) RETURNS int LANGUAGE sql AS 'SELECT i'; CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE VIEW v AS SELECT id FROM parent; CREATE MATERIALIZED VIEW m AS SELECT id FROM parent; \
             CREATE TRIGGER g BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION t(); CREATE INDEX n ON parent (note); \
             CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TYPE pair AS (a int, b text); CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int, initcond = '0'); \
             CREATE TABLE cut (id int, at date) PARTITION BY RANGE (at); CREATE TABLE cut_1 PARTITION OF cut FOR VALUES FROM ('2024-01-01') TO ('2025-01-01'); \
             CREATE INDEX cut_at ON cut (at); CREATE POLICY p ON parent USING (id > 0); CREATE STATISTICS s ON at, note FROM parent; \
             CREATE RULE r AS ON DELETE TO v DO INSTEAD NOTHING; CREATE TYPE span AS RANGE (subtype = float8)",
        )
        .await?;
    let first = database.fingerprint().await?;
    let names: Vec<&str> = first.objects.keys().map(String::as_str).collect();
    for name in [
        "aggregate public.total(integer)",
        "constraint parent_pkey on public.parent",
        "function public.f(i integer)",
        "index public.cut_at",
        "index public.parent_pkey",
        "materialized view public.m",
        "policy p on public.parent",
        "rule r on public.v",
        "schema public",
        "sequence public.parent_id_seq",
        "statistics public.s",
        "table public.cut",
        "table public.cut_1",
        "table public.parent",
        "trigger g on public.parent",
        "type public.mood",
        "type public.pair",
        "type public.positive",
        "type public.span",
        "view public.v",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:#?}");
    }
    assert!(
        !names.iter().any(|name| name.contains("cut_1_at")),
        "a partition's index comes from its parent: {names:#?}"
    );
    // What is done, what the difference names, and how it is undone.
    let changes = [
        (
            "ALTER TABLE parent ALTER note SET NOT NULL",
            "table public.parent",
            "ALTER TABLE parent ALTER note DROP NOT NULL",
        ),
        (
            "ALTER TABLE parent ALTER note SET DEFAULT 'x'",
            "table public.parent",
            "ALTER TABLE parent ALTER note DROP DEFAULT",
        ),
        (
            "ALTER TABLE parent ENABLE ROW LEVEL SECURITY",
            "table public.parent",
            "ALTER TABLE parent DISABLE ROW LEVEL SECURITY",
        ),
        (
            "ALTER TABLE parent REPLICA IDENTITY FULL",
            "table public.parent",
            "ALTER TABLE parent REPLICA IDENTITY DEFAULT",
        ),
        (
            "GRANT SELECT ON parent TO pg_monitor",
            "table public.parent",
            "REVOKE SELECT ON parent FROM pg_monitor",
        ),
        (
            "GRANT SELECT (note) ON parent TO pg_monitor",
            "table public.parent",
            "REVOKE SELECT (note) ON parent FROM pg_monitor",
        ),
        (
            "ALTER FUNCTION f OWNER TO pg_monitor",
            "function public.f(i integer)",
            "ALTER FUNCTION f OWNER TO postgres",
        ),
        (
            "ALTER TABLE parent ADD c int",
            "table public.parent",
            "ALTER TABLE parent DROP c",
        ),
        (
            "ALTER TABLE parent ADD CHECK (id > 0) NOT VALID",
            "constraint parent_id_check on public.parent",
            "ALTER TABLE parent DROP CONSTRAINT parent_id_check",
        ),
        (
            "ALTER TYPE pair ADD ATTRIBUTE c int",
            "type public.pair",
            "ALTER TYPE pair DROP ATTRIBUTE c",
        ),
        (
            "ALTER DOMAIN positive SET NOT NULL",
            "type public.positive",
            "ALTER DOMAIN positive DROP NOT NULL",
        ),
        (
            "ALTER FUNCTION f STABLE",
            "function public.f(i integer)",
            "ALTER FUNCTION f VOLATILE",
        ),
        (
            "ALTER TABLE parent DISABLE TRIGGER g",
            "trigger g on public.parent",
            "ALTER TABLE parent ENABLE TRIGGER g",
        ),
        (
            "ALTER SEQUENCE parent_id_seq INCREMENT 5",
            "sequence public.parent_id_seq",
            "ALTER SEQUENCE parent_id_seq INCREMENT 1",
        ),
        (
            "ALTER POLICY p ON parent USING (id > 1)",
            "policy p on public.parent",
            "ALTER POLICY p ON parent USING (id > 0)",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'n'::regclass",
            "index public.n",
            "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'n'::regclass",
        ),
        ("CREATE SCHEMA more", "schema more", "DROP SCHEMA more"),
        (
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_monitor",
            "default grants of postgres on r",
            "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM pg_monitor",
        ),
        ("INSERT INTO parent (note) VALUES ('data')", "", "DELETE FROM parent"),
        (
            "COMMENT ON TABLE parent IS 'said'",
            "",
            "COMMENT ON TABLE parent IS NULL",
        ),
        ("ALTER TYPE mood ADD VALUE 'c'", "type public.mood", ""),
    ];
    for (done, object, undone) in changes {
        place.run(done).await?;
        let changed: Vec<_> = first
            .differences(&database.fingerprint().await?)
            .into_iter()
            .map(|d| d.object)
            .collect();
        let expected: &[&str] = if object.is_empty() { &[] } else { &[object] };
        assert_eq!(changed, expected, "{done}");
        if !undone.is_empty() {
            place.run(undone).await?;
            assert_eq!(first.differences(&database.fingerprint().await?), [], "{undone}");
        }
    }
    Ok(())
}

async fn no_transaction(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let migrations = [
        migration("1", "CREATE TABLE a (i int)", "DROP TABLE a"),
        migration("2", "CREATE INDEX CONCURRENTLY i ON a (i)", "DROP INDEX i"),
    ];
    let (database, token) = holder(&place.url, &migrations).await?;
    match database.advance(Direction::Up, &up(&migrations), &stamp(token)).await {
        Err(DbError::Check { migration, message }) => {
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

async fn read_only(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let name = place.url.rsplit('/').next().unwrap_or_default();
    place
        .run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"))
        .await?;
    let database = place.open();
    assert!(database.look().await?.read_only);
    match database.prepare().await {
        Err(DbError::Refused { message, hint }) => {
            assert!(
                message.contains("read-only") && hint.is_some_and(|hint| hint.contains("primary")),
                "{message}"
            );
        }
        other => return fail(format_args!("{other:?}")),
    }
    Ok(())
}

async fn unreachable(_ctx: Ctx) -> Outcome {
    let url = "postgres://shop:hidden-word@127.0.0.1:1/shop?password=hidden-word";
    match PostgresPlace::open_at(url, LOCK_WAIT).look().await {
        Err(error @ DbError::Unreachable { .. }) => {
            let text = format!("{error} {error:?}");
            assert!(
                text.contains("postgres://shop@127.0.0.1:1/shop") && !text.contains("hidden-word"),
                "{text}"
            );
            assert!(error.can_retry());
        }
        other => return fail(format_args!("{other:?}")),
    }
    let missing = Postgres::shared().await?.url("no_such_database");
    match PostgresPlace::open_at(&missing, LOCK_WAIT).look().await {
        Err(error @ DbError::Refused { .. }) => assert!(error.to_string().contains("does not exist"), "{error}"),
        other => return fail(format_args!("{other:?}")),
    }
    Ok(())
}

async fn thousand(ctx: Ctx) -> Outcome {
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
    carry(&*database, Direction::Up, &up(&migrations), token).await?;
    let ups = begun.elapsed();
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
