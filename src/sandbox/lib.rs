//! An embedded Kubernetes cluster for demos and tests.
//!
//! - [`api`]: the API server, which everything else talks to through [`kube::Client`].
//! - [`statefulset`]: the StatefulSet controller.
//! - [`kubelet`]: one node, whose containers are processes (Linux).
//! - [`shop`]: the application that those processes are.
//!
//! The controller and the kubelet serve any API server: [`start_controllers`] starts them.

pub mod api;
mod controllers;
#[cfg(target_os = "linux")]
pub mod kubelet;
mod percent;
mod record;
mod secret;
#[cfg(unix)]
pub mod shop;
pub mod statefulset;

pub use controllers::{ControllerOptions, Controllers, start_controllers};
pub use secret::Secret;
