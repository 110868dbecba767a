//! Ways to talk to a target: a [`Conversation`] is one open way.
//!
//! Nothing here knows what health is or when to ask for it. Whatever is awaited here may be dropped at any await (a time
//! limit, a shutdown): that ends at most the connection in use, never a session and never a child. The surprise: no
//! connection has a task of its own, so an idle one costs nothing and a dropped attempt leaves nothing behind.

mod certificate;
mod child;
mod credentials;
mod dial;
mod document;
mod event_stream;
mod exchange;
mod family;
mod fetch;
mod files;
mod jsonrpc;
mod ledger;
mod lookup;
mod open;
mod peer;
mod proxy;
pub(crate) mod restart;
mod said;
mod sse;
mod stdio;
mod stranger;
mod streamable;
mod tls;
mod token;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use rmcp::model::{CallToolResult, ListResourcesResult, ListToolsResult, ReadResourceResult, ResourceContents};

pub use self::dial::addresses;
pub use self::document::Plain;
pub use self::event_stream::{Event, TooLarge, events};
pub use self::exchange::answer_over;
pub use self::family::Account;
pub use self::fetch::{Fetch, fetch};
pub use self::ledger::{Ledger, Remark};
pub use self::peer::Peer;
pub use self::stranger::{Looked, look};
pub use self::streamable::Streamable;
pub(crate) use self::tls::AcceptAny;
use crate::catalog::Kind;
use crate::probe::{ProbeError, ServerInfo};
use crate::secret::Redactor;
use crate::target::Endpoint;

/// What all targets of a process share: the roots of trust and the TLS settings made from them, read once; the places for
/// looking up names; the environment's proxies; the tokens that authorization servers grant; the system's processes.
#[derive(Debug, Default)]
pub struct Shared {
    tls: tls::SharedTls,
    lookups: lookup::Lookups,
    proxies: proxy::Environment,
    tokens: token::Tokens,
    /// The system's processes, read for all who have children.
    pub(crate) processes: family::SharedTable,
}

#[cfg(test)]
impl Shared {
    /// With names that lead where a test wants.
    pub(crate) fn resolving(
        resolve: impl Fn(&str, u16) -> std::io::Result<Vec<std::net::SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self { lookups: lookup::Lookups::with(Arc::new(resolve)), ..Self::default() }
    }
}

/// An open way to a target.
#[derive(Debug)]
pub enum Conversation {
    /// MCP over streamable HTTP.
    Streamable(Box<Streamable>),
    /// A plain document.
    Document(Box<Plain>),
    /// HTTP+SSE and child processes, over rmcp's client.
    Peer(Box<Peer>),
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub enum Question<'a> {
    /// `resources/read` of this URI.
    ReadResource(&'a str),
    /// `tools/call`.
    CallTool {
        /// The tool's name.
        name: &'a str,
        /// Its arguments.
        arguments: &'a serde_json::Map<String, serde_json::Value>,
    },
    /// One page of `resources/list`; `None` asks for the first.
    ListResources {
        /// Where the page before it ended.
        cursor: Option<&'a str>,
    },
    /// The first page of `tools/list`: whether it is answered, not what it says.
    ListTools,
    /// One page of `tools/list`; `None` asks for the first.
    Tools {
        /// Where the page before it ended.
        cursor: Option<&'a str>,
    },
    /// One page of a list, for its definitions; `None` asks for the first.
    Catalog {
        /// Which list.
        kind: Kind,
        /// Where the page before it ended.
        cursor: Option<&'a str>,
    },
    /// `ping`.
    Ping,
    /// `server/discover`.
    Discover,
    /// The plain document, of a conversation that is nothing else.
    Document,
}

/// An answer.
#[derive(Debug)]
pub enum Reply {
    /// To [`Question::ReadResource`].
    Resource(Resource),
    /// To [`Question::CallTool`].
    Tool(CallToolResult),
    /// To [`Question::ListResources`].
    Resources(ListResourcesResult),
    /// To [`Question::Tools`].
    Tools(ListToolsResult),
    /// To [`Question::Catalog`].
    Page(Page),
    /// To [`Question::Document`].
    Document(Document),
    /// To the other questions: it was answered.
    Done,
    /// A JSON-RPC error, which only the asker can judge.
    Refused(Refusal),
}

/// A page of a list as the server sent it: what a definition means is not read here.
#[derive(Debug)]
pub struct Page {
    /// The definitions.
    pub items: Vec<serde_json::Value>,
    /// Where the next page begins; `None` where this is the last.
    pub next: Option<String>,
    /// How long it may be kept, as the server says, in milliseconds.
    pub ttl_ms: Option<u64>,
}

/// What a server says it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offers {
    /// Tools.
    pub tools: bool,
    /// Resources and resource templates.
    pub resources: bool,
    /// Prompts.
    pub prompts: bool,
}

