//! JSON-RPC messages as streamable HTTP carries them: written once as bytes, read no further than needed.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use rmcp::model::{CallToolResult, ListResourcesResult, ListToolsResult, ResultType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::said::shown;
use super::{Offers, Page, Question, Refusal, Reply, Resource};
use crate::catalog::Kind;
use crate::secret::Redactor;

/// The revision without sessions and handshake.
pub(super) const MODERN: &str = "2026-07-28";

/// The revision that `initialize` offers.
pub(super) const OFFERED: &str = "2025-11-25";

/// Revisions that we speak after `initialize`. Servers with 2024-11-05 exist that answer at streamable HTTP all the same.
pub(super) const SPOKEN: [&str; 4] = [OFFERED, "2025-06-18", "2025-03-26", "2024-11-05"];

/// `version` is refused, the error's data says what is supported.
pub(super) const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32022;

/// Headers and body disagree: only a server of 2026-07-28 or later compares them.
pub(super) const HEADER_MISMATCH: i64 = -32020;

/// The server wants capabilities that a monitor does not have: likewise.
pub(super) const MISSING_CLIENT_CAPABILITY: i64 = -32021;

/// The `_meta` of each request of revision 2026-07-28.
const MODERN_META: &str = concat!(
    r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"mcp-exporter","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""},"io.modelcontextprotocol/clientCapabilities":{}}"#
);

/// `notifications/initialized`, whole.
pub(super) const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// A request that is to be written.
pub(super) struct Asked<'a> {
    pub(super) method: &'static str,
    /// What the header `Mcp-Name` repeats.
    pub(super) name: Option<&'a str>,
    params: Params<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: WithMeta<'a>,
}

#[derive(Serialize)]
struct WithMeta<'a> {
    #[serde(flatten)]
    params: &'a Params<'a>,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<&'a RawValue>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_info: Option<ClientInfo>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct ClientInfo {
    name: &'static str,
    version: &'static str,
}

impl<'a> Asked<'a> {
    /// Reads what may be the answer to it.
    ///
    /// # Errors
    ///
    /// As [`read`].
    pub(super) fn read(&self, text: &Bytes, id: u64) -> Result<Heard, String> {
        if self.method == "resources/read" { read_resource(text, id) } else { read(text, id) }
    }

    /// The first words of a conversation up to 2025-11-25.
    pub(super) fn initialize() -> Self {
        let params = Params {
            protocol_version: Some(OFFERED),
            capabilities: Some(Empty {}),
            client_info: Some(ClientInfo { name: "mcp-exporter", version: env!("CARGO_PKG_VERSION") }),
            ..Params::default()
        };
        Self { method: "initialize", name: None, params }
    }

    /// What a question is in JSON-RPC; `None` for the one that is none.
    pub(super) fn of(question: Question<'a>) -> Option<Self> {
        let none = Params::default();
        Some(match question {
            Question::ReadResource(uri) => {
                Self { method: "resources/read", name: Some(uri), params: Params { uri: Some(uri), ..none } }
            }
            Question::CallTool { name, arguments } => Self {
                method: "tools/call",
                name: Some(name),
                params: Params { name: Some(name), arguments: Some(arguments), ..none },
            },
            Question::ListResources { cursor } => {
                Self { method: "resources/list", name: None, params: Params { cursor, ..none } }
            }
            Question::Tools { cursor } => Self { method: "tools/list", name: None, params: Params { cursor, ..none } },
            Question::Catalog { kind, cursor } => {
                Self { method: kind.method(), name: None, params: Params { cursor, ..none } }
            }
            Question::ListTools => Self { method: "tools/list", name: None, params: none },
            Question::Ping => Self { method: "ping", name: None, params: none },
            Question::Discover => Self { method: "server/discover", name: None, params: none },
            Question::Document => return None,
        })
    }

