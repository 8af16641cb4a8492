//! Whether and how a script runs inside our transaction (LAWS D8).

use stepback_core::model::Engine;
use stepback_core::sql::{Isolation, line_ends, transactional};

/// The isolation level of a script that asks for none, whatever the server's setting is.
const USUAL: &str = "READ COMMITTED";

/// A script as it is put into a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fit<'a> {
    /// What runs: the bytes that were captured, but for an outer `BEGIN … COMMIT`.
    pub(super) text: &'a str,
    /// How many lines were taken off in front of it.
    pub(super) lines_before: usize,
    /// The isolation level that it asks for.
    pub(super) isolation: &'static str,
}

/// Makes a body fit for our transaction. What cannot run in one was refused by the plan already, by the same rules.
///
/// # Errors
/// Why it cannot run in one, in a sentence.
pub(super) fn fit(body: &[u8]) -> Result<Fit<'_>, String> {
    let ready = transactional(body, Engine::Postgres).map_err(|problem| problem.to_string())?;
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let isolation = ready.isolation.map_or(USUAL, Isolation::name);
    if !ready.was_wrapped {
        return Ok(Fit {
            text,
            lines_before: 0,
            isolation,
        });
    }
    let (Some(first), Some(last)) = (ready.statements.first(), ready.statements.last()) else {
        return Ok(Fit {
            text: "",
            lines_before: 0,
            isolation,
        });
    };
    Ok(Fit {
        text: &text[first.offset..last.end()],
        lines_before: line_ends(text, 0..first.offset),
        isolation,
    })
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
                lines_before: 0,
                isolation: USUAL,
            })
        );
        let wrapped = "-- why\nBEGIN;\nDROP TABLE a; /* and */ DROP TABLE b;\nCOMMIT;";
        let left = Fit {
            text: "DROP TABLE a; /* and */ DROP TABLE b",
            lines_before: 2,
            isolation: USUAL,
        };
        assert_eq!(fit(wrapped.as_bytes()), Ok(left));
        assert_eq!(
            fit(b"BEGIN; COMMIT;"),
            Ok(Fit {
                text: "",
                lines_before: 0,
                isolation: USUAL,
            })
        );
        let asking = b"START TRANSACTION ISOLATION LEVEL repeatable read, READ WRITE; DROP TABLE a; COMMIT";
        assert_eq!(fit(asking).unwrap().isolation, "REPEATABLE READ");
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
            "BEGIN READ ONLY; SELECT 1; COMMIT",
        ] {
            assert!(fit(body.as_bytes()).is_err(), "{body:?}");
        }
        assert!(fit(&[0xff]).is_err());
        assert!(fit(b"COPY a FROM '/tmp/stdin_of_it.csv'").is_ok());
    }
}