impl Offers {
    /// Whether there is anything of this kind to be listed.
    #[must_use]
    pub const fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Tools => self.tools,
            Kind::Resources | Kind::ResourceTemplates => self.resources,
            Kind::Prompts => self.prompts,
        }
    }
}

/// The first of the contents of a resource; health has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A text.
    Text(String),
    /// Bytes, in base64.
    Blob(String),
    /// It has none.
    Empty,
}

impl From<ReadResourceResult> for Resource {
    fn from(result: ReadResourceResult) -> Self {
        match result.contents.into_iter().next() {
            Some(ResourceContents::TextResourceContents { text, .. }) => Self::Text(text),
            Some(ResourceContents::BlobResourceContents { blob, .. }) => Self::Blob(blob),
            _ => Self::Empty,
        }
    }
}

/// A plain HTTP answer, complete and within its limit.
#[derive(Debug)]
pub struct Document {
    /// The HTTP status; a health document counts whatever this is.
    pub status: u16,
    /// The body, not yet looked at.
    pub body: Bytes,
    /// What to fail with where the body is no health document and the status is not one of success.
    pub otherwise: Option<ProbeError>,
}

/// A JSON-RPC error as the server sent it; the text is fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server answered with JSON-RPC error {code}: {message}")]
pub struct Refusal {
    /// Its code.
    pub code: i64,
    /// Its message: secrets masked, no control characters, cut.
    pub message: Arc<str>,
}

/// What is known about a target beyond one conversation, so that it need not be found out again. Owned by the session.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// It does not know `server/discover`: begin with `initialize`.
    pub legacy: bool,
    /// The revisions that it says it offers.
    supported: Arc<[String]>,
    /// What `auto` found by asking.
    way: Option<open::Way>,
}

impl Remembered {
    /// Forgets everything, since what answers next time may be something else: a new connection failed.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Shared {
    /// Reads no more than the environment's proxies: the system's roots are read when the first target needs them.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Conversation {
    /// Opens a way to the endpoint: dials, finds out the transport where it is `auto`, shakes hands. A child goes on the
    /// account.
    ///
    /// # Errors
    ///
    /// Everything that can be wrong with a target; its texts are fit to be shown.
    pub async fn open(
        endpoint: &Arc<Endpoint>,
        shared: &Arc<Shared>,
        account: &Arc<Account>,
        memory: &mut Remembered,
        ledger: &mut Ledger,
    ) -> Result<Self, ProbeError> {
        open::open(endpoint, shared, account, memory, ledger).await
    }

    /// Asks one question and waits for its answer. A lost session is opened again on the way, once; a closed connection
    /// is replaced.
    ///
    /// # Errors
    ///
    /// As [`Self::open`]. The conversation is good for further questions unless it [is over](Self::is_over).
    pub async fn request(
        &mut self,
        question: Question<'_>,
        memory: &mut Remembered,
        ledger: &mut Ledger,
    ) -> Result<Reply, ProbeError> {
        match self {
            Self::Streamable(streamable) => streamable.request(question, memory, ledger).await,
            // There is only one thing to ask it.
            Self::Document(plain) => plain.request(ledger).await,
            Self::Peer(peer) => peer.request(question, ledger).await,
        }
    }

