//! Tokens that an authorization server grants, and what becomes of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mcp_exporter::probe::Failure;
use mcp_exporter::probe::transport::Shared;
use mcp_exporter::secret::{Secret, SecretSource};
use mcp_exporter::target::{Auth, ClientAuthentication, OAuth2};
use tokio::task::JoinSet;

use crate::fake::{Act, Fake, Got, answer, legacy};
use crate::{Client, LONG, check, endpoint};

/// An authorization server that grants `token-1`, `token-2` and so on, each for so many seconds.
async fn authorization(seconds: u64) -> Fake {
    let granted = AtomicUsize::new(0);
    Fake::start(move |_| {
        let number = granted.fetch_add(1, Ordering::Relaxed) + 1;
        let body = format!(r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":{seconds}}}"#);
        Act::Send(answer("200 OK", "application/json", &body))
    })
    .await
}

/// An MCP server that takes no token but these.
async fn guarded(valid: &Arc<Mutex<Vec<String>>>) -> Fake {
    let valid = Arc::clone(valid);
    Fake::start(move |got| {
        let sent = got.header("authorization").unwrap_or_default();
        if valid.lock().unwrap().iter().any(|token| sent == format!("Bearer {token}")) {
            return legacy(got, |_| None);
        }
        Act::Send(answer("401 Unauthorized", "text/plain", &format!("not {sent}")))
    })
    .await
}

fn valid(tokens: &[&str]) -> Arc<Mutex<Vec<String>>> {
    Arc::new(Mutex::new(tokens.iter().map(|token| (*token).to_owned()).collect()))
}

fn settings(authorization: &Fake) -> OAuth2 {
    let secret = SecretSource::Inline(Secret::new("s3cret &+"));
    OAuth2::new(authorization.url("/token").parse().unwrap(), "monitor".to_owned(), secret)
}

fn client(server: &Fake, settings: &OAuth2) -> Client {
    Client::with(&server.url("/mcp"), |address| address.auth = Some(Auth::OAuth2(Arc::new(settings.clone()))))
}

/// The first line, headers that matter, and the form of a request for a token.
fn asked(got: &Got) -> (Option<&str>, Vec<(String, String)>) {
    (got.header("authorization"), url::form_urlencoded::parse(got.body.as_bytes()).into_owned().collect())
}

#[tokio::test]
async fn a_thousand_pollers_share_one_request() {
    let authorization = authorization(3600).await;
    let server = guarded(&valid(&["token-1"])).await;
    let shared = Arc::new(Shared::new());
    let mut pollers = JoinSet::new();
    for _ in 0..1000 {
        let mut client = client(&server, &settings(&authorization));
        client.shared = Arc::clone(&shared);
        pollers.spawn(async move {
            client.text().await;
            client
        });
    }
    let clients = tokio::time::timeout(LONG, pollers.join_all()).await.expect("all are answered");
    assert_eq!((clients.len(), authorization.seen().requests), (1000, 1));
    let left = clients[0].ledger.protection.token_expiry.unwrap().duration_since(SystemTime::now()).unwrap();
    assert!((3500..=3600).contains(&left.as_secs()), "{left:?}");
}

#[tokio::test]
async fn the_request_is_what_rfc_6749_says() {
    let server = guarded(&valid(&["token-1"])).await;
    let fields =
        |form: &[(&str, &str)]| form.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
    for (client_authentication, header, more) in [
        // base64 of `monitor:s3cret+%26%2B`
        (ClientAuthentication::Basic, Some("Basic bW9uaXRvcjpzM2NyZXQrJTI2JTJC"), &[][..]),
        (ClientAuthentication::Form, None, &[("client_id", "monitor"), ("client_secret", "s3cret &+")][..]),
    ] {
        let authorization = authorization(3600).await;
        let settings = OAuth2 {
            client_authentication,
            scopes: vec!["read".to_owned(), "health".to_owned()],
            audience: Some("https://mcp.example/".to_owned()),
            endpoint_params: vec![("resource".to_owned(), Secret::new("r=1"))],
            ..settings(&authorization)
        };
        client(&server, &settings).text().await;
        let common = [
            ("grant_type", "client_credentials"),
            ("scope", "read health"),
            ("audience", "https://mcp.example/"),
            ("resource", "r=1"),
        ];
        let got = authorization.got();
        assert_eq!(asked(&got[0]), (header, fields(&[&common, more].concat())));
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let authorization = authorization(2).await;
    let server = guarded(&valid(&["token-1", "token-2"])).await;
    let mut client = client(&server, &settings(&authorization));
    client.text().await;
    // Used until it is renewed; a wait for the state, since the moment is a matter of chance.
    let renewed = async {
        while server.got().last().unwrap().header("authorization") == Some("Bearer token-1") {
            client.text().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, renewed).await.expect("it is renewed");
    // Nobody was refused, and the session went on.
    assert_eq!(server.count("initialize"), 1);
    assert_eq!(authorization.seen().requests, 2);
}

#[tokio::test]
async fn a_revoked_token_is_replaced_once_for_all() {
    let authorization = authorization(3600).await;
    let tokens = valid(&["token-1"]);
    let server = guarded(&tokens).await;
    let shared = Arc::new(Shared::new());
    let mut clients: Vec<_> = (0..20).map(|_| client(&server, &settings(&authorization))).collect();
    for client in &mut clients {
        client.shared = Arc::clone(&shared);
        client.text().await;
    }
    *tokens.lock().unwrap() = vec!["token-2".to_owned()];
    let mut pollers = JoinSet::new();
    for mut client in clients {
        pollers.spawn(async move {
            client.text().await;
            client
        });
    }
    let mut clients = pollers.join_all().await;
    assert_eq!(authorization.seen().requests, 2);
    assert_eq!(server.count("initialize"), 20, "no session was lost");

    // A server that takes no token at all: one more request, and then no more for some time, however often it refuses.
    tokens.lock().unwrap().clear();
    for client in &mut clients {
        let error = client.failure().await;
        check(&error, Failure::Unauthorized, "401 Unauthorized");
        assert!(!error.chain().contains("token-"), "{}", error.chain());
    }
    let requests = authorization.seen().requests;
    assert!(requests <= 4, "{requests}");
}

#[tokio::test]
async fn no_token_to_be_had_says_why_and_asks_no_more_for_a_while() {
    let server = guarded(&valid(&[])).await;
    let refusal = r#"{"error":"invalid_client","error_description":"unknown s3cret &+"}"#;
    let refusing = Fake::start(move |_| Act::Send(answer("401 Unauthorized", "application/json", refusal))).await;
    let shared = Arc::new(Shared::new());
    for _ in 0..50 {
        let mut client = client(&server, &settings(&refusing));
        client.shared = Arc::clone(&shared);
        let error = client.failure().await;
        check(&error, Failure::Unauthorized, "no token to be had for http://127.0.0.1:");
        check(&error, Failure::Unauthorized, "invalid_client");
        assert!(!error.chain().contains("s3cret"), "{}", error.chain());
        assert!(error.hint.unwrap().contains("client_secret_post"));
    }
    assert!(refusing.seen().requests <= 3, "{}", refusing.seen().requests);
    assert_eq!(server.seen().requests, 0, "the server is not asked without a token");

    let dead = Fake::start(|_| Act::Close).await;
    let settings = settings(&dead);
    dead.stop();
    check(&client(&server, &settings).failure().await, Failure::Unauthorized, "could not connect to http://127.0.0.1:");

    let mut settings = settings;
    settings.client_secret = SecretSource::File("/does/not/exist".into());
    check(&client(&server, &settings).failure().await, Failure::Unauthorized, "could not read `/does/not/exist`");
}

#[tokio::test]
async fn an_authorization_server_that_hangs_costs_the_attempt_and_says_so() {
    let server = guarded(&valid(&["token-1"])).await;
    let hanging = Fake::start(|_| Act::Hang).await;
    let mut client = client(&server, &settings(&hanging));
    client.ledger = mcp_exporter::probe::transport::Ledger::new(std::time::Instant::now() + Duration::from_millis(300));
    let error = client.failure().await;
    check(&error, Failure::Unauthorized, "has not answered yet");
    // The request outlives the attempt, so that the next one profits.
    assert_eq!(hanging.seen().open, 1);
}

#[tokio::test]
async fn the_end_of_a_bearer_token_that_says_so() {
    let server = Fake::start(|got| legacy(got, |_| None)).await;
    // {"exp":1800000000}
    for (token, expiry) in [("e30.eyJleHAiOjE4MDAwMDAwMDB9.c2ln", Some(1_800_000_000)), ("opaque", None)] {
        let source = SecretSource::Inline(Secret::new(token));
        let mut client = Client::of(endpoint(&server.url("/mcp"), |address| address.auth = Some(Auth::Bearer(source))));
        client.text().await;
        let expected = expiry.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(client.ledger.protection.token_expiry, expected);
    }
}
