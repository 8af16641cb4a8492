//! That the servers and the proxy which other cases stand on do what they promise.

use std::net::TcpStream;

use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream as AsyncTcpStream},
};

use crate::support::{
    proxy::{Proxy, Way},
    runner::{Case, Ctx, Outcome, case},
    servers::{MariaDb, Postgres},
};

pub fn cases() -> Vec<Case> {
    vec![
        case("servers::postgres_gives_each_case_a_database_of_its_own", each_its_own),
        case(
            "servers::postgres_comes_back_after_a_crash_with_what_was_committed",
            crash,
        ),
        case("servers::postgres_leaves_nothing_behind", nothing_left),
        case("servers::mariadb_gives_each_case_a_database_of_its_own", mariadb),
        case("servers::proxy_holds_a_request_until_it_is_let_through", hold),
        case("servers::proxy_cuts_before_the_effect_or_after_it", cut),
        case("servers::proxy_matches_bytes_that_come_in_pieces", pieces),
        case("servers::proxy_cuts_everything_and_turns_away", cut_all),
    ]
}

async fn count_tables(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let row = connection
        .fetch_one("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        .await?;
    row.try_get(0)
}

async fn each_its_own(ctx: Ctx) -> Outcome {
    let server = Postgres::shared().await?;
    let (one, other) = (
        server.fresh_database(ctx.name()).await?,
        server.fresh_database(ctx.name()).await?,
    );
    assert_ne!(one, other);
    let (mut one, mut other) = (PgConnection::connect(&one).await?, PgConnection::connect(&other).await?);
    one.execute("CREATE TABLE t (i int)").await?;
    assert_eq!((count_tables(&mut one).await?, count_tables(&mut other).await?), (1, 0));
    Ok(())
}

async fn crash(_ctx: Ctx) -> Outcome {
    let mut server = Postgres::own(&[("max_connections", "20")]).await?;
    let url = server.fresh_database("crash").await?;
    let mut connection = PgConnection::connect(&url).await?;
    connection.execute("CREATE TABLE kept (i int)").await?;
    connection.execute("BEGIN; CREATE TABLE lost (i int)").await?;
    server.kill()?;
    assert!(
        connection.execute("SELECT 1").await.is_err(),
        "the session outlived the server"
    );
    server.start()?;
    let mut connection = PgConnection::connect(&url).await?;
    assert_eq!(count_tables(&mut connection).await?, 1);
    server.stop()?;
    server.start()?;
    let mut connection = PgConnection::connect(&url).await?;
    assert_eq!(count_tables(&mut connection).await?, 1);
    Ok(())
}

async fn nothing_left(_ctx: Ctx) -> Outcome {
    let server = Postgres::own(&[]).await?;
    let (dir, port) = (server.dir().to_owned(), server.port());
    assert!(dir.exists() && TcpStream::connect(("127.0.0.1", port)).is_ok());
    drop(server);
    assert!(!dir.exists(), "{} is still there", dir.display());
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "something still listens on {port}"
    );

    let mut stopped = Postgres::own(&[]).await?;
    let dir = stopped.dir().to_owned();
    stopped.stop()?;
    assert!(dir.exists(), "a stopped server keeps its data");
    drop(stopped);
    assert!(!dir.exists(), "{} is still there", dir.display());
    Ok(())
}

async fn mariadb(ctx: Ctx) -> Outcome {
    let server = MariaDb::shared().await?;
    let url = server.fresh_database(ctx.name()).await?;
    let (address, database) = url.rsplit_once('/').unwrap();
    assert!(address.starts_with("mysql://root@127.0.0.1:"), "{url}");
    server
        .ask(database, "CREATE TABLE t (i int); INSERT INTO t VALUES (1), (2)")
        .await?;
    assert_eq!(server.ask(database, "SELECT count(*) FROM t").await?, "2\n");
    Ok(())
}

/// A database whose first address leads through a proxy, and whose second does not.
async fn behind_proxy(ctx: &Ctx) -> Result<(Proxy, String, String), crate::support::runner::NotPassed> {
    let server = Postgres::shared().await?;
    let direct = server.fresh_database(ctx.name()).await?;
    let proxy = Proxy::to(server.port()).await?;
    let through = proxy.redirect(&direct, server.port());
    Ok((proxy, through, direct))
}