    /// Whether it is to be closed, and another one opened before the next question.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Streamable(streamable) => streamable.is_over(),
            Self::Document(_) => false,
            Self::Peer(peer) => peer.is_over(),
        }
    }

    /// Why it is over; `None` while it can be asked.
    pub async fn why_over(&self) -> Option<ProbeError> {
        match self {
            Self::Peer(peer) if peer.is_over() => Some(peer.ended().await),
            Self::Streamable(streamable) if streamable.is_over() => {
                Some(ProbeError::new(crate::probe::Failure::SessionLost, "the session was lost"))
            }
            _ => None,
        }
    }

    /// How many MCP sessions will end with it: 0 or 1.
    #[must_use]
    pub fn sessions(&self) -> u32 {
        match self {
            Self::Streamable(streamable) => streamable.sessions(),
            Self::Document(_) => 0,
            Self::Peer(_) => 1,
        }
    }

    /// The secrets to take out of what the server says, those included that were read from files meanwhile.
    #[must_use]
    pub fn redactor(&self) -> Redactor {
        match self {
            Self::Streamable(streamable) => streamable.redactor(),
            Self::Document(plain) => plain.redactor(),
            Self::Peer(peer) => peer.redactor(),
        }
    }

    /// Who answered the handshake; `None` for a plain document.
    #[must_use]
    pub fn info(&self) -> Option<&Arc<ServerInfo>> {
        match self {
            Self::Streamable(streamable) => Some(streamable.info()),
            Self::Document(_) => None,
            Self::Peer(peer) => Some(peer.info()),
        }
    }

    /// How often hands were shaken: it grows when a lost session was opened again.
    #[must_use]
    pub fn handshakes(&self) -> u32 {
        match self {
            Self::Streamable(streamable) => streamable.handshakes(),
            Self::Document(_) => 0,
            Self::Peer(_) => 1,
        }
    }

    /// What the server says it has; `None` for a plain document, which lists nothing.
    #[must_use]
    pub fn offers(&self) -> Option<Offers> {
        match self {
            Self::Streamable(streamable) => Some(streamable.offers()),
            Self::Document(_) => None,
            Self::Peer(peer) => Some(peer.offers()),
        }
    }

    /// Whether the server says that it has resources.
    #[must_use]
    pub fn has_resources(&self) -> bool {
        self.offers().is_some_and(|offers| offers.resources)
    }

    /// Whether the server said, since the last call, that any of its lists changed.
    pub fn take_catalog_changed(&mut self) -> bool {
        match self {
            Self::Streamable(streamable) => streamable.take_catalog_changed(),
            Self::Document(_) => false,
            Self::Peer(peer) => peer.take_catalog_changed(),
        }
    }

    /// Whether the server said, since the last call, that its list of resources changed.
    pub fn take_list_changed(&mut self) -> bool {
        match self {
            Self::Streamable(streamable) => streamable.take_list_changed(),
            Self::Document(_) => false,
            Self::Peer(peer) => peer.take_list_changed(),
        }
    }

    /// Whether it speaks revision 2026-07-28 or later: no `ping`, no sessions.
    #[must_use]
    pub fn modern(&self) -> bool {
        match self {
            Self::Streamable(streamable) => streamable.modern(),
            Self::Document(_) => false,
            Self::Peer(peer) => peer.modern(),
        }
    }

    /// Ends it politely, also when it is over; the caller bounds the time.
    pub async fn close(self, ledger: &mut Ledger) {
        match self {
            Self::Streamable(streamable) => streamable.close(ledger).await,
            Self::Document(plain) => plain.close().await,
            Self::Peer(peer) => peer.close(ledger).await,
        }
    }
}
