//! Whether the way to the server is protected. TLS is verified unless whoever wrote the URL decided otherwise: the
//! driver's own default, as libpq's, takes what the server offers, and would send a password to whoever answers.

use std::net::IpAddr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// What an error of TLS is told with.
pub(super) const HINT: &str = "certificates are verified unless the URL says otherwise: sslrootcert=FILE names the \
    server's CA, sslmode=disable gives up encryption";

/// Verifies certificate and host name, unless the URL (`sslmode`) or the environment (`PGSSLMODE`) chose, or the server is
/// on this machine.
pub(super) fn protect(connect: PgConnectOptions, url: &str) -> PgConnectOptions {
    let chosen = url
        .split_once('?')
        .is_some_and(|(_, parameters)| parameters.split('&').any(chooses_mode))
        || std::env::var_os("PGSSLMODE").is_some();
    if chosen || is_local(&connect) {
        connect
    } else {
        connect.ssl_mode(PgSslMode::VerifyFull)
    }
}

fn chooses_mode(parameter: &str) -> bool {
    matches!(parameter.split('=').next(), Some("sslmode" | "ssl-mode"))
}

fn is_local(connect: &PgConnectOptions) -> bool {
    let host = connect.get_host();
    connect.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    #[test]
    fn certificates_are_verified_unless_somebody_decided_otherwise() {
        for (url, mode) in [
            ("postgres://shop@db.example/shop", "VerifyFull"),
            (
                "postgres://shop@10.0.0.7:5433/shop?application_name=sslmode",
                "VerifyFull",
            ),
            ("postgres://shop@db.example/shop?sslmode=disable", "Disable"),
            ("postgres://shop@db.example/shop?a=b&sslmode=require", "Require"),
            ("postgres://shop@localhost/shop", "Prefer"),
            ("postgres://shop@127.0.0.9:5433/shop", "Prefer"),
            ("postgres://shop@[::1]/shop", "Prefer"),
            ("postgres://shop@%2Fvar%2Frun%2Fpostgresql/shop", "Prefer"),
            ("postgres:///shop?host=/var/run/postgresql", "Prefer"),
        ] {
            let connect = PgConnectOptions::from_str(url).unwrap();
            let connect = protect(connect, url);
            assert_eq!(format!("{:?}", connect.get_ssl_mode()), mode, "{url}");
        }
    }
}
