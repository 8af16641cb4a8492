//! Sessions that go on without their client (LAWS D4, D5).

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use stepback::database::{DbError, LeaseRequest};
use stepback_core::model::Direction;

use super::{LOCK_WAIT, holder, up};
use crate::contract_database::{Place as _, PostgresPlace, applied, migration, stamp};
use crate::support::proxy::{Proxy, Way};
use crate::support::runner::{Ctx, NotPassed, Outcome, fail};
use crate::support::servers::Postgres;

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

/// A rival that asks for long enough to look twice.
fn patient(holder: &str) -> LeaseRequest {
    LeaseRequest {
        holder: holder.to_owned(),
        life: Duration::from_secs(60),
        wait: Duration::from_secs(20),
        above: 0,
    }
}

pub async fn unkillable(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let migrations = [migration(
        "1",
        "SELECT pg_sleep(3); CREATE TABLE late (i int)",
        "DROP TABLE late",
    )];
    let (old, token) = holder(&place.url, &migrations).await?;
    let role = format!("rival_{}", place.url.rsplit('_').next().unwrap_or_default());
    place
        .run(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA stepback TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA stepback TO {role}"
        ))
        .await?;
    let script = up(&migrations);
    let work = tokio::spawn(async move { old.advance(Direction::Up, &script, &stamp(token)).await });
    wait_until_it_sleeps(&place).await?;
    place.run("UPDATE stepback.lease SET heartbeat_ms = 0").await?;
    // This role may neither see nor end what the old holder runs; only the fence tells it to wait.
    let url = place
        .url
        .replacen("postgres:hidden-word", &format!("{role}:hidden-word"), 1);
    let rival = PostgresPlace::open_at(&url, LOCK_WAIT);
    let next = rival.acquire(&patient("rival")).await?;
    assert!(next.number > token.number);
    assert_eq!(
        applied(&*rival).await?,
        ["1"],
        "the takeover did not wait for the work in flight"
    );
    work.await??;
    drop(rival);
    place.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await
}

pub async fn dead_client(ctx: Ctx) -> Outcome {
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
    let next = rival.acquire(&patient("rival")).await?;
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

pub async fn lost_session(ctx: Ctx) -> Outcome {
    let (place, proxy, through) = behind_proxy(&ctx).await?;
    let migrations = [migration(
        "1",
        "SET application_name = 'a script'; SELECT pg_sleep(30); CREATE TABLE once (i int)",
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

pub async fn another_server(ctx: Ctx) -> Outcome {
    let (place, proxy, through) = behind_proxy(&ctx).await?;
    let migrations = [migration("1", "CREATE TABLE once (i int)", "DROP TABLE once")];
    let (database, token) = holder(&through, &migrations).await?;
    // Restored from a copy while we were connected: same name, same rows, another database.
    proxy.cut_all();
    let name = place.url.rsplit('/').next().unwrap_or_default().to_owned();
    let mut server = PgConnection::connect(&Postgres::shared().await?.url("postgres")).await?;
    for sql in [
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
        format!("ALTER DATABASE {name} RENAME TO {name}_lost"),
        format!("CREATE DATABASE {name} TEMPLATE {name}_lost"),
    ] {
        server.execute(AssertSqlSafe(sql)).await?;
    }
    let refused = async || match database.advance(Direction::Up, &up(&migrations), &stamp(token)).await {
        Err(DbError::Refused { message, .. }) if message.contains("another database") => Ok(()),
        other => fail(format_args!("{other:?}")),
    };
    // The first call may still meet the old connection.
    drop(database.ledger().await);
    refused().await?;
    refused().await?;
    place.run("CREATE TABLE once (i int)").await
}

pub async fn lost_reply(ctx: Ctx) -> Outcome {
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

/// Behind a pooler the session of a lease that was given back is somebody else's by now.
pub async fn given_back(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let (old, _) = holder(&place.url, &[]).await?;
    old.release().await?;
    let mut witness = place.connect().await?;
    let session: String = witness.fetch_one("SELECT session FROM stepback.lease").await?.get(0);
    assert_eq!(session, "", "whose session it was is still written");

    // Also where an older version left it.
    let mut somebody = place.connect().await?;
    let name = "UPDATE stepback.lease SET session = pid || ' ' || to_char(backend_start AT TIME ZONE 'UTC', \
        'YYYY-MM-DD\"T\"HH24:MI:SS.US') FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    somebody.execute(name).await?;
    let work = tokio::spawn(async move { somebody.execute("SELECT pg_sleep(3)").await.map(drop) });
    wait_until_it_sleeps(&place).await?;
    let rival = PostgresPlace::open_at(&place.url, LOCK_WAIT);
    rival.acquire(&patient("rival")).await?;
    Ok(work.await??)
}

/// Behind a pooler the session of a holder that died may run somebody else's transaction.
pub async fn handed_on(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let (dead, _) = holder(&place.url, &[]).await?;
    drop(dead);
    let mut somebody = place.connect().await?;
    // A client that has no name of its own keeps that of the client before it (PgBouncer 1.18).
    somebody.execute("SET application_name = 'stepback'").await?;
    let take = "UPDATE stepback.lease SET heartbeat_ms = 0, session = pid || ' ' || to_char(backend_start AT TIME ZONE \
        'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || ' ' || split_part(session, ' ', 3) FROM pg_stat_activity \
        WHERE pid = pg_backend_pid() RETURNING session";
    let session: String = somebody.fetch_one(take).await?.get(0);
    assert!(session.contains(" stepback-"), "whose it was is not written: {session}");
    let work = tokio::spawn(async move { somebody.execute("SELECT pg_sleep(3)").await.map(drop) });
    wait_until_it_sleeps(&place).await?;
    let rival = PostgresPlace::open_at(&place.url, LOCK_WAIT);
    rival.acquire(&patient("rival")).await?;
    Ok(work.await??)
}
