//! What the cases stand on. Nothing here asserts anything about the product.

pub mod binary;
pub mod cluster;
pub mod controlplane;
pub mod kubectl;
pub mod process;
pub mod proxy;
pub mod runner;
pub mod scene;
pub mod servers;
pub mod shop;
pub mod source;
pub mod world;
