//! What a statement touches and destroys, as far as its text tells.
//!
//! Read with a real parser. What it cannot read, and what could do anything (`CALL`, `DO`, functions), is
//! [`Effects::Unknown`] and to be treated as possibly destructive. What foreign keys, triggers and views do besides is
//! known to the database alone (LAWS D11).

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{self, Visit, Visitor};
use sqlparser::dialect::{Dialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;

use super::function::is_plain_function;
use super::lex::Kind;
use super::loss::{self, Loss};
use super::name::{NamedTables, TableName, fold};
use super::split::{Statement, split};
use crate::model::Engine;

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effects {
    /// It was understood.
    Known {
        /// The tables that it names.
        touches: BTreeSet<TableName>,
        /// What is gone after it. Whether that is much, live numbers say.
        destroys: Vec<Loss>,
    },
    /// It was not: treat it as possibly destructive.
    Unknown {
        /// Why, for people.
        why: String,
    },
}

impl Effects {
    /// Whether data can be gone after it.
    pub fn may_destroy(&self) -> bool {
        match self {
            Self::Known { destroys, .. } => !destroys.is_empty(),
            Self::Unknown { .. } => true,
        }
    }
}

/// What a statement touches and destroys.
pub fn effects(statement: &Statement<'_>, engine: Engine) -> Effects {
    if engine == Engine::Sqlite && is_plain_pragma(statement) {
        return Effects::Known {
            touches: BTreeSet::new(),
            destroys: Vec::new(),
        };
    }
    let parsed = match parse(statement, engine) {
        Ok(parsed) => parsed,
        Err(why) => return Effects::Unknown { why },
    };
    let mut reader = Reader {
        engine,
        touches: BTreeSet::new(),
        destroys: Vec::new(),
        in_definition: 0,
    };
    match parsed.visit(&mut reader) {
        ControlFlow::Continue(()) => Effects::Known {
            touches: reader.touches,
            destroys: reader.destroys,
        },
        ControlFlow::Break(why) => Effects::Unknown { why },
    }
}

/// The tables that a script names (LAWS D10 compares the row counts of all others).
pub fn named_tables(text: &str, engine: Engine) -> NamedTables {
    let Ok(statements) = split(text, engine) else {
        return NamedTables::Unknown;
    };
    let mut all = NamedTables::Known(BTreeSet::new());
    for statement in statements {
        all = all.and(match effects(&statement, engine) {
            Effects::Known { touches, .. } => NamedTables::Known(touches),
            // SQLite has no code that computes names: a table that a statement reaches is a word of it.
            Effects::Unknown { .. } if engine == Engine::Sqlite => NamedTables::Known(words(&statement)),
            Effects::Unknown { .. } => NamedTables::Unknown,
        });
    }
    all
}

/// The tables whose rows a statement itself may take away: what it drops, deletes from, replaces rows in or gives another
/// name (LAWS D10: no other table may lose rows). A table that it merely names, as an index or a foreign key does, is none.
/// Of a statement that cannot be read it is every table that it names.
pub fn emptied_tables(statement: &Statement<'_>, engine: Engine) -> NamedTables {
    if engine == Engine::Sqlite && is_create(statement) {
        return NamedTables::Known(BTreeSet::new());
    }
    let Effects::Known { destroys, touches } = effects(statement, engine) else {
        return named_tables(statement.text, engine);
    };
    let mut emptied = BTreeSet::new();
    for loss in destroys {
        match loss {
            Loss::DropTable { table, .. }
            | Loss::Rebuild { table, .. }
            | Loss::Delete { table, .. }
            | Loss::Replace { table: Some(table) }
            | Loss::Truncate { table, .. }
            | Loss::DropPartition { table } => {
                emptied.insert(table);
            }
            Loss::DropColumn { .. } | Loss::ChangeType { .. } | Loss::Update { .. } => {}
            Loss::Replace { table: None } | Loss::DropSchema { .. } | Loss::DropCascade { .. } => {
                return NamedTables::Unknown;
            }
        }
    }
    if renames_table(statement, engine) {
        emptied.extend(touches);
    }
    NamedTables::Known(emptied)
}

/// Of what SQLite can create nothing takes rows from a table that is there; its parser reads more of it than ours.
fn is_create(statement: &Statement<'_>) -> bool {
    let tokens = statement.tokens(Engine::Sqlite);
    tokens.first().is_some_and(|token| token.is_word("create"))
}

fn renames_table(statement: &Statement<'_>, engine: Engine) -> bool {
    match parse(statement, engine) {
        Ok(ast::Statement::AlterTable(alter)) => {
            let mut operations = alter.operations.iter();
            operations.any(|operation| matches!(operation, ast::AlterTableOperation::RenameTable { .. }))
        }
        Ok(ast::Statement::RenameTable(_)) => true,
        _ => false,
    }
}

/// Pragmas set the connection up or look at things; the parser does not know words such as `OFF` as their values. Only
/// `writable_schema` opens a door.
fn is_plain_pragma(statement: &Statement<'_>) -> bool {
    let tokens = statement.tokens(Engine::Sqlite);
    tokens.first().is_some_and(|token| token.is_word("pragma"))
        && !tokens
            .iter()
            .any(|token| token.text.to_ascii_lowercase().contains("writable_schema"))
}

/// Every word and quoted text of a statement, as if it were a table.
fn words(statement: &Statement<'_>) -> BTreeSet<TableName> {
    let tokens = statement.tokens(Engine::Sqlite);
    let names = tokens
        .iter()
        .filter(|token| matches!(token.kind, Kind::Word | Kind::Name | Kind::Text));
    let plain = |text: &str| match text.chars().next() {
        Some(quote @ ('"' | '\'' | '`')) => {
            let inside = text.trim_matches(quote);
            inside.replace([quote, quote], &quote.to_string())
        }
        Some('[') => text.trim_matches(['[', ']']).to_owned(),
        _ => text.to_owned(),
    };
    names
        .map(|token| TableName {
            schema: None,
            name: plain(token.text).to_ascii_lowercase(),
        })
        .collect()
}

pub(super) fn parse(statement: &Statement<'_>, engine: Engine) -> Result<ast::Statement, String> {
    let tokens = statement.tokens(engine);
    if tokens.iter().any(|token| token.kind == Kind::Conditional) {
        return Err("it holds a conditional comment, which only the server can read".to_owned());
    }
    let dialect: &dyn Dialect = match engine {
        Engine::Postgres => &PostgreSqlDialect {},
        Engine::Sqlite => &SQLiteDialect {},
        Engine::Mysql | Engine::Mariadb => &MySqlDialect {},
    };
    let parsed =
        Parser::parse_sql(dialect, statement.text).map_err(|error| format!("it could not be parsed: {error}"))?;
    match <[_; 1]>::try_from(parsed) {
        Ok([parsed]) => Ok(parsed),
        Err(several) => Err(format!("it reads as {} statements", several.len())),
    }
}

/// Walks one statement and those inside of it. Breaks with the reason why the effects are unknown.
struct Reader {
    engine: Engine,
    touches: BTreeSet<TableName>,
    destroys: Vec<Loss>,
    /// How many definitions we are in: what a trigger or function will do is not done now.
    in_definition: usize,
}

impl Reader {
    fn touch(&mut self, name: &ast::ObjectName) {
        self.touches.extend(TableName::read(name, self.engine));
    }

    /// Names that the parser's visitor does not report as relations.
    fn touch_others(&mut self, statement: &ast::Statement) {
        use ast::Statement as S;
        match statement {
            S::Drop { names, table, .. } => names.iter().chain(table).for_each(|name| self.touch(name)),
            S::Delete(delete) => delete.tables.iter().for_each(|name| self.touch(name)),
            S::Copy {
                source: ast::CopySource::Table { table_name, .. },
                ..
            } => self.touch(table_name),
            S::CreateTrigger(trigger) => self.touch(&trigger.table_name),
            S::RenameTable(renames) => renames.iter().for_each(|rename| {
                self.touch(&rename.old_name);
                self.touch(&rename.new_name);
            }),
            S::AlterTable(alter) => {
                for operation in &alter.operations {
                    if let ast::AlterTableOperation::RenameTable { table_name } = operation {
                        let (ast::RenameTableNameKind::As(name) | ast::RenameTableNameKind::To(name)) = table_name;
                        self.touch(name);
                    }
                    if let ast::AlterTableOperation::AddConstraint { constraint, .. } = operation {
                        self.touch_parent(constraint);
                    }
                }
            }
            S::CreateTable(create) => {
                create
                    .constraints
                    .iter()
                    .for_each(|constraint| self.touch_parent(constraint));
                for option in create.columns.iter().flat_map(|column| &column.options) {
                    if let ast::ColumnOption::ForeignKey(key) = &option.option {
                        self.touch(&key.foreign_table);
                    }
                }
            }
            _ => {}
        }
    }

    fn touch_parent(&mut self, constraint: &ast::TableConstraint) {
        if let ast::TableConstraint::ForeignKey(key) = constraint {
            self.touch(&key.foreign_table);
        }
    }
}

fn is_definition(statement: &ast::Statement) -> bool {
    use ast::Statement as S;
    matches!(
        statement,
        S::CreateTrigger(_) | S::CreateFunction(_) | S::CreateProcedure { .. } | S::CreatePolicy(_) | S::CreateIndex(_)
    ) || matches!(statement, S::CreateTable(create) if create.query.is_none())
        || matches!(statement, S::CreateView(create) if !create.materialized)
}

impl Visitor for Reader {
    type Break = String;

    fn pre_visit_statement(&mut self, statement: &ast::Statement) -> ControlFlow<String> {
        self.touch_others(statement);
        if self.in_definition == 0 {
            match loss::read(statement, self.engine) {
                Ok(losses) => self.destroys.extend(losses),
                Err(why) => return ControlFlow::Break(why.to_owned()),
            }
        }
        self.in_definition += usize::from(is_definition(statement));
        ControlFlow::Continue(())
    }

    fn post_visit_statement(&mut self, statement: &ast::Statement) -> ControlFlow<String> {
        self.in_definition -= usize::from(is_definition(statement));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ast::ObjectName) -> ControlFlow<String> {
        self.touch(relation);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<String> {
        if self.in_definition == 0
            && let ast::Expr::Function(function) = expr
        {
            let name = function
                .name
                .0
                .last()
                .and_then(|part| part.as_ident())
                .map(|ident| fold(ident, self.engine));
            let name = name.unwrap_or_default().to_ascii_lowercase();
            if !is_plain_function(&name) {
                return ControlFlow::Break(format!("it calls the function `{name}`, which may do anything"));
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
#[path = "effects_tests.rs"]
mod tests;