async fn hold(ctx: Ctx) -> Outcome {
    let (proxy, through, direct) = behind_proxy(&ctx).await?;
    let mut client = PgConnection::connect(&through).await?;
    let mut witness = PgConnection::connect(&direct).await?;
    let trap = proxy.hold(Way::ToServer, "CREATE TABLE held");
    let request = tokio::spawn(async move { client.execute("CREATE TABLE held (i int)").await.map(drop) });
    let held = trap.caught().await;
    assert_eq!(
        count_tables(&mut witness).await?,
        0,
        "the server must not have seen what is held"
    );
    held.let_through();
    request.await??;
    assert_eq!(count_tables(&mut witness).await?, 1);
    Ok(())
}

async fn cut(ctx: Ctx) -> Outcome {
    let (proxy, through, direct) = behind_proxy(&ctx).await?;
    let mut witness = PgConnection::connect(&direct).await?;
    for (way, bytes, effects) in [
        (Way::ToServer, "CREATE TABLE before", 0),
        (Way::ToClient, "CREATE TABLE", 1),
    ] {
        let mut client = PgConnection::connect(&through).await?;
        let trap = proxy.hold(way, bytes);
        let sql = if way == Way::ToServer {
            "CREATE TABLE before (i int)"
        } else {
            "CREATE TABLE after (i int)"
        };
        let request = tokio::spawn(async move { client.execute(sql).await.map(drop) });
        trap.caught().await.cut();
        assert!(request.await?.is_err(), "a cut connection has no answer");
        assert_eq!(count_tables(&mut witness).await?, effects, "{way:?}");
    }
    Ok(())
}

async fn pieces(_ctx: Ctx) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::to(listener.local_addr()?.port()).await?;
    let mut client = AsyncTcpStream::connect(("127.0.0.1", proxy.port())).await?;
    let (mut server, _) = listener.accept().await?;
    let trap = proxy.hold(Way::ToServer, "needle");
    let mut arrived = [0; 6];
    client.write_all(b"--need").await?;
    server.read_exact(&mut arrived).await?;
    client.write_all(b"le--").await?;
    let held = trap.caught().await;
    // The other direction goes on.
    server.write_all(b"reply!").await?;
    client.read_exact(&mut arrived).await?;
    held.let_through();
    let mut rest = [0; 4];
    server.read_exact(&mut rest).await?;
    assert_eq!((&arrived, &rest), (b"reply!", b"le--"));
    // A trap is there once.
    client.write_all(b"needle").await?;
    server.read_exact(&mut arrived).await?;
    assert_eq!(&arrived, b"needle");
    // One side's end is passed on, and the other side may still speak.
    client.shutdown().await?;
    assert_eq!(server.read(&mut arrived).await?, 0);
    server.write_all(b"last").await?;
    client.read_exact(&mut rest).await?;
    assert_eq!(&rest, b"last");
    Ok(())
}

async fn cut_all(_ctx: Ctx) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::to(listener.local_addr()?.port()).await?;
    let mut client = AsyncTcpStream::connect(("127.0.0.1", proxy.port())).await?;
    let (mut server, _) = listener.accept().await?;
    proxy.turn_away(true);
    let mut byte = [0; 1];
    let mut refused = AsyncTcpStream::connect(("127.0.0.1", proxy.port())).await?;
    assert!(!matches!(refused.read(&mut byte).await, Ok(1..)));
    client.write_all(b"x").await?;
    assert_eq!(server.read(&mut byte).await?, 1, "an old connection lives on");
    proxy.cut_all();
    assert!(!matches!(client.read(&mut byte).await, Ok(1..)));
    assert!(!matches!(server.read(&mut byte).await, Ok(1..)));
    proxy.turn_away(false);
    let mut again = AsyncTcpStream::connect(("127.0.0.1", proxy.port())).await?;
    let (mut server, _) = listener.accept().await?;
    again.write_all(b"y").await?;
    assert_eq!(server.read(&mut byte).await?, 1);
    Ok(())
}
