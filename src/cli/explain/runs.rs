//! A run that cannot be continued or taken back as it is, and the command that leads out of it.

use stepback_core::model::RunId;

use super::{Exit, Explained};
use crate::run::{RoadError, Unfit};

pub(super) fn of_unfit(error: &RoadError, run: &RunId, why: &Unfit) -> Explained {
    let explained = Explained::new(Exit::Refused, error);
    let report = format!("to see it: stepback report {run}");
    match why {
        Unfit::Unknown => explained
            .hint("is DATABASE_URL the database of that run? to see the runs of this one: stepback runs")
            .hint(report),
        Unfit::IsAbort(_) => explained.hint(format!("to continue it: stepback resume {run}")),
        Unfit::HoldsNothing => explained
            .hint("correct what stopped it, and type the same again")
            .hint(report),
        Unfit::Changed => explained.hint(format!("to see the new plan: stepback abort {run}")),
        Unfit::NewerFormat => explained
            .hint("use the version that `stepback report` names, or a newer one")
            .hint(report),
        Unfit::OtherPlan { .. } | Unfit::OtherDatabase | Unfit::OtherCluster | Unfit::Closed => explained.hint(report),
    }
}
