//! The fleet behind `mcp-exporter demo`: three small MCP servers, one per transport, with something to watch.
//!
//! Two run in this process on loopback, on ports that the system chooses; the third is this very program, started
//! by the daemon as a child. No file, no network. Nothing here knows how they are polled.

mod figures;
mod persona;
mod server;
mod sse;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use rmcp::ServiceExt as _;
use rmcp::transport::StreamableHttpServerConfig;
use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::health::HealthSettings;
use crate::maintenance::Maintenance;
use crate::target::{
    Address, Argument, CatalogSettings, Command, Endpoint, EndpointRedactor, HttpAddress, HttpTransport, Labels, Proxy,
    Resolve, Target, TargetName, Timing, TlsSettings,
};
use crate::units::PromDuration;

use persona::Persona;
use server::DemoServer;

/// The hidden subcommand under which the program serves [`serve_stdio`].
pub const CHILD_SUBCOMMAND: &str = "demo-server";

/// Time for open streams and requests to end; nobody waits for a demo.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The demo's targets are asked more often than real ones: somebody is looking.
const TIMING: Timing =
    Timing { interval: PromDuration::from_secs(2), timeout: PromDuration::from_millis(500), retries: 1 };

/// The running servers. They end when this is dropped, politely with [`Fleet::stop`].
#[derive(Debug)]
pub struct Fleet {
    targets: Vec<Target>,
    servers: JoinSet<io::Result<()>>,
    stop: CancellationToken,
}

impl Fleet {
    /// Starts the servers that live in this process. `program` is what the daemon starts for the one that does not:
    /// this program itself, with [`CHILD_SUBCOMMAND`].
    ///
    /// # Errors
    ///
    /// When loopback has no free port, or the program's path is not text.
    pub async fn start(program: &Path) -> io::Result<Self> {
        let program = program
            .to_str()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the program's own path is not valid UTF-8"))?;
        let mut fleet = Self { targets: Vec::new(), servers: JoinSet::new(), stop: CancellationToken::new() };

        let search = streamable(DemoServer::new(Persona::Search), fleet.stop.child_token());
        let address = fleet.serve(search, "/mcp").await?;
        fleet.targets.push(target(Persona::Search, http(address, HttpTransport::Streamable)));

        let orders = sse::router(DemoServer::new(Persona::Orders), fleet.stop.child_token());
        let address = fleet.serve(orders, "/sse").await?;
        fleet.targets.push(target(Persona::Orders, http(address, HttpTransport::Sse)));

        fleet.targets.push(target(
            Persona::Billing,
            Address::Stdio(Command {
                program: program.to_owned(),
                args: vec![Argument::Plain(CHILD_SUBCOMMAND.to_owned())],
                env: BTreeMap::new(),
                cwd: None,
            }),
        ));
        Ok(fleet)
    }

    /// What the daemon is to poll.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        self.targets.clone()
    }

    /// What to tell the person who started the demo: `page` is where the daemon shows its servers, such as
    /// `http://localhost:10627/`, `metrics` where Prometheus finds them.
    #[must_use]
    pub fn welcome(&self, page: &str, metrics: &str) -> String {
        let mut text = String::from("Three MCP servers to watch:\n\n");
        for (target, persona) in self.targets.iter().zip(Persona::ALL) {
            let (transport, place) = match &target.endpoint.address {
                Address::Http(http) if http.transport == HttpTransport::Sse => ("HTTP+SSE", http.to_string()),
                Address::Http(http) => ("streamable HTTP", http.to_string()),
                Address::Stdio(_) => ("stdio", "a child process".to_owned()),
            };
            let name = target.name.as_str();
            text += &format!("  {name:<9}{transport:<17}{place}\n           {}\n", persona.story());
        }
        text += &format!(
            "\nOpen {page} to see them, {metrics} for what Prometheus sees.\n\
             Look at one server yourself: mcp-exporter check {}\n\
             Ctrl-C ends it all.\n",
            self.targets[0].endpoint
        );
        text
    }

    /// Ends the servers, within two seconds.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.servers.join_next().await.is_some() {} };
        // What has not ended by then is aborted with the set.
        drop(tokio::time::timeout(STOP_GRACE, ended).await);
    }

    /// Serves on a free port of loopback, and says where.
    async fn serve(&mut self, router: Router, path: &str) -> io::Result<Url> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}{path}", listener.local_addr()?);
        let stop = self.stop.clone();
        self.servers.spawn(async move {
            // Answers of two writes would otherwise wait 40 ms for the client's delayed acknowledgement.
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await
        });
        Ok(Url::parse(&url).expect("a socket address is a valid host and port"))
    }
}

