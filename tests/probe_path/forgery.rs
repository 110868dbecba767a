//! Queries that would make us knock at doors of somebody else's choosing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Exporter, FakeMcp, FakeServer};
use crate::url_of;

/// A server that nobody is to reach, and how often somebody did.
fn guarded() -> (FakeServer, Arc<AtomicUsize>) {
    let reached = Arc::<AtomicUsize>::default();
    let ours = Arc::clone(&reached);
    let server = FakeServer::accepting(move |_| {
        ours.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    (server, reached)
}

#[track_caller]
fn check(allowed: &Value, targets: &[&str], status: u16) {
    let (server, reached) = guarded();
    let exporter = Exporter::start(&json!({ "servers": [], "probe": { "allowed_targets": allowed } }));
    let port = server.port.number().to_string();
    for target in targets {
        let target = target.replace("PORT", &port);
        let response = exporter.get(&format!("/probe?target={target}"));
        assert_eq!(response.status, status, "{target}: {}", response.body);
        if status == 403 {
            assert!(response.body.contains("`allowed_"), "{target}: {}", response.body);
        }
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0, "somebody was let in");
}

#[test]
fn nothing_is_admitted_by_default() {
    check(&json!([]), &["http://127.0.0.1:PORT/mcp", "http://localhost:PORT/mcp", "http://mcp.example/"], 403);
}

#[test]
fn inner_addresses_are_refused_however_they_are_written() {
    let allowed = json!(["mcp.example", "*.example", "203.0.113.0/24", "2001:db8::/32", "127.0.0.1:1"]);
    check(
        &allowed,
        &[
            // Loopback: dotted, decimal, octal, hexadecimal, short, with a dot, percent-encoded, in IPv6, of IPv6.
            "http://127.0.0.1:PORT/mcp",
            "http://2130706433:PORT/mcp",
            "http://017700000001:PORT/mcp",
            "http://0177.0.0.1:PORT/mcp",
            "http://0x7f000001:PORT/mcp",
            "http://127.1:PORT/mcp",
            "http://127.0.0.1.:PORT/mcp",
            "http://%2531%2532%2537.0.0.1:PORT/mcp",
            "http://0:PORT/mcp",
            "http://0.0.0.0:PORT/mcp",
            "http://[::ffff:127.0.0.1]:PORT/mcp",
            "http://[::ffff:7f00:1]:PORT/mcp",
            "http://[::1]:PORT/mcp",
            "http://[::]:PORT/mcp",
            "http://[::127.0.0.1]:PORT/mcp",
            "http://[64:ff9b::127.0.0.1]:PORT/mcp",
            // A name that leads there.
            "http://localhost:PORT/mcp",
            // Link-local and private.
            "http://169.254.169.254/latest/meta-data/",
            "http://[fe80::1]/",
            "http://10.0.0.1/",
            "http://172.16.0.1/",
            "http://192.168.0.1/",
            "http://[fd00:ec2::254]/",
            // Other hosts with the listed one somewhere in the URL.
            "http://127.0.0.1:PORT/mcp.example",
            "http://127.0.0.1:PORT/?mcp.example",
            "http://127.0.0.1:PORT/%23@mcp.example",
            "http://127.0.0.1:PORT%23@mcp.example/",
            "http://127.0.0.1:PORT\\@mcp.example/",
        ],
        403,
    );
}

#[test]
fn neither_credentials_nor_files_come_from_a_query() {
    let allowed = json!(["127.0.0.0/8"]);
    check(
        &allowed,
        &[
            "http://user:password@127.0.0.1:PORT/mcp",
            "unix:///run/docker.sock:/mcp",
            "file:///etc/passwd",
            "gopher://127.0.0.1:PORT/",
            "http://127.0.0.1:PORT/mcp&hostname=a%20b",
            "sh",
        ],
        400,
    );
    check(&allowed, &["http://127.0.0.1:PORT/mcp&hostname=inner.example"], 403);
}

#[test]
fn a_redirect_does_not_lead_elsewhere() {
    let (inner, reached) = guarded();
    let to = format!("Location: http://localhost:{}/mcp\r\n", inner.port.number());
    let also = format!("Location: http://127.0.0.1:{}/mcp\r\n", inner.port.number());
    for location in [to, also] {
        let server =
            FakeMcp::start(move |exchange| exchange.answer("307 Temporary Redirect", &location, "").map(|()| true));
        let address = format!("127.0.0.1:{}", server.port.number());
        let exporter = Exporter::start(&json!({
            "servers": [], "probe": { "allowed_targets": [address] }, "modules": { "default": { "retries": 0 } },
        }));
        let response = exporter.get(&format!("/probe?target={}", url_of(&server)));
        assert_eq!(response.status, 200);
        assert!(response.body.contains("mcp_up 0"), "{}", response.body);
        assert!(response.body.contains("reason=\"http_status\""), "{}", response.body);
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[test]
fn an_event_stream_does_not_send_us_elsewhere() {
    let (inner, reached) = guarded();
    let elsewhere = format!("event: endpoint\ndata: http://localhost:{}/messages\n\n", inner.port.number());
    let server = FakeServer::start(move |exchange| {
        exchange.begin("text/event-stream")?;
        exchange.chunk(elsewhere.as_bytes())?;
        exchange.hang()
    });
    let exporter = Exporter::start(&json!({
        "servers": [], "probe": { "allowed_targets": [format!("127.0.0.1:{}", server.port.number())] },
        "modules": { "default": { "retries": 0 } },
    }));
    let response = exporter.get(&format!("/probe?target=http://{}/sse", server.address()));
    assert!(response.body.contains("mcp_up 0"), "{}", response.body);
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[test]
fn a_listed_host_is_admitted_whatever_its_address() {
    let server = FakeMcp::start(|_| Ok(false));
    let port = server.port.number();
    let exporter =
        Exporter::start(&json!({ "servers": [], "probe": { "allowed_targets": [format!("localhost:{port}")] } }));
    let response = exporter.get(&format!("/probe?target=http://localhost:{port}/mcp"));
    assert!(response.body.contains("mcp_up 1"), "{}", response.body);
    // The name is admitted, its address is not.
    assert_eq!(exporter.get(&format!("/probe?target=http://127.0.0.1:{port}/mcp")).status, 403);
    // A network admits the name too, by where it leads.
    let exporter =
        Exporter::start(&json!({ "servers": [], "probe": { "allowed_targets": [format!("127.0.0.0/8:{port}")] } }));
    let response = exporter.get(&format!("/probe?target=http://localhost:{port}/mcp"));
    assert!(response.body.contains("mcp_up 1"), "{}", response.body);
}

#[test]
fn credentials_go_only_to_those_whom_their_module_lists() {
    let (server, reached) = guarded();
    let exporter = Exporter::start(&json!({
        "servers": [],
        "probe": { "allowed_targets": ["127.0.0.0/8"] },
        "modules": { "partner": { "auth": { "bearer_token": "t0ken" }, "allowed_targets": ["partner.example"] } },
    }));
    let response = exporter.get(&format!("/probe?module=partner&target={}", url_of(&server)));
    assert_eq!(response.status, 403, "{}", response.body);
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}
