//! The daemon from outside: real servers, real consumers, faults, cost, a fleet's bad days, secrets, start and end.
//!
//! One program for all of them, so that they run beside each other: they mostly wait.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

#[path = "../bench/load/scrape.rs"]
#[allow(dead_code, reason = "the load benchmark uses more of it")]
mod scrape;
#[path = "../bench/load/soak.rs"]
#[allow(dead_code, reason = "the load benchmark uses more of it")]
mod soak;
#[path = "../bench/load/stub.rs"]
#[allow(dead_code, reason = "the load benchmark uses more of it")]
mod stub;
#[path = "../support/mod.rs"]
mod support;

mod authorization;
mod bad_days;
mod canaries;
mod catalog;
mod cost;
mod discovery;
mod faults;
mod fleet;
mod lifecycle;
mod passthrough;
mod prometheus;
mod protocol;
mod proxies;
mod real_servers;
mod replicas;
mod secrets;
