//! The daemon from outside: real servers, real consumers, faults, cost, secrets, start and end.
//!
//! One program for all of them, so that they run beside each other: they mostly wait.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

#[path = "../support/mod.rs"]
mod support;

mod catalog;
mod cost;
mod discovery;
mod faults;
mod lifecycle;
mod prometheus;
mod real_servers;
mod secrets;
