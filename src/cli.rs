//! The command line: flags, commands, and what they print.
//!
//! Data goes to standard output, everything else to standard error. Nobody else in the crate writes to either, but for
//! the log. Flags that may hold a URL have no `Debug`: there may be a password in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{BoolishValueParser, Resettable};
use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::{App, Elsewhere, Listen, Settings};
use crate::check;
use crate::config::{Discover as _, Kind, Occasion, Reloader, Sources};
use crate::demo::Fleet;
use crate::discovery::{self, Discovery, Listing};
use crate::http::{Gate, ListenAddress, check_path, passed_sockets};
use crate::lint;
use crate::look::Look;
use crate::review::Review;
use crate::shutdown::Signals;
use crate::target::{self, Address, Argument, Endpoint, HttpTransport, Target, TargetName};
use crate::telemetry::{LogFormat, LogLevel};
use crate::units::PromDuration;

/// Version, commit and compiler.
const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("MCP_EXPORTER_COMMIT"), ", ", env!("MCP_EXPORTER_RUSTC"), ")");

/// Keeps an eye on MCP servers for Prometheus.
///
/// Polls each configured MCP server, reads its health and serves it as metrics. New here? `mcp-exporter demo` needs no
/// configuration and no network.
#[derive(Parser)]
#[command(name = "mcp-exporter", version = VERSION, args_conflicts_with_subcommands = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    daemon: DaemonFlags,
}

#[derive(Subcommand)]
enum Command {
    /// Start a small fleet of MCP servers on this host and the daemon that polls them
    Demo {
        #[command(flatten)]
        daemon: DaemonFlags,
    },
    /// Poll servers once and print how they are
    ///
    /// Exit status: 0 all healthy, 1 any degraded or unhealthy, 2 any could not be checked.
    Check(CheckFlags),
    /// Tell those who write servers what to do better
    ///
    /// Looks at the health and the lists of each server for two seconds. Calls no tool but one that the configuration names
    /// as its health. Exit status: 0 nothing of the severity that fails (--fail-on), 1 something, 2 any server could not be
    /// reached, or a wrong flag.
    Lint(LintFlags),
    /// Compare what servers offer (tools, resources, prompts) with what was reviewed
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Validate a configuration file
    ///
    /// Prints every problem with its place and a hint. Exit status: 0 valid, 1 not.
    CheckConfig {
        /// The file to read
        file: PathBuf,
    },
    /// Ask the daemon on this host whether it is alive: for container health checks
    ///
    /// Exit status: 0 it is, 1 it is not.
    Healthcheck {
        #[command(flatten)]
        daemon: DaemonFlags,
    },
    /// Print the JSON Schema of the configuration file, or of the health document that servers should serve
    Schema {
        /// Which of them
        #[arg(value_enum, value_name = "OF", default_value = "config")]
        of: SchemaOf,
    },
    /// Print the table of every metric
    MetricsReference,
    /// Print the table of every configuration key
    #[command(hide = true)]
    ConfigReference,
    /// Print the table of every rule of `lint`
    #[command(hide = true)]
    LintReference,
    /// One of the demo's servers, on standard input and output
    #[command(hide = true)]
    DemoServer,
}

#[derive(Subcommand)]
enum CatalogCommand {
    /// Write down what servers offer now, to be reviewed and kept in Git
    ///
    /// Exit status: 0 all are written down, 2 any could not be read.
    Lock(CatalogFlags),
    /// Tell how what servers offer now differs from what was written down
    ///
    /// Exit status: 0 it does not, 1 it does, 2 any could not be read.
    Diff(CatalogFlags),
}

/// The flags of `catalog lock` and `catalog diff`.
#[derive(Clone, Args)]
struct CatalogFlags {
    /// Names of servers [default: every configured server that has a catalog]
    #[arg(value_name = "NAME")]
    servers: Vec<String>,

    #[command(flatten)]
    sources: SourceFlags,

    /// The lock file, instead of `catalog.lock_file` in the configuration
    #[arg(long = "lock-file", env = "MCP_EXPORTER_LOCK_FILE", value_name = "FILE")]
    lock_file: Option<PathBuf>,
}

/// The daemon's flags.
#[derive(Clone, Args)]
struct DaemonFlags {
    #[command(flatten)]
    sources: SourceFlags,