    /// The message as bytes.
    pub(super) fn write(&self, id: u64, modern: bool) -> Bytes {
        let meta: Option<&RawValue> =
            modern.then(|| serde_json::from_str(MODERN_META).expect("a constant that is JSON"));
        let message =
            Message { jsonrpc: "2.0", id, method: self.method, params: WithMeta { params: &self.params, meta } };
        serde_json::to_vec(&message).expect("text, numbers and JSON values can be written").into()
    }
}

/// A text as a header's value; what does not fit into one travels in base64, as revision 2026-07-28 says (SEP-2243).
pub(super) fn header_value(text: &str) -> HeaderValue {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = text.as_bytes();
    let foreign = bytes.iter().any(|byte| !(b' '..=b'~').contains(byte));
    let looks_encoded = text.starts_with("=?base64?") && text.ends_with("?=");
    let encode = foreign || looks_encoded || blank(bytes.first()) || blank(bytes.last());
    let encoded = encode.then(|| format!("=?base64?{}?=", STANDARD.encode(text)));
    HeaderValue::from_str(encoded.as_deref().unwrap_or(text)).expect("printable ASCII")
}

/// What a message from the server is to us.
pub(super) enum Heard {
    /// The result of our request.
    Result(RpcResult),
    /// A request failed: ours, or one of which the server could not even read the id.
    Error {
        error: RpcError,
        /// It carries our id.
        addressed: bool,
    },
    /// An answer to another request.
    AnotherId,
    /// One of the server's lists changed.
    ListChanged {
        /// That of its resources.
        resources: bool,
    },
    /// A notification or a request that does not concern us.
    Other,
}

/// What a request came to.
pub(super) enum RpcResult {
    /// JSON: a part of the message, not a copy.
    Json(Bytes),
    /// That of `resources/read`, which was read together with the message around it.
    Read(ResourceRead),
}

impl RpcResult {
    /// As one of the types in which it may come; `None` where it is something else.
    pub(super) fn typed<T: DeserializeOwned>(&self) -> Option<T> {
        match self {
            Self::Json(json) => serde_json::from_slice(json).ok(),
            Self::Read(_) => None,
        }
    }
}

/// A JSON-RPC error.
#[derive(Debug, Deserialize)]
pub(super) struct RpcError {
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

impl RpcError {
    pub(super) fn refusal(&self, redactor: &Redactor) -> Refusal {
        Refusal { code: self.code, message: shown(&self.message, redactor) }
    }

    /// The revisions that the server says it supports, where it refuses ours.
    pub(super) fn supported(&self) -> Vec<String> {
        #[derive(Deserialize)]
        struct Data {
            supported: Vec<String>,
        }
        let data = self.data.as_deref().map(|data| serde_json::from_str::<Data>(data.get()));
        data.and_then(Result::ok).map(|data| data.supported).unwrap_or_default()
    }

    /// Whether only a server of revision 2026-07-28 or later would say so.
    pub(super) fn is_modern(&self) -> bool {
        matches!(self.code, UNSUPPORTED_PROTOCOL_VERSION | HEADER_MISMATCH | MISSING_CLIENT_CAPABILITY)
    }
}

/// A message, its result unread or as what it should be.
#[derive(Deserialize)]
struct Envelope<'a, R> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(default = "none")]
    result: Option<R>,
    #[serde(default)]
    error: Option<RpcError>,
}

/// Serde's own default would want one of the result's type.
const fn none<R>() -> Option<R> {
    None
}

/// Reads the answer to `resources/read`, as nearly all of our questions are, in one go. What is not an answer as it should be
/// is read again, for the reason.
///
/// # Errors
///
/// As [`read`].
fn read_resource(text: &Bytes, id: u64) -> Result<Heard, String> {
    match serde_json::from_slice::<Envelope<'_, ResourceRead>>(text) {
        Ok(Envelope { jsonrpc, id: Some(said), method: None, result: Some(result), error: None })
            if jsonrpc == "2.0" && is_id(said.get(), id) =>
        {
            Ok(Heard::Result(RpcResult::Read(result)))
        }
        _ => read(text, id),
    }
}

