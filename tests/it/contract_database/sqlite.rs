//! What only SQLite can be asked for: rebuilds and cascades, and the heartbeat of work that holds the write lock.

use std::time::Duration;

use sqlx::{Connection as _, Executor as _, SqliteConnection};
use stepback::database::{Database, DbError};
use stepback_core::model::{Direction, ScriptRef, Token};

use super::harness::{Fresh, Harness as _, Kept, SqliteHarness, acquire, applied, carry, migration, scripts, stamp};
use crate::support::runner::{Case, Ctx, NotPassed, Outcome, case, fail};

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "contract_database::d10_a_script_that_breaks_a_foreign_key_is_rolled_back::sqlite",
            broken_reference,
        ),
        case(
            "contract_database::d10_a_row_that_is_newly_orphaned_is_found_where_another_one_goes::sqlite",
            orphans,
        ),
        case(
            "contract_database::d10_a_foreign_key_that_was_declared_wrongly_is_in_nobodys_way::sqlite",
            mismatch,
        ),
        case(
            "contract_database::d10_a_foreign_key_that_was_declared_wrongly_hides_no_other::sqlite",
            mismatch_hides_nothing,
        ),
        case(
            "contract_database::d10_a_script_may_leave_fewer_orphans_than_there_were::sqlite",
            fewer_orphans,
        ),
        case(
            "contract_database::d10_a_table_that_no_script_names_keeps_its_rows::sqlite",
            cascade,
        ),
        case(
            "contract_database::d10_a_table_that_is_only_named_keeps_its_rows::sqlite",
            cascade_onto_named,
        ),
        case(
            "contract_database::d10_what_grows_behind_a_script_loses_nothing::sqlite",
            growth,
        ),
        case(
            "contract_database::d10_the_tables_behind_a_full_text_index_are_its_own::sqlite",
            full_text,
        ),
        case(
            "contract_database::d10_a_rebuild_keeps_the_rows_that_refer_to_it::sqlite",
            rebuild,
        ),
        case(
            "contract_database::d17_a_statement_without_end_is_ended_and_its_line_is_named::sqlite",
            endless,
        ),
        case(
            "contract_database::d13_a_file_that_was_replaced_is_another_database::sqlite",
            replaced,
        ),
        case(
            "contract_database::d13_what_runs_while_the_file_is_replaced_is_rolled_back::sqlite",
            replaced_meanwhile,
        ),
        case(
            "contract_database::d13_every_commit_of_ours_waits_for_the_disk::sqlite",
            durable,
        ),
        case(
            "contract_database::d4_the_heartbeat_is_renewed_just_before_the_commit::sqlite",
            heartbeat,
        ),
    ]
}

async fn fresh(ctx: Ctx) -> Result<Fresh, NotPassed> {
    let harness = Box::new(SqliteHarness(Kept::ByUs));
    Ok(Fresh {
        place: harness.fresh(&ctx).await?,
        harness,
        ctx,
    })
}

const PARENT_AND_CHILD: &str = "CREATE TABLE parent (id integer PRIMARY KEY, name text); \
    CREATE TABLE child (parent integer REFERENCES parent (id) ON DELETE CASCADE); \
    INSERT INTO parent VALUES (1, 'a'), (2, 'b'); INSERT INTO child VALUES (1), (2), (2)";

/// A parent with a child of it, applied; then this script as version 2.
async fn carry_beside_a_child(fresh: &Fresh, script: &str) -> Result<Result<(), DbError>, NotPassed> {
    let (database, token) = fresh.holder("a").await?;
    let migrations = [
        migration("1", PARENT_AND_CHILD, "DROP TABLE child; DROP TABLE parent"),
        migration("2", script, "SELECT 1"),
    ];
    database.stage(token, &migrations).await?;
    let up = scripts(Direction::Up, &migrations);
    carry(&*database, Direction::Up, &up[..1], token).await?;
    let carried = database.advance(Direction::Up, &up[1..], &stamp(token)).await;
    let expected: &[&str] = if carried.is_ok() { &["1", "2"] } else { &["1"] };
    assert_eq!(applied(&*database).await?, expected);
    Ok(carried)
}

/// Fails where the table does not hold so many rows.
async fn expect_rows(fresh: &Fresh, table: &str, count: u32) -> Outcome {
    let check = format!(
        "CREATE TEMP TABLE expected (n CHECK (n = {count})); INSERT INTO expected SELECT count(*) FROM {table}"
    );
    fresh.place.run(&check).await
}

async fn broken_reference(ctx: Ctx) -> Outcome {
    let fresh = fresh(ctx).await?;
    match carry_beside_a_child(&fresh, "DELETE FROM parent WHERE id = 2").await? {
        Err(DbError::Check { migration, message, .. }) => {
            assert_eq!(migration.version.as_str(), "2");
            assert!(message.contains("2 rows of table child"), "{message}");
        }
        other => return fail(format_args!("{other:?}")),
    }
    expect_rows(&fresh, "parent", 2).await
}

