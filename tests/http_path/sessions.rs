//! Handshakes, sessions, kept connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mcp_exporter::probe::transport::{Ledger, Question, Reply};
use mcp_exporter::probe::{Failure, Phase};
use mcp_exporter::target::HttpTransport;
use mcp_exporter::units::PromDuration;

use crate::fake::{Act, Fake, answer, answer_with, chunk, chunked, contents, error, legacy, modern, result};
use crate::{Client, LONG, check, endpoint};

#[tokio::test]
async fn a_hundred_questions_cost_one_session_and_one_connection() {
    let server = Fake::start(|got| legacy(got, |_| None)).await;
    let mut client = Client::new(&server.url("/mcp"));
    for _ in 0..100 {
        assert_eq!(client.text().await, "{\"status\":\"ok\"}");
    }
    client.close().await;
    let count = |method| server.count(method);
    assert_eq!((count("server/discover"), count("initialize"), count("notifications/initialized")), (1, 1, 1));
    assert_eq!((count("resources/read"), count("DELETE")), (100, 1));
    assert_eq!(server.seen().opened, 1);
    assert_eq!(client.sessions(), (1, 1));
    let got = server.got();
    let asked = got.last().unwrap();
    assert_eq!(asked.header("mcp-session-id"), Some("session-1"));
    let asked = &got[got.len() - 2];
    assert_eq!(asked.header("mcp-session-id"), Some("session-1"));
    assert_eq!(asked.header("mcp-protocol-version"), Some("2025-11-25"));
    assert_eq!(asked.header("accept"), Some("application/json, text/event-stream"));
    assert_eq!(asked.header("accept-encoding"), Some("identity"));
    assert_eq!(asked.header("mcp-method"), None);
    assert_eq!(asked.header("host"), Some(format!("127.0.0.1:{}", server.port).as_str()));
    let mut ids: Vec<u64> = got.iter().filter(|got| got.body.contains("\"id\"")).map(|got| got.id()).collect();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "an id was used twice");
}