    /// Address to listen on, HOST:PORT or :PORT (repeatable) [default: :10627]
    #[arg(
        long = "web.listen-address",
        env = "MCP_EXPORTER_WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = ":10627",
        hide_default_value = true
    )]
    listen: Vec<ListenAddress>,

    /// Listen on the sockets that systemd passes instead of addresses
    #[arg(
        long = "web.systemd-socket",
        env = "MCP_EXPORTER_WEB_SYSTEMD_SOCKET",
        value_parser = BoolishValueParser::new()
    )]
    systemd_socket: bool,

    /// File that says who may ask, and how: TLS, client certificates, passwords, headers, rate limit
    ///
    /// In the format of Prometheus' exporter-toolkit; read again when it changes.
    #[arg(long = "web.config.file", env = "MCP_EXPORTER_WEB_CONFIG_FILE", value_name = "FILE")]
    web_config_file: Option<PathBuf>,

    /// Path under which metrics are served
    #[arg(
        long = "web.telemetry-path",
        env = "MCP_EXPORTER_WEB_TELEMETRY_PATH",
        value_name = "PATH",
        default_value = "/metrics",
        value_parser = check_path
    )]
    telemetry_path: String,

    /// Allow reloading the configuration by POST /-/reload
    #[arg(
        long = "web.enable-lifecycle",
        env = "MCP_EXPORTER_WEB_ENABLE_LIFECYCLE",
        value_parser = BoolishValueParser::new()
    )]
    enable_lifecycle: bool,

    /// URL under which people and Prometheus reach this exporter, where it differs from the listen address
    #[arg(
        long = "web.external-url",
        env = "MCP_EXPORTER_WEB_EXTERNAL_URL",
        value_name = "URL",
        value_parser = external_url
    )]
    external_url: Option<url::Url>,

    /// Prefix of every path [default: the path of --web.external-url]
    #[arg(
        long = "web.route-prefix",
        env = "MCP_EXPORTER_WEB_ROUTE_PREFIX",
        value_name = "PATH",
        value_parser = check_path
    )]
    route_prefix: Option<String>,

    /// Seconds taken off the scrape timeout that Prometheus gives to /probe
    #[arg(
        long = "timeout-offset",
        env = "MCP_EXPORTER_TIMEOUT_OFFSET",
        value_name = "SECONDS",
        default_value = "0.5",
        value_parser = seconds
    )]
    timeout_offset: Duration,

    #[command(flatten)]
    log: LogFlags,
}

/// Where the servers to poll come from.
#[derive(Clone, Args)]
struct SourceFlags {
    /// Configuration file [default: config/mcp-exporter.yaml, then /etc/mcp-exporter/mcp-exporter.yaml]
    #[arg(long = "config.file", env = "MCP_EXPORTER_CONFIG_FILE", value_name = "FILE")]
    config_file: Option<PathBuf>,

    /// Poll this server too, without a file (repeatable; in the environment separated by commas)
    #[arg(long = "target", env = "MCP_EXPORTER_TARGET", value_name = "[NAME=]URL")]
    targets: Vec<String>,

    /// Poll the servers that an MCP client lists in this file (repeatable; in the environment separated by commas)
    ///
    /// Files of Claude Desktop, Claude Code, Cursor, VS Code, Windsurf, Gemini CLI and Zed are understood.
    #[arg(long = "mcp-config", env = "MCP_EXPORTER_MCP_CONFIG", value_name = "FILE")]
    mcp_configs: Vec<String>,

    /// Run what entries with a command in such files say
    #[arg(
        long = "mcp-config.allow-stdio",
        env = "MCP_EXPORTER_MCP_CONFIG_ALLOW_STDIO",
        value_parser = BoolishValueParser::new()
    )]
    allow_stdio: bool,
}

/// The flags of `check`.
#[derive(Clone, Args)]
struct CheckFlags {
    /// What to check: URLs, or names from the configuration [default: every configured server]
    ///
    /// A URL is asked as the configuration file's `defaults` say, where there is such a file.
    #[arg(value_name = "URL or NAME")]
    servers: Vec<String>,

    #[command(flatten)]
    sources: SourceFlags,

    /// A table for people, or one JSON object a line
    #[arg(long, env = "MCP_EXPORTER_OUTPUT", value_enum, value_name = "FORMAT", default_value = "text")]
    output: OutputFlag,

    /// Check again every so many seconds, until interrupted
    #[arg(long, env = "MCP_EXPORTER_WATCH", value_name = "SECONDS", value_parser = watch_interval)]
    watch: Option<PromDuration>,

