//! `stepback`: schema, stored data and workloads go back together.
