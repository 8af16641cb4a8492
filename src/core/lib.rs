//! Everything `stepback` decides without touching anything.

pub mod catalog;
pub mod model;
pub mod sql;