    /// With --watch: exit with status 1 once a server was not healthy so many times in a row
    #[arg(
        long,
        env = "MCP_EXPORTER_FAILURES",
        value_name = "N",
        requires = "watch",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    failures: Option<u32>,
}

/// The flags of `lint`.
#[derive(Clone, Args)]
struct LintFlags {
    /// What to look at: URLs, or names from the configuration [default: every configured server]
    ///
    /// A URL is asked as the configuration file's `defaults` say, where there is such a file.
    #[arg(value_name = "URL or NAME")]
    servers: Vec<String>,

    #[command(flatten)]
    sources: SourceFlags,

    /// Text for people, or one JSON object a line for each server
    #[arg(long, env = "MCP_EXPORTER_OUTPUT", value_enum, value_name = "FORMAT", default_value = "text")]
    output: OutputFlag,

    /// A stdio server to start and to look at: `lint -- uvx my-server`
    ///
    /// Of the environment it gets PATH, HOME, LANG and the like; for more write `lint -- env KEY=VALUE my-server`.
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "servers")]
    command: Vec<String>,

    /// The severity from which on findings make the exit status 1
    #[arg(long, env = "MCP_EXPORTER_FAIL_ON", value_enum, value_name = "SEVERITY", default_value = "warning")]
    fail_on: FailOn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    Error,
    Warning,
    Advice,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SchemaOf {
    Config,
    Health,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OutputFlag {
    Text,
    Json,
}

/// Seconds, or a duration with its unit.
fn watch_interval(text: &str) -> Result<PromDuration, String> {
    let with_unit = if text.bytes().all(|byte| byte.is_ascii_digit()) { format!("{text}s") } else { text.to_owned() };
    match with_unit.parse::<PromDuration>() {
        Ok(interval) if !interval.is_zero() => Ok(interval),
        Ok(_) => Err("must be longer than nothing".to_owned()),
        Err(error) => Err(format!("{error}; write it like `10` or `1m30s`")),
    }
}

/// A number of seconds, not negative.
fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds such as `0.5`")?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "not a number of seconds such as `0.5`")
}

/// An address that browsers and Prometheus can open.
fn external_url(text: &str) -> Result<url::Url, &'static str> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err("not a URL such as `https://monitoring.example/mcp`"),
    }
}

#[derive(Debug, Clone, Args)]
struct LogFlags {
    /// How much is logged
    #[arg(
        long = "log.level",
        env = "MCP_EXPORTER_LOG_LEVEL",
        value_enum,
        value_name = "LEVEL",
        default_value = "info"
    )]
    level: LogLevel,

    /// How a log line is written
    #[arg(
        long = "log.format",
        env = "MCP_EXPORTER_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value = "logfmt"
    )]
    format: LogFormat,
}

/// Runs the command line; the value is the process's exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version go to standard output with status 0, a wrong flag to standard error with 2.
            let printed = usage.print();
            return if printed.is_ok() { exit_code(usage.exit_code()) } else { ExitCode::FAILURE };
        }
    };
    let outcome = match cli.command {
        None => daemon(&cli.daemon),
        Some(Command::Demo { daemon: flags }) => demo(&flags),
        Some(Command::Check(flags)) => check(&flags),
        Some(Command::Lint(flags)) => lint(&flags),
        Some(Command::Catalog(command)) => catalog(&command),
        Some(Command::CheckConfig { file }) => check_config(&file),
        Some(Command::Healthcheck { daemon: flags }) => healthcheck(&flags),
        Some(Command::Schema { of: SchemaOf::Config }) => print(&pretty(&crate::config::schema())),
        Some(Command::Schema { of: SchemaOf::Health }) => print(crate::health::SCHEMA),
        Some(Command::MetricsReference) => print(&crate::metrics::reference()),
        Some(Command::ConfigReference) => print(&crate::config::reference()),
        Some(Command::LintReference) => print(&lint::reference()),
        Some(Command::DemoServer) => demo_server(),
    };
    outcome.unwrap_or_else(|complaint| complaint.tell())
}

/// The command line and the environment as flags.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let mut given = &matches;
    while let Some((_, below)) = given.subcommand() {
        given = below;
    }
    if let Some(sources) = cli.sources() {
        for (flag, values) in [("targets", &mut sources.targets), ("mcp_configs", &mut sources.mcp_configs)] {
            if given.value_source(flag) == Some(ValueSource::EnvVariable) {
                *values = values.iter().flat_map(|list| split(list)).collect();
            }
        }
    }
    Ok(cli)
}

