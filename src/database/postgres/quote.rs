//! How names and values are written into SQL text for PostgreSQL: the one place that does it.
//!
//! Messages of several statements cannot bind values, so each value is written as a typed literal here. Templates are
//! constants of this program; nothing that was read anywhere becomes part of a template.

/// The one function that quotes a name for PostgreSQL.
pub(super) use stepback_core::sql::quoted as name;

/// A value that is written into SQL text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// A string constant without a type, as `DO` takes it.
///
/// It is the same string whatever `standard_conforming_strings` says: a backslash makes it an `E''` string, as in libpq's
/// `PQescapeLiteral`. A NUL, which no text of PostgreSQL can hold and which would end the message, becomes U+FFFD.
pub(super) fn string(text: &str) -> String {
    let text = text.replace('\0', "\u{fffd}").replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", text.replace('\\', "\\\\"))
    } else {
        format!("'{text}'")
    }
}

/// A value as a typed literal.
pub(super) fn literal(value: Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(value) => value.to_string(),
        // Quoted, because `-1::bigint` is `-(1::bigint)`, which the smallest number does not survive.
        Value::Int(number) => format!("'{number}'::bigint"),
        Value::Text(text) => format!("{}::text", string(text)),
        Value::Bytes(bytes) => {
            use std::fmt::Write as _;
            let mut hex = String::with_capacity(bytes.len() * 2 + 16);
            hex.push_str(" E'\\\\x");
            for byte in bytes {
                write!(hex, "{byte:02x}").expect("writing to memory does not fail");
            }
            hex.push_str("'::bytea");
            hex
        }
    }
}

/// The present by the server's clock, as the text that our rows hold and as Unix milliseconds.
const NOW: &str =
    "pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
const NOW_MS: &str = "(extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint";

/// Names that a template is filled with, quoted.
#[derive(Clone, Copy, Default)]
pub(super) struct Names<'a> {
    /// For `{s}`: the state schema.
    pub(super) schema: &'a str,
    /// For `{l}`: the ledger.
    pub(super) ledger: &'a str,
    /// For `{k}`: the ledger's full name, which our rows belong to, as a literal.
    pub(super) key: &'a str,
}

/// Fills a template: `{s}` with the quoted state schema, `{l}` with the quoted ledger, `{k}` with its name as a literal, `{now}` and `{now_ms}` with the
/// present, `$1` and on with the values as literals. What was filled in is not read again.
pub(super) fn fill(template: &'static str, names: Names<'_>, values: &[Value<'_>]) -> String {
    let mut filled = String::with_capacity(template.len() + 64 * values.len());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '$']) {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let named = [
            ("{s}", names.schema),
            ("{l}", names.ledger),
            ("{k}", names.key),
            ("{now}", NOW),
            ("{now_ms}", NOW_MS),
        ];
        if let Some((mark, text)) = named.iter().find(|(mark, _)| rest.starts_with(mark)) {
            filled.push_str(text);
            rest = &rest[mark.len()..];
            continue;
        }
        let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
        let value = rest[1..=digits]
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_sub(1));
        match value {
            Some(index) => filled.push_str(&literal(
                *values
                    .get(index)
                    .expect("a template names only values that it is given"),
            )),
            None => filled.push_str(&rest[..=digits]),
        }
        rest = &rest[digits + 1..];
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stepback_core::model::Engine;
    use stepback_core::sql::split;

    use super::*;

    #[test]
    fn values_become_typed_literals() {
        let cases: [(Value<'_>, &str); 8] = [
            (Value::Null, "NULL"),
            (Value::Bool(true), "true"),
            (Value::Int(i64::MIN), "'-9223372036854775808'::bigint"),
            ("it's".into(), "'it''s'::text"),
            (r"a\'".into(), r" E'a\\'''::text"),
            ("a\0b".into(), "'a\u{fffd}b'::text"),
            (Value::Bytes(&[0, 0xff]), r" E'\\x00ff'::bytea"),
            (None::<&str>.into(), "NULL"),
        ];
        for (value, text) in cases {
            assert_eq!(literal(value), text);
        }
        assert_eq!(name(r#"a"b"#), r#""a""b""#);
    }

    #[test]
    fn a_template_is_filled_and_its_values_are_not_read_again() {
        let filled = fill(
            "DELETE FROM {s}.t WHERE a = $2 AND b = $1 AND k = {k} {x} $",
            Names {
                schema: "\"$1\"",
                key: "'$2'::text",
                ..Names::default()
            },
            &["$2 {s} {now}".into(), 7.into()],
        );
        assert_eq!(
            filled,
            "DELETE FROM \"$1\".t WHERE a = '7'::bigint AND b = '$2 {s} {now}'::text AND k = '$2'::text {x} $"
        );
    }

    proptest! {
        /// Whatever the text is, it stays one string of one statement.
        #[test]
        fn nothing_gets_out_of_a_literal(text in "[a'\"\\\\;$ \n\0-]{0,24}") {
            let statement = format!("SELECT {}", literal((&text).into()));
            let statements = split(&statement, Engine::Postgres).unwrap();
            prop_assert_eq!(statements.len(), 1);
            prop_assert_eq!(statements[0].text, statement.as_str());
        }
    }
}
