//! What a script must leave as it is (LAWS D10): violations of foreign keys, and rows of tables that it does not itself take
//! rows from.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use stepback_core::model::Engine;
use stepback_core::sql::{NamedTables, Transactional, emptied_tables};

use super::work::quote;

/// What to do about a script that does more than it says.
pub(super) const HINT: &str = "rows go behind a script's back by `ON DELETE CASCADE`, which `PRAGMA foreign_keys = OFF;` in the \
    script's first line prevents, or by a trigger: else have the script itself delete what is to go, which the plan then counts. A \
    captured script is replaced with `stepback migrate capture --replace VERSION --reason TEXT`";

/// What a script must leave as it is: violations of foreign keys, and the rows of tables that it does not itself take rows
/// from (LAWS D10: with `foreign_keys` on, dropping a table deletes the rows that refer to it). Rows that are added behind
/// its back, to a log that a trigger keeps, lose nothing.
pub(super) struct Watched {
    violations: Violations,
    emptied: NamedTables,
    /// `None` where nothing can take rows from a table behind the script's back.
    counts: Option<BTreeMap<String, i64>>,
}

impl Watched {
    pub(super) async fn before(
        connection: &mut SqliteConnection,
        ready: &Transactional<'_>,
    ) -> Result<Self, sqlx::Error> {
        let mut emptied = NamedTables::Known(BTreeSet::new());
        let mut makes_triggers = false;
        for statement in &ready.statements {
            emptied = emptied.and(emptied_tables(statement, Engine::Sqlite));
            makes_triggers |= statement.text.to_ascii_lowercase().contains("trigger");
        }
        let triggers: i64 = sqlx::query("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'")
            .fetch_one(&mut *connection)
            .await?
            .get(0);
        let reaches_others = ready.foreign_keys == Some(true) || triggers > 0 || makes_triggers;
        let counts = if reaches_others {
            Some(count_rows(connection, &emptied).await?)
        } else {
            None
        };
        Ok(Self {
            violations: violations(connection).await?,
            emptied,
            counts,
        })
    }

    /// Compares with how it was. The inner error says what changed.
    pub(super) async fn compare(&self, connection: &mut SqliteConnection) -> Result<Result<(), String>, sqlx::Error> {
        let now = violations(connection).await?;
        if let Some(broken) = now.since(&self.violations) {
            return Ok(Err(broken));
        }
        let Some(before) = &self.counts else { return Ok(Ok(())) };
        let after = count_rows(connection, &self.emptied).await?;
        for (table, count) in before {
            match after.get(table) {
                Some(now) if now >= count => {}
                Some(now) => {
                    return Ok(Err(format!(
                        "it would take table {table}, from which no statement of it deletes, from {count} to {now} rows"
                    )));
                }
                None => {
                    return Ok(Err(format!(
                        "it would remove table {table}, which no statement of it drops"
                    )));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// What `foreign_key_check` says against one table and the table that a foreign key of it refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Violation {
    /// This row of it, by its number, refers to none. A rebuild that numbers rows anew, of a table without an integer key,
    /// makes those new that had been there: it is rolled back, which loses nothing.
    Row(String, String, i64, Numbered),
    /// It cannot be checked: what it refers to is no key. SQLite says so of a table as a whole.
    Unchecked(String, String),
}

impl Violation {
    fn table(&self) -> &str {
        match self {
            Self::Row(table, ..) | Self::Unchecked(table, _) => table,
        }
    }
}

/// What a [`Violation::Row`]'s number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Numbered {
    /// Its row id.
    ByRow,
    /// Its place among the rows of the table that violate the same key.
    ByCount,
}

#[derive(Default)]
struct Violations(BTreeSet<Violation>);

impl Violations {
    /// What is new, in a sentence; `None` where nothing is. Of a table that could not be checked before it is not known
    /// what is new, and the script may be what mends it.
    fn since(&self, before: &Self) -> Option<String> {
        let unchecked = |one: &&Violation| matches!(one, Violation::Unchecked(..));
        let unknown: BTreeSet<&str> = before.0.iter().filter(unchecked).map(Violation::table).collect();
        let new = || {
            self.0
                .difference(&before.0)
                .filter(|one| !unknown.contains(one.table()))
        };
        Some(match new().next()? {
            Violation::Row(table, parent, ..) => {
                let rows = new().filter(|one| matches!(one, Violation::Row(t, p, ..) if t == table && p == parent));
                format!(
                    "it would leave {} rows of table {table} that refer to rows of {parent} which do not exist",
                    rows.count()
                )
            }
            Violation::Unchecked(table, why) => {
                format!("it would leave a foreign key of table {table} that cannot be checked: {why}")
            }
        })
    }
}

/// Everything that violates a foreign key, table by table: one whose key is declared wrongly, which SQLite answers with an
/// error, must not hide the others, nor forbid what has nothing to do with it (LAWS D10).
async fn violations(connection: &mut SqliteConnection) -> Result<Violations, sqlx::Error> {
    match violations_in(connection, None).await {
        Err(error) if is_mismatch(&error) => {}
        all => return all.map(Violations),
    }
    let tables =
        sqlx::query("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL %'")
            .fetch_all(&mut *connection)
            .await?;
    let mut found = Violations::default();
    for row in tables {
        let table: String = row.try_get(0)?;
        match violations_in(connection, Some(&table)).await {
            Ok(rows) => found.0.extend(rows),
            Err(error) if is_mismatch(&error) => {
                found.0.insert(Violation::Unchecked(table, message_of(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

async fn violations_in(
    connection: &mut SqliteConnection,
    table: Option<&str>,
) -> Result<BTreeSet<Violation>, sqlx::Error> {
    const COLUMNS: &str = "SELECT \"table\", parent, rowid, fkid FROM ";
    let query = match table {
        None => sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS}pragma_foreign_key_check"))),
        Some(table) => {
            sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS}pragma_foreign_key_check(?1)"))).bind(table.to_owned())
        }
    };
    let mut counted: BTreeMap<(String, String, i64), i64> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for row in query.fetch_all(connection).await? {
        let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let key: i64 = row.try_get(3)?;
        found.insert(match row.try_get::<Option<i64>, _>(2)? {
            Some(number) => Violation::Row(table, parent, number, Numbered::ByRow),
            None => {
                let place = counted.entry((table.clone(), parent.clone(), key)).or_default();
                *place += 1;
                Violation::Row(table, parent, *place, Numbered::ByCount)
            }
        });
    }
    Ok(found)
}

/// Whether a foreign key refers to what is no key (`sqlite3FkLocateIndex`).
fn is_mismatch(error: &sqlx::Error) -> bool {
    message_of(error).starts_with("foreign key mismatch")
}

fn message_of(error: &sqlx::Error) -> String {
    let of_database = error.as_database_error().map(|error| error.message().to_owned());
    of_database.unwrap_or_else(|| error.to_string())
}

/// The rows of every table that the script does not itself take rows from. Ours are left out, and those behind a virtual
/// table: its module keeps in them what it likes, and they come and go with it.
async fn count_rows(
    connection: &mut SqliteConnection,
    emptied: &NamedTables,
) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    let tables = sqlx::query(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT GLOB 'sqlite_*' \
         AND name NOT GLOB 'stepback_*'",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut counts = BTreeMap::new();
    for row in tables {
        let table: String = row.try_get(0)?;
        if emptied.may_name(None, &table) {
            continue;
        }
        let count = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT count(*) FROM main.{}",
            quote(&table)
        )))
        .fetch_one(&mut *connection)
        .await?;
        counts.insert(table, count.try_get(0)?);
    }
    Ok(counts)
}
