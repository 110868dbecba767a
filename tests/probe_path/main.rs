//! `/probe` and `/sd` from outside: what a query gets, what it does not get, and Prometheus servers that share the work.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod bounds;
mod forgery;
mod queries;
mod shards;

#[allow(dead_code, unused_imports, reason = "shared with tests that need more of it")]
#[path = "../support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

use support::{Exporter, Exposition, FakeMcp, FakeServer};

/// An exporter that admits every server on loopback by its address, and polls nothing.
fn open_exporter(more: &Value) -> Exporter {
    let mut config = json!({ "servers": [], "probe": { "allowed_targets": ["127.0.0.0/8"] } });
    merge(&mut config, more);
    Exporter::start(&config)
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            more.iter().for_each(|(key, value)| merge(into.entry(key.clone()).or_insert(Value::Null), value));
        }
        (into, more) => *into = more.clone(),
    }
}

fn url_of(server: &FakeServer) -> String {
    format!("http://{}/mcp", server.address())
}

/// The series of a successful query.
#[track_caller]
fn asked(exporter: &Exporter, query: &str) -> Exposition {
    let response = exporter.get(&format!("/probe?{query}"));
    assert_eq!(response.status, 200, "{query}: {}", response.body);
    Exposition::parse(&response.body)
}

/// Counts what a server is asked, and holds its answers to health questions back while it is closed.
#[derive(Clone, Default)]
struct Watched {
    initialized: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
    closed: Arc<(Mutex<bool>, Condvar)>,
}

impl Watched {
    fn serve(&self) -> FakeServer {
        let watched = self.clone();
        FakeMcp::start(move |exchange| {
            match exchange.method() {
                "initialize" => watched.initialized.fetch_add(1, Ordering::SeqCst),
                "DELETE" => watched.ended.fetch_add(1, Ordering::SeqCst),
                "resources/read" => {
                    watched.reads.fetch_add(1, Ordering::SeqCst);
                    let (closed, changed) = &*watched.closed;
                    drop(changed.wait_while(closed.lock().unwrap(), |closed| *closed).unwrap());
                    0
                }
                _ => 0,
            };
            Ok(false)
        })
    }

    fn close(&self) {
        *self.closed.0.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.closed.0.lock().unwrap() = false;
        self.closed.1.notify_all();
    }

    fn initialized(&self) -> usize {
        self.initialized.load(Ordering::SeqCst)
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}
