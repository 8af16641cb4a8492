//! The table rebuild: make a new table, copy all rows, drop the old table, give the new one its name. It is how columns
//! are changed on SQLite (sqlite.org, "Making Other Kinds Of Table Schema Changes"), and its `DROP TABLE` loses no rows.

use std::ops::ControlFlow;

use sqlparser::ast::{self, AlterTableOperation, Expr, RenameTableNameKind, SelectItem};

use super::effects::{Effects, effects, parse};
use super::loss::Loss;
use super::name::{TableName, fold};
use super::split::Statement;
use crate::model::Engine;

/// The effects of each statement of a script, in order. Where statements together are a table rebuild, its `DROP TABLE`
/// is a [`Loss::Rebuild`], which tells the columns that are kept, or no loss when all are.
pub fn script_effects(statements: &[Statement<'_>], engine: Engine) -> Vec<Effects> {
    let mut all: Vec<_> = statements.iter().map(|statement| effects(statement, engine)).collect();
    let dropped: Vec<_> = all
        .iter()
        .enumerate()
        .filter_map(|(at, effects)| Some((at, only_dropped(effects)?)))
        .collect();
    if dropped.is_empty() {
        return all;
    }
    let parsed: Vec<_> = statements
        .iter()
        .map(|statement| parse(statement, engine).ok())
        .collect();
    for (at, table) in dropped {
        if let Some(keeps) = rebuild(&parsed, &all, at, &table, engine)
            && let Effects::Known { destroys, .. } = &mut all[at]
        {
            *destroys = keeps
                .into_iter()
                .map(|keeps| Loss::Rebuild {
                    table: table.clone(),
                    keeps,
                })
                .collect();
        }
    }
    all
}

/// The table, when a statement drops exactly one and nothing that depends on it.
fn only_dropped(effects: &Effects) -> Option<TableName> {
    match effects {
        Effects::Known { destroys, .. } => match &destroys[..] {
            [Loss::DropTable { table, cascade: false }] => Some(table.clone()),
            _ => None,
        },
        Effects::Unknown { .. } => None,
    }
}

/// The columns of `old` that are kept, when the statement at `drop` is part of a rebuild.
fn rebuild(
    parsed: &[Option<ast::Statement>],
    all: &[Effects],
    drop: usize,
    old: &TableName,
    engine: Engine,
) -> Option<Option<Vec<String>>> {
    let new = parsed[drop + 1..]
        .iter()
        .flatten()
        .find_map(|statement| renamed_to(statement, old, engine))?;
    let copy = parsed[..drop].iter().rposition(|statement| {
        statement
            .as_ref()
            .is_some_and(|statement| copied(statement, &new, old, engine).is_some())
    })?;
    let is_created = parsed[..copy].iter().flatten().any(|statement| {
        matches!(statement, ast::Statement::CreateTable(create)
            if !create.or_replace && !create.temporary && TableName::read(&create.name, engine).as_ref() == Some(&new))
    });
    // Whatever came into the old table after the copy would be lost.
    let is_still = all[copy + 1..drop].iter().all(|effects| match effects {
        Effects::Known { touches, .. } => !touches.contains(old),
        Effects::Unknown { .. } => false,
    });
    if !is_created || !is_still {
        return None;
    }
    copied(parsed[copy].as_ref()?, &new, old, engine)
}

/// The table that a statement gives the name `old`.
fn renamed_to(statement: &ast::Statement, old: &TableName, engine: Engine) -> Option<TableName> {
    let ast::Statement::AlterTable(alter) = statement else {
        return None;
    };
    let [AlterTableOperation::RenameTable { table_name }] = &alter.operations[..] else {
        return None;
    };
    let (RenameTableNameKind::As(name) | RenameTableNameKind::To(name)) = table_name;
    let name = TableName::read(name, engine)?;
    // PostgreSQL's new name never has a schema.
    (name.name == old.name).then(|| TableName::read(&alter.name, engine))?
}

/// The columns of `old` that `INSERT INTO new … SELECT … FROM old` copies; the inner `None` is all of them. Nothing when
/// the statement is no such copy, or may leave rows out.
fn copied(statement: &ast::Statement, new: &TableName, old: &TableName, engine: Engine) -> Option<Option<Vec<String>>> {
    let ast::Statement::Insert(insert) = statement else {
        return None;
    };
    let ast::TableObject::TableName(into) = &insert.table else {
        return None;
    };
    let query = insert.source.as_deref()?;
    let ast::SetExpr::Select(select) = &*query.body else {
        return None;
    };
    let [
        ast::TableWithJoins {
            relation: ast::TableFactor::Table { name: from, .. },
            joins,
        },
    ] = &select.from[..]
    else {
        return None;
    };
    let is_ungrouped = matches!(&select.group_by, ast::GroupByExpr::Expressions(by, _) if by.is_empty());
    let is_whole = TableName::read(into, engine).as_ref() == Some(new)
        && TableName::read(from, engine).as_ref() == Some(old)
        && joins.is_empty()
        && insert.or.is_none()
        && insert.on.is_none()
        && !insert.ignore
        && !insert.replace_into
        && query.with.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && select.distinct.is_none()
        && select.top.is_none()
        && select.selection.is_none()
        && select.having.is_none()
        && is_ungrouped;
    if !is_whole {
        return None;
    }
    let mut keeps = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::Wildcard(_) => return Some(None),
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => match expr {
                Expr::Identifier(column) => keeps.push(fold(column, engine)),
                Expr::CompoundIdentifier(parts) => keeps.push(fold(parts.last()?, engine)),
                // An aggregate would make one row of all; what is computed otherwise is a new value.
                expr if is_row_by_row(expr) => {}
                _ => return None,
            },
            _ => return None,
        }
    }
    Some(Some(keeps))
}

