//! What is found in other sources of servers than the configuration file: Prometheus' lists, our own files, and the files
//! of MCP clients. Texts in, servers out; who watches them is the daemon's test.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mcp_exporter::config::{self, Found, Kind, Plan, Problems};
use mcp_exporter::target::{Address, HttpTransport, Target};

/// A secret that must not be shown.
const KEY: &str = "hunter2-canary-key";

fn environment(name: &str) -> Option<String> {
    match name {
        "API_KEY" => Some(KEY.to_owned()),
        "HOME" => Some("/home/me".to_owned()),
        _ => None,
    }
}

/// The plan of a configuration file.
#[track_caller]
fn plan(text: &str) -> Arc<Plan> {
    let loaded = config::parse(text, Path::new("/etc/mcp/config.yaml"), &environment);
    loaded.unwrap_or_else(|problems| panic!("{problems}")).plan
}

fn read(plan: &Plan, kind: Kind, name: &str, text: &str) -> Result<Found, Problems> {
    let read = plan.read(kind, Path::new(name), text.as_bytes(), &environment);
    let shown = format!("{read:?}");
    assert!(!shown.contains("hunter2-canary"), "a secret is shown: {shown}");
    read
}

/// The servers and what is wrong with the others, one a line.
fn lines(found: &Found) -> (Vec<String>, Vec<String>) {
    let problems = found.problems.iter().map(|p| p.to_string().lines().next().unwrap_or_default().to_owned());
    (found.targets.iter().map(describe).collect(), problems.collect())
}

/// Everything that a source says about a server, secrets included.
fn describe(target: &Target) -> String {
    let labels: String = target.labels.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    let reached = match &target.endpoint.address {
        Address::Http(http) => {
            let transport = match http.transport {
                HttpTransport::Auto => "auto",
                HttpTransport::Streamable => "streamable",
                HttpTransport::Sse => "sse",
                HttpTransport::Document => "document",
            };
            let socket = http.socket.as_ref().map(|socket| format!(" socket={}", socket.display())).unwrap_or_default();
            let headers = http.headers.iter().map(|(name, value)| format!(" {name}: {}", value.0.to_str().unwrap()));
            format!("{transport} {}{socket}{}", http.url, headers.collect::<String>())
        }
        Address::Stdio(command) => {
            let args: String = command.args.iter().map(|argument| format!(" {}", argument.expose())).collect();
            let env: String = command.env.iter().map(|(name, value)| format!(" {name}={}", value.expose())).collect();
            let cwd = command.cwd.as_ref().map(|cwd| format!(" in {}", cwd.display())).unwrap_or_default();
            format!("{}{args} |{env}{cwd}", command.program)
        }
    };
    format!("{}{labels}: {reached}", target.name)
}

fn golden(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/clients").join(path)).unwrap()
}

