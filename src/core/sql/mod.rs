//! SQL text: where one statement ends and the next begins, and what a statement does.
//!
//! Responsible for: reading scripts of the engines that stepback speaks to, without a server. Not for: running them, or
//! knowing what the database holds. `catalog`, `assess`, `plan` and the root crate's `database` may use it.

mod body;
mod effects;
mod function;
mod lex;
mod loss;
mod name;
mod normal;
mod pragma;
mod rebuild;
mod script;
mod split;
mod transaction;

pub use effects::{Effects, effects, emptied_tables, named_tables};
pub use lex::{LexError, Opened, line_ends};
pub use loss::{Loss, Rows};
pub use name::{NamedTables, TableName, quoted};
pub use normal::normal_tokens;
pub use pragma::{Hoisted, PragmaElsewhere, leading_foreign_keys_pragma};
pub use rebuild::script_effects;
pub use script::{ScriptProblem, Transactional, is_empty, transactional};
pub use split::{SplitError, Statement, split};
pub use transaction::{
    Control, Isolation, NoTransaction, TransactionControl, Unwrapped, classify, has_no_transaction_marker,
    needs_no_transaction, script_needs_no_transaction, unwrap_outer,
};
