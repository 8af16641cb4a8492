//! From the tree to values: asks for keys, notes what is wrong, and goes on.

use std::fmt::Display;
use std::time::Duration;

use super::error::{AppFileError, Place, Problem};
use super::tree::{Key, Node, Value};

/// Everything that was found wrong so far.
pub(super) struct Log {
    pub(super) file: String,
    pub(super) errors: Vec<AppFileError>,
}

impl Log {
    pub(super) fn add(&mut self, place: Place, problem: Problem) {
        self.errors.push(AppFileError {
            file: self.file.clone(),
            place,
            problem,
        });
    }

    pub(super) fn invalid(&mut self, at: &Spot<'_>, why: impl Display) {
        self.add(
            at.node.place,
            Problem::Invalid {
                path: at.path.clone(),
                why: why.to_string(),
            },
        );
    }
}

/// A node and its path.
#[derive(Clone)]
pub(super) struct Spot<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
}

impl<'n> Spot<'n> {
    fn wrong_kind(&self, expected: &'static str, log: &mut Log) {
        let found = self.node.kind();
        let path = if self.path.is_empty() {
            "the file".to_owned()
        } else {
            self.path.clone()
        };
        log.add(self.node.place, Problem::WrongKind { path, expected, found });
    }

    pub(super) fn text(&self, expected: &'static str, log: &mut Log) -> Option<&'n str> {
        match &self.node.value {
            Value::Scalar(text) if !text.is_empty() => Some(text),
            Value::Scalar(_) => {
                log.invalid(self, format_args!("expected {expected}, found an empty text"));
                None
            }
            _ => {
                self.wrong_kind(expected, log);
                None
            }
        }
    }

    /// A text that something else knows how to read.
    pub(super) fn parse<T, E: Display>(
        &self,
        expected: &'static str,
        log: &mut Log,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(expected, log)?;
        read(text).map_err(|error| log.invalid(self, error)).ok()
    }

    pub(super) fn one_of<T: Copy>(&self, choices: &[(&str, T)], log: &mut Log) -> Option<T> {
        let text = self.text("one of a list of words", log)?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let choices = choices.iter().map(|(name, _)| (*name).to_owned()).collect();
            let problem = Problem::UnknownValue {
                path: self.path.clone(),
                value: text.to_owned(),
                choices,
            };
            log.add(self.node.place, problem);
        }
        found
    }

    pub(super) fn bool(&self, log: &mut Log) -> Option<bool> {
        self.one_of(&[("true", true), ("false", false)], log)
    }

    /// A whole number of at least 1.
    pub(super) fn count<T: TryFrom<u64>>(&self, max: u64, log: &mut Log) -> Option<T> {
        self.parse("a number", log, |text| {
            let number = text.parse::<u64>().ok().filter(|number| (1..=max).contains(number));
            number
                .and_then(|number| T::try_from(number).ok())
                .ok_or_else(|| format!("expected a whole number from 1 to {max}, found `{text}`"))
        })
    }

    pub(super) fn duration(&self, log: &mut Log) -> Option<Duration> {
        self.parse("a duration such as 10m, 15s or 200ms", log, parse_duration)
    }

    pub(super) fn list(&self, expected: &'static str, log: &mut Log) -> Vec<Spot<'n>> {
        let Value::List(items) = &self.node.value else {
            self.wrong_kind(expected, log);
            return Vec::new();
        };
        let item = |(at, node): (usize, &'n std::rc::Rc<Node>)| Spot {
            node,
            path: format!("{}[{at}]", self.path),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The entries of a mapping whose keys are names that the author chose. A key that is there twice counts once.
    pub(super) fn entries(&self, expected: &'static str, log: &mut Log) -> Vec<(&'n Key, Spot<'n>)> {
        let Value::Map(entries) = &self.node.value else {
            self.wrong_kind(expected, log);
            return Vec::new();
        };
        let mut seen: Vec<(&Key, Spot<'n>)> = Vec::new();
        for (key, node) in entries {
            if let Some((first, _)) = seen.iter().find(|(other, _)| other.text == key.text) {
                let (value, first) = (key.text.clone(), first.place.line);
                log.add(
                    key.place,
                    Problem::Duplicate {
                        path: self.path.clone(),
                        value,
                        first,
                    },
                );
            } else {
                seen.push((
                    key,
                    Spot {
                        node,
                        path: join(&self.path, &key.text),
                    },
                ));
            }
        }
        seen
    }

    /// The mapping's own keys, to be asked for one by one.
    pub(super) fn fields(&self, log: &mut Log) -> Option<Fields<'n>> {
        if !matches!(self.node.value, Value::Map(_)) {
            self.wrong_kind("a mapping", log);
            return None;
        }
        let entries = self.entries("a mapping", log);
        Some(Fields {
            place: self.node.place,
            path: self.path.clone(),
            entries,
            asked: Vec::new(),
        })
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A mapping that is being read. The keys that were asked for are the keys that exist.
pub(super) struct Fields<'n> {
    pub(super) place: Place,
    pub(super) path: String,
    entries: Vec<(&'n Key, Spot<'n>)>,
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The value of a key, unless it is absent or null.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Spot<'n>> {
        self.asked.push(key);
        let (_, spot) = self.entries.iter().find(|(entry, _)| entry.text == key)?;
        (!matches!(spot.node.value, Value::Null)).then(|| spot.clone())
    }

    /// The value of a key that must be there.
    pub(super) fn need(&mut self, key: &'static str, expected: &'static str, log: &mut Log) -> Option<Spot<'n>> {
        let found = self.get(key);
        if found.is_none() {
            log.add(
                self.place,
                Problem::Missing {
                    path: join(&self.path, key),
                    expected,
                },
            );
        }
        found
    }

    /// Whether the key is written there, even as null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(entry, _)| entry.text == key)
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, log: &mut Log) {
        for (key, _) in &self.entries {
            if !self.asked.contains(&key.text.as_str()) {
                let within = if self.path.is_empty() {
                    "the file".to_owned()
                } else {
                    format!("`{}`", self.path)
                };
                let choices = self.asked.iter().map(|key| (*key).to_owned()).collect();
                log.add(
                    key.place,
                    Problem::UnknownKey {
                        key: key.text.clone(),
                        within,
                        choices,
                    },
                );
            }
        }
    }
}

/// `10m`, `15s`, `200ms`, `1h`, and several in falling order: `1m30s`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; expected a number and a unit: 10m, 15s, 200ms, 1h, 1m30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let millis = match &rest[..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        if millis >= last_unit {
            return Err(wrong());
        }
        last_unit = millis;
        rest = &rest[unit..];
        total += Duration::from_millis(number.checked_mul(millis).ok_or_else(wrong)?);
    }
    if total.is_zero() {
        return Err(format!(
            "`{text}` is no time at all; every wait has a limit, and it must be above zero"
        ));
    }
    if total > Duration::from_secs(366 * 86_400) {
        return Err(format!("`{text}` is longer than a year"));
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(ms("10m"), Ok(600_000));
        assert_eq!(ms("15s"), Ok(15_000));
        assert_eq!(ms("200ms"), Ok(200));
        assert_eq!(ms("1h"), Ok(3_600_000));
        assert_eq!(ms("1m30s"), Ok(90_000));
        for text in [
            "",
            "0s",
            "10",
            "m",
            "10 m",
            "-1s",
            "1.5s",
            "1s1m",
            "1s1s",
            "10M",
            "99999999999999999999s",
            "9999999h",
        ] {
            assert!(ms(text).is_err(), "{text}");
        }
    }
}