/// Reads one message, or a batch of them as revision 2025-03-26 allows; what concerns us most.
///
/// # Errors
///
/// It is no JSON-RPC; the text says why and quotes nothing.
pub(super) fn read(text: &Bytes, id: u64) -> Result<Heard, String> {
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let messages: Vec<Envelope<'_, &RawValue>> =
            serde_json::from_slice(text).map_err(|error| not_json_rpc(&error))?;
        let mut heard = Heard::Other;
        for message in messages {
            match message.heard(text, id)? {
                Heard::Other => {}
                answer @ (Heard::Result(_) | Heard::Error { .. }) => return Ok(answer),
                other => heard = other,
            }
        }
        return Ok(heard);
    }
    serde_json::from_slice::<Envelope<'_, &RawValue>>(text).map_err(|error| not_json_rpc(&error))?.heard(text, id)
}

impl Envelope<'_, &RawValue> {
    /// What it is to us; it was read from this text.
    fn heard(self, text: &Bytes, id: u64) -> Result<Heard, String> {
        if self.jsonrpc != "2.0" {
            return Err("the answer is not JSON-RPC 2.0".to_owned());
        }
        if let Some(method) = self.method {
            return Ok(match &*method {
                "notifications/resources/list_changed" => Heard::ListChanged { resources: true },
                "notifications/tools/list_changed" | "notifications/prompts/list_changed" => {
                    Heard::ListChanged { resources: false }
                }
                _ => Heard::Other,
            });
        }
        let ours = self.id.is_some_and(|said| is_id(said.get(), id));
        match (self.result, self.error) {
            (Some(result), None) if ours => Ok(Heard::Result(RpcResult::Json(text.slice_ref(result.get().as_bytes())))),
            (Some(_), None) => Ok(Heard::AnotherId),
            // `null` where the server could not read the id; the official Python SDK says `server-error`.
            (None, Some(error))
                if ours || self.id.is_none_or(|said| matches!(said.get(), "null" | "\"server-error\"")) =>
            {
                Ok(Heard::Error { error, addressed: ours })
            }
            (None, Some(_)) => Ok(Heard::AnotherId),
            _ => Err("the answer has neither a result nor an error, or both".to_owned()),
        }
    }
}

/// Some servers send numbers back as text.
fn is_id(said: &str, id: u64) -> bool {
    said.trim_matches('"').parse() == Ok(id)
}

fn not_json_rpc(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "the answer is JSON, but not JSON-RPC".to_owned(),
        _ => format!("the answer is not JSON (line {}, column {})", error.line(), error.column()),
    }
}

/// Reads the result of a question.
///
/// # Errors
///
/// It is not what the protocol says; the text quotes nothing.
pub(super) fn read_result(question: Question<'_>, result: RpcResult) -> Result<Reply, String> {
    let result = match result {
        RpcResult::Read(result) => return result.reply(),
        RpcResult::Json(result) => result,
    };
    let result = &result[..];
    let reply = match question {
        Question::ReadResource(_) => return typed::<ResourceRead>("resources/read", result)?.reply(),
        Question::CallTool { .. } => {
            let result: CallToolResult = typed("tools/call", result)?;
            complete("tools/call", result.result_type.as_ref())?;
            Reply::Tool(result)
        }
        Question::ListResources { .. } => Reply::Resources(typed::<ListResourcesResult>("resources/list", result)?),
        Question::Tools { .. } => Reply::Tools(typed::<ListToolsResult>("tools/list", result)?),
        Question::Catalog { kind, .. } => Reply::Page(page(kind, typed(kind.method(), result)?)?),
        Question::ListTools | Question::Ping | Question::Discover | Question::Document => Reply::Done,
    };
    Ok(reply)
}

