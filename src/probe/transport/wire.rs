//! What a message transport and the client above it tell each other, beside messages.
//!
//! rmcp's client logs and forgets why a transport ended, keeps an entry for every question that nobody answers, and
//! starts a task for every notification. A [`Wire`] sits below it: it lets through only what belongs to a question of
//! ours, remembers why the conversation ended, and bounds what a server can make us do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, RequestId, ServerJsonRpcMessage, ServerNotification};
use tokio::sync::Notify;

use crate::health::{HealthLimits, text};
use crate::probe::{Failure, ProbeError};
use crate::secret::Redactor;

/// Messages on their way to the server at one time. One would do for our questions; the rest is for answers to the
/// server's own, and a server that asks without ever reading our answers is not listened to any more.
const SENDS: u32 = 16;

/// Questions whose answers are still expected: the last one, and those before it that were given up.
const ASKED: usize = 8;

/// Lines that are not JSON-RPC which a child may write to its standard output between two that are: start-up banners and
/// forgotten `print` calls are common, and harmless.
pub(super) const NOISE_LINES: u32 = 100;

/// Messages nobody asked for that are taken at full speed after each question; from there on at most a thousand a second,
/// so that a flood of them costs little.
const UNASKED: u32 = 1000;

/// The shared cell of a transport and the client above it.
#[derive(Debug)]
pub(crate) struct Wire {
    redactor: ArcSwap<Redactor>,
    noise_limit: u32,
    state: Mutex<State>,
    sends: AtomicU32,
    sent: Notify,
    list_changed: AtomicBool,
    catalog_changed: AtomicBool,
    unasked: AtomicU32,
    abandon: Notify,
    trouble: Notify,
}

#[derive(Debug, Default)]
struct State {
    asked: VecDeque<RequestId>,
    noise: u32,
    noise_sample: Option<Arc<str>>,
    refused: Option<ProbeError>,
    cause: Option<ProbeError>,
}

