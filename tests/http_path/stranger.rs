//! What those are told who show no credentials.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use mcp_exporter::health::{Ask, HealthSettings};
use mcp_exporter::probe::transport::Shared;
use mcp_exporter::probe::{Attempt, Session};
use mcp_exporter::secret::{Secret, SecretSource};
use mcp_exporter::target::{Auth, HeaderSecret, HttpTransport};

use crate::fake::{Act, Fake, Got, answer, legacy, modern};
use crate::{LONG, endpoint};

fn session(server: &Fake, path: &str, transport: HttpTransport) -> Session {
    let endpoint = endpoint(&server.url(path), |address| {
        address.transport = transport;
        address.auth = Some(Auth::Bearer(SecretSource::Inline(Secret::new("token"))));
        let header = HeaderSecret(HeaderValue::from_static("secret"));
        address.headers.push((HeaderName::from_static("x-key"), header));
    });
    Session::new(Arc::new(endpoint), Arc::new(Shared::new()))
}

async fn attempt(session: &mut Session) -> Attempt {
    let settings = HealthSettings {
        ask: Ask::Resource("health://status".to_owned()),
        expect_auth: true,
        ..HealthSettings::default()
    };
    session.attempt(&settings, Instant::now() + LONG).await
}

fn is_stranger(got: &Got) -> bool {
    got.header("authorization").is_none()
}

/// Polls until it is known; every attempt succeeds all the while.
async fn enforced(session: &mut Session) -> (bool, u32, u32) {
    let (mut opened, mut closed) = (0, 0);
    let look = async {
        loop {
            let attempt = attempt(session).await;
            attempt.result.unwrap_or_else(|error| panic!("{}", error.chain()));
            (opened, closed) = (opened + attempt.sessions_opened, closed + attempt.sessions_closed);
            if let Some(enforced) = attempt.protection.auth_enforced {
                break enforced;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let enforced = tokio::time::timeout(LONG, look).await.expect("it is known in the end");
    (enforced, opened, closed)
}

fn guard(got: &Got, open: bool) -> Option<Act> {
    (is_stranger(got) && !open).then(|| Act::Send(answer("401 Unauthorized", "text/plain", "who are you?")))
}

#[tokio::test]
async fn a_server_that_asks_and_one_that_does_not() {
    for open in [false, true] {
        let old = Fake::start(move |got| legacy(got, |got| guard(got, open))).await;
        let mut session = session(&old, "/mcp?key=secret", HttpTransport::Streamable);
        let (enforced, opened, closed) = enforced(&mut session).await;
        assert_eq!((enforced, opened, closed), (!open, 1 + u32::from(open), u32::from(open)));
        for _ in 0..20 {
            attempt(&mut session).await;
        }
        // Asked once, without anything that is secret; a session of it is ended, the poll's own goes on.
        let strangers: Vec<Got> = old.got().into_iter().filter(is_stranger).collect();
        let methods: Vec<String> = strangers.iter().map(Got::method).collect();
        assert_eq!(methods, if open { vec!["initialize", "DELETE"] } else { vec!["initialize"] });
        assert!(strangers.iter().all(|got| !got.head.contains("secret")), "{strangers:?}");
        assert_eq!(old.seen().opened, 2);

        let new = Fake::start(move |got| modern(got, |got| guard(got, open))).await;
        let mut session = self::session(&new, "/mcp", HttpTransport::Auto);
        assert_eq!(self::enforced(&mut session).await.0, !open);
        assert_eq!(new.got().iter().find(|got| is_stranger(got)).map(Got::method).as_deref(), Some("server/discover"));

        let plain = Fake::start(move |got| {
            guard(got, open).unwrap_or_else(|| Act::Send(answer("200 OK", "application/json", "{\"status\":\"ok\"}")))
        })
        .await;
        let mut session = self::session(&plain, "/health", HttpTransport::Document);
        assert_eq!(self::enforced(&mut session).await.0, !open);
    }
}

#[tokio::test]
async fn a_stranger_who_is_left_waiting_disturbs_nobody() {
    let server = Fake::start(|got| legacy(got, |got| is_stranger(got).then_some(Act::Hang))).await;
    let mut session = session(&server, "/mcp", HttpTransport::Streamable);
    for _ in 0..20 {
        let attempt = attempt(&mut session).await;
        assert!(attempt.result.is_ok());
        assert_eq!(attempt.protection.auth_enforced, None);
    }
    server.until(|seen| seen.open == 2).await;
    session.close().await;
    server.until(|seen| seen.open == 0).await;
}
