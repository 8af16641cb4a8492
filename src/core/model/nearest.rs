//! What was most likely meant by a word that names nothing.

use std::collections::BTreeSet;

use semver::Version;

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

/// The release among those that there are which is likest meant by one that there is not: another form of the same one
/// (1.3.0 for 1.3.0-rc.1), else the newest below it, else the oldest.
pub fn nearest_release<'a>(wanted: &Version, known: impl IntoIterator<Item = &'a Version>) -> Option<&'a Version> {
    let known: BTreeSet<&Version> = known.into_iter().collect();
    let core = |version: &Version| (version.major, version.minor, version.patch);
    let same = known.iter().rev().find(|one| core(one) == core(wanted));
    let below = known.iter().rev().find(|one| **one < wanted);
    same.or(below).or(known.iter().next()).copied()
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::{closest, nearest_release};

    #[test]
    fn of_releases_the_one_below_is_the_nearest() {
        let known = ["1.10.0", "1.9.0", "1.2.0", "1.3.0"].map(|text| Version::parse(text).unwrap());
        for (wanted, meant) in [
            ("1.4.0", "1.3.0"),
            ("1.9.1", "1.9.0"),
            ("2.0.0", "1.10.0"),
            ("1.3.0-rc.1", "1.3.0"),
            ("1.0.0", "1.2.0"),
        ] {
            let nearest = nearest_release(&Version::parse(wanted).unwrap(), &known).map(Version::to_string);
            assert_eq!(nearest.as_deref(), Some(meant), "{wanted}");
        }
        assert_eq!(nearest_release(&known[0], []), None);
    }

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