/// The elements of a list in an environment variable. A flag that is repeated needs no commas; a URL may have some.
fn split(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(str::trim).filter(|element| !element.is_empty()).map(str::to_owned)
}

/// The flags as clap knows them. A variable that is set to nothing is not set, as compose files and charts have it;
/// and help repeats the value of none, since it may hold a password.
fn command() -> clap::Command {
    fn tame(command: clap::Command) -> clap::Command {
        let empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
        let tame_one = |argument: clap::Arg| match argument.get_env() {
            Some(name) if empty(name) => argument.env(Resettable::Reset),
            _ => argument.hide_env_values(true),
        };
        command.mut_args(tame_one).mut_subcommands(tame)
    }
    tame(Cli::command())
}

impl Cli {
    /// Where the servers come from, for the commands that have any.
    fn sources(&mut self) -> Option<&mut SourceFlags> {
        match &mut self.command {
            None => Some(&mut self.daemon.sources),
            Some(Command::Demo { daemon } | Command::Healthcheck { daemon }) => Some(&mut daemon.sources),
            Some(Command::Check(flags)) => Some(&mut flags.sources),
            Some(Command::Lint(flags)) => Some(&mut flags.sources),
            Some(Command::Catalog(CatalogCommand::Lock(flags) | CatalogCommand::Diff(flags))) => {
                Some(&mut flags.sources)
            }
            Some(_) => None,
        }
    }
}

/// Something went wrong: a sentence, its causes, and what to do about it. Printed whole, in one place.
struct Complaint {
    text: String,
    hint: Option<String>,
    status: u8,
}

impl Complaint {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, status: 1 }
    }

    /// The error and what caused it, on one line.
    fn of(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self::new(text)
    }

    fn hint(self, hint: Option<impl Into<String>>) -> Self {
        Self { hint: hint.map(Into::into), ..self }
    }

    fn tell(self) -> ExitCode {
        let hint = self.hint.map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
        // Nobody is left to be told when standard error is gone; the exit status still says it.
        drop(writeln!(io::stderr().lock(), "mcp-exporter: {}{hint}", self.text));
        ExitCode::from(self.status)
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Data for standard output. A reader that went away (`| head`) is no mistake.
fn print(text: &str) -> Result<ExitCode, Complaint> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Complaint::new(format!("could not write to standard output: {error}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Time for what runs aside to end once the work is done.
const LEFTOVERS_GRACE: Duration = Duration::from_millis(100);

/// Runs this on a runtime of its own. A name that is still being looked up then is not waited for: where no name server
/// answers, that would take many seconds.
fn run_async<T>(work: impl Future<Output = T>) -> Result<T, Complaint> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Complaint::new(format!("could not start the runtime: {error}")))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LEFTOVERS_GRACE);
    Ok(done)
}

/// The files looked for when none is named.
const DEFAULT_FILES: [&str; 2] = ["config/mcp-exporter.yaml", "/etc/mcp-exporter/mcp-exporter.yaml"];

impl SourceFlags {
    /// The file that was named, else a default file that exists.
    fn file(&self) -> Option<PathBuf> {
        let default = || DEFAULT_FILES.iter().map(PathBuf::from).find(|path| path.exists());
        self.config_file.clone().or_else(default)
    }

    /// What to read: a file, or at least one `--target` or `--mcp-config`.
    fn sources(&self) -> Result<Sources, Complaint> {
        let file = self.file();
        if self.is_empty() {
            let looked_for = DEFAULT_FILES.join(" or ");
            return Err(Complaint::new(format!(
                "nothing to poll: there is no {looked_for}, and neither --target nor --mcp-config"
            ))
            .hint(Some(
                "name a file with --config.file, or a server with --target http://localhost:8000/mcp; \
                 `mcp-exporter demo` shows how it looks",
            )));
        }
        Ok(Sources { file, ..self.without_file() })
    }

    /// What the other flags name.
    fn without_file(&self) -> Sources {
        Sources {
            targets: self.targets.clone(),
            mcp_configs: self.mcp_configs.iter().map(PathBuf::from).collect(),
            allow_stdio: self.allow_stdio,
            ..Sources::default()
        }
    }

    /// Whether there is no file and nothing that would do instead.
    fn is_empty(&self) -> bool {
        self.file().is_none() && self.targets.is_empty() && self.mcp_configs.is_empty()
    }