/// A sample read as if it stood under `name`, with commands allowed. `left` counts those that are switched off.
#[track_caller]
fn check_client(sample: &str, name: &str, client: &str, servers: &[&str], problems: &[&str]) {
    let allowed = plan(
        "mcp_config_files: [x.json]\nallow_stdio: true\nmcp_config_inputs: {perplexity-key: hunter2-canary-input}",
    );
    let found = read(&allowed, Kind::McpConfig, name, &golden(sample)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(found.client, Some(client));
    let (is, said) = lines(&found);
    assert_eq!(is, servers, "{sample}");
    let problems: Vec<String> = problems.iter().map(|problem| format!("{name}:{problem}")).collect();
    assert_eq!(said, problems, "{sample}");
    assert_eq!(found.refused, problems.len());

    // Without leave, those with a command are known, and that is all.
    let found = read(&plan("mcp_config_files: [x.json]"), Kind::McpConfig, name, &golden(sample)).unwrap();
    assert!(found.targets.iter().all(|target| matches!(target.endpoint.address, Address::Http(_))));
    let commands = is.iter().filter(|server| server.contains(" |")).map(|server| server.split(':').next().unwrap());
    assert!(
        commands.clone().all(|name| found.not_allowed.iter().any(|known| known == name)),
        "{:?}",
        found.not_allowed
    );
}

#[test]
fn claude_desktop() {
    check_client(
        "claude-desktop/claude_desktop_config.json",
        "/home/me/.config/Claude/claude_desktop_config.json",
        "Claude Desktop",
        &[
            "filesystem: npx -y @modelcontextprotocol/server-filesystem /Users/me/Desktop ${HOME} |",
            "github: docker run -i --rm -e GITHUB_PERSONAL_ACCESS_TOKEN ghcr.io/github/github-mcp-server | \
             GITHUB_PERSONAL_ACCESS_TOKEN=hunter2-canary-github",
        ],
        &[],
    );
}

#[test]
fn claude_code() {
    check_client(
        "claude-code/.mcp.json",
        "/home/me/shop/.mcp.json",
        "Claude Code",
        &[
            "api-server: streamable https://api.example.com/mcp authorization: Bearer hunter2-canary-key",
            "events: sse https://mcp.asana.example/sse",
            "airtable: npx -y airtable-mcp-server | AIRTABLE_API_KEY=hunter2-canary-key CACHE_DIR=/tmp PRICE=$5",
        ],
        &[
            "27:33: mcpServers.unset.headers.X-Api-Key: the environment variable `NOT_SET_ANYWHERE` is not set",
            "30:15: mcpServers.socket.type: a transport that is not known here",
        ],
    );
    check_client(
        "claude-code-user/.claude.json",
        "/home/me/.claude.json",
        "Claude Code",
        &[
            "notion: streamable https://mcp.notion.example/mcp",
            "postgres: npx -y server-postgres |",
            "notion: sse https://mcp.notion.example/sse",
        ],
        &[],
    );
}

#[test]
fn cursor() {
    check_client(
        "cursor/shop/.cursor/mcp.json",
        "/home/me/shop/.cursor/mcp.json",
        "Cursor",
        &[
            "local-server: python /home/me/shop/tools/mcp_server.py --name=shop /home/me/.cache/x | \
             API_KEY=hunter2-canary-key",
            "linear: auto https://mcp.linear.example/mcp authorization: Bearer hunter2-canary-key",
        ],
        &[
            "20:18: mcpServers.from-file.envFile: `envFile` is not read",
            "23:14: mcpServers.literal.url: `${API_KEY}` means nothing to Cursor, or only while it runs",
        ],
    );
}

#[test]
fn vs_code() {
    check_client(
        "vscode/shop/.vscode/mcp.json",
        "/home/me/shop/.vscode/mcp.json",
        "VS Code",
        &[
            "github: auto https://api.githubcopilot.example/mcp/",
            "events: sse http://localhost:8001/sse",
            "no-type: auto https://mcp.example/mcp?key=hunter2-canary-key",
            "perplexity: npx -y server-perplexity-ask --root /home/me/shop | PERPLEXITY_API_KEY=hunter2-canary-input",
            "socket: auto http://localhost/mcp/subpath socket=/run/mcp/server.sock",
        ],
        &[
            "35:34: servers.asks.headers.Authorization: the input `never-given` is not known",
            "39:11: servers.runs.url: `${command:extension.commandId}` means nothing to VS Code, or only while it runs",
        ],
    );
}

#[test]
fn windsurf() {
    check_client(
        "windsurf/mcp_config.json",
        "/home/me/.codeium/windsurf/mcp_config.json",
        "Windsurf",
        &[
            "github: docker run -i --rm mcp/github | GITHUB_TOKEN=hunter2-canary-key",
            "remote-http-mcp: auto https://remote.example/mcp api_key: Bearer hunter2-canary-key",
            "figma: auto http://127.0.0.1:3845/sse",
        ],
        &[],
    );
}

#[test]
fn gemini_cli() {
    check_client(
        "gemini/.gemini/settings.json",
        "/home/me/.gemini/settings.json",
        "Gemini CLI",
        &[
            "pythonTools: python -m my_mcp_server --port 8080 | API_KEY=hunter2-canary-key \
             DATABASE_URL=hunter2-canary-key/x in /home/me/.gemini/./mcp-servers/python",
            "sseServer: sse http://localhost:8080/events",
            "httpServer: streamable http://localhost:3000/mcp authorization: Bearer hunter2-canary-key",
        ],
        &["27:37: mcpServers.unset.headers.Authorization: the environment variable `NOT_SET_ANYWHERE` is not set"],
    );
}

#[test]
fn zed() {
    check_client(
        "zed/settings.json",
        "/home/me/.config/zed/settings.json",
        "Zed",
        &[
            "local-mcp-server: some-command arg-1 $HOME | TOKEN=hunter2-canary-zed",
            "older: /usr/local/bin/older --serve | A=hunter2-canary-older",
            "remote-mcp-server: auto https://zed.example/mcp authorization: Bearer hunter2-canary-zed",
        ],
        &[],
    );
}

#[test]
fn without_a_usual_place_the_keys_tell_whose_file_it_is() {
    #[track_caller]
    fn check(entry: &str, client: &str) {
        let text = format!("{{\"mcpServers\": {{\"a\": {entry}}}}}");
        let found = read(&plan("mcp_config_files: [x.json]"), Kind::McpConfig, "/etc/mcp/list.json", &text).unwrap();
        assert_eq!(found.client, Some(client), "{entry}");
    }
    check("{\"command\": \"npx\"}", "Claude Desktop");
    check("{\"command\": \"npx\", \"env\": {\"A\": \"${A}\"}}", "Claude Code");
    check("{\"type\": \"http\", \"url\": \"http://h/mcp\"}", "Claude Code");
    check("{\"url\": \"http://h/mcp\", \"headers\": {\"A\": \"${env:API_KEY}\"}}", "Cursor");
    check("{\"serverUrl\": \"http://h/mcp\"}", "Windsurf");
    check("{\"httpUrl\": \"http://h/mcp\"}", "Gemini CLI");
    check("{\"url\": \"http://h/events\", \"trust\": true}", "Gemini CLI");
}

#[test]
fn credentials_of_the_defaults_go_to_no_server_of_a_client() {
    let plan = plan(
        "
defaults:
  interval: 1m
  auth: {bearer_token: hunter2-canary-default}
  headers: {X-Tenant: hunter2-canary-default}
mcp_config_files: [x.json]
file_sd: [{files: [x.json]}]
",
    );
    let text = "{\"mcpServers\": {\"a\": {\"url\": \"https://h/mcp\"}}}";
    let found = read(&plan, Kind::McpConfig, "/x.json", text).unwrap();
    assert_eq!(lines(&found).0, ["a: auto https://h/mcp"]);
    assert_eq!(found.targets[0].timing.interval.to_string(), "1m");
    let Address::Http(http) = &found.targets[0].endpoint.address else { panic!("http") };
    assert!(http.auth.is_none());
    // Prometheus' lists are those of whoever wrote the configuration.
    let found = read(&plan, Kind::FileSd, "/x.json", "[{\"targets\": [\"https://h/mcp\"]}]").unwrap();
    let Address::Http(http) = &found.targets[0].endpoint.address else { panic!("http") };
    assert!(http.auth.is_some() && http.headers.len() == 1);
}

#[test]
fn prometheus_lists_in_both_languages() {
    let json = r#"[
        {"targets": ["localhost:8000", "localhost:8001/mcp", "https://u:hunter2-canary@h.example/mcp?k=hunter2-canary"],
         "labels": {"team": "search", "__meta_datacenter": "eu", "__scheme__": "https", "__metrics_path__": "/mcp",
                    "__param_key": "hunter2-canary-&"}},
        {"targets": ["unix:///run/mcp.sock:/mcp"], "labels": {"server": "sidecar"}},
        {"targets": [], "labels": {"job": "x"}}
    ]"#;
    let yaml = "
- targets: ['localhost:8000', 'localhost:8001/mcp', 'https://u:hunter2-canary@h.example/mcp?k=hunter2-canary']
  labels: {team: search, __meta_datacenter: eu, __scheme__: https, __metrics_path__: /mcp, __param_key: hunter2-canary-&}
- targets: ['unix:///run/mcp.sock:/mcp']
  labels: {server: sidecar}
- {targets: [], labels: {job: x}}
";
    let expected = [
        "localhost:8000/mcp team=search: auto https://localhost:8000/mcp?key=hunter2-canary-%26",
        "localhost:8001/mcp team=search: auto https://localhost:8001/mcp?key=hunter2-canary-%26",
        "h.example/mcp team=search: auto https://h.example/mcp?k=hunter2-canary",
        "sidecar: auto http://localhost/mcp socket=/run/mcp.sock",
    ];
    let plan = plan("file_sd: [{files: [x.json]}]");
    for (kind, name, text) in
        [(Kind::FileSd, "/x.json", json), (Kind::HttpSd, "http://sd/", json), (Kind::FileSd, "/x.yml", yaml)]
    {
        let found = read(&plan, kind, name, text).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(lines(&found).0, expected, "{name}");
    }
}

