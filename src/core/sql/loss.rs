//! What each kind of statement destroys. A kind that is not listed here is unknown, so a new one in the parser is never
//! taken for harmless.

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlparser::ast::{self, AlterColumnOperation, AlterTableOperation, ObjectType};

use super::name::{TableName, fold};
use crate::model::Engine;

/// Which rows a statement hits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rows {
    /// All of the table.
    All,
    /// Those that a condition over the table alone holds for; the text of the condition.
    Where(String),
    /// Those that only running the statement can tell: it joins, limits, or has an alias.
    Untold,
}

/// Data that is gone after a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum Loss {
    /// A table and its rows; with `cascade` also what depends on it.
    DropTable {
        /// The table.
        table: TableName,
        /// Whether dependents go too.
        cascade: bool,
    },
    /// A table that a new one replaces, with all its rows (see [`super::script_effects`]): the values of the columns
    /// that are not kept.
    Rebuild {
        /// The table.
        table: TableName,
        /// The columns whose values are copied.
        keeps: Vec<String>,
    },
    /// A column and its values.
    DropColumn {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// Whether dependents go too.
        cascade: bool,
    },
    /// A column's values that the new type cannot hold, if there are any.
    ChangeType {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// The new type.
        to: String,
    },
    /// Rows.
    Delete {
        /// The table.
        table: TableName,
        /// Which.
        rows: Rows,
    },
    /// The former values of some columns.
    Update {
        /// The table; `None` where several are joined.
        table: Option<TableName>,
        /// The columns that get new values.
        columns: Vec<String>,
        /// In which rows.
        rows: Rows,
    },
    /// Rows that an insert replaces or updates.
    Replace {
        /// The table; `None` where it is computed.
        table: Option<TableName>,
    },
    /// All rows of a table.
    Truncate {
        /// The table.
        table: TableName,
        /// Whether tables that refer to it are emptied too.
        cascade: bool,
    },
    /// Partitions and their rows.
    DropPartition {
        /// The table.
        table: TableName,
    },
    /// A schema or database and all in it.
    DropSchema {
        /// Its name.
        name: String,
    },
    /// Something without data of its own, and by `CASCADE` columns or tables that depend on it.
    DropCascade {
        /// What it is: `TYPE`, `VIEW`, …
        kind: String,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let and_dependents = |cascade: &bool| if *cascade { " and what depends on it" } else { "" };
        match self {
            Self::DropTable { table, cascade } => write!(f, "table {table}{}", and_dependents(cascade)),
            Self::Rebuild { table, keeps } => {
                write!(f, "columns of {table} other than {}", keeps.join(", "))
            }
            Self::DropColumn { table, column, cascade } => {
                write!(f, "column {table}.{column}{}", and_dependents(cascade))
            }
            Self::ChangeType { table, column, to } => write!(f, "values of {table}.{column} that {to} cannot hold"),
            Self::Delete {
                table,
                rows: Rows::Where(condition),
            } => write!(f, "rows of {table} where {condition}"),
            Self::Delete { table, rows: Rows::All } => write!(f, "all rows of {table}"),
            Self::Delete {
                table,
                rows: Rows::Untold,
            } => write!(f, "rows of {table}"),
            Self::Update {
                table: Some(table),
                columns,
                ..
            } => {
                write!(f, "former values of {} in {table}", columns.join(", "))
            }
            Self::Update {
                table: None, columns, ..
            } => write!(f, "former values of {}", columns.join(", ")),
            Self::Replace { table: Some(table) } => write!(f, "rows of {table} that are replaced"),
            Self::Replace { table: None } => f.write_str("rows that are replaced"),
            Self::Truncate { table, cascade } => write!(f, "all rows of {table}{}", and_dependents(cascade)),
            Self::DropPartition { table } => write!(f, "partitions of {table}"),
            Self::DropSchema { name } => write!(f, "schema {name} and all in it"),
            Self::DropCascade { kind, name } => write!(f, "what depends on {} {name}", kind.to_lowercase()),
        }
    }
}

