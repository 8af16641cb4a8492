//! What was most likely meant by a word that names nothing.

/// The closest choice, when it is close enough to be a slip: a third of the letters, or only case and separators differ.
pub fn closest<'a, T: AsRef<str>>(value: &str, choices: &'a [T]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let value = plain(value);
    choices
        .iter()
        .map(AsRef::as_ref)
        .map(|choice| (strsim::damerau_levenshtein(&value, &plain(choice)), choice))
        .min()
        .filter(|(distance, choice)| *distance <= choice.chars().count().max(3) / 3)
        .map(|(_, choice)| choice)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn a_slip_finds_what_was_meant_and_nonsense_does_not() {
        let choices = ["sslmode", "sslrootcert", "application_name"];
        for (typed, meant) in [
            ("ssl_mode", Some("sslmode")),
            ("SSLMODE", Some("sslmode")),
            ("sslrootcret", Some("sslrootcert")),
            ("applicationname", Some("application_name")),
            ("schema", None),
            ("", None),
        ] {
            assert_eq!(closest(typed, &choices), meant, "{typed}");
        }
        assert_eq!(closest("anything", &[] as &[&str]), None);
    }
}