/// A family of tables, to which somebody else adds this and an orphan; then this script.
async fn carry_with_an_orphan(ctx: Ctx, added: &str, script: &str) -> Result<(Fresh, Result<(), DbError>), NotPassed> {
    let fresh = fresh(ctx).await?;
    let (database, token) = fresh.holder("a").await?;
    let migrations = [migration("1", FAMILY, "SELECT 1"), migration("2", script, "SELECT 1")];
    database.stage(token, &migrations).await?;
    let up = scripts(Direction::Up, &migrations);
    carry(&*database, Direction::Up, &up[..1], token).await?;
    fresh
        .place
        .run(&format!(
            "PRAGMA foreign_keys = OFF; INSERT INTO child VALUES (1, 1), (2, 99); {added}"
        ))
        .await?;
    let carried = database.advance(Direction::Up, &up[1..], &stamp(token)).await;
    drop(database);
    Ok((fresh, carried))
}

const MISMATCH: &str =
    "CREATE TABLE p (id integer PRIMARY KEY, code text); CREATE TABLE q (code text REFERENCES p (code))";

const FAMILY: &str = "CREATE TABLE parent (id integer PRIMARY KEY); INSERT INTO parent VALUES (1), (2); \
    CREATE TABLE child (id integer PRIMARY KEY, parent integer REFERENCES parent (id))";

/// As many as before, but not the same: by their number nothing has changed.
async fn orphans(ctx: Ctx) -> Outcome {
    let script = "DELETE FROM child WHERE id = 2; DELETE FROM parent WHERE id = 1";
    let (fresh, carried) = carry_with_an_orphan(ctx, "", script).await?;
    match carried {
        Err(DbError::Check { message, .. }) => assert!(message.contains("1 rows of table child"), "{message}"),
        other => return fail(format_args!("{other:?}")),
    }
    expect_rows(&fresh, "child", 2).await
}

/// Fewer than before are no reason to refuse.
async fn fewer_orphans(ctx: Ctx) -> Outcome {
    let (_, carried) = carry_with_an_orphan(ctx, "", "DELETE FROM child WHERE id = 2").await?;
    Ok(carried?)
}

/// SQLite answers the whole check with an error then; others are checked all the same.
async fn mismatch(ctx: Ctx) -> Outcome {
    let (fresh, carried) = carry_with_an_orphan(ctx, MISMATCH, "CREATE TABLE z (i int)").await?;
    carried?;
    expect_rows(&fresh, "z", 0).await
}

async fn mismatch_hides_nothing(ctx: Ctx) -> Outcome {
    let (_, carried) = carry_with_an_orphan(ctx, MISMATCH, "DELETE FROM parent WHERE id = 1").await?;
    match carried {
        Err(DbError::Check { message, .. }) => assert!(message.contains("1 rows of table child"), "{message}"),
        other => return fail(format_args!("{other:?}")),
    }
    Ok(())
}

async fn cascade(ctx: Ctx) -> Outcome {
    let fresh = fresh(ctx).await?;
    let script = "PRAGMA foreign_keys = ON;\nDELETE FROM parent WHERE id = 2";
    match carry_beside_a_child(&fresh, script).await? {
        Err(DbError::Check { message, .. }) => {
            assert!(
                message.contains("child") && message.contains("from 3 to 1 rows"),
                "{message}"
            );
        }
        other => return fail(format_args!("{other:?}")),
    }
    expect_rows(&fresh, "parent", 2).await?;
    expect_rows(&fresh, "child", 3).await
}

/// To name a table, in an index or a key, is not to take rows from it.
async fn cascade_onto_named(ctx: Ctx) -> Outcome {
    let fresh = fresh(ctx).await?;
    let (database, token) = fresh.holder("a").await?;
    let family = [migration("1", PARENT_AND_CHILD, "SELECT 1")];
    database.stage(token, &family).await?;
    carry(&*database, Direction::Up, &scripts(Direction::Up, &family), token).await?;
    for (version, named) in (2..).zip([
        "CREATE INDEX child_parent ON child (parent)",
        "CREATE VIEW children AS SELECT parent FROM child",
        "CREATE TRIGGER noted AFTER DELETE ON child WHEN old.parent IS NULL BEGIN SELECT 1 FROM child; END",
        "ALTER TABLE child ADD COLUMN note text",
        "UPDATE child SET parent = 1 WHERE parent = 1",
        "INSERT INTO child VALUES (1)",
    ]) {
        let script = format!("PRAGMA foreign_keys = ON;\n{named};\nDELETE FROM parent WHERE id = 2");
        let migrations = [migration(&version.to_string(), &script, "SELECT 1")];
        database.stage(token, &migrations).await?;
        let up = scripts(Direction::Up, &migrations);
        let refused = database.advance(Direction::Up, &up, &stamp(token)).await;
        let Err(error @ DbError::Check { .. }) = refused else {
            return fail(format_args!("{named}: {refused:?}"));
        };
        assert!(error.to_string().contains("table child"), "{error}");
        let hint = error.to_failure().hint;
        assert!(hint.is_some_and(|hint| hint.contains("foreign_keys = OFF")), "{named}");
        expect_rows(&fresh, "child", 3).await?;
    }
    Ok(())
}

