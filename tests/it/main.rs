//! The integration tests: everything that crosses a seam of the root crate, and the real servers it talks to.
//!
//! One binary, one module a subject. A module has a function `cases() -> Vec<Case>` and stands twice below, once as
//! `mod` and once in [`subjects`]; the case `suite::every_file_is_registered` goes red when one is forgotten.
//! `support/` holds what cases stand on: the runner, the servers, the proxy. See CONTRIBUTING.md.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a case fails, and its message says where"
)]

mod support;

mod api;
mod cli;
mod cli_runs;
mod contract_cluster;
mod contract_database;
mod contract_journal;
mod crash;
mod docs;
mod drift;
mod formats;
mod getting_started;
mod guard;
mod init;
mod kubectl;
mod kubelet;
mod layering;
mod main_road;
mod mistakes;
mod opening;
mod people;
mod postgres;
mod questions;
mod reconcile;
mod sandbox;
mod saved_plans;
mod servers;
mod shop;
mod sqlx_app;
mod statefulset;
mod suite;

use std::process::ExitCode;

use support::runner::{self, Subject};

/// Lists the modules whose cases run, by name.
macro_rules! subjects {
    ($($module:ident),* $(,)?) => {
        vec![$(Subject { name: stringify!($module), cases: $module::cases() }),*]
    };
}

/// Every module with cases; one a line, in order, so that two branches can add to it without a conflict.
#[rustfmt::skip]
fn subjects() -> Vec<Subject> {
    subjects![
        api,
        cli,
        cli_runs,
        contract_cluster,
        contract_database,
        contract_journal,
        crash,
        docs,
        drift,
        formats,
        getting_started,
        guard,
        init,
        kubectl,
        kubelet,
        layering,
        main_road,
        mistakes,
        people,
        opening,
        postgres,
        questions,
        reconcile,
        sandbox,
        saved_plans,
        servers,
        shop,
        sqlx_app,
        statefulset,
        suite,
    ]
}

fn main() -> ExitCode {
    // Kubelets start this binary once more for each container.
    if let Some(code) = support::shop::run_if_asked() {
        return code;
    }
    runner::run(subjects())
}