#[tokio::test]
async fn a_modern_server_is_asked_without_a_handshake() {
    let server = Fake::start(|got| modern(got, |_| None)).await;
    let mut client = Client::new(&server.url("/mcp"));
    assert_eq!(client.text().await, "{\"status\":\"ok\"}");
    let conversation = client.conversation.as_ref().unwrap();
    assert!(conversation.modern() && conversation.has_resources());
    let info = conversation.info().unwrap();
    assert_eq!((&*info.name, &*info.version, &*info.protocol_version), ("modern", "2", "2026-07-28"));
    assert_eq!(server.methods(), ["server/discover", "resources/read"]);
    let asked = &server.got()[1];
    assert_eq!(asked.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(asked.header("mcp-method"), Some("resources/read"));
    assert_eq!(asked.header("mcp-name"), Some("health://status"));
    let meta = &asked.json()["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "mcp-exporter");
    assert!(meta["io.modelcontextprotocol/clientCapabilities"].is_object());
    // An error that comes with a status of its own is still the error.
    assert!(matches!(client.ask(Question::ListTools).await, Ok(Reply::Refused(refusal)) if refusal.code == -32601));
    client.close().await;
    assert_eq!(server.count("DELETE"), 0);
}

#[tokio::test]
async fn names_that_no_header_can_carry_are_encoded() {
    let server = Fake::start(|got| modern(got, |_| None)).await;
    let mut client = Client::new(&server.url("/mcp"));
    client.ask(Question::ReadResource("health://zustand/ä")).await.unwrap();
    assert_eq!(server.got()[1].header("mcp-name"), Some("=?base64?aGVhbHRoOi8venVzdGFuZC/DpA==?="));
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again_within_the_question() {
    for words in ["Session not found", ""] {
        let status = if words.is_empty() { "404 Not Found" } else { "400 Bad Request" };
        let initialized = Arc::new(AtomicUsize::new(0));
        let server = Fake::start({
            let initialized = Arc::clone(&initialized);
            move |got| {
                legacy(got, |got| match got.method().as_str() {
                    "initialize" => {
                        initialized.fetch_add(1, Ordering::Relaxed);
                        None
                    }
                    "resources/read" if initialized.load(Ordering::Relaxed) == 1 && got.id() > 3 => {
                        Some(Act::Send(answer(status, "text/plain", words)))
                    }
                    _ => None,
                })
            }
        })
        .await;
        let mut client = Client::new(&server.url("/mcp"));
        assert_eq!(client.text().await, "{\"status\":\"ok\"}");
        assert_eq!(client.sessions(), (1, 0));
        assert_eq!(client.text().await, "{\"status\":\"ok\"}", "{status}");
        assert_eq!(client.sessions(), (2, 1));
        assert_eq!((server.count("server/discover"), server.count("initialize")), (1, 2));
        assert_eq!(client.conversation.as_ref().unwrap().handshakes(), 2);
    }
}

#[tokio::test]
async fn a_session_that_is_lost_again_and_again() {
    let server = Fake::start(|got| {
        legacy(got, |got| {
            (got.method() == "resources/read").then(|| Act::Send(answer("404 Not Found", "text/plain", "")))
        })
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    let error = client.failure().await;
    check(&error, Failure::SessionLost, "lost the session");
    assert!(client.conversation.as_ref().unwrap().is_over());
    assert_eq!(client.sessions(), (2, 2));
    client.close().await;
    assert_eq!(client.sessions(), (2, 2));
}

#[tokio::test]
async fn a_lost_session_that_cannot_be_opened_again() {
    let initialized = AtomicBool::new(false);
    let server = Fake::start(move |got| {
        legacy(got, |got| match got.method().as_str() {
            "initialize" if initialized.swap(true, Ordering::Relaxed) => {
                Some(Act::Send(answer("503 Service Unavailable", "text/plain", "full")))
            }
            "resources/read" => Some(Act::Send(answer("404 Not Found", "text/plain", ""))),
            _ => None,
        })
    })
    .await;
    let error = Client::new(&server.url("/mcp")).failure().await;
    check(&error, Failure::SessionLost, "503 Service Unavailable");
}

#[tokio::test]
async fn a_server_that_became_an_older_one_is_asked_its_way() {
    let old = Arc::new(AtomicBool::new(false));
    let server = Fake::start({
        let old = Arc::clone(&old);
        move |got| {
            if !old.load(Ordering::Relaxed) {
                return modern(got, |_| None);
            }
            legacy(got, |got| {
                let missing = got.header("mcp-session-id").is_none() && got.method() == "resources/read";
                missing.then(|| Act::Send(answer("400 Bad Request", "text/plain", "Missing session ID")))
            })
        }
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    client.text().await;
    old.store(true, Ordering::Relaxed);
    client.text().await;
    assert!(!client.conversation.as_ref().unwrap().modern());
    old.store(false, Ordering::Relaxed);
    // To the new one, `initialize` is a method it does not know; the attempt after that asks afresh.
    client.close().await;
    assert!(client.read().await.is_err());
    client.text().await;
    assert!(client.conversation.as_ref().unwrap().modern());
}

/// What `server/discover` is answered with, and how often it is asked when the target is opened twice.
async fn check_memory(discover: &'static str, status: &'static str, asked: usize) {
    let server = Fake::start(move |got| {
        legacy(got, |got| {
            (got.method() == "server/discover").then(|| Act::Send(answer(status, "text/plain", discover)))
        })
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    for _ in 0..2 {
        // The first may fail: a 429 is not answered by asking more.
        let _first = client.read().await;
        client.close().await;
    }
    assert_eq!(server.count("server/discover"), asked, "{status}");
}

#[tokio::test]
async fn the_verdict_is_remembered_unless_it_says_nothing() {
    check_memory("no", "400 Bad Request", 1).await;
    check_memory("no", "404 Not Found", 1).await;
    check_memory("no", "405 Method Not Allowed", 1).await;
    check_memory("hello", "200 OK", 1).await;
    check_memory("no", "500 Internal Server Error", 2).await;
    check_memory("no", "503 Service Unavailable", 2).await;
    check_memory("no", "401 Unauthorized", 2).await;
    check_memory("no", "403 Forbidden", 2).await;
    check_memory("no", "429 Too Many Requests", 2).await;
}

#[tokio::test]
async fn discover_that_nobody_answers_costs_half_of_the_time() {
    let server = Fake::start(|got| legacy(got, |got| (got.method() == "server/discover").then_some(Act::Hang))).await;
    let mut client = Client::new(&server.url("/mcp"));
    client.ledger = Ledger::new(std::time::Instant::now() + Duration::from_millis(200));
    assert_eq!(client.text().await, "{\"status\":\"ok\"}");
    // The connection with the question on it is gone.
    server.until(|seen| seen.open == 1).await;
    client.close().await;
    client.text().await;
    assert_eq!(server.count("server/discover"), 1);
}

#[tokio::test]
async fn an_attempt_that_ended_during_initialize_leaves_the_next_its_whole_time() {
    let hang = Arc::new(AtomicBool::new(true));
    let server = Fake::start({
        let hang = Arc::clone(&hang);
        move |got| {
            legacy(got, |got| (got.method() == "initialize" && hang.load(Ordering::Relaxed)).then_some(Act::Hang))
        }
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    tokio::select! {
        biased;
        reply = client.read() => panic!("{reply:?}"),
        () = server.until(|seen| seen.requests == 2) => {}
    }
    hang.store(false, Ordering::Relaxed);
    client.text().await;
    assert_eq!((server.count("server/discover"), server.count("initialize")), (1, 2));
}

#[tokio::test]
async fn revisions_are_agreed_upon() {
    for (version, spoken) in
        [("2025-06-18", true), ("2025-03-26", true), ("2024-11-05", true), ("2023-01-01", false), ("2026-07-28", false)]
    {
        let server = Fake::start(move |got| {
            legacy(got, |got| {
                let said = serde_json::json!({"protocolVersion": version, "capabilities": {}});
                (got.method() == "initialize")
                    .then(|| Act::Send(answer("200 OK", "application/json", &result(got, said))))
            })
        })
        .await;
        let mut client = Client::new(&server.url("/mcp"));
        if spoken {
            client.text().await;
            assert_eq!(server.got().last().unwrap().header("mcp-protocol-version"), Some(version));
            assert_eq!(server.got().last().unwrap().header("mcp-session-id"), None);
            assert!(!client.conversation.as_ref().unwrap().has_resources());
        } else {
            check(&client.failure().await, Failure::Protocol, "no protocol revision that we speak");
        }
    }
}

#[tokio::test]
async fn a_server_of_the_future_is_no_common_revision() {
    let server = Fake::start(|got| {
        let body = serde_json::json!({"jsonrpc": "2.0", "id": got.id(), "error": {"code": -32022,
            "message": "unsupported", "data": {"supported": ["2030-01-01"]}}});
        Act::Send(answer("400 Bad Request", "application/json", &body.to_string()))
    })
    .await;
    check(&Client::new(&server.url("/mcp")).failure().await, Failure::Protocol, "it speaks `2030-01-01`");
}

#[tokio::test]
async fn connections_that_the_server_closes_meanwhile_are_replaced_silently() {
    let server = Fake::start(|got| match legacy(got, |_| None) {
        Act::Send(bytes) if got.method() == "resources/read" => Act::Last(bytes),
        act => act,
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    for round in 1..=5 {
        assert_eq!(client.text().await, "{\"status\":\"ok\"}");
        server.until(|seen| seen.open == 0).await;
        assert_eq!(server.seen().opened, round);
    }
    assert_eq!(client.sessions(), (1, 0));
    assert_eq!((server.count("initialize"), server.count("resources/read")), (1, 5));
}

/// Answers each question about health with these bytes before and behind the answer.
async fn answered_between(before: &'static str, behind: &'static str) -> Fake {
    Fake::start(move |got| match legacy(got, |_| None) {
        Act::Send(bytes) if got.method() == "resources/read" => {
            Act::Send([before.as_bytes(), &bytes, behind.as_bytes()].concat())
        }
        act => act,
    })
    .await
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let hints = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let server = answered_between(hints, "").await;
    let mut client = Client::new(&server.url("/mcp"));
    for _ in 0..2 {
        assert_eq!(client.text().await, "{\"status\":\"ok\"}");
    }
    assert_eq!(server.seen().opened, 1);
}

#[tokio::test]
async fn what_is_said_unasked_is_no_answer_to_the_next_question() {
    let lie = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let server = answered_between("", lie).await;
    let mut client = Client::new(&server.url("/mcp"));
    for round in 1..=3 {
        assert_eq!(client.text().await, "{\"status\":\"ok\"}");
        assert_eq!(server.seen().opened, round);
    }
    assert_eq!(client.sessions(), (1, 0));
}

#[tokio::test]
async fn a_question_that_closes_a_kept_connection_is_asked_once_more() {
    let server = Fake::start(|got| {
        legacy(got, |got| {
            // The handshake's connection breaks when the question comes; the next one works.
            (got.method() == "resources/read" && got.connection == 0).then_some(Act::Close)
        })
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    assert_eq!(client.text().await, "{\"status\":\"ok\"}");
    assert_eq!((server.seen().opened, server.count("resources/read"), server.count("initialize")), (2, 2, 1));
}

#[tokio::test]
async fn a_question_that_closes_every_connection_fails() {
    let server = Fake::start(|got| legacy(got, |got| (got.method() == "resources/read").then_some(Act::Close))).await;
    let mut client = Client::new(&server.url("/mcp"));
    check(&client.failure().await, Failure::Connect, "was not answered: the connection was closed");
    assert_eq!(server.count("resources/read"), 2);
    // The session may still be there: it is kept, and not opened again.
    assert!(!client.conversation.as_ref().unwrap().is_over());
}

#[tokio::test]
async fn a_connection_is_renewed_at_its_age_and_the_session_stays() {
    let server = Fake::start(|got| legacy(got, |_| None)).await;
    let mut endpoint = endpoint(&server.url("/mcp"), |_| {});
    endpoint.max_connection_age = PromDuration::from_millis(0);
    let mut client = Client::of(endpoint);
    client.text().await;
    let opened = server.seen().opened;
    client.text().await;
    assert_eq!(server.seen().opened, opened + 1);
    assert_eq!((server.count("initialize"), client.sessions()), (1, (1, 0)));
}

#[tokio::test]
async fn a_dropped_question_leaves_no_socket_and_keeps_the_session() {
    let hang = Arc::new(AtomicBool::new(true));
    let server = Fake::start({
        let hang = Arc::clone(&hang);
        move |got| {
            legacy(got, |got| (got.method() == "resources/read" && hang.load(Ordering::Relaxed)).then_some(Act::Hang))
        }
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    for round in 1..=20 {
        tokio::select! {
            biased;
            reply = client.read() => panic!("{reply:?}"),
            () = server.until(|seen| seen.requests == 3 + round) => {}
        }
        assert_eq!(client.ledger.running(), Some(Phase::Request));
        server.until(|seen| seen.open == 0).await;
    }
    hang.store(false, Ordering::Relaxed);
    assert_eq!(client.text().await, "{\"status\":\"ok\"}");
    assert_eq!((server.count("initialize"), client.sessions()), (1, (1, 0)));
}

#[tokio::test]
async fn an_answer_on_an_event_stream() {
    let server = Fake::start(|got| {
        legacy(got, |got| {
            let mut bytes = chunked("text/event-stream; charset=utf-8");
            for event in [
                ": hello\r\n\r\n".to_owned(),
                "id: 0\ndata:\n\n".to_owned(),
                "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/list_changed\"}\n\n"
                    .to_owned(),
                "data: {\"jsonrpc\":\"2.0\",\"id\":\"s1\",\"method\":\"ping\"}\n\n".to_owned(),
                "event: other\ndata: nonsense\n\n".to_owned(),
                format!("event: message\r\ndata: {}\r\n\r\n", result(got, contents("streamed"))),
            ] {
                bytes.extend(chunk(&event));
            }
            bytes.extend(chunk(""));
            (got.method() == "resources/read").then_some(Act::Send(bytes))
        })
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    for _ in 0..5 {
        assert_eq!(client.text().await, "streamed");
        assert!(client.conversation.as_mut().unwrap().take_list_changed());
        assert!(!client.conversation.as_mut().unwrap().take_list_changed());
    }
    assert_eq!(server.seen().opened, 1, "the connection of a stream that ended is kept");
}

#[tokio::test]
async fn a_stream_that_stays_open_after_the_answer_costs_its_connection_only() {
    let server = Fake::start(|got| {
        legacy(got, |got| {
            let mut bytes = chunked("text/event-stream");
            bytes.extend(chunk(&format!("data: {}\n\n", result(got, contents("streamed")))));
            (got.method() == "resources/read").then_some(Act::Send(bytes))
        })
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    for round in 1..=3 {
        assert_eq!(client.text().await, "streamed");
        assert_eq!(server.seen().opened, round);
    }
    server.until(|seen| seen.open == 1).await;
}

#[tokio::test]
async fn batches_and_ids_as_text_are_understood() {
    let server = Fake::start(|got| {
        legacy(got, |got| {
            let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
            let id = format!("\"id\":{}", got.id());
            let answer_text = result(got, contents("batched")).replace(&id, &format!("\"id\":\"{}\"", got.id()));
            let body = format!(" [{note},{answer_text}]");
            (got.method() == "resources/read").then(|| Act::Send(answer("200 OK", "application/json", &body)))
        })
    })
    .await;
    assert_eq!(Client::new(&server.url("/mcp")).text().await, "batched");
}

#[tokio::test]
async fn json_rpc_errors_are_answers_for_the_asker_to_judge() {
    let server = Fake::start(|got| {
        legacy(got, |got| {
            let body = error(got, -32002, "no\u{202e} such\n resource");
            (got.method() == "resources/read").then(|| Act::Send(answer("200 OK", "application/json", &body)))
        })
    })
    .await;
    let Ok(Reply::Refused(refusal)) = Client::new(&server.url("/mcp")).read().await else { panic!("a refusal") };
    assert_eq!((refusal.code, &*refusal.message), (-32002, "no such  resource"));
}

#[tokio::test]
async fn initialize_that_is_refused_is_a_json_rpc_error() {
    let server =
        Fake::start(|got| Act::Send(answer("200 OK", "application/json", &error(got, -32603, "broken")))).await;
    check(&Client::new(&server.url("/mcp")).failure().await, Failure::RpcError, "-32603: broken");
}

#[tokio::test]
async fn auto_finds_the_path() {
    let server = Fake::start(|got| {
        if got.first_line().starts_with("POST / ") || got.first_line().starts_with("DELETE / ") {
            return legacy(got, |_| None);
        }
        Act::Send(answer("404 Not Found", "text/plain", "no"))
    })
    .await;
    let mut client = Client::with(&server.url(""), |address| address.transport = HttpTransport::Auto);
    client.text().await;
    let elsewhere = || server.got().iter().filter(|got| got.first_line().starts_with("POST /mcp ")).count();
    assert_eq!(elsewhere(), 2, "discover and initialize");
    client.close().await;
    client.text().await;
    assert_eq!(elsewhere(), 2, "the verdict holds");
}

#[tokio::test]
async fn auto_says_what_it_tried() {
    let server = Fake::start(|_| Act::Send(answer("404 Not Found", "text/plain", "no"))).await;
    let mut client = Client::with(&server.url("/"), |address| address.transport = HttpTransport::Auto);
    let error = client.failure().await;
    check(&error, Failure::HttpStatus, "404 Not Found");
    assert!(error.hint.unwrap().contains("neither `/mcp`"));
}

#[tokio::test]
async fn auto_draws_no_conclusion_from_a_refusal() {
    let server = Fake::start(|_| Act::Send(answer("401 Unauthorized", "text/plain", ""))).await;
    let mut client = Client::with(&server.url(""), |address| address.transport = HttpTransport::Auto);
    check(&client.failure().await, Failure::Unauthorized, "401 Unauthorized");
    assert!(server.got().iter().all(|got| got.first_line().starts_with("POST /mcp ")));
}

#[tokio::test]
async fn a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mcp.sock");
    let server = Fake::start_unix(&path, |got| legacy(got, |_| None));
    let mut client = Client::with("http://localhost/mcp?key=value", |address| address.socket = Some(path.clone()));
    client.text().await;
    let got = &server.got()[0];
    assert_eq!(got.first_line(), "POST /mcp?key=value HTTP/1.1");
    assert_eq!(got.header("host"), Some("localhost:80"));
    server.stop();
    std::fs::remove_file(&path).unwrap();
    let error = Client::with("http://localhost/mcp", |address| address.socket = Some(path)).failure().await;
    check(&error, Failure::Connect, "could not connect to unix://");
    assert!(error.hint.unwrap().contains("does not exist"));
}

#[tokio::test]
async fn documents_are_got_whatever_the_status() {
    for (status, failure) in [
        ("200 OK", None),
        ("503 Service Unavailable", Some(Failure::HttpStatus)),
        ("404 Not Found", Some(Failure::HttpStatus)),
        ("401 Unauthorized", Some(Failure::Unauthorized)),
    ] {
        let server =
            Fake::start(move |_| Act::Send(answer(status, "application/health+json", "{\"status\":\"pass\"}"))).await;
        let mut client = Client::with(&server.url("/health"), |address| address.transport = HttpTransport::Auto);
        let Ok(Reply::Document(document)) = client.ask(Question::Document).await else { panic!("{status}") };
        assert_eq!(&document.body[..], b"{\"status\":\"pass\"}");
        assert_eq!(document.otherwise.map(|error| error.failure), failure);
        assert_eq!(server.got()[0].first_line(), "GET /health HTTP/1.1");
        assert!(server.got()[0].header("accept").unwrap().starts_with("application/json"));
        assert_eq!(client.sessions(), (0, 0));
    }
}

#[tokio::test]
async fn the_time_of_a_question_is_its_own() {
    let server = Fake::start(|got| legacy(got, |_| None)).await;
    let mut client = Client::new(&server.url("/mcp"));
    client.text().await;
    let phases = client.ledger.phases;
    assert!(phases.get(Phase::Connect).is_some() && phases.get(Phase::Initialize).is_some());
    assert!(phases.get(Phase::Request).is_some());
    assert!(phases.get(Phase::Dns).is_none() && phases.get(Phase::Tls).is_none());
    client.ledger = Ledger::new(std::time::Instant::now() + LONG);
    client.text().await;
    assert!(client.ledger.phases.get(Phase::Connect).is_none());
}

#[tokio::test]
async fn redirects_within_the_origin_keep_the_question() {
    let server = Fake::start(|got| {
        if got.first_line().starts_with("POST /mcp ") {
            return Act::Send(answer_with("307 Temporary Redirect", &[("Location", "/mcp/")], ""));
        }
        legacy(got, |_| None)
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    client.text().await;
    client.text().await;
    let redirected = server.got().iter().filter(|got| got.first_line().starts_with("POST /mcp ")).count();
    assert_eq!(redirected, 1, "once on a connection");
}

/// A server that refuses to end a session may say so at length, and never come to its end.
#[tokio::test]
async fn the_rest_of_an_answer_does_not_hold_up_the_end() {
    let server = Fake::start(|got| {
        legacy(got, |got| {
            let begun = [chunked("text/plain"), chunk("sessions cannot be ended because")].concat();
            (got.method() == "DELETE").then_some(Act::Send(begun))
        })
    })
    .await;
    let mut client = Client::new(&server.url("/mcp"));
    client.text().await;
    client.close().await;
    assert_eq!(server.count("DELETE"), 1);
}
