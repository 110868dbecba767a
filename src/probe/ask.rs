//! What can be asked, and what its answers mean: resource, tool, protocol, and the choice that `auto` makes.
//!
//! Does not know how a question travels, nor what a health document looks like. The rule that surprises: error codes
//! prove nothing. FastMCP 2 sends the same for a resource that is missing and for one that raises, so only a complete
//! list without the resource says that there is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use rmcp::model::CallToolResult;
use tokio::time::timeout;

use crate::canary::Said;
use crate::health::{self, Ask, HealthDocument, HealthLimits, HealthSettings, KnownChecks};
use crate::probe::transport::{Conversation, Document, Ledger, Question, Refusal, Remembered, Reply, Resource};
use crate::probe::{Answer, Failure, Phase, ProbeError, Source};

/// The resource that `auto` looks for. No other `health://` resource is touched: it may be medical data.
const STATUS_URI: &str = "health://status";

/// How often a server that had no such resource is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5 * 60);

/// Pages of a list that are read before it counts as endless, and so as no proof.
const MOST_PAGES: usize = 20;

/// What has been learned about a server over one connection.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    auto: Auto,
    ignores_ping: bool,
    checks: KnownChecks,
    handshakes: u32,
}

/// What `auto` has come to.
#[derive(Debug, Default, Clone, Copy)]
enum Auto {
    /// Nothing yet.
    #[default]
    Unknown,
    /// The resource has been read once: from here on, that it cannot be read is a failure.
    Resource,
    /// There is no such resource; found at this time.
    Protocol(Instant),
}

/// One attempt's means of asking.
pub(crate) struct Asker<'a> {
    conversation: &'a mut Conversation,
    learned: &'a mut Learned,
    memory: &'a mut Remembered,
    ledger: &'a mut Ledger,
    /// Of the last question: itself and its answer, without what it took to get there.
    response_time: Duration,
}

/// An answer as bytes, before anybody has read it.
struct Heard {
    document: HealthDocument,
    source: Source,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(
        conversation: &'a mut Conversation,
        learned: &'a mut Learned,
        memory: &'a mut Remembered,
        ledger: &'a mut Ledger,
    ) -> Self {
        Self { conversation, learned, memory, ledger, response_time: Duration::ZERO }
    }

    /// Asks what the settings say.
    pub(crate) async fn ask(mut self, settings: &HealthSettings) -> Result<Answer, ProbeError> {
        self.notice_handshakes();
        let heard = if matches!(self.conversation, Conversation::Document(_)) {
            self.document(settings).await
        } else {
            match &settings.ask {
                Ask::Auto => self.auto(settings).await,
                Ask::Resource(uri) => self.resource(uri, settings).await,
                Ask::Tool { name, arguments } => self.tool(name, arguments, settings).await,
                Ask::Protocol => self.protocol().await,
            }
        };
        let Heard { mut document, source } = heard?;
        self.learned.checks.admit(&mut document, &settings.reading.limits);
        Ok(Answer { document, source, response_time: self.response_time, server: self.conversation.info().cloned() })
    }

    /// What a resource or a tool says, as text. Judges no refusal: who asks is not the health poll, and nothing follows.
    pub(crate) async fn text(mut self, ask: &Ask) -> Result<String, ProbeError> {
        match ask {
            _ if matches!(self.conversation, Conversation::Document(_)) => {
                Err(ProbeError::new(Failure::NotFound, "a plain document has neither resources nor tools"))
            }
            Ask::Resource(uri) => match self.request(Question::ReadResource(uri)).await? {
                Reply::Resource(resource) => resource_text(resource),
                Reply::Refused(refusal) => Err(refused(&self.shown(uri), refusal)),
                _ => Err(unexpected()),
            },
            Ask::Tool { name, arguments } => tool_text(&self.result(name, arguments).await?).ok_or_else(|| {
                let what = format!("tool `{}` answers no text", self.shown(name));
                ProbeError::new(Failure::InvalidDocument, what)
            }),
            Ask::Auto | Ask::Protocol => Err(unexpected()),
        }
    }