impl Wire {
    /// `noise` is how many lines that are not JSON-RPC are forgiven between two that are.
    pub(crate) fn new(redactor: Redactor, noise: u32) -> Arc<Self> {
        Arc::new(Self {
            redactor: ArcSwap::from_pointee(redactor),
            noise_limit: noise,
            state: Mutex::default(),
            sends: AtomicU32::new(0),
            sent: Notify::new(),
            list_changed: AtomicBool::new(false),
            catalog_changed: AtomicBool::new(false),
            unasked: AtomicU32::new(0),
            abandon: Notify::new(),
            trouble: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secrets to take out of what the server says.
    pub(crate) fn redactor(&self) -> Redactor {
        Redactor::clone(&self.redactor.load())
    }

    /// Another secret was sent: it was read from a file just now.
    pub(crate) fn redact_by(&self, redactor: &Redactor) {
        self.redactor.store(Arc::new(redactor.clone()));
    }

    /// The conversation is over, for this reason. The first reason counts: what follows is its echo.
    pub(crate) fn lose(&self, cause: ProbeError) {
        self.state().cause.get_or_insert(cause);
        self.trouble.notify_waiters();
    }

    /// The answer to the last question cannot be taken; the conversation goes on.
    pub(crate) fn refuse(&self, cause: ProbeError) {
        self.state().refused = Some(cause);
        self.trouble.notify_waiters();
    }

    /// Why the conversation is over.
    pub(crate) fn cause(&self) -> Option<ProbeError> {
        self.state().cause.clone()
    }

    /// Waits until no answer can come any more to the last question, and says why.
    pub(crate) async fn trouble(&self) -> ProbeError {
        loop {
            let changed = self.trouble.notified();
            {
                let mut state = self.state();
                if let Some(cause) = state.cause.clone().or_else(|| state.refused.take()) {
                    return cause;
                }
            }
            changed.await;
        }
    }

    /// Whether the server said, since the last call, that its list of resources changed.
    pub(crate) fn take_list_changed(&self) -> bool {
        self.list_changed.swap(false, Ordering::Relaxed)
    }

    /// Whether the server said, since the last call, that any of its lists changed.
    pub(crate) fn take_catalog_changed(&self) -> bool {
        self.catalog_changed.swap(false, Ordering::Relaxed)
    }

    /// A line of what the server wrote that was no message, since the last message.
    pub(crate) fn noise_sample(&self) -> Option<Arc<str>> {
        self.state().noise_sample.clone()
    }

    /// Whoever still waits for an earlier message to be taken shall give it up.
    pub(crate) fn abandon(&self) {
        self.abandon.notify_waiters();
    }

    /// Waits for [`Self::abandon`].
    pub(crate) async fn abandoned(&self) {
        self.abandon.notified().await;
    }

    /// Waits until nothing is on its way to the server: a server that does not read gets no second question.
    pub(crate) async fn quiet(&self) {
        self.sends_below(1).await;
    }

    /// To be called, and its result kept, for as long as a message is on its way.
    pub(crate) fn sending(self: &Arc<Self>, message: &ClientJsonRpcMessage) -> Sending {
        if let JsonRpcMessage::Request(request) = message {
            let mut state = self.state();
            if state.asked.len() == ASKED {
                state.asked.pop_front();
            }
            state.asked.push_back(request.id.clone());
            state.refused = None;
            self.unasked.store(0, Ordering::Relaxed);
        }
        self.sends.fetch_add(1, Ordering::Relaxed);
        Sending(Arc::clone(self))
    }

    /// Waits until another message may be taken from the server.
    pub(crate) async fn ready(&self) {
        self.sends_below(SENDS).await;
        if self.unasked.load(Ordering::Relaxed) > UNASKED {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn sends_below(&self, limit: u32) {
        loop {
            let sent = self.sent.notified();
            if self.sends.load(Ordering::Relaxed) < limit {
                return;
            }
            sent.await;
        }
    }

    /// Reads one message; `None` for one that is of no interest.
    ///
    /// # Errors
    ///
    /// `protocol`, when the server does not speak JSON-RPC.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<Option<ServerJsonRpcMessage>, ProbeError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match serde_json::from_slice(bytes) {
            Ok(message) => {
                let mut state = self.state();
                (state.noise, state.noise_sample) = (0, None);
                drop(state);
                Ok(self.admit(message))
            }
            Err(error) if is_notification(bytes) => {
                // One of a newer revision, or a malformed one: nothing waits for it.
                tracing::trace!(%error, "a notification that cannot be read");
                Ok(None)
            }
            Err(error) => self.noise(bytes, error).map(|()| None),
        }
    }

    fn admit(&self, message: ServerJsonRpcMessage) -> Option<ServerJsonRpcMessage> {
        let expected = |id: &RequestId| self.state().asked.iter().any(|asked| same(asked, id));
        match &message {
            JsonRpcMessage::Response(response) if expected(&response.id) => return Some(message),
            JsonRpcMessage::Response(response) => tracing::debug!(id = %response.id, "an answer to no question"),
            JsonRpcMessage::Error(error) => match &error.id {
                Some(id) if expected(id) => return Some(message),
                Some(id) => tracing::debug!(%id, "an error for no question"),
                // The server could not read whose question it was. We ask one at a time: the last.
                None => {
                    let last = self.state().asked.back().cloned();
                    return last.map(|id| JsonRpcMessage::error(error.error.clone(), Some(id)));
                }
            },
            JsonRpcMessage::Request(_) => {
                self.unasked.fetch_add(1, Ordering::Relaxed);
                return Some(message);
            }
            JsonRpcMessage::Notification(notification) => {
                self.unasked.fetch_add(1, Ordering::Relaxed);
                match notification.notification {
                    ServerNotification::ResourceListChangedNotification(_) => {
                        self.list_changed.store(true, Ordering::Relaxed);
                        self.catalog_changed.store(true, Ordering::Relaxed);
                    }
                    ServerNotification::ToolListChangedNotification(_)
                    | ServerNotification::PromptListChangedNotification(_) => {
                        self.catalog_changed.store(true, Ordering::Relaxed);
                    }
                    _ => {}
                }
            }
        }
        None
    }

    fn noise(&self, bytes: &[u8], error: serde_json::Error) -> Result<(), ProbeError> {
        let sample = self.sample(bytes);
        let said = || ProbeError::new(Failure::Protocol, format!("not JSON-RPC: `{sample}`"));
        // Noise that names the protocol is no log line: it is a message that is broken.
        if memchr::memmem::find(bytes, b"\"jsonrpc\"").is_some() {
            return Err(said().because(Shown(error.to_string())));
        }
        let mut state = self.state();
        state.noise += 1;
        if state.noise > self.noise_limit {
            let failed = said();
            if self.noise_limit == 0 {
                return Err(failed.because(Shown(error.to_string())));
            }
            return Err(failed.hint("a stdio server may write nothing but JSON-RPC to its standard output"));
        }
        state.noise_sample = Some(sample);
        Ok(())
    }

    /// The beginning of what a server wrote, fit to be shown.
    fn sample(&self, bytes: &[u8]) -> Arc<str> {
        text::clean(&String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]), 80, &self.redactor())
    }

    /// What a server said, fit to be shown.
    pub(crate) fn show(&self, said: &str) -> Arc<str> {
        text::clean(said, HealthLimits::MESSAGE_CHARS, &self.redactor())
    }

    /// What a server said, fit to be a label value.
    pub(crate) fn show_label(&self, said: &str) -> Arc<str> {
        text::clean(said, HealthLimits::LABEL_CHARS, &self.redactor())
    }
}

/// A message that is on its way to the server, until this is dropped.
#[derive(Debug)]
pub(crate) struct Sending(Arc<Wire>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.sends.fetch_sub(1, Ordering::Relaxed);
        self.0.sent.notify_waiters();
    }
}

