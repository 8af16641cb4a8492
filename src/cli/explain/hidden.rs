//! What was typed or written in the wrong place, taken out of an error: a URL can stand where a name is meant.

use super::Explained;
use crate::cli::hide::{BELONGS, hide};

impl Explained {
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
