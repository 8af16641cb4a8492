//! What the cases stand on. Nothing here asserts anything about the product.

pub mod process;
pub mod proxy;
pub mod runner;
pub mod servers;
pub mod source;
