//! Which of the tables that were found is the ledger: by what was said, else by what they hold.

use stepback_core::model::LedgerTool;

use super::Ledger;
use crate::database::DbError;

/// What was said about the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LedgerChoice {
    /// Nothing: what the database holds tells it; ours where it holds none.
    #[default]
    Auto,
    /// This tool's.
    Of(LedgerTool),
    /// This tool's, in this table: its full name, or its name without the schema.
    In(LedgerTool, String),
    /// The one with this full name and no other: what a plan, or the row of a run, says that it is on.
    Exactly(String),
}

impl LedgerChoice {
    /// Reads `auto`, `stepback`, `sqlx` or `sqlx:TABLE`.
    ///
    /// # Errors
    /// A sentence with the valid forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "stepback" => Ok(Self::Of(LedgerTool::Stepback)),
            None if text == "sqlx" => Ok(Self::Of(LedgerTool::Sqlx)),
            Some(("sqlx", table)) if !table.is_empty() => Ok(Self::In(LedgerTool::Sqlx, table.to_owned())),
            _ => Err("expected auto, stepback, sqlx, or sqlx:TABLE".to_owned()),
        }
    }
}

/// A table whose columns are those of a tool's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::database) struct Candidate {
    pub(in crate::database) ledger: Ledger,
    /// What a person may write for its full name.
    names: Vec<String>,
    /// Whether the tool, connecting as we do, would take this one.
    pub(in crate::database) in_path: bool,
    pub(in crate::database) has_rows: bool,
    /// Whether our own tables say that an app has gone by it: scripts captured from it, pairings or runs.
    pub(in crate::database) has_history: bool,
}

impl Candidate {
    /// Our own ledger.
    pub(in crate::database) fn own(ledger: Ledger) -> Self {
        Self {
            ledger,
            names: Vec::new(),
            in_path: true,
            has_rows: false,
            has_history: false,
        }
    }

    /// A table with the columns of sqlx's ledger; `names`: what a person may write for its full name.
    pub(in crate::database) fn sqlx(table: String, quoted: String, names: Vec<String>, in_path: bool) -> Self {
        Self {
            ledger: Ledger {
                tool: LedgerTool::Sqlx,
                table,
                quoted,
                exists: true,
                chosen: false,
            },
            names,
            in_path,
            has_rows: false,
            has_history: false,
        }
    }

    /// Whether an app goes by it, although it may have gone back to nothing.
    fn is_used(&self) -> bool {
        self.has_rows || self.has_history
    }
}

/// What there is to choose from.
pub(in crate::database) struct Found {
    pub(in crate::database) own: Candidate,
    pub(in crate::database) foreign: Vec<Candidate>,
    /// Where sqlx would make its table: full name, and quoted.
    pub(in crate::database) sqlx_default: (String, String),
}

impl Found {
    /// The table that sqlx would make.
    fn sqlx_to_make(self) -> Ledger {
        let (table, quoted) = self.sqlx_default;
        Ledger {
            tool: LedgerTool::Sqlx,
            table,
            quoted,
            exists: false,
            chosen: true,
        }
    }
}

/// Which of the tables is the ledger.
///
/// # Errors
/// [`DbError::LedgerUnclear`] when that must be said; it names the choices.
pub(in crate::database) fn choose(choice: &LedgerChoice, found: Found) -> Result<Ledger, DbError> {
    let chosen = |ledger: Ledger| Ledger { chosen: true, ..ledger };
    let in_path: Vec<Candidate> = found.foreign.iter().filter(|one| one.in_path).cloned().collect();
    let near = if in_path.is_empty() {
        found.foreign.clone()
    } else {
        in_path
    };
    match choice {
        LedgerChoice::Of(LedgerTool::Stepback) | LedgerChoice::In(LedgerTool::Stepback, _) => {
            Ok(chosen(found.own.ledger))
        }
        LedgerChoice::Of(LedgerTool::Sqlx) => match near.as_slice() {
            [] => Ok(found.sqlx_to_make()),
            [one] => Ok(chosen(one.ledger.clone())),
            several => Err(unclear(several)),
        },
        LedgerChoice::In(LedgerTool::Sqlx, table) => {
            let is_named = |one: &&Candidate| one.ledger.table == *table || one.names.contains(table);
            let named: Vec<Candidate> = found.foreign.iter().filter(is_named).cloned().collect();
            match named.as_slice() {
                [one] => Ok(chosen(one.ledger.clone())),
                [] => Err(DbError::LedgerUnclear {
                    message: format!("there is no table {table} with the columns of sqlx's ledger"),
                    hint: match found.foreign.as_slice() {
                        [] => "no table of this database has them; `--ledger sqlx` makes sqlx's own".to_owned(),
                        some => format!("these have them: {}", names(some)),
                    },
                }),
                several => Err(unclear(several)),
            }
        }
        LedgerChoice::Exactly(table) => {
            let mut there = std::iter::once(&found.own).chain(&found.foreign);
            if let Some(one) = there.find(|one| one.ledger.table == *table) {
                return Ok(chosen(one.ledger.clone()));
            }
            if *table == found.sqlx_default.0 {
                return Ok(found.sqlx_to_make());
            }
            Err(DbError::LedgerUnclear {
                message: format!("the ledger {table} is not there"),
                hint: "is this the database that it is in, and may this role read it?".to_owned(),
            })
        }
        LedgerChoice::Auto => {
            let mut used: Vec<Candidate> = near.iter().filter(|one| one.is_used()).cloned().collect();
            if found.own.is_used() {
                used.insert(0, found.own.clone());
            }
            // An app of ours that went back to nothing, and a table that another app may be about to begin with: which of
            // the two apps asks cannot be told (LAWS D16).
            if found.own.has_history && !found.own.has_rows && !near.is_empty() {
                let both: Vec<Candidate> = std::iter::once(found.own).chain(near).collect();
                return Err(unclear(&both));
            }
            match (used.as_slice(), near.as_slice()) {
                ([one], _) | ([], [one]) => Ok(one.ledger.clone()),
                ([], []) => Ok(found.own.ledger),
                // Not even an open run decides: it may be another app's.
                ([], several) | (several, _) => Err(unclear(several)),
            }
        }
    }
}

fn names(candidates: &[Candidate]) -> String {
    let names: Vec<&str> = candidates.iter().map(|one| one.ledger.table.as_str()).collect();
    names.join(", ")
}

fn unclear(candidates: &[Candidate]) -> DbError {
    let several_foreign = candidates.iter().filter(|one| !one.ledger.is_own()).count() > 1;
    let option = |one: &Candidate| match one.ledger.tool {
        LedgerTool::Stepback => "--ledger stepback".to_owned(),
        LedgerTool::Sqlx if several_foreign => format!("--ledger sqlx:{}", one.ledger.table),
        LedgerTool::Sqlx => "--ledger sqlx".to_owned(),
    };
    let options: Vec<String> = candidates.iter().map(option).collect();
    DbError::LedgerUnclear {
        message: format!("several tables can be the ledger: {}", names(candidates)),
        hint: format!("say which one the app goes by: {}", options.join(", or ")),
    }
}

#[cfg(test)]
mod tests;
