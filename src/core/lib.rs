//! Everything `stepback` decides without touching anything.
