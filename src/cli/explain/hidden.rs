//! What of the command line belongs into what is said of an error, and what does not: what was typed or written in the
//! wrong place is taken out of it, for a URL can stand where a name is meant.

use super::Explained;
use crate::cli::given::Given;
use crate::cli::hide::{BELONGS, hide};

impl Explained {
    /// The same with commands that do what they say from here, also for a program that reads it.
    pub(super) fn where_given(mut self, given: &Given) -> Self {
        let remedies = self.findings.iter_mut().map(|finding| &mut finding.remedy);
        for text in self.hints.iter_mut().chain([&mut self.now]).chain(remedies) {
            *text = given.repeat(text);
        }
        self
    }

    /// The same without URLs that may hold a password, and with the place where a URL belongs.
    pub(super) fn without_urls(mut self) -> Self {
        let mut hidden = false;
        for text in std::iter::once(&mut self.error).chain(&mut self.because) {
            let shown = hide(text);
            hidden |= shown != *text;
            *text = shown;
        }
        for hint in &mut self.hints {
            *hint = hide(hint);
        }
        match hidden {
            true => self.hint(BELONGS),
            false => self,
        }
    }
}
