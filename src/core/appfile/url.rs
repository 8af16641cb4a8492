//! As much of a database URL as must be known without connecting: its scheme, and whether it holds a secret.

const SCHEMES: [&str; 5] = ["sqlite", "postgres", "postgresql", "mysql", "mariadb"];

/// Whether a URL holds a password, in front of the host or as a parameter.
pub(super) fn holds_password(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else {
        return false;
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A password may itself hold `/` or `@` unescaped: everything before the last `@` counts.
    let in_front = rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    let secrets = [
        "password",
        "sslpassword",
        "pwd",
        "passwd",
        "passfile_content",
        "authtoken",
    ];
    let is_secret = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        secrets.contains(&name.to_ascii_lowercase().as_str())
    };
    in_front || query.split('&').any(is_secret)
}

/// Whether it begins as the URL of a database does, be it one or not.
pub(super) fn has_scheme(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(scheme, _)| SCHEMES.contains(&scheme))
}

/// Whether the scheme is one of ours. The text is not repeated: it may be a secret without a scheme.
pub(super) fn check(text: &str) -> Result<(), String> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let hint = "expected sqlite://FILE, postgres://… or mysql://…, or where it comes from: {env: DATABASE_URL}";
    match scheme {
        Some(scheme) if SCHEMES.contains(&scheme) => Ok(()),
        Some(scheme) => Err(format!("no engine has the scheme `{scheme}`; {hint}")),
        None => Err(format!("this is no URL; {hint}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_passwords_wherever_they_stand() {
        for url in [
            "postgres://u:p@h/d",
            "postgres://u:p@ss/w:rd@h/d",
            "postgres://:p@h",
            "mysql://u@h/d?password=x",
            "postgres://h/d?a=b&PASSWORD=x",
        ] {
            assert!(holds_password(url), "{url}");
        }
        for url in [
            "postgres://u@h:5432/d",
            "postgres://h/d?sslmode=require",
            "sqlite://a:b.db",
            "shop",
        ] {
            assert!(!holds_password(url), "{url}");
        }
    }
}
