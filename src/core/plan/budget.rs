//! PodDisruptionBudgets that the plan goes below.
//!
//! Scaling a workload down and deleting a pod is no eviction, so the API server holds none of it back (Kubernetes'
//! documentation of disruptions): whoever wrote the budget must hear of it from us.

use crate::model::{Amount, Budget, Finding, Keeps, SeenAround, SeenWorkload};

use super::Strategy;

/// Finds the budgets that keep more pods than the strategy leaves. One that must not be looked for may be one of these.
pub(super) fn check_budgets(seen: &SeenWorkload, strategy: Strategy, around: &SeenAround, findings: &mut Vec<Finding>) {
    let Ok(budgets) = &around.budgets else {
        let unknown = Finding::warning(
            "rights-missing",
            "cluster",
            format!(
                "may not list poddisruptionbudgets.policy in namespace {}",
                seen.workload.namespace
            ),
            "have it granted, or whether the plan goes below a PodDisruptionBudget is not known",
        );
        if !findings.contains(&unknown) {
            findings.push(unknown);
        }
        return;
    };
    let present = seen.replicas();
    if present > 0 {
        findings.extend(
            budgets
                .iter()
                .filter_map(|budget| below(seen, present, strategy, budget)),
        );
    }
}

fn below(seen: &SeenWorkload, present: i32, strategy: Strategy, budget: &Budget) -> Option<Finding> {
    let expected = budget.expected.unwrap_or_default().max(present);
    let kept = kept(budget.keeps, expected);
    let (gone, when) = match strategy {
        Strategy::Offline => (present, "while all of them are stopped"),
        _ => (1, "while one of them is replaced"),
    };
    let left = expected - gone;
    if left >= kept {
        return None;
    }
    let setting = match budget.keeps {
        Keeps::Available(amount) => format!("minAvailable: {}", text(amount)),
        Keeps::AllBut(amount) => format!("maxUnavailable: {}", text(amount)),
    };
    Some(Finding::warning(
        "budget-not-kept",
        seen.workload.to_string(),
        format!(
            "PodDisruptionBudget {} keeps {kept} of {expected} pods available ({setting}), and the plan leaves {left} {when}; \
             that is no eviction, so nothing holds it back",
            budget.name
        ),
        match strategy {
            Strategy::Offline => {
                "tell those who count on it; or say in the app file what each release runs on (`accepts`), so that pods \
                 can be replaced one by one"
            }
            _ => "tell those who count on it, or add a replica first",
        },
    ))
}

/// As the disruption controller reckons it.
fn kept(keeps: Keeps, expected: i32) -> i32 {
    let of = |amount| match amount {
        Amount::Count(count) => count,
        Amount::Percent(percent) => {
            let pods = (i64::from(percent) * i64::from(expected) + 99).div_euclid(100);
            i32::try_from(pods).unwrap_or(i32::MAX)
        }
    };
    match keeps {
        Keeps::Available(amount) => of(amount),
        Keeps::AllBut(amount) => expected.saturating_sub(of(amount)).max(0),
    }
}

fn text(amount: Amount) -> String {
    match amount {
        Amount::Count(count) => count.to_string(),
        Amount::Percent(percent) => format!("{percent}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_keeps_what_the_disruption_controller_says() {
        use Amount::{Count, Percent};
        use Keeps::{AllBut, Available};
        for (keeps, expected, pods) in [
            (Available(Count(2)), 3, 2),
            (Available(Count(5)), 3, 5),
            (Available(Percent(50)), 3, 2),
            (Available(Percent(0)), 3, 0),
            (Available(Percent(100)), 3, 3),
            (AllBut(Count(1)), 3, 2),
            (AllBut(Count(4)), 3, 0),
            (AllBut(Percent(50)), 3, 1),
        ] {
            assert_eq!(kept(keeps, expected), pods, "{keeps:?} of {expected}");
        }
    }
}
