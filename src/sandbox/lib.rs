//! An embedded Kubernetes cluster for demos and tests.
//!
//! - [`api`]: the API server, which everything else talks to through [`kube::Client`].

pub mod api;
#[cfg(unix)]
pub mod shop;