    /// What a tool says, and how long that took. Judges no refusal, as [`Self::text`].
    pub(crate) async fn call(
        mut self,
        name: &str,
        arguments: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<(Said, Duration), ProbeError> {
        if matches!(self.conversation, Conversation::Document(_)) {
            return Err(ProbeError::new(Failure::NotFound, "a plain document has no tools"));
        }
        let result = self.result(name, arguments).await?;
        let text = result.content.iter().find_map(|block| block.as_text()).map(|text| text.text.clone());
        Ok((Said { structured: result.structured_content, text }, self.response_time))
    }

    /// What a tool answers that is no error.
    async fn result(
        &mut self,
        name: &str,
        arguments: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<CallToolResult, ProbeError> {
        match self.request(Question::CallTool { name, arguments }).await? {
            Reply::Tool(result) if result.is_error == Some(true) => {
                let said = tool_text(&result).unwrap_or_default();
                let said = health::text::clean(&said, HealthLimits::MESSAGE_CHARS, &self.conversation.redactor());
                Err(ProbeError::new(Failure::ToolError, format!("tool `{}` failed: {said}", self.shown(name))))
            }
            Reply::Tool(result) => Ok(result),
            Reply::Refused(refusal) => Err(refused(&self.shown(name), refusal)),
            _ => Err(unexpected()),
        }
    }

    /// What is read as health, as text.
    pub(crate) async fn health_text(mut self, ask: &Ask) -> Result<String, ProbeError> {
        match ask {
            _ if matches!(self.conversation, Conversation::Document(_)) => {
                match self.request(Question::Document).await? {
                    Reply::Document(Document { body, .. }) => Ok(String::from_utf8_lossy(&body).into_owned()),
                    _ => Err(unexpected()),
                }
            }
            Ask::Auto => self.text(&Ask::Resource(STATUS_URI.to_owned())).await,
            ask => self.text(ask).await,
        }
    }

    /// A session that was lost and opened again may lead to another server, or to the same one changed.
    fn notice_handshakes(&mut self) {
        let handshakes = self.conversation.handshakes();
        if handshakes != self.learned.handshakes {
            self.learned.auto = Auto::default();
            self.learned.ignores_ping = false;
            self.learned.handshakes = handshakes;
        }
    }

    /// A name out of the configuration, which may have come from a variable.
    fn shown(&self, name: &str) -> Arc<str> {
        health::text::clean(name, HealthLimits::LABEL_CHARS, &self.conversation.redactor())
    }

    async fn request(&mut self, question: Question<'_>) -> Result<Reply, ProbeError> {
        self.ledger.end();
        let before = self.ledger.phases.get(Phase::Request).unwrap_or_default();
        let reply = self.conversation.request(question, self.memory, self.ledger).await;
        self.ledger.end();
        let after = self.ledger.phases.get(Phase::Request).unwrap_or_default();
        self.response_time = after.saturating_sub(before);
        reply
    }

    async fn document(&mut self, settings: &HealthSettings) -> Result<Heard, ProbeError> {
        match self.request(Question::Document).await? {
            Reply::Document(Document { body, otherwise, .. }) => {
                let heard = self.read(&body, settings, Source::Http);
                heard.map_err(|error| otherwise.unwrap_or(error))
            }
            _ => Err(unexpected()),
        }
    }

    async fn auto(&mut self, settings: &HealthSettings) -> Result<Heard, ProbeError> {
        let changed = self.conversation.take_list_changed();
        let settled = match self.learned.auto {
            Auto::Protocol(since) => !changed && since.elapsed() < LOOK_AGAIN,
            Auto::Unknown | Auto::Resource => false,
        };
        if settled || !self.conversation.has_resources() {
            return self.protocol().await;
        }
        match self.request(Question::ReadResource(STATUS_URI)).await? {
            Reply::Resource(result) => {
                self.learned.auto = Auto::Resource;
                self.read_resource(&result, settings)
            }
            Reply::Refused(refusal) => {
                let answered_before = matches!(self.learned.auto, Auto::Resource);
                if answered_before || self.lists_resource(STATUS_URI).await? != Some(false) {
                    return Err(refused(STATUS_URI, refusal));
                }
                self.learned.auto = Auto::Protocol(Instant::now());
                self.protocol().await
            }
            _ => Err(unexpected()),
        }
    }

    async fn resource(&mut self, uri: &str, settings: &HealthSettings) -> Result<Heard, ProbeError> {
        match self.request(Question::ReadResource(uri)).await? {
            Reply::Resource(result) => self.read_resource(&result, settings),
            Reply::Refused(refusal) => {
                let missing = !self.conversation.has_resources() || self.lists_resource(uri).await? == Some(false);
                if missing {
                    return Err(ProbeError::new(
                        Failure::NotFound,
                        format!("the server has no resource `{}`", self.shown(uri)),
                    )
                    .because(refusal)
                    .hint("compare `health.resource` with what the server lists"));
                }
                Err(refused(&self.shown(uri), refusal))
            }
            _ => Err(unexpected()),
        }
    }

    async fn tool(
        &mut self,
        name: &str,
        arguments: &serde_json::Map<String, serde_json::Value>,
        settings: &HealthSettings,
    ) -> Result<Heard, ProbeError> {
        let error = match self.request(Question::CallTool { name, arguments }).await? {
            Reply::Tool(result) if result.is_error != Some(true) => {
                return match tool_text(&result) {
                    Some(text) => self.read(text.as_bytes(), settings, Source::Tool),
                    None => Err(ProbeError::new(
                        Failure::InvalidDocument,
                        format!("tool `{}` answers no text", self.shown(name)),
                    )),
                };
            }
            Reply::Tool(result) => {
                let said = tool_text(&result).unwrap_or_default();
                let said = health::text::clean(&said, HealthLimits::MESSAGE_CHARS, &self.conversation.redactor());
                ProbeError::new(Failure::ToolError, format!("tool `{}` failed: {said}", self.shown(name)))
            }
            Reply::Refused(refusal) => refused(&self.shown(name), refusal),
            _ => return Err(unexpected()),
        };
        // The SDKs report an unknown tool in either way.
        if self.lists_tool(name).await? == Some(false) {
            return Err(ProbeError::new(Failure::NotFound, format!("the server has no tool `{}`", self.shown(name)))
                .because(error)
                .hint("compare `health.tool` with what the server lists"));
        }
        Err(error)
    }

    async fn protocol(&mut self) -> Result<Heard, ProbeError> {
        let answer = || Heard { document: HealthDocument::protocol(), source: Source::Protocol };
        if self.conversation.modern() {
            return match self.request(Question::Discover).await? {
                Reply::Refused(refusal) => Err(refused("server/discover", refusal)),
                _ => Ok(answer()),
            };
        }
        if !self.learned.ignores_ping {
            let half = self.ledger.left() / 2;
            if let Ok(reply) = timeout(half, self.request(Question::Ping)).await
                && !matches!(reply?, Reply::Refused(_))
            {
                return Ok(answer());
            }
        }
        match self.request(Question::ListTools).await? {
            Reply::Refused(refusal) => Err(refused("tools/list", refusal)),
            _ => {
                self.learned.ignores_ping = true;
                Ok(answer())
            }
        }
    }

    /// Whether a complete list has the resource; `None` when there is no complete list.
    async fn lists_resource(&mut self, uri: &str) -> Result<Option<bool>, ProbeError> {
        let mut cursor = None;
        for _ in 0..MOST_PAGES {
            let page = self.request(Question::ListResources { cursor: cursor.as_deref() }).await;
            let Some(Reply::Resources(page)) = readable(page)? else { return Ok(None) };
            if page.resources.iter().any(|resource| resource.uri == uri) {
                return Ok(Some(true));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(Some(false));
            }
        }
        Ok(None)
    }

    /// Whether a complete list has the tool; `None` when there is no complete list.
    async fn lists_tool(&mut self, name: &str) -> Result<Option<bool>, ProbeError> {
        let mut cursor = None;
        for _ in 0..MOST_PAGES {
            let page = self.request(Question::Tools { cursor: cursor.as_deref() }).await;
            let Some(Reply::Tools(page)) = readable(page)? else { return Ok(None) };
            if page.tools.iter().any(|tool| tool.name == name) {
                return Ok(Some(true));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(Some(false));
            }
        }
        Ok(None)
    }

    fn read_resource(&self, resource: &Resource, settings: &HealthSettings) -> Result<Heard, ProbeError> {
        let invalid = |message: &str| ProbeError::new(Failure::InvalidDocument, message.to_owned());
        match resource {
            Resource::Text(text) => self.read(text.as_bytes(), settings, Source::Resource),
            Resource::Blob(blob) => {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(blob)
                    .map_err(|_| invalid("the resource is a blob that is not base64"))?;
                self.read(&bytes, settings, Source::Resource)
            }
            Resource::Empty => Err(invalid("the resource is empty")),
        }
    }

    fn read(&self, text: &[u8], settings: &HealthSettings, source: Source) -> Result<Heard, ProbeError> {
        match health::read(text, &settings.reading, &self.conversation.redactor()) {
            Ok(document) => Ok(Heard { document, source }),
            Err(error) => {
                let hint = error.hint();
                let error =
                    ProbeError::new(Failure::InvalidDocument, "the answer is no usable health document").because(error);
                Err(match hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                })
            }
        }
    }
}

/// A page of a list that cannot be read proves nothing; it is no failure of its own.
fn readable(page: Result<Reply, ProbeError>) -> Result<Option<Reply>, ProbeError> {
    match page {
        Err(error) if matches!(error.failure, Failure::Protocol | Failure::TooLarge) => Ok(None),
        page => page.map(Some),
    }
}

/// The text of a resource; bytes count as text where they are.
fn resource_text(resource: Resource) -> Result<String, ProbeError> {
    let invalid = |message: &'static str| ProbeError::new(Failure::InvalidDocument, message);
    match resource {
        Resource::Text(text) => Ok(text),
        Resource::Blob(blob) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(blob);
            let bytes = bytes.map_err(|_| invalid("the resource is a blob that is not base64"))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Resource::Empty => Err(invalid("the resource is empty")),
    }
}

/// The structured content, else the first text.
fn tool_text(result: &CallToolResult) -> Option<String> {
    if let Some(structured) = &result.structured_content {
        // FastMCP wraps what is no object as `{"result": ...}`; a text in there is the document itself.
        return Some(match structured.as_object().map(|object| (object.len(), object.get("result"))) {
            Some((1, Some(serde_json::Value::String(text)))) => text.clone(),
            _ => structured.to_string(),
        });
    }
    result.content.iter().find_map(|block| block.as_text()).map(|text| text.text.clone())
}

fn refused(what: &str, refusal: Refusal) -> ProbeError {
    ProbeError::new(Failure::RpcError, format!("the server refuses `{what}`")).because(refusal)
}

fn unexpected() -> ProbeError {
    ProbeError::new(Failure::Protocol, "the server answered another question than the one that was asked")
}
