#![doc = include_str!("ARCHITECTURE.md")]

pub mod allow;
pub mod app;
pub mod catalog;
pub mod check;
pub mod cli;
pub mod config;
pub mod demo;
pub mod discovery;
pub mod health;
mod healthcheck;
pub mod http;
mod lint;
mod look;
pub mod maintenance;
pub mod metrics;
pub mod on_demand;
pub mod passthrough;
pub mod poll;
pub mod probe;
mod processes;
pub mod review;
pub mod secret;
mod shutdown;
pub mod snapshot;
pub mod target;
mod telemetry;
pub mod units;
