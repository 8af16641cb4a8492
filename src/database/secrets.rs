//! What a URL keeps secret, taken out of texts that others wrote: an app may log the URL that it was given.

/// What stands in a secret's place.
const HIDDEN: &str = "(hidden)";

/// The texts that must not be shown. Its `Debug` form holds none of them.
pub(super) struct Secrets {
    url: String,
    redacted: String,
    /// The password, as it is written and as it is meant.
    passwords: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets of {}", self.redacted)
    }
}

impl Secrets {
    /// Those of a database's URL.
    pub(super) fn of_url(url: &str, redacted: &str) -> Self {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let user_info = rest.rsplit_once('@').and_then(|(before, _)| before.split_once(':'));
        let parameters = rest.split_once('?').map_or("", |(_, parameters)| parameters);
        let named = parameters
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| name.to_ascii_lowercase().contains("password"));
        let written = user_info.map(|(_, password)| password);
        let written = written.into_iter().chain(named.map(|(_, password)| password));
        let mut passwords: Vec<String> = written
            .flat_map(|written| [written.to_owned(), decode(written)])
            // A password of so few characters is found in any text, and hides nothing.
            .filter(|password| password.len() > 3)
            .collect();
        // The longest first: one may be a part of another.
        passwords.sort_by_key(|password| std::cmp::Reverse(password.len()));
        passwords.dedup();
        Self {
            url: url.to_owned(),
            redacted: redacted.to_owned(),
            passwords,
        }
    }

    /// The text without them.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut hidden = text.replace(&self.url, &self.redacted);
        for password in &self.passwords {
            hidden = hidden.replace(password, HIDDEN);
        }
        hidden
    }
}

/// `%XX` to what it stands for; what is not well formed stays.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|_| *first == b'%')
        {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_however_they_are_written() {
        let url = "postgres://shop:s3%40cret@db/shop?sslpassword=keypass";
        let secrets = Secrets::of_url(url, "postgres://shop@db/shop");
        let text = format!("connecting to {url}: password s3@cret (s3%40cret) or keypass is wrong");
        let hidden = secrets.hide(&text);
        for secret in ["s3@cret", "s3%40cret", "keypass"] {
            assert!(!hidden.contains(secret), "{hidden}");
        }
        assert!(
            hidden.starts_with("connecting to postgres://shop@db/shop: "),
            "{hidden}"
        );
        assert!(!format!("{secrets:?}").contains("s3"));
        assert_eq!(
            Secrets::of_url("postgres://db/shop", "x").hide("nothing to hide"),
            "nothing to hide"
        );
    }
}
