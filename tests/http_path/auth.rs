//! Who we say we are.

use std::sync::{Arc, Mutex};

use http::{HeaderName, HeaderValue};
use mcp_exporter::probe::Failure;
use mcp_exporter::secret::{Secret, SecretSource};
use mcp_exporter::target::{Auth, HeaderSecret};

use crate::fake::{Act, Fake, answer, legacy};
use crate::{Client, check};

#[tokio::test]
async fn a_token_file_is_read_again_when_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "first-token\n").unwrap();
    let valid = Arc::new(Mutex::new("Bearer first-token".to_owned()));
    let server = Fake::start({
        let valid = Arc::clone(&valid);
        move |got| {
            if got.header("authorization") == Some(valid.lock().unwrap().as_str()) {
                return legacy(got, |_| None);
            }
            let said = format!("bad header {:?}", got.header("authorization"));
            Act::Send(answer("401 Unauthorized", "text/plain", &said))
        }
    })
    .await;
    let mut client = Client::with(&server.url("/mcp"), |address| {
        address.auth = Some(Auth::Bearer(SecretSource::File(path.clone())));
    });
    client.text().await;

    "Bearer second-token".clone_into(&mut valid.lock().unwrap());
    let asked = server.seen().requests;
    let error = client.failure().await;
    check(&error, Failure::Unauthorized, "401 Unauthorized");
    assert!(!error.chain().contains("first-token"), "{}", error.chain());
    assert_eq!(server.seen().requests, asked + 1, "the same token is not tried twice");

    std::fs::write(&path, "second-token").unwrap();
    client.text().await;
    assert_eq!(server.seen().requests, asked + 3);
    assert_eq!((server.count("initialize"), server.seen().opened), (1, 1));

    std::fs::write(&path, "third-token").unwrap();
    "Bearer fourth-token".clone_into(&mut valid.lock().unwrap());
    let error = client.failure().await;
    let shown = format!("{} {error:?}", error.chain());
    assert!(!shown.contains("second-token") && !shown.contains("third-token"), "{shown}");
}

#[tokio::test]
async fn no_token_to_be_had() {
    let server = Fake::start(|got| legacy(got, |_| None)).await;
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    std::fs::write(&empty, " \n").unwrap();
    for (path, said) in [(directory.path().join("missing"), "could not read"), (empty, "is empty")] {
        let mut client = Client::with(&server.url("/mcp"), |address| {
            address.auth = Some(Auth::Bearer(SecretSource::File(path)));
        });
        check(&client.failure().await, Failure::Unauthorized, said);
    }
    assert_eq!(server.seen().opened, 0);
}

#[tokio::test]
async fn basic_authentication_is_not_repeated_to_anyone() {
    let server = Fake::start(|got| {
        let said = format!("{:?}", got.header("authorization"));
        Act::Send(answer("403 Forbidden", "text/plain", &said))
    })
    .await;
    let mut client = Client::with(&server.url("/mcp"), |address| {
        let password = SecretSource::Inline(Secret::new("hunter2"));
        address.auth = Some(Auth::Basic { username: "monitor".into(), password });
    });
    let error = client.failure().await;
    check(&error, Failure::Unauthorized, "Basic ***");
    assert_eq!(server.got()[0].header("authorization"), Some("Basic bW9uaXRvcjpodW50ZXIy"));
}

#[tokio::test]
async fn configured_headers_are_sent_and_replace_ours() {
    let server = Fake::start(|got| legacy(got, |_| None)).await;
    let mut client = Client::with(&server.url("/mcp"), |address| {
        for (name, value) in [("host", "mcp.example.com"), ("user-agent", "me"), ("x-key", "1"), ("x-key", "2")] {
            let value = HeaderSecret(HeaderValue::from_static(value));
            address.headers.push((HeaderName::from_static(name), value));
        }
    });
    client.text().await;
    for got in server.got() {
        assert_eq!(got.header("host"), Some("mcp.example.com"));
        assert_eq!(got.header("user-agent"), Some("me"));
        let keys: Vec<_> = got.head.lines().filter(|line| line.starts_with("x-key")).collect();
        assert_eq!(keys, ["x-key: 1", "x-key: 2"]);
    }
}