/// A log that a trigger keeps.
async fn growth(ctx: Ctx) -> Outcome {
    let fresh = fresh(ctx).await?;
    fresh.place.run("CREATE TABLE log (what text)").await?;
    let script = "CREATE TRIGGER noted AFTER UPDATE ON parent BEGIN INSERT INTO log VALUES (new.id); END; \
        UPDATE parent SET name = upper(name)";
    carry_beside_a_child(&fresh, script).await??;
    expect_rows(&fresh, "log", 2).await
}

/// They come, grow, shrink and go with it.
async fn full_text(ctx: Ctx) -> Outcome {
    let fresh = fresh(ctx).await?;
    let (database, token) = fresh.holder("a").await?;
    let migrations = [
        migration(
            "1",
            "CREATE TABLE docs (id integer PRIMARY KEY, body text); INSERT INTO docs (body) VALUES ('a'), ('b')",
            "DROP TABLE docs",
        ),
        migration(
            "2",
            "CREATE VIRTUAL TABLE docs_fts USING fts5(body, content='docs', content_rowid='id'); \
             CREATE TRIGGER docs_ai AFTER INSERT ON docs BEGIN \
             INSERT INTO docs_fts(rowid, body) VALUES (new.id, new.body); END; \
             INSERT INTO docs_fts(docs_fts) VALUES ('rebuild')",
            "DROP TRIGGER docs_ai; DROP TABLE docs_fts",
        ),
        migration(
            "3",
            "INSERT INTO docs (body) VALUES ('c'), ('d')",
            "DELETE FROM docs WHERE id > 2",
        ),
    ];
    database.stage(token, &migrations).await?;
    carry(&*database, Direction::Up, &scripts(Direction::Up, &migrations), token).await?;
    let mut down = scripts(Direction::Down, &migrations);
    down.sort_by(|a, b| b.migration.version.cmp(&a.migration.version));
    carry(&*database, Direction::Down, &down[..2], token).await?;
    assert_eq!(applied(&*database).await?, ["1"]);
    expect_rows(&fresh, "docs", 2).await
}

/// The recipe of sqlite.org, which with `foreign_keys` left on would delete every child.
async fn rebuild(ctx: Ctx) -> Outcome {
    let fresh = fresh(ctx).await?;
    let script = "PRAGMA foreign_keys = OFF; BEGIN; CREATE TABLE new_parent (id integer PRIMARY KEY); \
        INSERT INTO new_parent SELECT id FROM parent; DROP TABLE parent; ALTER TABLE new_parent RENAME TO parent; \
        COMMIT; PRAGMA foreign_keys = ON";
    carry_beside_a_child(&fresh, script).await??;
    expect_rows(&fresh, "parent", 2).await?;
    expect_rows(&fresh, "child", 3).await
}

/// A rival that waited for the write lock reads the row right after the commit.
async fn heartbeat(ctx: Ctx) -> Outcome {
    let fresh = fresh(ctx).await?;
    let (database, token) = fresh.holder("a").await?;
    let migrations = [migration("1", "CREATE TABLE a (i int)", "DROP TABLE a")];
    database.stage(token, &migrations).await?;
    fresh.silence().await?;
    assert!(!database.look().await?.lease.is_some_and(|lease| lease.is_alive()));
    database
        .advance(Direction::Up, &scripts(Direction::Up, &migrations), &stamp(token))
        .await?;
    let lease = database.look().await?.lease;
    assert!(
        lease
            .as_ref()
            .is_some_and(|lease| lease.is_alive() && lease.age_ms < 10_000),
        "it looks dead after its own commit: {lease:?}"
    );
    Ok(())
}

