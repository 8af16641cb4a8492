//! The fingerprint of a SQLite schema: by structure, because `ALTER TABLE … DROP COLUMN` and the table rebuild leave
//! texts in `sqlite_schema` that say the same in other words (LAWS D12).

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use stepback_core::model::{Drift, Engine, Fingerprint};
use stepback_core::sql::normal_tokens;

use crate::database::ledger::Ledger;

/// The version of the form below. 2 has what a conflict does, and when a foreign key is asked.
const FORMAT: u32 = 2;

/// Own tables, SQLite's own and the ledger (`?1`) are no part of the app's schema.
const FOREIGN: &str = "m.name NOT GLOB 'sqlite_*' AND m.name NOT GLOB 'stepback_*' AND m.tbl_name NOT GLOB 'stepback_*' \
    AND m.tbl_name <> ?1";

/// The fingerprint of a file that does not exist yet.
pub(super) fn of_nothing() -> Fingerprint {
    Fingerprint {
        format: FORMAT,
        server: "SQLite".to_owned(),
        objects: BTreeMap::new(),
        drifted: Drift::new(),
    }
}

pub(super) async fn take(connection: &mut SqliteConnection, ledger: &Ledger) -> Result<Fingerprint, sqlx::Error> {
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
    let taken = read(connection, &ledger.table).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
    taken
}

async fn read(connection: &mut SqliteConnection, ledger: &str) -> Result<Fingerprint, sqlx::Error> {
    let version: String = sqlx::query("SELECT sqlite_version()")
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    let mut objects = BTreeMap::new();
    read_texts(connection, ledger, &mut objects).await?;
    for (name, part) in read_columns(connection, ledger).await? {
        add(&mut objects, &name, &part);
    }
    for (name, part) in read_foreign_keys(connection, ledger).await? {
        add(&mut objects, &name, &part);
    }
    read_indexes(connection, ledger, &mut objects).await?;
    Ok(Fingerprint {
        format: FORMAT,
        server: format!("SQLite {version}"),
        objects,
        drifted: Drift::new(),
    })
}

fn add(objects: &mut BTreeMap<String, String>, table: &str, part: &str) {
    let definition = objects.entry(format!("table {table}")).or_default();
    if !definition.is_empty() {
        definition.push_str("; ");
    }
    definition.push_str(part);
}

/// What the texts say: views and triggers whole; of tables only what no pragma tells.
async fn read_texts(
    connection: &mut SqliteConnection,
    ledger: &str,
    objects: &mut BTreeMap<String, String>,
) -> Result<(), sqlx::Error> {
    let sql = format!("SELECT type, name, coalesce(sql, '') FROM sqlite_schema m WHERE {FOREIGN} AND type <> 'index'");
    for row in sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(ledger)
        .fetch_all(connection)
        .await?
    {
        let (kind, name, text): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let tokens = normal_tokens(&text, Engine::Sqlite).unwrap_or_else(|_| vec![text.clone()]);
        if kind == "table" {
            objects.insert(format!("table {name}"), beyond_pragmas(&tokens));
        } else {
            objects.insert(format!("{kind} {name}"), tokens.join(" "));
        }
    }
    Ok(())
}

/// Checks, generated expressions, collations, what a conflict does, when a foreign key is asked, and what follows the closing parenthesis (`strict`, `without rowid`):
/// sorted, because the same constraint can stand in several places.
fn beyond_pragmas(tokens: &[String]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "check" | "as" if tokens.get(at + 1).is_some_and(|next| next == "(") => {
                parts.push(format!("{token} {}", group(&tokens[at + 1..])));
            }
            "collate" => parts.extend(tokens.get(at + 1).map(|name| format!("collate {name}"))),
            "on" if tokens.get(at + 1).is_some_and(|next| next == "conflict") => {
                parts.push(format!("{} {}", constraint_before(tokens, at), run(&tokens[at..], 3)));
            }
            "deferrable" => {
                let is_not = at > 0 && tokens[at - 1] == "not";
                let initially = tokens.get(at + 1).is_some_and(|next| next == "initially");
                // One that is asked at once is what it is without the words.
                if !is_not && initially && tokens.get(at + 2).is_some_and(|next| next == "deferred") {
                    parts.push(format!("{} {}", reference_before(tokens, at), run(&tokens[at..], 3)));
                }
            }
            "autoincrement" | "virtual" | "stored" => parts.push(token.clone()),
            _ => {}
        }
    }
    if let Some(end) = tokens.iter().rposition(|token| token == ")") {
        let options = tokens[end + 1..].join(" ");
        if !options.is_empty() {
            parts.push(options);
        }
    }
    parts.sort();
    parts.join("; ")
}

