//! From the driver's errors to ours.

use std::borrow::Cow;

use sqlx::postgres::{PgDatabaseError, PgErrorPosition, PgSeverity};

use crate::database::DbError;

/// SQLSTATEs that our own checks raise; the class `SB` is nobody else's.
pub(super) const FENCED: &str = "SB001";
pub(super) const LEDGER: &str = "SB002";
pub(super) const ARCHIVE: &str = "SB003";
pub(super) const TOOL_LOCK: &str = "SB004";

/// The server's error, if it is one.
pub(super) fn of_server(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    match error {
        sqlx::Error::Database(inner) => inner.try_downcast_ref::<PgDatabaseError>(),
        _ => None,
    }
}

/// Whether the session cannot be used any more.
pub(super) fn ends_session(error: &sqlx::Error) -> bool {
    of_server(error).is_none_or(|server| matches!(server.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

/// Whether a lock was not free within `lock_timeout`.
pub(super) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    of_server(error).is_some_and(|server| server.code() == "55P03")
}

/// Whether the same may succeed later: a lock that was not free, a deadlock, a serialization failure.
pub(super) fn is_contention(error: &PgDatabaseError) -> bool {
    matches!(error.code(), "55P03" | "40P01" | "40001")
}

/// The server's message with what it adds to it, and without values of rows: a halt is written into a journal that more
/// people may read than the table.
pub(super) fn sentence(error: &PgDatabaseError) -> String {
    let code = error.code();
    let mut text = format!("{} (SQLSTATE {code})", without_values(code, error.message()));
    let detail = error.detail().filter(|_| tells_no_row(code));
    for (label, more) in [("detail", detail), ("hint", error.hint())] {
        if let Some(more) = more {
            text.push_str(&format!("; {label}: {more}"));
        }
    }
    text
}

/// Whether the DETAIL of such an error names objects and sessions only. Of the others, 23505 shows the key, 23502 and
/// 23514 the whole row, and what a script raises itself can show anything.
fn tells_no_row(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(
        class,
        "08" | "0A" | "25" | "28" | "2B" | "3D" | "3F" | "42" | "53" | "54" | "55" | "57" | "SB"
    ) || matches!(code, "40P01" | "40001")
}

/// Errors of the class 22 (data exception) quote the value, such as in `invalid input syntax for type integer: "…"`.
fn without_values<'a>(code: &str, message: &'a str) -> Cow<'a, str> {
    match (code.starts_with("22"), message.find('"'), message.rfind('"')) {
        (true, Some(first), Some(last)) => {
            Cow::Owned(format!("{}(a value){}", &message[..first], &message[last + 1..]))
        }
        _ => Cow::Borrowed(message),
    }
}

/// Where in the message the server points, in characters from 1.
pub(super) fn position(error: &PgDatabaseError) -> Option<usize> {
    match error.position() {
        Some(PgErrorPosition::Original(position)) => Some(position),
        _ => None,
    }
}

/// What to do about a missing right, by the kind of object that the server names (its messages may be translated; then
/// both are said).
fn grant(message: &str) -> &'static str {
    if message.contains(" for table ") || message.contains(" for sequence ") {
        "let their owner grant the role that connects what it needs of stepback's tables: USAGE on their schema, SELECT, \
         INSERT, UPDATE and DELETE on the tables, USAGE on the sequences"
    } else if message.contains(" for schema ") {
        "let the schema's owner grant the role that connects USAGE on that schema, and SELECT, INSERT, UPDATE and DELETE on \
         stepback's tables in it; where they are not made yet, CREATE on the schema"
    } else {
        "let a DBA grant the role that connects CREATE on the database, or make the tables as `stepback init --sql` prints \
         them, and grant it what is needed there"
    }
}

/// An error outside of any script. `database` is redacted.
pub(super) fn explain(database: &str, doing: &'static str, error: &sqlx::Error) -> DbError {
    let unreachable = |message: String| DbError::Unreachable {
        database: database.to_owned(),
        message,
    };
    let Some(server) = of_server(error) else {
        return match error {
            // A certificate that does not hold reaches us as data that makes no sense to the socket.
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                unreachable(format!("TLS: {error}; {}", super::tls::HINT))
            }
            sqlx::Error::Io(error) => unreachable(error.to_string()),
            sqlx::Error::Tls(error) => unreachable(format!("TLS: {error}; {}", super::tls::HINT)),
            error => DbError::Driver {
                doing,
                message: error.to_string(),
            },
        };
    };
    let message = sentence(server);
    let refused = |hint: &str| DbError::Refused {
        message: format!("{doing}: {message}"),
        hint: Some(hint.to_owned()),
    };
    let no_entry = |hint: &str| DbError::NoEntry {
        database: database.to_owned(),
        message: message.clone(),
        hint: hint.to_owned(),
    };
    match server.code() {
        FENCED => DbError::Fenced,
        LEDGER => DbError::Own {
            message: server.message().to_owned(),
        },
        code if code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "57P05" | "53300") => {
            unreachable(message)
        }
        "55P03" | "40P01" | "40001" | "57014" => DbError::Busy {
            message: format!("{doing}: {message}"),
        },
        "25006" => refused(
            "this server or role is read-only: connect to the primary, or look at default_transaction_read_only",
        ),
        "42501" => DbError::Forbidden {
            message: format!("{doing}: {message}"),
            hint: grant(server.message()).to_owned(),
        },
        "53100" | "53200" => refused("free some space or memory on the server"),
        "28P01" => no_entry(
            "check user and password in the URL (DATABASE_URL, unless --url was given); a special character \
             is written as %XX",
        ),
        code if code.starts_with("28") => {
            no_entry("check the user in the URL, and that the server's pg_hba.conf lets it in from here")
        }
        "3D000" => {
            no_entry("check the name at the end of the URL; `psql -l` with the same URL lists those that there are")
        }
        "42P01" | "42703" | "3F000" => DbError::Own { message },
        _ => DbError::Driver { doing, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_granted_is_of_what_the_server_names() {
        for (message, right) in [
            ("permission denied for schema stepback", "USAGE on that schema"),
            ("permission denied for table lease", "USAGE on their schema"),
            ("permission denied for database shop", "CREATE on the database"),
        ] {
            assert!(grant(message).contains(right), "{message}: {}", grant(message));
        }
    }

    #[test]
    fn values_of_rows_are_not_repeated() {
        for (code, message, shown) in [
            (
                "22P02",
                "invalid input syntax for type integer: \"4711 Ada\"",
                "invalid input syntax for type integer: (a value)",
            ),
            (
                "22P02",
                "malformed: \"a \"quoted\" b\" here",
                "malformed: (a value) here",
            ),
            ("22012", "division by zero", "division by zero"),
            ("22001", "one \" alone", "one (a value) alone"),
            (
                "42P01",
                "relation \"orders\" does not exist",
                "relation \"orders\" does not exist",
            ),
        ] {
            assert_eq!(without_values(code, message), shown);
        }
        for (code, shown) in [
            ("23505", false),
            ("23502", false),
            ("P0001", false),
            ("2BP01", true),
            ("SB003", true),
        ] {
            assert_eq!(tells_no_row(code), shown, "{code}");
        }
    }
}
