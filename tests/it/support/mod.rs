//! What the cases stand on. Nothing here asserts anything about the product.

pub mod runner;