/// SQLite itself would go on for ever, and hold the write lock.
async fn endless(ctx: Ctx) -> Outcome {
    let fresh = fresh(ctx).await?;
    let database = fresh.place.open_within(Duration::from_secs(1));
    database.prepare().await?;
    let token = acquire(&*database, "a").await?;
    let endless =
        "CREATE TABLE b AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let migrations = [migration(
        "1",
        &format!("CREATE TABLE a (i int);\n{endless}"),
        "SELECT 1",
    )];
    database.stage(token, &migrations).await?;
    let ups = scripts(Direction::Up, &migrations);
    match database.advance(Direction::Up, &ups, &stamp(token)).await {
        Err(DbError::Limit { migration, message }) => {
            assert_eq!(migration.version.as_str(), "1");
            assert!(message.contains("line 2") && message.contains("1 s"), "{message}");
        }
        other => return fail(format_args!("{other:?}")),
    }
    assert_eq!(applied(&*database).await?, [""; 0]);
    assert!(!fresh.has_table("a").await);
    // The write lock is free.
    fresh.place.run("CREATE TABLE c (i int)").await
}

/// A holder whose migration is staged, and a copy of its file, which is put in the file's place by what is returned. The
/// first file keeps a name that nobody knows.
async fn holder_and_backup(fresh: &Fresh, script: &str) -> Result<Replaced, NotPassed> {
    let (database, token) = fresh.holder("a").await?;
    let migrations = [migration("1", script, "DROP TABLE a")];
    database.stage(token, &migrations).await?;
    let in_dir = |name: &str| fresh.ctx.dir().join(name);
    let (path, backup, lost) = (in_dir("0.db"), in_dir("backup.db"), in_dir("lost.db"));
    std::fs::copy(&path, &backup)?;
    std::fs::hard_link(&path, &lost)?;
    let replace = move || std::fs::rename(&backup, &path);
    Ok((database, token, scripts(Direction::Up, &migrations), Box::new(replace)))
}

type Replaced = (
    Box<dyn Database>,
    Token,
    Vec<ScriptRef>,
    Box<dyn FnOnce() -> std::io::Result<()>>,
);

/// Whether the file that lost its name holds table `a`.
async fn lost_file_has_the_table(fresh: &Fresh) -> Result<bool, NotPassed> {
    let url = format!("sqlite://{}", fresh.ctx.dir().join("lost.db").display());
    let mut connection = SqliteConnection::connect(&url).await?;
    Ok(connection.execute("SELECT * FROM a").await.is_ok())
}

fn expect_refused<T: std::fmt::Debug>(tried: Result<T, DbError>) -> Outcome {
    match tried {
        Err(DbError::Refused { message, hint }) if message.contains("was replaced") && hint.is_some() => Ok(()),
        other => fail(format_args!("{other:?}")),
    }
}

async fn replaced(ctx: Ctx) -> Outcome {
    let fresh = fresh(ctx).await?;
    let (database, token, ups, replace) = holder_and_backup(&fresh, "CREATE TABLE a (i int)").await?;
    replace()?;
    expect_refused(database.advance(Direction::Up, &ups, &stamp(token)).await)?;
    expect_refused(database.ledger().await)?;
    expect_refused(database.look().await)?;
    expect_refused(database.ask("SELECT 1", Duration::from_secs(1)).await)?;
    assert!(!fresh.has_table("a").await && !lost_file_has_the_table(&fresh).await?);
    // Whoever begins anew takes the file as it is.
    fresh.silence().await?;
    let next = fresh.open();
    let token = acquire(&*next, "b").await?;
    carry(&*next, Direction::Up, &ups, token).await?;
    assert!(fresh.has_table("a").await && !lost_file_has_the_table(&fresh).await?);
    Ok(())
}

async fn replaced_meanwhile(ctx: Ctx) -> Outcome {
    let fresh = fresh(ctx).await?;
    let script = format!("CREATE TABLE a (i int); {}", fresh.place.slow(2.0));
    let (database, token, ups, replace) = holder_and_backup(&fresh, &script).await?;
    let work = tokio::spawn(async move { database.advance(Direction::Up, &ups, &stamp(token)).await });
    // It begins within the pause, or this is the case before.
    tokio::time::sleep(Duration::from_millis(500)).await;
    replace()?;
    expect_refused(work.await?)?;
    assert!(!fresh.has_table("a").await && !lost_file_has_the_table(&fresh).await?);
    Ok(())
}

/// In WAL mode, which the file keeps, less than FULL would let a power cut take back what was committed.
async fn durable(ctx: Ctx) -> Outcome {
    let fresh = fresh(ctx).await?;
    fresh
        .place
        .run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
        .await?;
    let (database, token) = fresh.holder("a").await?;
    let note = "CREATE TABLE noted AS SELECT synchronous FROM pragma_synchronous";
    let migrations = [migration("1", note, "DROP TABLE noted")];
    database.stage(token, &migrations).await?;
    carry(&*database, Direction::Up, &scripts(Direction::Up, &migrations), token).await?;
    // FULL is 2.
    expect_rows(&fresh, "noted WHERE synchronous = 2", 1).await
}