#[test]
fn one_bad_server_of_a_list_is_one_bad_server() {
    let plan = plan("file_sd: [{files: [x.json]}]");
    let text = r#"[
{"targets": ["a:1", "b:1"], "labels": {"job": "x"}},
{"targets": ["c:1"], "labels": {"9": "x"}},
{"targets": ["d:99999", "e:1"]},
{"targets": ["f:1"], "labels": {"server": ""}},
{"targets": "g:1"},
{"labels": {}},
{"targets": [["h"]]},
{"targets": ["h2:1"], "labels": {"server": "h ${API_KEY}"}},
{"targets": ["i:1"], "labels": {"team": "${API_KEY}", "number": 7}, "more": null}
]"#;
    let found = read(&plan, Kind::FileSd, "x.json", text).unwrap();
    let (servers, problems) = lines(&found);
    assert_eq!(
        servers,
        ["e:1: auto http://e:1/", "h ${API_KEY}: auto http://h2:1/", "i:1 number=7 team=${API_KEY}: auto http://i:1/"],
        "a list of others cannot read our environment"
    );
    assert_eq!(
        problems,
        [
            "x.json:2:47: [0].labels.job: the label `job` has a meaning already, and would break the scrape or the alerts",
            "x.json:3:38: [1].labels.9: not the name of a label",
            "x.json:4:14: [2].targets[0]: the port of the URL is not a number up to 65535",
            "x.json:5:14: [3].targets[0]: empty, longer than 128 characters or with control characters",
            "x.json:6:13: [4].targets: expected a list, found a text",
            "x.json:7:1: [5]: `targets` is missing",
            "x.json:8:14: [6].targets[0]: expected a text, found a list",
        ]
    );
}

