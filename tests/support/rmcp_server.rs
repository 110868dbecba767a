//! A server on rmcp's own server side, in this process but on threads of its own: dropping it is killing it.

use std::borrow::Cow;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rmcp::model::{
    ErrorData, Implementation, ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource, ResourceContents,
    ServerCapabilities, ServerConfig, ToolsCapability,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use tokio::runtime::Runtime;

/// A running server.
#[derive(Debug)]
pub(crate) struct RmcpServer {
    runtime: Option<Runtime>,
}

impl RmcpServer {
    /// Serves `/mcp`, with sessions (revisions up to 2025-11-25) or without (2026-07-28). `document` is read at each
    /// question.
    #[track_caller]
    pub(crate) fn start(listener: TcpListener, document: PathBuf, sessions: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = StreamableHttpServerConfig::default().with_legacy_session_mode(sessions);
        let service = StreamableHttpService::new(
            move || Ok(Server { document: document.clone(), sessions }),
            Arc::<LocalSessionManager>::default(),
            config,
        );
        let router = Router::new().nest_service("/mcp", service);
        listener.set_nonblocking(true).unwrap();
        let entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        drop(entered);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { runtime: Some(runtime) }
    }
}

impl Drop for RmcpServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Drops every task, and with them the listener and all connections.
            runtime.shutdown_timeout(Duration::from_secs(10));
        }
    }
}

#[derive(Debug, Clone)]
struct Server {
    document: PathBuf,
    sessions: bool,
}

impl Server {
    /// What `catalog.json` beside the document says, if it is there.
    fn catalog(&self) -> Option<String> {
        std::fs::read_to_string(self.document.with_file_name("catalog.json")).ok()
    }
}

const URI: &str = "health://status";

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut offers = ServerCapabilities::builder().enable_resources().build();
        offers.tools = self.catalog().map(|_| ToolsCapability::default());
        ServerConfig::new(offers).with_server_info(Implementation::new("rmcp-server", "4.5.6"))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        if self.sessions {
            Cow::Borrowed(&[ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25])
        } else {
            Cow::Borrowed(&[ProtocolVersion::V_2026_07_28])
        }
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.catalog().and_then(|text| serde_json::from_str::<ListToolsResult>(&text).ok());
        tools.ok_or_else(|| ErrorData::internal_error("no catalog", None))
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(vec![Resource::new(URI, "health")]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != URI {
            return Err(ErrorData::resource_not_found("no such resource", None));
        }
        let text = std::fs::read_to_string(&self.document)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(ReadResourceResult::new(vec![ResourceContents::text(text, URI)]).into())
    }
}