/// So many tokens.
fn run(tokens: &[String], length: usize) -> String {
    tokens.get(..length).unwrap_or(tokens).join(" ")
}

/// The constraint that an `ON CONFLICT` belongs to, with its columns or the column that it stands with.
fn constraint_before(tokens: &[String], at: usize) -> String {
    let begins = |token: &String| matches!(token.as_str(), "not" | "unique" | "primary" | "check");
    let from = tokens[..at].iter().rposition(begins).unwrap_or(at);
    format!("{} {}", item_name(tokens, at), tokens[from..at].join(" "))
}

/// The reference that a `DEFERRABLE` belongs to.
fn reference_before(tokens: &[String], at: usize) -> String {
    let from = tokens[..at]
        .iter()
        .rposition(|token| token == "references")
        .unwrap_or(at);
    format!("{} {}", item_name(tokens, at), tokens[from..at].join(" "))
}

/// The column, or the table constraint, whose definition holds this token: what comes after the last comma, or after the
/// opening parenthesis, of the list of definitions.
fn item_name(tokens: &[String], at: usize) -> String {
    let mut depth = 0_usize;
    let mut begin = 0;
    for (index, token) in tokens[..at].iter().enumerate() {
        match token.as_str() {
            "(" => {
                depth += 1;
                if depth == 1 {
                    begin = index + 1;
                }
            }
            ")" => depth = depth.saturating_sub(1),
            "," if depth == 1 => begin = index + 1,
            _ => {}
        }
    }
    tokens.get(begin).cloned().unwrap_or_default()
}

/// The tokens of a parenthesised group, from its opening to its closing parenthesis.
fn group(tokens: &[String]) -> String {
    let mut depth = 0;
    let mut taken = Vec::new();
    for token in tokens {
        match token.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        taken.push(token.as_str());
        if depth == 0 {
            break;
        }
    }
    taken.join(" ")
}

async fn read_columns(connection: &mut SqliteConnection, ledger: &str) -> Result<Vec<(String, String)>, sqlx::Error> {
    let sql = format!(
        "SELECT m.name, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk, c.hidden \
         FROM sqlite_schema m JOIN pragma_table_xinfo(m.name) c WHERE m.type = 'table' AND {FOREIGN} ORDER BY m.name, c.cid"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(ledger)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let (column, kind): (String, String) = (row.try_get(1)?, row.try_get(2)?);
            let mut part = format!("{} {}", column.to_ascii_lowercase(), kind.to_ascii_lowercase());
            if row.try_get::<bool, _>(3)? {
                part.push_str(" not null");
            }
            if let Some(default) = row.try_get::<Option<String>, _>(4)? {
                part.push_str(&format!(" default {default}"));
            }
            match row.try_get::<i64, _>(5)? {
                0 => {}
                place => part.push_str(&format!(" primary key {place}")),
            }
            match row.try_get::<i64, _>(6)? {
                0 => {}
                hidden => part.push_str(&format!(" hidden {hidden}")),
            }
            Ok((row.try_get(0)?, part))
        })
        .collect()
}