/// What a statement destroys by itself, those inside of it left out.
pub(super) fn read(statement: &ast::Statement, engine: Engine) -> Result<Vec<Loss>, &'static str> {
    use ast::Statement as S;
    Ok(match statement {
        S::Drop {
            object_type,
            names,
            cascade,
            temporary: false,
            ..
        } => drop_losses(object_type, names, *cascade, engine)?,
        S::AlterTable(alter) => {
            let table = TableName::read(&alter.name, engine).ok_or(COMPUTED)?;
            let mut losses = Vec::new();
            for operation in &alter.operations {
                losses.extend(alter_losses(operation, &table, engine)?);
            }
            losses
        }
        S::Delete(delete) => vec![delete_loss(delete, engine)?],
        S::Update(update) => {
            let loss = update_loss(update, engine);
            // `UPDATE OR REPLACE` deletes the rows that stand in the way.
            let replaced = match &loss {
                Loss::Update { table, .. } if matches!(update.or, Some(ast::SqliteOnConflict::Replace)) => {
                    Some(Loss::Replace { table: table.clone() })
                }
                _ => None,
            };
            std::iter::once(loss).chain(replaced).collect()
        }
        S::Insert(insert) => {
            let replaces = insert.replace_into
                || insert.overwrite
                || matches!(insert.or, Some(ast::SqliteOnConflict::Replace))
                || insert.on.as_ref().is_some_and(does_update);
            let table = match &insert.table {
                ast::TableObject::TableName(name) => TableName::read(name, engine),
                _ => None,
            };
            if replaces {
                vec![Loss::Replace { table }]
            } else {
                vec![]
            }
        }
        S::Truncate(truncate) => {
            let cascade = matches!(truncate.cascade, Some(ast::CascadeOption::Cascade));
            let tables = truncate
                .table_names
                .iter()
                .map(|target| TableName::read(&target.name, engine));
            let losses = tables.map(|table| table.map(|table| Loss::Truncate { table, cascade }));
            losses.collect::<Option<_>>().ok_or(COMPUTED)?
        }
        S::CreateTable(create) if create.or_replace => {
            let table = TableName::read(&create.name, engine).ok_or(COMPUTED)?;
            vec![Loss::DropTable { table, cascade: false }]
        }
        S::Copy { to: false, .. } => vec![],
        S::Explain { analyze: false, .. } => vec![],
        _ if is_harmless(statement) => vec![],
        _ => return Err("what this kind of statement destroys is not known"),
    })
}

const COMPUTED: &str = "it computes the name of a table";

fn is_harmless(statement: &ast::Statement) -> bool {
    use ast::Statement as S;
    matches!(
        statement,
        S::Query(_)
            | S::CreateTable(_)
            | S::CreateVirtualTable { .. }
            | S::CreateIndex(_)
            | S::CreateView(_)
            | S::CreateFunction(_)
            | S::CreateProcedure { .. }
            | S::CreateTrigger(_)
            | S::CreateSchema { .. }
            | S::CreateSequence { .. }
            | S::CreateType { .. }
            | S::CreateDomain(_)
            | S::CreateExtension(_)
            | S::CreatePolicy(_)
            | S::CreateRole(_)
            | S::DropTrigger(_)
            | S::DropPolicy(_)
            | S::AlterIndex { .. }
            | S::AlterView { .. }
            | S::AlterPolicy { .. }
            | S::AlterType(_)
            | S::AlterRole { .. }
            | S::RenameTable(_)
            | S::Comment { .. }
            | S::Grant(_)
            | S::Revoke(_)
            | S::Set(_)
            | S::Reset(_)
            | S::Use(_)
            | S::Analyze(_)
            | S::Vacuum(_)
            | S::Lock(_)
            | S::LockTables { .. }
            | S::UnlockTables
            | S::StartTransaction { .. }
            | S::Commit { .. }
            | S::Rollback { .. }
            | S::Savepoint { .. }
            | S::ReleaseSavepoint { .. }
    )
}

fn drop_losses(
    object_type: &ObjectType,
    names: &[ast::ObjectName],
    cascade: bool,
    engine: Engine,
) -> Result<Vec<Loss>, &'static str> {
    let mut losses = Vec::new();
    for name in names {
        match object_type {
            ObjectType::Table => {
                let table = TableName::read(name, engine).ok_or(COMPUTED)?;
                losses.push(Loss::DropTable { table, cascade });
            }
            ObjectType::Schema | ObjectType::Database => losses.push(Loss::DropSchema { name: name.to_string() }),
            ObjectType::View
            | ObjectType::MaterializedView
            | ObjectType::Index
            | ObjectType::Sequence
            | ObjectType::Type
            | ObjectType::Role
            | ObjectType::User => {
                if cascade {
                    losses.push(Loss::DropCascade {
                        kind: object_type.to_string(),
                        name: name.to_string(),
                    });
                }
            }
            _ => return Err("what dropping this kind of object destroys is not known"),
        }
    }
    Ok(losses)
}