fn is_row_by_row(expr: &Expr) -> bool {
    const SCALAR: [&str; 11] = [
        "coalesce",
        "ifnull",
        "nullif",
        "lower",
        "upper",
        "trim",
        "substr",
        "substring",
        "replace",
        "round",
        "abs",
    ];
    let mut is_scalar = |expr: &Expr| match expr {
        Expr::Function(function) if !SCALAR.contains(&function.name.to_string().to_lowercase().as_str()) => {
            ControlFlow::Break(())
        }
        Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    ast::visit_expressions(expr, &mut is_scalar).is_continue()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::split;

    fn losses(text: &str, engine: Engine) -> Vec<String> {
        let statements = split(text, engine).unwrap();
        let phrases = script_effects(&statements, engine)
            .into_iter()
            .flat_map(|effects| match effects {
                Effects::Known { destroys, .. } => destroys.iter().map(ToString::to_string).collect(),
                Effects::Unknown { why } => vec![format!("? {why}")],
            });
        phrases.collect()
    }

    const REBUILD: &str = "CREATE TABLE new_orders (id INTEGER PRIMARY KEY, item TEXT, name TEXT);
        INSERT INTO new_orders SELECT id, Item, coalesce(name, 'x') FROM orders;
        DROP TABLE orders;
        ALTER TABLE new_orders RENAME TO orders;";

    #[test]
    fn a_rebuild_keeps_the_columns_it_copies() {
        assert_eq!(
            losses(REBUILD, Engine::Sqlite),
            ["columns of orders other than id, item"]
        );
        let whole = REBUILD.replace("id, Item, coalesce(name, 'x')", "*");
        assert_eq!(losses(&whole, Engine::Sqlite), [""; 0]);
    }

    #[test]
    fn what_is_not_quite_a_rebuild_drops_the_table() {
        for (from, to) in [
            ("FROM orders", "FROM orders WHERE id > 1"),
            ("FROM orders", "FROM orders LIMIT 5"),
            ("FROM orders", "FROM orders GROUP BY id"),
            ("FROM orders", "FROM orders JOIN lines"),
            ("FROM orders", "FROM customers"),
            ("SELECT id", "SELECT DISTINCT id"),
            ("SELECT id", "SELECT max(id)"),
            ("INSERT INTO", "INSERT OR IGNORE INTO"),
            ("DROP TABLE", "UPDATE orders SET id = 1; DROP TABLE"),
            ("RENAME TO orders", "RENAME TO other"),
            ("CREATE TABLE new_orders (", "CREATE TABLE other ("),
        ] {
            let text = REBUILD.replace(from, to);
            assert_ne!(text, REBUILD);
            assert!(
                losses(&text, Engine::Sqlite).contains(&"table orders".to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn other_scripts_are_read_statement_by_statement() {
        assert_eq!(
            losses("DROP TABLE a; DELETE FROM b", Engine::Postgres),
            ["table a", "all rows of b"]
        );
        assert_eq!(losses("SELECT 1", Engine::Postgres), [""; 0]);
    }
}
