//! A file that is not a saved plan which can be carried out.

use std::path::Path;

use stepback_core::plan::SavedPlanError;

use super::{Exit, Explained};

pub(super) fn of_saved(explained: Explained, path: &Path, error: &SavedPlanError) -> Explained {
    let again = format!("write it again: stepback plan --to RELEASE --out {}", path.display());
    let refused = Explained {
        exit_code: Exit::Refused,
        ..explained
    };
    match error {
        // It may be anything, such as the app file: nobody is told to write over it.
        SavedPlanError::Other { .. } => Explained {
            exit_code: Exit::Usage,
            ..refused
        }
        .hint("name the file that `stepback plan --to RELEASE --out FILE` wrote"),
        SavedPlanError::Torn { .. } if path.extension().is_some_and(|is| is == "yaml" || is == "yml") => {
            refused.hint("name the file that `stepback plan --to RELEASE --out FILE` wrote")
        }
        SavedPlanError::Newer { program, .. } => refused
            .hint(format!("apply it with {program} or a newer one"))
            .hint(again),
        _ => refused.hint(again),
    }
}
