//! Everything `stepback` decides without touching anything.

pub mod model;