async fn read_foreign_keys(
    connection: &mut SqliteConnection,
    ledger: &str,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let sql = format!(
        "SELECT m.name, f.\"from\", f.\"table\", coalesce(f.\"to\", ''), f.on_update, f.on_delete, f.id, f.seq \
         FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table' AND {FOREIGN} \
         ORDER BY m.name, f.\"table\", f.id, f.seq"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(ledger)
        .fetch_all(connection)
        .await?;
    let mut keys: Vec<(String, String)> = rows
        .iter()
        .map(|row| {
            let text = |at: usize| row.try_get::<String, _>(at).map(|text| text.to_ascii_lowercase());
            let part = format!(
                "foreign key {} references {} ({}) on update {} on delete {}",
                text(1)?,
                text(2)?,
                text(3)?,
                text(4)?,
                text(5)?
            );
            Ok((row.try_get(0)?, part))
        })
        .collect::<Result<_, sqlx::Error>>()?;
    // SQLite numbers foreign keys backwards as they are added; their order says nothing.
    keys.sort();
    Ok(keys)
}

async fn read_indexes(
    connection: &mut SqliteConnection,
    ledger: &str,
    objects: &mut BTreeMap<String, String>,
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "SELECT m.name, i.name, i.\"unique\", i.origin, \
         (SELECT group_concat(coalesce(x.name, '(expression)') || ' ' || x.coll || CASE x.\"desc\" WHEN 1 THEN ' desc' ELSE '' END, ', ') \
          FROM pragma_index_xinfo(i.name) x WHERE x.key = 1), \
         coalesce((SELECT s.sql FROM sqlite_schema s WHERE s.type = 'index' AND s.name = i.name), '') \
         FROM sqlite_schema m JOIN pragma_index_list(m.name) i WHERE m.type = 'table' AND {FOREIGN} ORDER BY m.name, i.name"
    );
    for row in sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(ledger)
        .fetch_all(connection)
        .await?
    {
        let (table, name, unique): (String, String, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (origin, columns, text): (String, Option<String>, String) =
            (row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        let columns = columns.unwrap_or_default().to_ascii_lowercase();
        let unique = if unique { "unique " } else { "" };
        if origin == "c" {
            let tokens = normal_tokens(&text, Engine::Sqlite).unwrap_or_else(|_| vec![text.clone()]);
            // Where there is an expression or a condition only the text has it.
            let from = tokens.iter().position(|token| token == "(").unwrap_or(0);
            let definition = format!("{unique}on {table}: {columns}: {}", tokens[from..].join(" "));
            objects.insert(format!("index {name}"), definition);
        } else {
            // Made by a constraint; its name is a number that says nothing.
            let part = format!("{unique}constraint ({columns}) from {origin}");
            add(objects, &table, &part);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        beyond_pragmas(&normal_tokens(text, Engine::Sqlite).unwrap())
    }

    #[test]
    fn d12_what_a_conflict_does_and_when_a_reference_is_asked_are_seen() {
        let plain = "CREATE TABLE a (i int NOT NULL, j int UNIQUE, k int REFERENCES b (i))";
        for (from, to) in [
            ("NOT NULL", "NOT NULL ON CONFLICT IGNORE"),
            ("UNIQUE", "UNIQUE ON CONFLICT REPLACE"),
            ("b (i)", "b (i) DEFERRABLE INITIALLY DEFERRED"),
        ] {
            let changed = plain.replace(from, to);
            assert_ne!(of(plain), of(&changed), "{to}");
            assert_eq!(of(&changed), of(&changed.to_lowercase()), "{to}");
            assert_ne!(
                of(&changed),
                of(&changed
                    .replace("IGNORE", "FAIL")
                    .replace("REPLACE", "FAIL")
                    .replace("DEFERRED", "IMMEDIATE")),
                "{to}"
            );
        }
        let one = "CREATE TABLE a (i int NOT NULL ON CONFLICT IGNORE, j int NOT NULL)";
        let other = "CREATE TABLE a (i int NOT NULL, j int NOT NULL ON CONFLICT IGNORE)";
        assert_ne!(of(one), of(other), "which column");
    }

    #[test]
    fn d12_words_that_say_what_is_so_anyway_are_no_difference() {
        let plain = "CREATE TABLE a (k int REFERENCES b (i))";
        for same in [
            "NOT DEFERRABLE INITIALLY DEFERRED",
            "DEFERRABLE INITIALLY IMMEDIATE",
            "DEFERRABLE",
        ] {
            assert_eq!(
                of(plain),
                of(&plain.replace("b (i)", &format!("b (i) {same}"))),
                "{same}"
            );
        }
    }
}
