//! A page of text: lines of a width, with or without colour.

use std::borrow::Cow;
use std::io::{self, Write};

/// Where text goes, how wide it may be, and whether it may have colour.
pub struct Page<'a> {
    out: &'a mut dyn Write,
    width: usize,
    color: bool,
    /// What is made of a text before it is wrapped.
    rewrite: Option<&'a dyn Fn(&str) -> String>,
}

/// How a piece of text looks where there is colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// A heading.
    Bold,
    /// What matters less.
    Dim,
    /// Something is wrong.
    Red,
    /// Something may be.
    Yellow,
    /// All is well.
    Green,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "1;31",
            Self::Yellow => "1;33",
            Self::Green => "32",
        }
    }
}

impl<'a> Page<'a> {
    /// A page of this width; at least 40 columns are used.
    pub fn new(out: &'a mut dyn Write, width: usize, color: bool) -> Self {
        Self {
            out,
            width: width.max(40),
            color,
            rewrite: None,
        }
    }

    /// The same page, on which every text that is wrapped is written as this makes it. Lines are written as they are.
    #[must_use]
    pub fn rewritten(mut self, rewrite: &'a dyn Fn(&str) -> String) -> Self {
        self.rewrite = Some(rewrite);
        self
    }

    /// The text in that paint, or plain where there is no colour.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if self.color {
            format!("\x1b[{}m{text}\x1b[0m", paint.code())
        } else {
            text.to_owned()
        }
    }

    /// A line as it is.
    ///
    /// # Errors
    /// As the writer's.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.trim_end().as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// An empty line.
    ///
    /// # Errors
    /// As the writer's.
    pub fn blank(&mut self) -> io::Result<()> {
        self.line("")
    }

    /// Text behind a label, wrapped to the width, each further line under the text. A word that is longer than a line
    /// (a path, a command) is never broken, so that it can be copied.
    ///
    /// # Errors
    /// As the writer's.
    pub fn labelled(&mut self, label: &str, paint: Option<Paint>, text: &str) -> io::Result<()> {
        self.columns(&[(label, paint)], text)
    }

    /// Text behind cells, wrapped like [`Page::labelled`].
    ///
    /// # Errors
    /// As the writer's.
    pub fn columns(&mut self, cells: &[(&str, Option<Paint>)], text: &str) -> io::Result<()> {
        let indent = cells.iter().map(|(cell, _)| cell.chars().count()).sum();
        let painted = cells.iter().map(|(cell, paint)| match paint {
            Some(paint) => {
                // The blanks before and behind are not painted.
                let word = cell.trim();
                let start = cell.len() - cell.trim_start().len();
                let (before, behind) = (&cell[..start], &cell[start + word.len()..]);
                format!("{before}{}{behind}", self.paint(*paint, word))
            }
            None => (*cell).to_owned(),
        });
        let mut label: String = painted.collect();
        let text = self
            .rewrite
            .map_or(Cow::Borrowed(text), |rewrite| Cow::Owned(rewrite(text)));
        for line in wrap(&text, self.width.saturating_sub(indent)) {
            self.line(&format!("{label}{line}"))?;
            label = " ".repeat(indent);
        }
        Ok(())
    }
}

/// Breaks text at blanks so that lines are at most `width` characters, where a word is not longer. The text's own line
/// breaks stay. At least one line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut length = 0;
        for word in paragraph.split_whitespace() {
            let word_length = word.chars().count();
            if length > 0 && length + 1 + word_length > width {
                lines.push(std::mem::take(&mut line));
                length = 0;
            }
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += word_length;
        }
        lines.push(line);
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// `0.42 s`, `3.1 s`, `2 min 05 s`, `1 h 02 min`.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
        10_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        60_000..3_600_000 => format!("{} min {:02} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {:02} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// As a duration is shown elsewhere, and shorter where it is a round one: `30 s`, `5 min`.
pub fn limit(ms: u64) -> String {
    match ms {
        _ if ms > 0 && ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        _ => duration(ms),
    }
}

/// `1 step`, `2 steps`.
pub fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// `2026-11-23 03:04:05Z`.
pub(super) fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `03:04:05`.
pub(super) fn clock(at: jiff::Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_well() {
        let texts: Vec<_> = [0, 420, 9_999, 12_340, 125_000, 3_720_000]
            .into_iter()
            .map(duration)
            .collect();
        assert_eq!(
            texts,
            ["0.00 s", "0.42 s", "9.99 s", "12.3 s", "2 min 05 s", "1 h 02 min"]
        );
    }

    #[test]
    fn round_limits_are_short() {
        assert_eq!(
            [0, 500, 30_000, 90_000, 600_000].map(limit),
            ["0 s", "0.50 s", "30 s", "90 s", "10 min"]
        );
    }

    #[test]
    fn a_long_word_is_not_broken() {
        assert_eq!(
            wrap("run `/a/very/long/path` now", 8),
            ["run", "`/a/very/long/path`", "now"]
        );
    }

    proptest! {
        #[test]
        fn wrapping_loses_no_word_and_keeps_the_width(words in prop::collection::vec("[a-zä]{1,9}", 0..40), width in 9usize..80) {
            let lines = wrap(&words.join(" "), width);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width));
            let joined = lines.join(" ");
            let again: Vec<&str> = joined.split_whitespace().collect();
            prop_assert_eq!(again, words);
        }
    }
}
