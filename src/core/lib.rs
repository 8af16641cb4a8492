//! Everything `stepback` decides without touching anything.
//!
//! No runtime, no driver, no Kubernetes client, no files, no clocks, no printing: the crate border is the law of
//! purity, and whoever wants to know what `stepback` would do can ask this crate with plain values.

pub mod appfile;
pub mod catalog;
pub mod guard;
pub mod journal;
pub mod model;
pub mod plan;
pub mod report;
pub mod run;
pub mod sql;
pub mod workload;
