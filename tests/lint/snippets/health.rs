//! The README's snippet for rmcp, compiled: what stands between the lines is its text.

use rmcp::model::{
    ErrorData, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ResourceContents,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::json;

#[derive(Clone)]
pub(crate) struct MyServer {
    pub(crate) started: std::time::Instant,
}

impl ServerHandler for MyServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_resources().build())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        // ---
        if request.uri == "health://status" {
            let health = json!({
                "status": "healthy",
                "timestamp": jiff::Timestamp::now().to_string(),
                "uptime_seconds": self.started.elapsed().as_secs(),
                "metadata": { "version": env!("CARGO_PKG_VERSION") },
            });
            let text = ResourceContents::text(health.to_string(), request.uri);
            return Ok(ReadResourceResult::new(vec![text]).into());
        }
        // ---
        Err(ErrorData::resource_not_found("no such resource", None))
    }
}
