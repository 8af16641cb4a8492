//! SQL text: where one statement ends and the next begins, and what a statement does.
//!
//! Responsible for: reading scripts of the engines that stepback speaks to, without a server. Not for: running them, or
//! knowing what the database holds. `catalog`, `assess`, `plan` and the root crate's `database` may use it.

mod lex;

pub use lex::{LexError, Opened, is_blank};
