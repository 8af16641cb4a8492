//! Rights, read-only databases, servers that are not there.

use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use stepback::database::DbError;
use stepback_core::model::{Direction, LogicalSlot, Replication, SeenServer};

use super::{LOCK_WAIT, up};
use crate::contract_database::{Place as _, PostgresPlace, acquire, migration, stamp};
use crate::support::binary::Binary;
use crate::support::runner::{Ctx, Outcome, fail};
use crate::support::servers::Postgres;

pub async fn rights(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let role = format!("reader_{}", place.url.rsplit('_').next().unwrap_or_default());
    place.run(&format!("CREATE ROLE {role} LOGIN")).await?;
    let url = place
        .url
        .replacen("postgres:hidden-word", &format!("{role}:hidden-word"), 1);
    let reader = PostgresPlace::open_at(&url, LOCK_WAIT);
    assert!(!reader.look().await?.prepared);
    match reader.prepare().await {
        Err(DbError::Forbidden { message, hint }) => {
            assert!(message.contains("permission denied"), "{message}");
            assert!(hint.contains("grant") && hint.contains("CREATE"), "{hint}");
        }
        other => return fail(format_args!("{other:?}")),
    }
    // Where a DBA has made the tables, no right on the database or the schema itself is asked for.
    place.open().prepare().await?;
    place.run(&format!("GRANT USAGE ON SCHEMA stepback TO {role}")).await?;
    match reader.look().await {
        Err(DbError::Forbidden { hint, .. }) => assert!(hint.contains("SELECT") && !hint.contains("CREATE"), "{hint}"),
        other => return fail(format_args!("{other:?}")),
    }
    place.run(&format!("GRANT ALL ON ALL TABLES IN SCHEMA stepback TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA stepback TO {role}")).await?;
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

pub async fn read_only(ctx: Ctx) -> Outcome {
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

pub async fn unreachable(_ctx: Ctx) -> Outcome {
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
        Err(error @ DbError::NoEntry { .. }) => assert!(error.to_string().contains("does not exist"), "{error}"),
        other => return fail(format_args!("{other:?}")),
    }
    Ok(())
}

/// What a role may not do is found in the plan, and not half-way.
pub async fn rights_in_the_plan(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let role = format!("down_{}", place.url.rsplit('_').next().unwrap_or_default());
    let folder = ctx.dir().join("migrations");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("1_a.up.sql"), "CREATE TABLE orders (id integer);")?;
    std::fs::write(folder.join("1_a.down.sql"), "DROP TABLE orders;")?;
    std::fs::write(folder.join("2_b.up.sql"), "CREATE INDEX by_id ON orders (id);")?;
    std::fs::write(folder.join("2_b.down.sql"), "DROP INDEX by_id;")?;
    let owner = Binary::in_dir(ctx.dir()).env("DATABASE_URL", &place.url);
    owner.ends(0, "migrate up --yes")?;
    place
        .run(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA stepback TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA stepback TO {role}"
        ))
        .await?;
    let url = place
        .url
        .replacen("postgres:hidden-word", &format!("{role}:hidden-word"), 1);
    let down = Binary::in_dir(ctx.dir()).env("DATABASE_URL", &url);
    let typed = "migrate down --to 0 --data-loss accept --yes";
    let ran = down.ends(3, typed)?;
    // An index is its table's owner's.
    assert!(ran.err.contains("index public.by_id of table orders"), "{}", ran.err);
    assert!(
        ran.err.contains("[rights-missing]") && ran.err.contains("stepback.run"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("OWNER TO") && ran.err.contains("\"orders\""),
        "{}",
        ran.err
    );
    place
        .run(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA stepback TO {role}; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA stepback TO {role}; ALTER TABLE orders OWNER TO {role}"
        ))
        .await?;
    place
        .run(&format!("REVOKE DELETE ON stepback.ledger FROM {role}"))
        .await?;
    let ran = down.ends(3, typed)?;
    assert!(
        ran.err.contains("[rights-missing]") && ran.err.contains("may not DELETE"),
        "{}",
        ran.err
    );
    // Whoever may more than that role is told of it.
    let ran = owner.ends(3, "migrate down --yes")?;
    assert!(
        ran.err.contains("[archive-writers]") && ran.err.contains(&role),
        "{}",
        ran.err
    );
    place
        .run(&format!(
            "GRANT DELETE ON stepback.ledger TO {role}; REVOKE INSERT ON stepback.ledger FROM {role}"
        ))
        .await?;
    let ran = down.ends(0, typed)?;
    assert!(!ran.err.contains("[archive-writers]"), "{}", ran.err);
    place.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await
}

