//! SQLite's `PRAGMA foreign_keys`, which does nothing inside of a transaction (LAWS D10).

use super::lex::Kind;
use super::split::Statement;
use crate::model::Engine;

/// A script without the pragma that must be set before its transaction begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hoisted<'a> {
    /// What the script asks for; `None` when it does not say, and then the connection's own setting holds.
    pub value: Option<bool>,
    /// The statements that are left.
    pub rest: Vec<Statement<'a>>,
}

/// A `PRAGMA foreign_keys` where it would silently do nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: `PRAGMA foreign_keys` does nothing here, because the script runs in a transaction; put it before the \
     first other statement"
)]
pub struct PragmaElsewhere {
    /// The line, from 1.
    pub line: usize,
}

/// Takes the `PRAGMA foreign_keys = …` off that stands before the first statement that is no pragma.
///
/// A script that sets it there may set it once more as its last statement, as the table rebuild recipe of sqlite.org
/// does; that one is dropped, because every script gets the setting it asks for.
///
/// # Errors
/// One that stands anywhere else.
pub fn leading_foreign_keys_pragma<'a>(statements: &[Statement<'a>]) -> Result<Hoisted<'a>, PragmaElsewhere> {
    let mut hoisted = Hoisted {
        value: None,
        rest: Vec::new(),
    };
    let mut is_leading = true;
    for (at, statement) in statements.iter().enumerate() {
        match setting(statement) {
            Some(value) if is_leading => hoisted.value = Some(value),
            Some(_) if hoisted.value.is_some() && at + 1 == statements.len() => {}
            Some(_) => return Err(PragmaElsewhere { line: statement.line }),
            None => {
                is_leading &= statement
                    .tokens(Engine::Sqlite)
                    .first()
                    .is_some_and(|token| token.is_word("pragma"));
                hoisted.rest.push(*statement);
            }
        }
    }
    Ok(hoisted)
}

/// What a statement sets `foreign_keys` to. Asking for it sets nothing.
fn setting(statement: &Statement<'_>) -> Option<bool> {
    let tokens = statement.tokens(Engine::Sqlite);
    let mut tokens = tokens
        .iter()
        .filter(|token| token.kind != Kind::Symbol || !token.is_symbol('.'));
    if !tokens.next()?.is_word("pragma") {
        return None;
    }
    let plain = |text: &str| text.trim_matches(['"', '\'', '`', '[', ']']).to_ascii_lowercase();
    // A schema's name may stand in front.
    let mut rest = tokens.skip_while(|token| plain(token.text) != "foreign_keys").skip(1);
    if !rest
        .next()
        .is_some_and(|token| token.is_symbol('=') || token.is_symbol('('))
    {
        return None;
    }
    // SQLite's own reading (sqlite3GetBoolean): a number that is not 0, or one of these words; anything else is off.
    let value = plain(rest.next()?.text);
    let number = value.parse::<i64>().is_ok_and(|number| number != 0);
    Some(number || matches!(value.as_str(), "on" | "yes" | "true"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::split;

    fn hoist(text: &str) -> Result<(Option<bool>, usize), usize> {
        let statements = split(text, Engine::Sqlite).unwrap();
        leading_foreign_keys_pragma(&statements)
            .map(|hoisted| (hoisted.value, hoisted.rest.len()))
            .map_err(|error| error.line)
    }

    #[test]
    fn d10_the_leading_pragma_is_hoisted() {
        assert_eq!(
            hoist("-- rebuild\nPRAGMA foreign_keys=OFF;\nCREATE TABLE a (b)"),
            Ok((Some(false), 1))
        );
        assert_eq!(hoist("pragma main.foreign_keys(1); SELECT 1"), Ok((Some(true), 1)));
        assert_eq!(hoist("PRAGMA \"foreign_keys\" = 'yes'"), Ok((Some(true), 0)));
        assert_eq!(
            hoist("PRAGMA legacy_alter_table=ON; PRAGMA foreign_keys = 0; SELECT 1"),
            Ok((Some(false), 2))
        );
        assert_eq!(hoist("SELECT 1"), Ok((None, 1)));
        assert_eq!(
            hoist("SELECT 1; PRAGMA foreign_keys; PRAGMA foreign_key_check; PRAGMA defer_foreign_keys=on"),
            Ok((None, 4))
        );
    }

    #[test]
    fn d10_the_published_rebuild_recipe_is_read() {
        let text = "PRAGMA foreign_keys=OFF; BEGIN; SELECT 1; COMMIT; PRAGMA foreign_keys=ON;";
        assert_eq!(hoist(text), Ok((Some(false), 3)));
    }

    #[test]
    fn d10_a_pragma_elsewhere_refuses() {
        assert_eq!(hoist("SELECT 1;\nPRAGMA foreign_keys=OFF"), Err(2));
        assert_eq!(hoist("BEGIN;\nPRAGMA foreign_keys=OFF; COMMIT"), Err(2));
        assert_eq!(
            hoist("PRAGMA foreign_keys=OFF;\nSELECT 1;\nPRAGMA foreign_keys=ON;\nSELECT 2"),
            Err(3)
        );
    }
}