#[test]
fn our_own_files_are_whole_or_nothing() {
    let plan = plan("defaults: {interval: 1m}\nserver_files: [servers.d/*.yaml]");
    let check = |text: &str, expected: Result<&[&str], &[&str]>| {
        let read = read(&plan, Kind::ServerFiles, "/etc/mcp/servers.d/a.yaml", text);
        let is = read.as_ref().map(|found| lines(found).0);
        let is =
            is.map_err(|problems| problems.iter().map(|p| p.to_string().lines().next().unwrap().to_owned()).collect());
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(is, expected.map(owned).map_err(owned), "{text}");
    };
    let servers = ["a: auto http://a/mcp x: hunter2-canary-key", "b: /etc/mcp/servers.d/b | in /etc/mcp/servers.d/x"];
    check(
        "- {name: a, url: http://a/mcp, headers: {X: '${API_KEY}'}}\n- {name: b, command: ./b, cwd: x}",
        Ok(&servers),
    );
    check(
        "servers:\n- {name: a, url: http://a/mcp, headers: {X: '${API_KEY}'}}\n- {name: b, command: ./b, cwd: x}",
        Ok(&servers),
    );
    check("", Ok(&[]));
    check("[]", Ok(&[]));
    check(
        "- {name: a, url: http://a, colour: red}\n- {name: b, url: 'http://${NONE}'}\n- {name: b, url: http://c}",
        Err(&[
            "/etc/mcp/servers.d/a.yaml:1:28: [0].colour: unknown key",
            "/etc/mcp/servers.d/a.yaml:2:18: [1].url: the environment variable `NONE` is not set",
            "/etc/mcp/servers.d/a.yaml:3:10: [2].name: a second server is named `b`",
        ]),
    );
    check("defaults: {}", Err(&["/etc/mcp/servers.d/a.yaml:1:1: defaults: unknown key"]));
}

#[test]
fn nonsense_is_refused_in_time() {
    let plan = plan("mcp_config_files: [x.json]\nallow_stdio: true");
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let texts: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0; 1 << 20],
        vec![0xff; 1 << 20],
        deep("[", "]").into_bytes(),
        deep("{\"a\":", "}").into_bytes(),
        b"{\"mcpServers\": 17}".to_vec(),
        b"{\"mcpServers\": {\"a\": 17, \"b\": [], \"c\": null}}".to_vec(),
        b"17".to_vec(),
        b"\"text\"".to_vec(),
        b"[17, [], null, {}]".to_vec(),
        "[{\"targets\": [\"".repeat(50_000).into_bytes(),
        b"a: &a [x]\nb: [*a, *a]".to_vec(),
    ];
    for (number, text) in texts.iter().enumerate() {
        for (kind, name) in [
            (Kind::ServerFiles, "x.yaml"),
            (Kind::FileSd, "x.json"),
            (Kind::FileSd, "x.yaml"),
            (Kind::HttpSd, "http://h/"),
            (Kind::McpConfig, "x.json"),
        ] {
            if let Ok(found) = plan.read(kind, Path::new(name), text, &environment) {
                assert_eq!(found.targets, [], "text {number} as {kind:?}");
            }
        }
    }
}

#[test]
fn ten_thousand_targets_are_read_and_compared() {
    let groups: Vec<String> = (0..10_000)
        .map(|n| format!("{{\"targets\": [\"host-{n}.example:8000\"], \"labels\": {{\"server\": \"s{n}\"}}}}"))
        .collect();
    let plan = plan("file_sd: [{files: [x.json]}]");
    // On one line, as programs write it: places in it are found all the same.
    let text = format!("[{}, {{\"targets\": [[], null]}}]", groups.join(", "));
    let found = read_quietly(&plan, &text);
    assert_eq!((found.targets.len(), found.refused), (10_000, 2));
    assert_eq!(found.targets, read_quietly(&plan, &text).targets);
}

fn read_quietly(plan: &Plan, text: &str) -> Found {
    plan.read(Kind::FileSd, Path::new("x.json"), text.as_bytes(), &environment).unwrap()
}