    fn load(&self) -> Result<(Reloader, Elsewhere), Complaint> {
        let sources = self.sources()?;
        let discovery = Discovery::default();
        let elsewhere = Elsewhere { reports: discovery.reports(), urls: discovery.urls() };
        let started = Reloader::start(sources, discovery);
        let (reloader, warnings) = started.map_err(|problems| Complaint::new(problems.to_string()))?;
        for warning in warnings.iter() {
            warn!("{warning}");
        }
        Ok((reloader, elsewhere))
    }
}

impl DaemonFlags {
    /// In front of every path: as given, else the external URL's own path; empty for none.
    fn prefix(&self) -> Result<String, Complaint> {
        let prefix = match (&self.route_prefix, &self.external_url) {
            (Some(prefix), _) => prefix.clone(),
            (None, Some(url)) => check_path(url.path()).map_err(|error| {
                Complaint::new(format!("the path of --web.external-url cannot be served: {error}"))
                    .hint(Some("choose another path with --web.route-prefix"))
            })?,
            (None, None) => String::new(),
        };
        Ok(prefix.trim_end_matches('/').to_owned())
    }

    /// To be called before any thread runs, for the sake of [`passed_sockets`].
    fn settings(&self) -> Result<Settings, Complaint> {
        Ok(Settings {
            listen: self.listen()?,
            gate: self.gate()?,
            telemetry_path: self.telemetry_path.clone(),
            route_prefix: self.prefix()?,
            enable_lifecycle: self.enable_lifecycle,
            external_url: self.external_url.clone(),
            timeout_offset: self.timeout_offset,
        })
    }

    fn listen(&self) -> Result<Listen, Complaint> {
        if !self.systemd_socket {
            return Ok(Listen::Addresses(self.listen.clone()));
        }
        match passed_sockets() {
            Ok(passed) if !passed.is_empty() => Ok(Listen::Passed(passed)),
            Ok(_) => Err(Complaint::new("systemd has passed no socket to listen on")
                .hint(Some("start mcp-exporter.socket, or leave out --web.systemd-socket"))),
            Err(error) => Err(Complaint::new(format!("what systemd has passed is no socket to listen on: {error}"))
                .hint(Some("the socket unit needs ListenStream= with an address and a port"))),
        }
    }

    fn gate(&self) -> Result<Option<Arc<Gate>>, Complaint> {
        let Some(file) = &self.web_config_file else { return Ok(None) };
        let (gate, warnings) = Gate::open(file).map_err(|error| Complaint::of(&error))?;
        for warning in warnings.iter() {
            warn!("{warning}");
        }
        Ok(Some(Arc::new(gate)))
    }
}

