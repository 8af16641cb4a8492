//! The `stepback` command.

fn main() {}
