//! An embedded Kubernetes cluster for demos and tests.

#[cfg(unix)]
pub mod shop;
