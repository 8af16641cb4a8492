//! Whether and how a script runs inside our transaction (LAWS D8).

use stepback_core::model::Engine;
use stepback_core::sql::{script_needs_no_transaction, split, unwrap_outer};

/// A script as it is put into a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fit<'a> {
    /// What runs: the bytes that were captured, but for an outer `BEGIN … COMMIT`.
    pub(super) text: &'a str,
    /// How many lines were taken off in front of it.
    pub(super) lines_before: usize,
}

/// Makes a body fit for our transaction.
///
/// # Errors
/// Why it cannot run in one, in a sentence.
pub(super) fn fit(body: &[u8]) -> Result<Fit<'_>, String> {
    let text = std::str::from_utf8(body).map_err(|error| format!("the script is not UTF-8: {error}"))?;
    // The protocol ends a message at a NUL: the rest of the script, and our own statements after it, would not run.
    if let Some(at) = text.find('\0') {
        let line = text[..at].matches('\n').count() + 1;
        return Err(format!("line {line}: the script holds a NUL character"));
    }
    // What is never closed would swallow the statements that come after the script in the same message.
    let statements = split(text, Engine::Postgres).map_err(|error| error.to_string())?;
    if let Some(why) = script_needs_no_transaction(text, &statements, Engine::Postgres) {
        return Err(format!(
            "{why}, and scripts outside of a transaction are not carried out on PostgreSQL yet; run it by hand, or split it \
             off into a migration of its own"
        ));
    }
    if let Some(copy) = statements
        .iter()
        .find(|statement| copies_through_client(statement.text))
    {
        return Err(format!(
            "line {}: COPY from or to the client cannot be carried out from a script",
            copy.line
        ));
    }
    let unwrapped = unwrap_outer(&statements, Engine::Postgres).map_err(|error| error.to_string())?;
    if !unwrapped.was_wrapped {
        return Ok(Fit { text, lines_before: 0 });
    }
    let (Some(first), Some(last)) = (unwrapped.statements.first(), unwrapped.statements.last()) else {
        return Ok(Fit {
            text: "",
            lines_before: 0,
        });
    };
    Ok(Fit {
        text: &text[first.offset..last.end()],
        lines_before: text[..first.offset].matches('\n').count(),
    })
}

fn copies_through_client(statement: &str) -> bool {
    let mut words = statement
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty());
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("copy"))
        && words.any(|word| word.eq_ignore_ascii_case("stdin") || word.eq_ignore_ascii_case("stdout"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d8_an_outer_pair_is_taken_off_and_the_rest_stays_as_it_is() {
        let plain = "-- why\nDROP TABLE a;\n";
        assert_eq!(
            fit(plain.as_bytes()),
            Ok(Fit {
                text: plain,
                lines_before: 0
            })
        );
        let wrapped = "-- why\nBEGIN;\nDROP TABLE a; /* and */ DROP TABLE b;\nCOMMIT;";
        let left = Fit {
            text: "DROP TABLE a; /* and */ DROP TABLE b",
            lines_before: 2,
        };
        assert_eq!(fit(wrapped.as_bytes()), Ok(left));
        assert_eq!(
            fit(b"BEGIN; COMMIT;"),
            Ok(Fit {
                text: "",
                lines_before: 0
            })
        );
    }

    #[test]
    fn d8_what_would_leave_our_transaction_refuses() {
        for body in [
            "DROP TABLE a; COMMIT; DROP TABLE b",
            "CREATE INDEX CONCURRENTLY i ON a (b)",
            "-- stepback: no-transaction\nSELECT 1",
            "SELECT 'open",
            "/* open",
            "SELECT $x$ open",
            "SELECT 1;\0 SELECT 2",
            "COPY a FROM STDIN",
            "copy a (b) from stdin with csv",
        ] {
            assert!(fit(body.as_bytes()).is_err(), "{body:?}");
        }
        assert!(fit(&[0xff]).is_err());
        assert!(fit(b"COPY a FROM '/tmp/stdin_of_it.csv'").is_ok());
    }
}
