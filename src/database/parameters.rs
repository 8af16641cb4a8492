//! What stands behind the `?` of a URL. What is not understood is refused: the driver passes over it, and a slip in
//! `sslmode` would then go unseen.

use stepback_core::model::closest;

use super::DbError;

/// What the driver reads of a PostgreSQL URL, in its first spelling.
const POSTGRES: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// The driver's other spellings of the same.
const POSTGRES_ALIASES: &[&str] = &[
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "statement-cache-capacity",
];

/// What apps write for their own pools and drivers, and what changes neither which database is meant nor how safe the way
/// to it is. One URL is often shared with the app.
const OF_APPS: &[&str] = &[
    "connect_timeout",
    "connection_limit",
    "fallback_application_name",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "pgbouncer",
    "pool_max_conns",
    "pool_timeout",
    "socket_timeout",
    "statement_cache_size",
    "tcp_user_timeout",
];

/// Whether every parameter of the URL is understood. Values are never repeated, nor what may be one.
///
/// # Errors
/// [`DbError::Url`] with the nearest match and those that there are.
pub(super) fn check(url: &str) -> Result<(), DbError> {
    let Some((before, parameters)) = url.split_once('?') else {
        return Ok(());
    };
    let sqlite = before.starts_with("sqlite:");
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if sqlite {
            check_sqlite(name, value)?;
        } else if !is_postgres(name) {
            return Err(unknown(name, parameters, parameter.contains('='), POSTGRES));
        }
    }
    Ok(())
}

fn is_postgres(name: &str) -> bool {
    let known = [POSTGRES, POSTGRES_ALIASES, OF_APPS].concat();
    known.contains(&name) || name.starts_with("options[") || name.starts_with("options%5B")
}

fn check_sqlite(name: &str, value: &str) -> Result<(), DbError> {
    match (name, value) {
        ("mode", "rw" | "rwc") => Ok(()),
        ("mode", _) => Err(DbError::Url {
            message: "the database's URL asks for a `mode` other than rw and rwc".to_owned(),
            hint: "leave `mode` out: looking changes nothing, and only `stepback migrate up` makes a new file"
                .to_owned(),
        }),
        _ => Err(unknown(name, name, true, &["mode"])),
    }
}

fn unknown(name: &str, parameters: &str, has_value: bool, choices: &[&str]) -> DbError {
    // Behind a `?` that belongs to a password everything can be a part of it.
    let shows =
        has_value && !parameters.contains('@') && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let named = if shows { format!(" `{name}`") } else { String::new() };
    let meant = closest(name, choices).filter(|_| shows);
    let meant = meant.map_or_else(String::new, |choice| format!(" (did you mean `{choice}`?)"));
    DbError::Url {
        message: format!(
            "the database's URL has a parameter{named} that stepback does not know{meant}; it knows {}",
            choices.join(", ")
        ),
        hint: "correct it or leave it out; a `?` that belongs to the password is written as %3F".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    fn wrong(url: &str) -> String {
        check(url).expect_err(url).to_string()
    }

    #[test]
    fn what_is_understood_passes() {
        for url in [
            "sqlite://shop.db",
            "sqlite:shop.db?mode=rwc",
            "postgres://shop@db/shop",
            "postgres://shop@db/shop?",
            "postgres://shop@db/shop?sslmode=require&ssl-ca=ca.pem&application_name=a",
            "postgres://shop@db/shop?options[search_path]=a&options%5Bx%5D=b",
            "postgres://shop@db/shop?connect_timeout=10&pgbouncer=true",
            "postgres:///shop?host=/var/run/postgresql",
            "postgres://shop@db/shop?password=s3@cret",
        ] {
            assert!(check(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_slip_is_answered_with_what_was_meant() {
        let text = wrong("postgres://shop@db/shop?ssl_mode=require");
        assert!(
            text.contains("`ssl_mode`") && text.contains("did you mean `sslmode`?"),
            "{text}"
        );
        assert!(text.contains("sslrootcert, user"), "{text}");
        // It would change whom we talk to, or how safely.
        for name in ["channel_binding", "target_session_attrs", "service", "schema"] {
            assert!(wrong(&format!("postgres://db/shop?{name}=x")).contains(name));
        }
        assert!(wrong("sqlite://shop.db?cache=shared").contains("it knows mode"));
        assert!(wrong("sqlite://shop.db?mode=memory").contains("`mode`"));
    }

    #[test]
    fn nothing_of_a_password_is_repeated() {
        for url in [
            "postgres://shop:s3?cret@db/shop",
            "postgres://shop:s3?cret=x@db/shop",
            "postgres://shop@db/shop?s3cret",
            "postgres://shop@db/shop?pasword=s3cret",
            "postgres://shop@db/shop?s3%63ret=1",
        ] {
            let text = wrong(url);
            assert!(!text.contains("cret") && !text.contains("s3"), "{text}");
        }
    }
}