/// Loads, takes the ports, then runs until a signal.
fn daemon(flags: &DaemonFlags) -> Result<ExitCode, Complaint> {
    crate::telemetry::start(flags.log.level, flags.log.format);
    let settings = flags.settings()?;
    let (reloader, elsewhere) = flags.sources.load()?;
    run_async(async {
        let asked_to_stop = prepare(settings, reloader, elsewhere).await?.run().await;
        Ok(if asked_to_stop { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })?
}

async fn prepare(settings: Settings, reloader: Reloader, elsewhere: Elsewhere) -> Result<App, Complaint> {
    App::prepare(settings, reloader, elsewhere).await.map_err(|error| Complaint::of(&error).hint(error.hint()))
}

/// The daemon over a fleet of its own, and over the servers that were named.
fn demo(flags: &DaemonFlags) -> Result<ExitCode, Complaint> {
    crate::telemetry::start(flags.log.level, flags.log.format);
    let settings = flags.settings()?;
    let named = match &flags.sources {
        SourceFlags { config_file: None, targets, mcp_configs, .. } if targets.is_empty() && mcp_configs.is_empty() => {
            Vec::new()
        }
        sources => load(&Sources { file: sources.config_file.clone(), ..sources.without_file() })?,
    };
    let program = std::env::current_exe()
        .map_err(|error| Complaint::new(format!("could not find out where this program is: {error}")))?;
    run_async(async {
        let fleet = Fleet::start(&program)
            .await
            .map_err(|error| Complaint::new(format!("could not start the demo's servers: {error}")))?;
        let mut targets = fleet.targets();
        for target in named {
            if targets.iter().any(|other| other.name == target.name) {
                warn!("the demo has a server `{}` already; use another `NAME=`", target.name);
            } else {
                targets.push(target);
            }
        }
        let prefix = settings.route_prefix.trim_end_matches('/').to_owned();
        let path = settings.telemetry_path.clone();
        let scheme = if settings.gate.as_ref().is_some_and(|gate| gate.speaks_tls()) { "https" } else { "http" };
        let app = prepare(settings, Reloader::fixed(targets), Elsewhere::default()).await?;
        let address = app.addresses().first().copied().ok_or_else(|| Complaint::new("no address to listen on"))?;
        let host = match address.ip() {
            ip if ip.is_unspecified() => format!("localhost:{}", address.port()),
            _ => address.to_string(),
        };
        let base = format!("{scheme}://{host}{prefix}");
        print(&fleet.welcome(&format!("{base}/"), &format!("{base}{path}")))?;
        let asked_to_stop = app.run().await;
        fleet.stop().await;
        Ok(if asked_to_stop { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })?
}

fn demo_server() -> Result<ExitCode, Complaint> {
    run_async(crate::demo::serve_stdio())?;
    Ok(ExitCode::SUCCESS)
}

/// Checks once, or watches until interrupted.
fn check(flags: &CheckFlags) -> Result<ExitCode, Complaint> {
    // A mistake in what to check is status 2 too: nothing could be checked.
    let targets = flags.sources.targets(&flags.servers).map_err(|complaint| Complaint { status: 2, ..complaint })?;
    let options = check::Options { output: flags.output.into(), watch: flags.watch, failures: flags.failures };
    let colors = anstream::AutoStream::choice(&io::stdout());
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut screen = check::Screen {
        out: &mut out,
        err: &mut err,
        color: colors != anstream::ColorChoice::Never,
        size: terminal_size,
        progress: io::stderr().is_terminal(),
    };
    let verdict = run_async(async {
        let mut signals = Signals::catch()?;
        let stop = CancellationToken::new();
        let interrupted = async {
            signals.next().await;
            stop.cancel();
            std::future::pending().await
        };
        tokio::select! {
            verdict = check::run(&targets, &options, &mut screen, &stop) => verdict,
            () = interrupted => unreachable!("it waits for the checks to end"),
        }
    })?;
    match verdict {
        Ok(verdict) => Ok(ExitCode::from(verdict.exit_code())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::from(2)),
        Err(error) => Err(Complaint { status: 2, ..Complaint::new(format!("could not print the result: {error}")) }),
    }
}

/// Looks at each server once. Every mistake is status 2: nothing was looked at.
fn lint(flags: &LintFlags) -> Result<ExitCode, Complaint> {
    let failed = |complaint| Complaint { status: 2, ..complaint };
    let targets = match flags.command.split_first() {
        Some((program, args)) => flags.sources.child(program, args),
        None => flags.sources.targets(&flags.servers),
    };
    let targets = targets.map_err(failed)?;
    let options = lint::Options {
        output: flags.output.into(),
        fail_on: match flags.fail_on {
            FailOn::Error => Some(lint::Severity::Error),
            FailOn::Warning => Some(lint::Severity::Warning),
            FailOn::Advice => Some(lint::Severity::Advice),
            FailOn::Never => None,
        },
    };
    let color = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    let look = Look { color, size: terminal_size() };
    let mut out = io::stdout();
    let verdict = run_async(async {
        let mut signals = Signals::catch()?;
        tokio::select! {
            verdict = lint::run(&targets, options, &mut out, look) => verdict,
            // Children end with what is dropped here.
            _ = signals.next() => Ok(lint::Verdict::NotReached),
        }
    });
    let verdict = verdict.map_err(failed)?;
    match verdict {
        Ok(verdict) => Ok(ExitCode::from(verdict.exit_code())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::from(2)),
        Err(error) => Err(failed(Complaint::new(format!("could not print the result: {error}")))),
    }
}

impl From<OutputFlag> for check::Output {
    fn from(flag: OutputFlag) -> Self {
        match flag {
            OutputFlag::Text => Self::Text,
            OutputFlag::Json => Self::Json,
        }
    }
}

/// Every mistake is status 2: nothing was compared.
fn catalog(command: &CatalogCommand) -> Result<ExitCode, Complaint> {
    let (CatalogCommand::Lock(flags) | CatalogCommand::Diff(flags)) = command;
    let failed = |complaint| Complaint { status: 2, ..complaint };
    let review = flags.review().map_err(failed)?;
    let verdict = run_async(async {
        let mut out = io::stdout();
        match command {
            CatalogCommand::Lock(_) => review.lock(&mut out).await,
            CatalogCommand::Diff(_) => review.diff(&mut out).await,
        }
    });
    match verdict.map_err(failed)? {
        Ok(verdict) => Ok(ExitCode::from(verdict.exit_code())),
        Err(error) => Err(failed(Complaint::of(&error).hint(error.hint()))),
    }
}

impl CatalogFlags {
    fn review(&self) -> Result<Review, Complaint> {
        let configured = load(&self.sources.sources()?)?;
        let targets: Vec<Target> = if self.servers.is_empty() {
            configured.into_iter().filter(|target| target.catalog.enabled && has_catalog(target)).collect()
        } else {
            let known = |name: &String| {
                let target = configured.iter().find(|target| target.name.as_str() == *name);
                target.cloned().ok_or_else(|| unknown_server(name, &configured))
            };
            self.servers.iter().map(known).collect::<Result<_, _>>()?
        };
        Ok(Review { targets, all: self.servers.is_empty(), file: self.lock_file.clone() })
    }
}

/// What is known to be a plain health document has none.
fn has_catalog(target: &Target) -> bool {
    match &target.endpoint.address {
        Address::Http(address) => address.transport != HttpTransport::Document,
        Address::Stdio(_) => true,
    }
}

/// Columns and lines of standard output, where it is a terminal.
fn terminal_size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

impl SourceFlags {
    /// What `check` and `lint` name, in that order: URLs with the settings of `defaults`, and configured servers. All that
    /// are configured, where they name none.
    fn targets(&self, servers: &[String]) -> Result<Vec<Target>, Complaint> {
        if servers.is_empty() {
            return load(&self.sources()?);
        }
        let is_url = |server: &&String| server.contains("://");
        let mut urls = self.at_urls(servers.iter().filter(is_url).cloned().collect())?.into_iter();
        // A name needs a configuration; URLs alone need none.
        let configured = match servers.iter().all(|server| is_url(&server)) || self.is_empty() {
            true => Vec::new(),
            false => load(&self.sources()?)?,
        };
        let choose = |server: &String| match is_url(&server) {
            true => Ok(urls.next().expect("a target for each URL")),
            false => {
                let known = configured.iter().find(|target| target.name.as_str() == server);
                known.cloned().ok_or_else(|| unknown_server(server, &configured))
            }
        };
        servers.iter().map(choose).collect()
    }

    /// The only target: a child process, with the settings that a URL would have.
    fn child(&self, program: &str, args: &[String]) -> Result<Vec<Target>, Complaint> {
        let name = program.rsplit('/').next().unwrap_or(program);
        let mut targets = self.at_urls(vec!["child=http://localhost/".to_owned()])?;
        for target in &mut targets {
            let args = args.iter().cloned().map(Argument::Plain).collect();
            let command = target::Command { program: program.to_owned(), args, env: BTreeMap::new(), cwd: None };
            let endpoint = Endpoint { address: Address::Stdio(command), ..Endpoint::clone(&target.endpoint) };
            target.name = TargetName::new(name);
            target.endpoint = Arc::new(endpoint);
        }
        Ok(targets)
    }

    /// One target for each URL. A file that was not asked for by name must not keep anybody from checking a URL: it
    /// may belong to a daemon of another user.
    fn at_urls(&self, targets: Vec<String>) -> Result<Vec<Target>, Complaint> {
        let without_file = Sources { targets, ..Sources::default() };
        // What is wrong with a URL is wrong without a file, too.
        let chosen = load(&without_file)?;
        let Some(file) = self.file().filter(|_| !chosen.is_empty()) else { return Ok(chosen) };
        match load(&Sources { file: Some(file), defaults_only: true, ..without_file }) {
            Err(problems) if self.config_file.is_none() => {
                let text = format!("{}\nthe URLs are checked without its `defaults`", problems.text);
                Complaint::new(text).tell();
                Ok(chosen)
            }
            loaded => loaded,
        }
    }
}

fn load(sources: &Sources) -> Result<Vec<Target>, Complaint> {
    let once = run_async(discovery::once(sources))?.map_err(|problems| Complaint::new(problems.to_string()))?;
    // The others can be checked all the same.
    for failure in once.failures {
        Complaint::new(failure).tell();
    }
    Ok(once.targets)
}

fn unknown_server(name: &str, targets: &[Target]) -> Complaint {
    let configured = match targets {
        [] => "none is configured".to_owned(),
        targets => format!("configured are: {}", first_names(targets.iter().map(|target| target.name.as_str()))),
    };
    Complaint::new(format!("no server is called `{name}`"))
        .hint(Some(format!("{configured}; a URL begins with http://, https:// or unix://")))
}

/// Prints what is wrong with a file, or what is in it and in those that it names.
fn check_config(file: &std::path::Path) -> Result<ExitCode, Complaint> {
    let loaded = match crate::config::load(file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print(&format!("{problems}\n"))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut text: String = loaded.warnings.iter().map(|warning| format!("{warning}\n")).collect();
    let mut discovery = Discovery::default();
    if let Err(problems) = discovery.look(&loaded.plan, Occasion::Start) {
        print(&format!("{text}{problems}\n"))?;
        return Ok(ExitCode::FAILURE);
    }
    text.push_str(&format!("{}: valid, {}\n", file.display(), servers(loaded.config.targets.len())));
    discovery.listings().for_each(|listing| text.push_str(&describe(&listing)));
    print(&text)
}

fn servers(count: usize) -> String {
    if count == 1 { "1 server".to_owned() } else { format!("{count} servers") }
}

/// What a source holds: a line, and one for each problem.
fn describe(listing: &Listing<'_>) -> String {
    let Listing { kind, source, targets, failure, found } = listing;
    let client = found.client.map(|client| format!(" ({client})")).unwrap_or_default();
    if *kind == Kind::HttpSd.label() {
        return format!("{kind} {source}: asked while the daemon runs\n");
    }
    if !failure.is_empty() {
        return format!("{kind} {source}: {failure}\n");
    }
    let mut text = format!("{kind} {source}{client}: {}", servers(targets.len()));
    if !targets.is_empty() {
        text.push_str(&format!(": {}", first_names(targets.iter().map(|target| target.name.as_str()))));
    }
    text.push('\n');
    if !found.not_allowed.is_empty() {
        let names = first_names(found.not_allowed.iter().map(String::as_str));
        text.push_str(&format!("  not run without `allow_stdio: true`: {names}\n"));
    }
    found.problems.iter().for_each(|problem| text.push_str(&format!("{problem}\n")));
    text
}

/// Some of the names, separated by commas.
fn first_names<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    let shown: Vec<&str> = names.by_ref().take(10).collect();
    let more = if names.next().is_some() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn healthcheck(flags: &DaemonFlags) -> Result<ExitCode, Complaint> {
    let Some(address) = flags.listen.first() else { return Err(Complaint::new("no address to ask")) };
    let guarded = flags.web_config_file.is_some();
    match run_async(crate::healthcheck::healthcheck(address, &flags.prefix()?, guarded))? {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Complaint::of(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[track_caller]
    fn prefix_of(arguments: &[&str]) -> Result<String, String> {
        let cli = parse(["mcp-exporter"].iter().chain(arguments).map(OsString::from)).map_err(|e| e.to_string())?;
        cli.daemon.prefix().map_err(|complaint| complaint.text)
    }

    #[test]
    fn the_prefix_is_the_path_of_the_external_url() {
        let external = |url: &str| prefix_of(&["--web.external-url", url]);
        assert_eq!(external("https://h.example"), Ok(String::new()));
        assert_eq!(external("https://h.example/mon/mcp/"), Ok("/mon/mcp".to_owned()));
        // What the router would take for a pattern, for its own, or for no path at all.
        for url in ["http://h/:x/", "http://h/*x", "http://h//x", "http://h/-/x", "mailto:x", "data:,x", "h:9/x"] {
            assert!(external(url).is_err(), "{url}");
        }
        assert_eq!(prefix_of(&["--web.external-url", "http://h/:x", "--web.route-prefix", "/"]), Ok(String::new()));
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        fn check(command: &clap::Command, seen: &mut usize) {
            for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
                let Some(long) = argument.get_long().filter(|long| *long != "version") else { continue };
                let expected = format!("MCP_EXPORTER_{}", long.to_uppercase().replace(['.', '-'], "_"));
                let given = argument.get_env().map(|name| name.to_string_lossy().into_owned());
                assert_eq!(given, Some(expected), "--{long} of `{}`", command.get_name());
                assert!(argument.is_hide_env_values_set(), "--{long} may hold a password");
                *seen += 1;
            }
            command.get_subcommands().for_each(|subcommand| check(subcommand, seen));
        }
        let mut seen = 0;
        check(&command(), &mut seen);
        assert!(seen > 20, "{seen} flags");
    }
}
