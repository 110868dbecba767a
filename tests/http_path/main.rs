//! The HTTP path against servers that do what real ones cannot be made to do.
//!
//! No test sleeps and hopes: each waits for something to have happened at the server, or for an answer.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of the functions that clippy takes for tests")]

mod auth;
mod fake;
mod fetch;
mod limits;
mod sessions;
mod stranger;
mod tls;
mod tokens;
mod trouble;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_exporter::probe::transport::{Conversation, Ledger, Question, Remembered, Reply, Resource, Shared};
use mcp_exporter::probe::{Failure, ProbeError};
use mcp_exporter::target::{Address, Endpoint, EndpointRedactor, HttpAddress, HttpTransport, Proxy, TlsSettings};
use mcp_exporter::units::PromDuration;

/// Longer than anything here takes, also on a busy machine.
const LONG: Duration = Duration::from_secs(30);

/// One target and what is known about it.
struct Client {
    endpoint: Arc<Endpoint>,
    shared: Arc<Shared>,
    memory: Remembered,
    ledger: Ledger,
    conversation: Option<Conversation>,
}

impl Client {
    fn new(url: &str) -> Self {
        Self::with(url, |_| {})
    }

    fn with(url: &str, change: impl FnOnce(&mut HttpAddress)) -> Self {
        Self::of(endpoint(url, change))
    }

    fn of(endpoint: Endpoint) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            shared: Arc::new(Shared::new()),
            memory: Remembered::default(),
            ledger: Ledger::new(Instant::now() + LONG),
            conversation: None,
        }
    }

    /// Opens if need be, and asks.
    async fn ask(&mut self, question: Question<'_>) -> Result<Reply, ProbeError> {
        if self.conversation.as_ref().is_some_and(Conversation::is_over) {
            self.close().await;
        }
        let work = async {
            if self.conversation.is_none() {
                let opened = Conversation::open(
                    &self.endpoint,
                    &self.shared,
                    &Arc::default(),
                    &mut self.memory,
                    &mut self.ledger,
                )
                .await?;
                self.conversation = Some(opened);
            }
            let conversation = self.conversation.as_mut().unwrap();
            conversation.request(question, &mut self.memory, &mut self.ledger).await
        };
        tokio::time::timeout(LONG, work).await.expect("an answer or an error, not silence")
    }

    async fn read(&mut self) -> Result<Reply, ProbeError> {
        self.ask(Question::ReadResource("health://status")).await
    }

    /// The text of the health resource.
    async fn text(&mut self) -> String {
        match self.read().await {
            Ok(Reply::Resource(Resource::Text(text))) => text,
            Ok(other) => panic!("{other:?}"),
            Err(error) => panic!("{}", error.chain()),
        }
    }

    async fn failure(&mut self) -> ProbeError {
        match self.read().await {
            Ok(reply) => panic!("{reply:?}"),
            Err(error) => error,
        }
    }

    async fn close(&mut self) {
        if let Some(conversation) = self.conversation.take() {
            tokio::time::timeout(LONG, conversation.close(&mut self.ledger)).await.unwrap();
        }
    }

    fn sessions(&self) -> (u32, u32) {
        (self.ledger.sessions_opened, self.ledger.sessions_closed)
    }
}

fn endpoint(url: &str, change: impl FnOnce(&mut HttpAddress)) -> Endpoint {
    let mut address = HttpAddress {
        url: url.parse().unwrap(),
        socket: None,
        resolve: mcp_exporter::target::Resolve::Any,
        transport: HttpTransport::Streamable,
        tls: TlsSettings::default(),
        proxy: Proxy::default(),
        auth: None,
        headers: Vec::new(),
        allowed: None,
    };
    change(&mut address);
    Endpoint {
        address: Address::Http(Box::new(address)),
        startup_timeout: None,
        max_connection_age: PromDuration::from_secs(3600),
        max_answer_bytes: 1 << 20,
        redactor: EndpointRedactor::default(),
    }
}

/// Asserts why a question failed, and what is said about it.
#[track_caller]
fn check(error: &ProbeError, failure: Failure, said: &str) {
    let chain = error.chain();
    assert_eq!(error.failure, failure, "{chain}");
    assert!(chain.contains(said), "{chain:?} does not say {said:?}");
}