fn alter_losses(operation: &AlterTableOperation, table: &TableName, engine: Engine) -> Result<Vec<Loss>, &'static str> {
    use AlterTableOperation as A;
    let table = table.clone();
    let change = |column: &ast::Ident, data_type: &ast::DataType| {
        let (column, to) = (fold(column, engine), data_type.to_string());
        vec![Loss::ChangeType {
            table: table.clone(),
            column,
            to,
        }]
    };
    Ok(match operation {
        A::DropColumn {
            column_names,
            drop_behavior,
            ..
        } => {
            let cascade = matches!(drop_behavior, Some(ast::DropBehavior::Cascade));
            let columns = column_names.iter().map(|column| fold(column, engine));
            columns
                .map(|column| Loss::DropColumn {
                    table: table.clone(),
                    column,
                    cascade,
                })
                .collect()
        }
        A::ModifyColumn {
            col_name, data_type, ..
        } => change(col_name, data_type),
        A::ChangeColumn {
            old_name, data_type, ..
        } => change(old_name, data_type),
        A::AlterColumn {
            column_name,
            op: AlterColumnOperation::SetDataType { data_type, .. },
        } => change(column_name, data_type),
        A::DropPartitions { .. } => vec![Loss::DropPartition { table }],
        A::AddConstraint { .. }
        | A::AddColumn { .. }
        | A::AlterColumn { .. }
        | A::DropConstraint { .. }
        | A::DropPrimaryKey { .. }
        | A::DropForeignKey { .. }
        | A::DropIndex { .. }
        | A::RenameColumn { .. }
        | A::RenameTable { .. }
        | A::RenameConstraint { .. }
        | A::ValidateConstraint { .. }
        | A::EnableAlwaysTrigger { .. }
        | A::EnableReplicaTrigger { .. }
        | A::EnableTrigger { .. }
        | A::DisableTrigger { .. }
        | A::EnableRule { .. }
        | A::DisableRule { .. }
        | A::EnableRowLevelSecurity
        | A::DisableRowLevelSecurity
        | A::ForceRowLevelSecurity
        | A::NoForceRowLevelSecurity
        | A::ReplicaIdentity { .. }
        | A::OwnerTo { .. }
        | A::Algorithm { .. }
        | A::Lock { .. }
        | A::AutoIncrement { .. }
        | A::SetOptionsParens { .. } => vec![],
        _ => return Err("what this kind of ALTER TABLE destroys is not known"),
    })
}

/// The only table of a FROM clause, when it stands there alone and without an alias.
fn only_table(from: &[ast::TableWithJoins], engine: Engine) -> Option<(TableName, bool)> {
    let [
        ast::TableWithJoins {
            relation: ast::TableFactor::Table { name, alias, .. },
            joins,
        },
    ] = from
    else {
        return None;
    };
    let is_plain = alias.is_none() && joins.is_empty();
    TableName::read(name, engine).map(|table| (table, is_plain))
}

fn rows(selection: Option<&ast::Expr>, is_plain: bool) -> Rows {
    match selection {
        _ if !is_plain => Rows::Untold,
        None => Rows::All,
        Some(condition) => Rows::Where(condition.to_string()),
    }
}

fn delete_loss(delete: &ast::Delete, engine: Engine) -> Result<Loss, &'static str> {
    let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = &delete.from;
    // With several tables, or names in front of FROM that may be aliases, the text does not say plainly what is hit.
    let found = only_table(from, engine).filter(|_| delete.tables.is_empty());
    let (table, is_plain) = found.ok_or("it deletes from several tables")?;
    let is_plain = is_plain && delete.using.is_none() && delete.limit.is_none();
    Ok(Loss::Delete {
        table,
        rows: rows(delete.selection.as_ref(), is_plain),
    })
}

fn update_loss(update: &ast::Update, engine: Engine) -> Loss {
    let found = only_table(std::slice::from_ref(&update.table), engine);
    let is_plain =
        found.as_ref().is_some_and(|(_, is_plain)| *is_plain) && update.from.is_none() && update.limit.is_none();
    let columns = update.assignments.iter().map(|assignment| match &assignment.target {
        ast::AssignmentTarget::ColumnName(name) => {
            TableName::read(name, engine).map_or_else(|| name.to_string(), |name| name.name)
        }
        target => target.to_string(),
    });
    Loss::Update {
        // A joined table may be the one that changes.
        table: found.filter(|_| update.table.joins.is_empty()).map(|(table, _)| table),
        columns: columns.collect(),
        rows: rows(update.selection.as_ref(), is_plain),
    }
}

fn does_update(on: &ast::OnInsert) -> bool {
    match on {
        ast::OnInsert::OnConflict(conflict) => matches!(conflict.action, ast::OnConflictAction::DoUpdate(_)),
        _ => true,
    }
}
