//! mcp-exporter: a Prometheus exporter for the health of MCP servers.

pub mod units;
pub mod secret;
pub mod health;
pub mod target;
pub mod config;
pub mod probe;
pub mod snapshot;
pub mod metrics;
pub mod poll;
pub mod http;
pub mod demo;
pub mod check;
