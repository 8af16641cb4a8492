//! A text's tokens in one spelling, to compare what two texts say rather than how they are written.

use super::lex::{Kind, LexError, lex};
use crate::model::Engine;

/// The tokens that count: keywords and bare names in lower case, quoted names without their quotes and in lower case
/// too (as SQLite compares them), strings as they stand.
///
/// # Errors
/// When a quote or comment is never closed.
pub fn normal_tokens(text: &str, dialect: Engine) -> Result<Vec<String>, LexError> {
    let tokens = lex(text, dialect)?;
    let counted = tokens.iter().filter(|token| !token.is_blank());
    Ok(counted
        .map(|token| match token.kind {
            Kind::Word => token.text.to_ascii_lowercase(),
            Kind::Name => {
                let mut characters = token.text.chars();
                let opening = characters.next().unwrap_or_default();
                characters.next_back();
                let inside = characters.as_str().to_ascii_lowercase();
                if opening == '[' {
                    // Between brackets nothing is doubled: SQLite ends the name at the first `]`.
                    return inside;
                }
                let doubled: String = [opening, opening].iter().collect();
                inside.replace(&doubled, &opening.to_string())
            }
            _ => token.text.to_owned(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_count() {
        let normal = |text| normal_tokens(text, Engine::Sqlite).unwrap();
        assert_eq!(
            normal("CREATE TABLE \"Orders\"(id  INTEGER)"),
            normal("create table orders -- all of them\n( ID integer )")
        );
        assert_eq!(normal("[A [[b] `c``d` 'D'"), ["a [[b", "c`d", "'D'"]);
        assert_ne!(normal("CHECK (a = 'x')"), normal("CHECK (a = 'X')"));
    }
}