/// A page out of the result of a list.
///
/// # Errors
///
/// It is no list of that kind.
pub(super) fn page(kind: Kind, result: serde_json::Value) -> Result<Page, String> {
    let serde_json::Value::Object(mut result) = result else {
        return Err(format!("the result is not what `{}` returns", kind.method()));
    };
    let next = result.get("nextCursor").and_then(serde_json::Value::as_str).map(str::to_owned);
    let ttl_ms = result.get("ttlMs").and_then(serde_json::Value::as_u64);
    match result.remove(kind.key()) {
        Some(serde_json::Value::Array(items)) => Ok(Page { items, next, ttl_ms }),
        _ => Err(format!("the result of `{}` has no list `{}`", kind.method(), kind.key())),
    }
}

fn typed<'a, T: Deserialize<'a>>(method: &str, result: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(result).map_err(|_| format!("the result is not what `{method}` returns"))
}

/// The result of `resources/read`. Not rmcp's type, which tries one kind of contents after the other on a copy of them:
/// that took a tenth of the time of a poll.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceRead {
    #[serde(default)]
    result_type: Option<ResultType>,
    contents: Vec<Contents>,
}

impl ResourceRead {
    fn reply(self) -> Result<Reply, String> {
        complete("resources/read", self.result_type.as_ref())?;
        Ok(Reply::Resource(self.contents.into_iter().next().map_or(Resource::Empty, Resource::from)))
    }
}

/// One of the contents of a resource.
#[derive(Deserialize)]
#[serde(try_from = "EitherContents")]
enum Contents {
    Text(String),
    Blob(String),
}

#[derive(Deserialize)]
struct EitherContents {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    blob: Option<String>,
}

impl TryFrom<EitherContents> for Contents {
    type Error = &'static str;

    fn try_from(contents: EitherContents) -> Result<Self, Self::Error> {
        match contents {
            EitherContents { text: Some(text), .. } => Ok(Self::Text(text)),
            EitherContents { blob: Some(blob), .. } => Ok(Self::Blob(blob)),
            EitherContents { text: None, blob: None } => Err("neither text nor blob"),
        }
    }
}

impl From<Contents> for Resource {
    fn from(contents: Contents) -> Self {
        match contents {
            Contents::Text(text) => Self::Text(text),
            Contents::Blob(blob) => Self::Blob(blob),
        }
    }
}

/// A server of revision 2026-07-28 may ask back instead of answering; a monitor has nothing to say to that.
fn complete(method: &str, kind: Option<&ResultType>) -> Result<(), String> {
    match kind {
        Some(kind) if *kind != ResultType::COMPLETE => Err(format!("`{method}` is not complete: the server asks back")),
        _ => Ok(()),
    }
}

/// The result of `initialize`, as far as it matters; lenient where leniency costs nothing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Initialized {
    pub(super) protocol_version: String,
    #[serde(default)]
    pub(super) capabilities: Capabilities,
    #[serde(default)]
    pub(super) server_info: Implementation,
}

/// The result of `server/discover`, likewise.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Discovered {
    pub(super) supported_versions: Vec<String>,
    #[serde(default)]
    pub(super) capabilities: Capabilities,
    #[serde(rename = "_meta", default)]
    pub(super) meta: DiscoveredMeta,
}

#[derive(Default, Deserialize)]
pub(super) struct DiscoveredMeta {
    #[serde(rename = "io.modelcontextprotocol/serverInfo", default)]
    pub(super) server_info: Implementation,
}

#[derive(Default, Deserialize)]
pub(super) struct Capabilities {
    #[serde(default)]
    tools: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    resources: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    prompts: Option<serde::de::IgnoredAny>,
}

impl Capabilities {
    pub(super) fn offers(&self) -> Offers {
        Offers { tools: self.tools.is_some(), resources: self.resources.is_some(), prompts: self.prompts.is_some() }
    }
}

#[derive(Default, Deserialize)]
pub(super) struct Implementation {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: String,
}