/// A cause that is only a text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Shown(String);

/// Some servers send our numbers back as texts, which rmcp accepts.
fn same(asked: &RequestId, answered: &RequestId) -> bool {
    match (asked, answered) {
        (RequestId::Number(asked), RequestId::String(answered)) => answered.parse() == Ok(*asked),
        _ => asked == answered,
    }
}

fn is_notification(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        method: Option<std::borrow::Cow<'a, str>>,
        id: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice(bytes).is_ok_and(|envelope: Envelope<'_>| envelope.method.is_some() && envelope.id.is_none())
}

#[cfg(test)]
mod tests {
    use rmcp::model::{ClientRequest, PingRequest};

    use super::*;
    use crate::secret::Secret;

    /// A wire on which questions 1 to 3 have been asked.
    fn wire(noise: u32) -> Arc<Wire> {
        let wire = Wire::new(Redactor::new([&Secret::new("hunter2")]), noise);
        for id in 1..=3 {
            let ping = ClientRequest::PingRequest(PingRequest::default());
            drop(wire.sending(&ClientJsonRpcMessage::request(ping, RequestId::Number(id))));
        }
        wire
    }

    #[track_caller]
    fn check(line: &str, admitted: bool) {
        let read = wire(1).read(line.as_bytes()).map(|message| message.is_some());
        assert_eq!(read.ok(), Some(admitted), "{line}");
    }

    #[test]
    fn only_answers_to_our_questions_are_let_through() {
        check(r#"{"jsonrpc":"2.0","id":3,"result":{}}"#, true);
        check(r#"{"jsonrpc":"2.0","id":"3","result":{}}"#, true);
        check("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-1,\"message\":\"\"}}\r", true);
        check(r#"{"jsonrpc":"2.0","id":4,"result":{}}"#, false);
        check(r#"{"jsonrpc":"2.0","id":4,"error":{"code":-1,"message":""}}"#, false);
        check(r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#, true);
        check(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#, false);
        check(r#"{"jsonrpc":"2.0","method":"notifications/of/tomorrow","params":[1]}"#, false);
        check(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":"no"}"#, false);
        check("INFO: a log line", false);
        check(r#"{"level":"info","message":"a log line"}"#, false);
    }

    #[test]
    fn an_error_without_an_id_belongs_to_the_last_question() {
        let line = br#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"parse error"}}"#;
        match wire(0).read(line) {
            Ok(Some(JsonRpcMessage::Error(error))) => assert_eq!(error.id, Some(RequestId::Number(3))),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn broken_messages_and_too_much_noise_are_protocol() {
        for (line, noise) in [
            (r#"{"jsonrpc": "2.0", "id": 1, "resu"#, 100),
            (r#"{"jsonrpc": "2.0", "id": 1, "hunter2": {}}"#, 100),
            ("INFO: hunter2", 0),
        ] {
            let error = wire(noise).read(line.as_bytes()).expect_err(line);
            assert_eq!(error.failure, Failure::Protocol);
            assert!(!error.chain().contains("hunter2"), "{}", error.chain());
        }
        let wire = wire(2);
        for _ in 0..3 {
            // What is a message starts the count anew.
            assert!(wire.read(b"noise").is_ok() && wire.read(b"noise").is_ok());
            assert!(wire.noise_sample().is_some());
            assert!(wire.read(br#"{"jsonrpc":"2.0","id":3,"result":{}}"#).is_ok());
            assert!(wire.noise_sample().is_none());
        }
        assert!(wire.read(b"noise").is_ok() && wire.read(b"noise").is_ok());
        assert!(wire.read(b"noise").is_err());
    }

    #[tokio::test]
    async fn a_server_that_does_not_read_is_not_listened_to() {
        let wire = wire(0);
        let pong = || ClientJsonRpcMessage::response(rmcp::model::ClientResult::empty(()), RequestId::Number(7));
        let mut stuck: Vec<_> = (0..SENDS).map(|_| wire.sending(&pong())).collect();
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, wire.ready()).await.is_err());
        stuck.pop();
        assert!(tokio::time::timeout(soon, wire.ready()).await.is_ok());
        assert!(tokio::time::timeout(soon, wire.quiet()).await.is_err());
        stuck.clear();
        assert!(tokio::time::timeout(soon, wire.quiet()).await.is_ok());
    }
}
