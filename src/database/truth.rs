//! What a probe's query says: one rule for every engine.

use stepback_core::model::Engine;
use stepback_core::sql::split;

use super::Reply;

/// The first value of a row, as far as it matters.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum First {
    /// The row has no column.
    Nothing,
    Null,
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    /// Anything else: that it is there is enough.
    Value,
}

/// The one statement that a probe's query must be; what comes before and after it does nothing.
///
/// # Errors
/// A sentence.
pub(super) fn single(query: &str, engine: Engine) -> Result<&str, String> {
    match split(query, engine).map_err(|error| error.to_string())?.as_slice() {
        [only] => Ok(only.text),
        [] => Err("it holds no statement".to_owned()),
        several => Err(format!("it holds {} statements, and a probe is one", several.len())),
    }
}

/// Every row counts: a list of checks of which one is false does not hold.
pub(super) fn judge(rows: impl IntoIterator<Item = First>) -> Reply {
    let mut any = false;
    for first in rows {
        any = true;
        let says = match first {
            First::Nothing => "a row without a column".to_owned(),
            First::Null => "null".to_owned(),
            First::Bool(false) => "false".to_owned(),
            First::Number(number) if number.parse::<f64>().is_ok_and(|number| number == 0.0) => number,
            First::Bool(true) | First::Number(_) | First::Value => continue,
        };
        return Reply::No(format!("it returned {says}"));
    }
    if any {
        Reply::Yes
    } else {
        Reply::No("it returned no row".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_one_statement() {
        for engine in [Engine::Sqlite, Engine::Postgres] {
            assert_eq!(single(" SELECT 1; -- so\n", engine), Ok("SELECT 1"));
            assert_eq!(single("SELECT ';'", engine), Ok("SELECT ';'"));
            assert!(single("SELECT 1; COMMIT", engine).is_err());
            assert!(single("-- nothing", engine).is_err());
            assert!(single("SELECT '", engine).is_err());
        }
    }

    #[test]
    fn every_row_must_begin_with_something_true() {
        use First::{Bool, Nothing, Null, Number, Value};
        let number = |text: &str| Number(text.to_owned());
        assert_eq!(judge([number("1"), Bool(true), Value, number("-0.5")]), Reply::Yes);
        for (row, says) in [
            (Null, "null"),
            (Bool(false), "false"),
            (number("0"), "0"),
            (number("0.00"), "0.00"),
            (Nothing, "without a column"),
        ] {
            let Reply::No(why) = judge([Value, row.clone()]) else {
                panic!("{row:?} holds")
            };
            assert!(why.contains(says), "{why}");
        }
        assert_eq!(judge([]), Reply::No("it returned no row".to_owned()));
    }
}
