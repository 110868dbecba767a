//! The MCP side of a demo server, the same over every transport.

use std::time::Instant;

use rmcp::ErrorData;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
    Resource, ResourceContents, ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer};

use super::figures;
use super::persona::Persona;

/// The resource that the exporter asks by default.
const HEALTH_URI: &str = "health://status";

/// How long clients may keep the lists, in milliseconds: they never change.
const LIST_TTL_MS: u64 = 3_600_000;

/// One demo server. Cheap to clone: each session gets its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct DemoServer {
    persona: Persona,
    started: Instant,
}

impl DemoServer {
    /// A server that started just now.
    pub(super) fn new(persona: Persona) -> Self {
        Self { persona, started: Instant::now() }
    }
}

impl ServerHandler for DemoServer {
    fn get_info(&self) -> ServerConfig {
        let name = format!("{}-mcp", self.persona.name());
        ServerConfig::new(ServerCapabilities::builder().enable_resources().enable_tools().build())
            .with_server_info(Implementation::new(name, self.persona.version()))
            .with_instructions(format!("A server of `mcp-exporter demo`. {HEALTH_URI} is {}.", self.persona.story()))
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let health = Resource::new(HEALTH_URI, "status")
            .with_title("Health")
            .with_description("How this server is, its database, its connection pool, memory and disk.")
            .with_mime_type("application/json");
        Ok(ListResourcesResult::with_all_items(vec![health]).with_ttl_ms(LIST_TTL_MS))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != HEALTH_URI {
            return Err(ErrorData::resource_not_found(format!("no resource `{}`", request.uri), None));
        }
        let document = figures::document(self.persona, self.started.elapsed(), jiff::Timestamp::now());
        let text = ResourceContents::text(document.to_string(), HEALTH_URI).with_mime_type("application/json");
        Ok(ReadResourceResult::new(vec![text]).into())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.persona.tools()).with_ttl_ms(LIST_TTL_MS))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        match self.persona.call(&request.name, &arguments) {
            Some(Ok(value)) => Ok(CallToolResult::structured(value).into()),
            Some(Err(message)) => Ok(CallToolResult::error(vec![ContentBlock::text(message)]).into()),
            None => Err(ErrorData::invalid_params(format!("no tool `{}`", request.name), None)),
        }
    }
}