/// The control file still names the old timeline then, until the checkpoint is done that the promotion begins.
pub async fn promoted(_ctx: Ctx) -> Outcome {
    let mut server = Postgres::own(&[("checkpoint_timeout", "1h")]).await?;
    let url = server.fresh_database("promoted").await?;
    let look = async || PostgresPlace::open_at(&url, LOCK_WAIT).look().await;
    let before = look().await?.database.identity;
    let mut connection = PgConnection::connect(&url).await?;
    // What the standby will replay, so that the checkpoint has something to write.
    connection
        .execute("CREATE TABLE replayed AS SELECT i, repeat('x', 500) AS t FROM generate_series(1, 20000) AS n(i)")
        .await?;
    drop(connection);
    server.kill()?;
    server.become_standby()?;
    server.start()?;
    let standby = look().await?;
    assert!(standby.read_only);
    assert_eq!(standby.database.identity, before);
    let mut connection = PgConnection::connect(&url).await?;
    assert!(connection.fetch_one("SELECT pg_promote()").await?.get::<bool, _>(0));
    let promoted = look().await?;
    assert!(!promoted.read_only);
    assert_eq!(promoted.database.identity.timeline, before.timeline + 1);
    Ok(())
}

/// A folder with one migration that goes both ways.
fn one_migration(ctx: &Ctx) -> Outcome {
    let folder = ctx.dir().join("migrations");
    std::fs::create_dir(&folder)?;
    std::fs::write(
        folder.join("1_a.up.sql"),
        "CREATE TABLE orders (id integer PRIMARY KEY);",
    )?;
    std::fs::write(folder.join("1_a.down.sql"), "DROP TABLE orders;")?;
    Ok(())
}

/// The server that the cases share gives its durability up, and keeps no promise over a crash.
pub async fn forgets(ctx: Ctx) -> Outcome {
    let place = PostgresPlace::new(&ctx).await?;
    let weak = place.open().look().await?.server.weak;
    assert_eq!(weak, ["fsync = off", "full_page_writes = off"]);
    one_migration(&ctx)?;
    let binary = Binary::in_dir(ctx.dir()).env("DATABASE_URL", &place.url);
    for typed in ["migrate up --yes", "migrate down --data-loss accept --yes"] {
        let ran = binary.ends(0, typed)?;
        let said = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("[durability-weak]"), "{typed}: {ran:?}");
        assert!(said.contains("ALTER SYSTEM SET fsync = on;"), "{typed}: {ran:?}");
    }
    Ok(())
}

/// Asked by a role that may do nothing, and said until our tables are there.
pub async fn replicated(ctx: Ctx) -> Outcome {
    let server = Postgres::own(&[("wal_level", "logical")]).await?;
    let (url, other) = (
        server.fresh_database("replicated").await?,
        server.fresh_database("other").await?,
    );
    let mut elsewhere = PgConnection::connect(&other).await?;
    let slot = |name: &str| format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
    elsewhere.execute(sqlx::AssertSqlSafe(slot("elsewhere"))).await?;
    elsewhere.execute("CREATE PUBLICATION elsewhere FOR ALL TABLES").await?;
    let mut owner = PgConnection::connect(&url).await?;
    owner
        .execute(
            "CREATE ROLE poor LOGIN; CREATE TABLE known (i int PRIMARY KEY); CREATE PUBLICATION known FOR TABLE known",
        )
        .await?;
    let poor = url.replacen("postgres:hidden-word", "poor:hidden-word", 1);
    let look = async || Ok::<_, DbError>(PostgresPlace::open_at(&poor, LOCK_WAIT).look().await?.server);
    assert_eq!(look().await?, SeenServer::default());

    owner.execute("CREATE PUBLICATION everything FOR ALL TABLES").await?;
    owner.execute(sqlx::AssertSqlSafe(slot("branch"))).await?;
    let version: i32 = owner
        .fetch_one("SELECT current_setting('server_version_num')::int")
        .await?
        .get(0);
    let mut publications = vec!["everything".to_owned()];
    if version >= 150_000 {
        owner
            .execute("CREATE SCHEMA stepback; CREATE PUBLICATION ours FOR TABLES IN SCHEMA stepback")
            .await?;
        publications.push("ours".to_owned());
    }
    let slots = vec![LogicalSlot {
        name: "branch".to_owned(),
        plugin: "pgoutput".to_owned(),
    }];
    let expected = Replication::To { publications, slots };
    assert_eq!(look().await?.replication, expected);

    owner
        .execute("REVOKE SELECT ON pg_catalog.pg_replication_slots FROM PUBLIC")
        .await?;
    let hidden = Replication::Unknown("role poor may not read pg_replication_slots".to_owned());
    assert_eq!(look().await?.replication, hidden);

    one_migration(&ctx)?;
    let binary = Binary::in_dir(ctx.dir()).env("DATABASE_URL", &url);
    let ran = binary.ends(0, "migrate up --yes")?;
    assert!(
        ran.err.contains("[publication-all]") && ran.err.contains("[logical-slot]"),
        "{ran:?}"
    );
    assert!(!ran.err.contains("[durability-weak]"), "{ran:?}");
    let ran = binary.ends(0, "migrate down --data-loss accept --yes")?;
    assert!(
        !ran.err.contains("[publication-all]") && !ran.err.contains("[logical-slot]"),
        "{ran:?}"
    );
    // A slot that nobody reads keeps the server from ending.
    owner.execute("SELECT pg_drop_replication_slot('branch')").await?;
    elsewhere
        .execute("SELECT pg_drop_replication_slot('elsewhere')")
        .await?;
    Ok(())
}
