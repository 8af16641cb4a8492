//! `stepback`: a running system goes back to an earlier release, its schema, its stored data and its workloads
//! together, as one plan that is checked whole before the first change, carried out one recorded step at a time, and
//! can be killed at any moment and continued.
//!
//! **Plan is data. Journal is history. The world is truth. The report is a view.**
//!
//! # The house
//!
//! | room | is responsible for |
//! |---|---|
//! | `stepback_core` | everything that can be decided without touching anything: catalog, checks, plan, journal entries, the next move |
//! | `stepback_sandbox` | an embedded Kubernetes API, a StatefulSet controller, a kubelet and a small shop; uses nothing of ours |
//! | [`database`] | the seam to the database: ledger, archive, lease, fingerprint; one folder an engine, one file a ledger |
//! | [`cluster`] | the seam to Kubernetes: looks, watches, and writes that carry a stamp |
//! | [`journal`] | where the journal's lines are kept |
//! | [`probe`] | the only loop that waits: gates and probes; and what is read of a pod that fails |
//! | [`run`] | the executor: one move at a time, as `stepback_core::run::decide` says |
//! | [`load`] | the only reader of the user's files |
//! | [`live`] | progress from the executor's events |
//! | [`cli`] | one file a command; `explain` turns errors into words and exit codes |
//!
//! # Who may use whom
//!
//! `database` knows no cluster, `cluster` no database, `run` neither driver nor client: it has the three traits
//! [`database::Database`], [`cluster::Cluster`] and [`journal::Journal`]. Only `cli` prints, and only `cli` uses
//! `anyhow`. `tests/it/layering.rs` keeps it so.

pub mod cli;
pub mod cluster;
pub mod database;
pub mod journal;
pub mod live;
pub mod load;
pub mod probe;
pub mod run;