/// Serves the demo's stdio server until standard input ends: what the child does.
pub async fn serve_stdio() {
    // A parent that leaves before or during the handshake is the ordinary end, too.
    if let Ok(running) = DemoServer::new(Persona::Billing).serve(rmcp::transport::stdio_pipes()).await {
        drop(running.waiting().await);
    }
}

fn streamable(server: DemoServer, stop: CancellationToken) -> Router {
    let config = StreamableHttpServerConfig::default().with_cancellation_token(stop);
    let sessions = Arc::<LocalSessionManager>::default();
    Router::new().nest_service("/mcp", StreamableHttpService::new(move || Ok(server), sessions, config))
}

fn http(url: Url, transport: HttpTransport) -> Address {
    Address::Http(Box::new(HttpAddress {
        url,
        socket: None,
        resolve: Resolve::Any,
        transport,
        tls: TlsSettings::default(),
        proxy: Proxy::default(),
        auth: None,
        headers: Vec::new(),
        allowed: None,
    }))
}

fn target(persona: Persona, address: Address) -> Target {
    Target {
        name: TargetName::new(persona.name()),
        labels: Labels::new(BTreeMap::from([("team".to_owned(), persona.team().to_owned())])),
        endpoint: Arc::new(Endpoint {
            address,
            startup_timeout: None,
            max_connection_age: PromDuration::from_secs(3_600),
            max_answer_bytes: 1 << 20,
            redactor: EndpointRedactor::default(),
        }),
        timing: TIMING,
        health: Arc::new(HealthSettings::default()),
        catalog: CatalogSettings::default(),
        passthrough: None,
        canaries: Arc::default(),
        poll: true,
        maintenance: Maintenance::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fleet_says_where_it_is_and_ends_at_once() {
        let fleet = Fleet::start(Path::new("/opt/mcp-exporter")).await.expect("starts");
        let [search, orders, billing] = &fleet.targets()[..] else { panic!("three targets") };
        assert_eq!(
            [search.name.as_str(), orders.name.as_str(), billing.name.as_str()],
            ["search", "orders", "billing"]
        );
        assert_eq!(billing.endpoint.to_string(), "/opt/mcp-exporter demo-server");
        assert_eq!(orders.labels.iter().collect::<Vec<_>>(), [("team", "shop")]);

        let (search, orders) = (search.endpoint.to_string(), orders.endpoint.to_string());
        assert_eq!(
            fleet.welcome("http://localhost:10627/", "http://localhost:10627/metrics"),
            format!(
                "\
Three MCP servers to watch:

  search   streamable HTTP  {search}
           healthy
  orders   HTTP+SSE         {orders}
           degraded: slow database, pool nearly used up
  billing  stdio            a child process
           up and down: 30 s well, 15 s without its database

Open http://localhost:10627/ to see them, http://localhost:10627/metrics for what Prometheus sees.
Look at one server yourself: mcp-exporter check {search}
Ctrl-C ends it all.
"
            )
        );

        fleet.stop().await;
    }

    /// The poll's attempts must fit in the interval, as the configuration demands of everybody.
    #[test]
    fn the_timing_fits() {
        assert!(TIMING.timeout.get() * (TIMING.retries + 1) <= TIMING.interval.get());
    }
}
