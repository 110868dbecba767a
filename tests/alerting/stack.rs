//! Prometheus and Alertmanager of the machine, and who is told: everything on loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::shorten;
use crate::support::{FakeServer, Port, Process, http_ask, project_file, until};

pub(crate) const FIRING: &str = "firing";
pub(crate) const RESOLVED: &str = "resolved";

/// Alerts about slowness, of which a busy machine may have some that are true. No case is about them.
const OF_A_BUSY_MACHINE: [&str; 3] = ["MCPSlowResponse", "MCPHealthAnswersSlow", "MCPPollsLate"];

/// A running Prometheus and Alertmanager with the shipped files in short.
pub(crate) struct Stack {
    prometheus: Service,
    alertmanager: Service,
    told: Arc<Mutex<Vec<Told>>>,
    _receiver: FakeServer,
    directory: TempDir,
}

/// An alert as it stood in a notification.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// The receiver of the configuration.
    pub(crate) channel: String,
    pub(crate) alert: String,
    /// [`FIRING`] or [`RESOLVED`].
    pub(crate) status: String,
    pub(crate) description: String,
    /// When the alert began and ended, in seconds of the Unix time of the evaluation.
    pub(crate) starts: f64,
    pub(crate) ends: f64,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Stack {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let told = Arc::<Mutex<Vec<Told>>>::default();
        let ours = Arc::clone(&told);
        let receiver = FakeServer::start(move |exchange| {
            let channel = exchange.path.trim_start_matches('/').to_owned();
            let alerts = exchange.message["alerts"].as_array().cloned().unwrap_or_default();
            ours.lock().unwrap().extend(alerts.iter().map(|alert| Told::read(&channel, alert)));
            exchange.answer("200 OK", "", "")
        });
        let alertmanager = Service::alertmanager(directory.path(), &format!("http://{}", receiver.address()));
        let prometheus = Service::prometheus(directory.path(), alertmanager.port.address());
        Self { prometheus, alertmanager, told, _receiver: receiver, directory }
    }

    /// Has Prometheus scrape an exporter from now on.
    pub(crate) fn watch(&self, namespace: &str, exporter: SocketAddr) {
        let file = self.directory.path().join("targets").join(namespace);
        let group = json!([{ "targets": [exporter.to_string()], "labels": { "namespace": namespace } }]);
        std::fs::write(file.with_extension("new"), group.to_string()).unwrap();
        std::fs::rename(file.with_extension("new"), file.with_extension("json")).unwrap();
    }

    /// Waits until an expression gives something.
    #[track_caller]
    pub(crate) fn until_query(&self, expression: &str, what: &str) {
        until(&format!("{what}: {expression}"), || (!self.query(expression).is_empty()).then_some(()));
    }

    /// When Prometheus first failed to reach the exporter, in Unix seconds.
    #[track_caller]
    pub(crate) fn first_failed_scrape(&self, namespace: &str) -> f64 {
        let samples = self.query(&format!("up{{namespace=\"{namespace}\"}}[15m]"));
        let samples = samples[0]["values"].as_array().unwrap();
        samples.iter().find(|sample| sample[1] == "0").unwrap()[0].as_f64().unwrap()
    }

    /// The results of an expression; none while there is no answer.
    fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.prometheus.get(&format!("/api/v1/query?query={encoded}"));
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// Every alert of every notification so far, without the dead man's switch.
    pub(crate) fn told(&self) -> Vec<Told> {
        let told = self.told.lock().unwrap();
        told.iter().filter(|told| told.alert != "Watchdog").cloned().collect()
    }

    /// Waits until a channel is told this about a server.
    #[track_caller]
    pub(crate) fn await_told(&self, channel: &str, alert: &str, server: &str, status: &str) -> Told {
        self.await_told_with(channel, alert, ("server", server), status)
    }

    /// The same about an exporter.
    #[track_caller]
    pub(crate) fn await_told_of_exporter(&self, channel: &str, alert: &str, namespace: &str, status: &str) -> Told {
        self.await_told_with(channel, alert, ("namespace", namespace), status)
    }

    #[track_caller]
    fn await_told_with(&self, channel: &str, alert: &str, label: (&str, &str), status: &str) -> Told {
        until(&format!("{channel} to be told that {alert} of {label:?} is {status}"), || {
            let mut told = self.told().into_iter();
            told.find(|told| told.channel == channel && told.alert == alert && told.status == status && told.has(label))
        })
    }

    /// A channel was told once that an alert fires and once that it is over.
    #[track_caller]
    pub(crate) fn check_told_once(&self, channel: &str, alert: &str, server: &str) {
        let told = self.told();
        let of_alert = told.iter().filter(|told| told.alert == alert && told.has(("server", server)));
        let seen: Vec<_> = of_alert.map(|told| (told.channel.as_str(), told.status.as_str())).collect();
        assert_eq!(seen, [(channel, FIRING), (channel, RESOLVED)], "{alert} of {server}: {told:#?}");
    }

    /// Nobody was told of anything about a server but these alerts.
    ///
    /// The end of an inhibited alert may be listed in a notification about others of its group: only fires count.
    #[track_caller]
    pub(crate) fn check_never_told_of(&self, server: &str, but: &[&str]) {
        let told = self.told();
        let expected = |alert: &str| but.contains(&alert) || OF_A_BUSY_MACHINE.contains(&alert);
        let of_server = told.iter().filter(|told| told.has(("server", server)) && told.status == FIRING);
        let leaked: Vec<_> = of_server.filter(|told| !expected(&told.alert)).collect();
        assert!(leaked.is_empty(), "{leaked:#?}");
    }

    /// Waits until an alert about a server fires and is kept back because of another.
    #[track_caller]
    pub(crate) fn await_inhibited(&self, alert: &str, server: &str) {
        self.await_inhibited_with(alert, &[("server", server)]);
    }

    /// Waits until the lesser alert about the exporter is kept back.
    #[track_caller]
    pub(crate) fn await_inhibited_exporter_warning(&self, namespace: &str) {
        self.await_inhibited_with("MCPExporterDown", &[("namespace", namespace), ("severity", "warning")]);
    }

    #[track_caller]
    fn await_inhibited_with(&self, alert: &str, labels: &[(&str, &str)]) {
        until(&format!("{alert} of {labels:?} to be inhibited"), || {
            let alerts = self.alertmanager.get("/api/v2/alerts");
            let of_alert = |found: &&Value| {
                found["labels"]["alertname"] == alert && labels.iter().all(|(k, v)| found["labels"][k] == *v)
            };
            let found = alerts.as_array()?.iter().find(of_alert)?;
            found["status"]["inhibitedBy"].as_array().filter(|by| !by.is_empty()).map(drop)
        });
    }

    /// Waits until Alertmanager has shown that it lives, twice: what was due before has been sent.
    ///
    /// The dead man's switch hears from it once in a minute (shortened), anybody else after ten seconds at the latest.
    #[track_caller]
    pub(crate) fn await_round(&self) {
        let signs = || self.told.lock().unwrap().iter().filter(|told| told.channel == "dead-mans-switch").count();
        let before = signs();
        until("the dead man's switch to hear from Alertmanager", || (signs() >= before + 2).then_some(()));
    }
}

impl Drop for Stack {
    #[expect(clippy::print_stdout, reason = "what a failed test has to tell")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- told\n{:#?}", self.told());
            for service in [&self.prometheus, &self.alertmanager] {
                println!("--- log of {}\n{}", service.name, service.process.output());
            }
        }
    }
}

impl Told {
    fn read(channel: &str, alert: &Value) -> Self {
        let texts = |object: &Value| -> BTreeMap<_, _> {
            let members = object.as_object().into_iter().flatten();
            members.map(|(key, text)| (key.clone(), text.as_str().unwrap_or_default().to_owned())).collect()
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            channel: channel.to_owned(),
            alert: text(&alert["labels"]["alertname"]),
            status: text(&alert["status"]),
            description: text(&alert["annotations"]["description"]),
            starts: unix_seconds(&alert["startsAt"]),
            ends: unix_seconds(&alert["endsAt"]),
            labels: texts(&alert["labels"]),
            annotations: texts(&alert["annotations"]),
        }
    }

    pub(crate) fn has(&self, label: (&str, &str)) -> bool {
        self.labels.get(label.0).is_some_and(|value| value == label.1)
    }

    pub(crate) fn says(&self, part: &str) -> bool {
        self.description.contains(part)
    }

    /// What holds for each: whose trouble it is, in words, and where to read what to do.
    #[track_caller]
    pub(crate) fn check(&self) {
        let Self { alert, description, .. } = self;
        let subject = self.labels.get("server").or(self.labels.get("namespace")).unwrap();
        assert!(self.says(subject), "{self:#?}");
        for failed in ["<error", "<no value>", "%!", "{{", "  ", "\n", "\"", "NaN"] {
            assert!(!self.says(failed), "{failed:?} in {self:#?}");
        }
        assert!(description.ends_with('.'), "{self:#?}");
        assert!(self.has(("service", "mcp")) && self.has(("job", "mcp-exporter")), "{self:#?}");
        assert!(!self.labels.contains_key("instance"), "{self:#?}");
        assert!(!self.annotations["summary"].is_empty(), "{self:#?}");
        let base = std::fs::read_to_string(project_file("alerts/runbooks/base-url")).unwrap();
        assert_eq!(self.annotations["runbook_url"], format!("{}/{alert}.md", base.trim()));
        assert!(project_file("alerts/runbooks").join(alert).with_extension("md").exists(), "{alert} has no runbook");
    }
}

/// A process with a web interface.
struct Service {
    name: &'static str,
    process: Process,
    port: Port,
}

impl Service {
    #[track_caller]
    fn alertmanager(directory: &Path, receiver: &str) -> Self {
        let file = directory.join("alertmanager.yml");
        std::fs::write(&file, shorten::alertmanager(receiver)).unwrap();
        let mut command = Command::new("prometheus-alertmanager");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", directory.join("alertmanager").display()))
            .arg("--cluster.listen-address=");
        Self::start("Alertmanager", &mut command, directory)
    }

    #[track_caller]
    fn prometheus(directory: &Path, alertmanager: SocketAddr) -> Self {
        for file in ["alerts.yml", "recording.yml", "standalone.yml"] {
            std::fs::write(directory.join(file), shorten::rules(file)).unwrap();
        }
        // Budgets are about days, and the days in their expressions stay. In the first minutes of a Prometheus a short
        // outage is a large part of all it knows, so that here, in the way meant for users, no server has an objective.
        let objective = json!({ "groups": [{ "name": "objectives", "interval": "500ms", "rules": [
            { "record": "mcp:availability:objective_override", "expr": "group without (instance, pod) (mcp_up) * 0" },
        ]}]});
        std::fs::write(directory.join("objectives.yml"), objective.to_string()).unwrap();
        std::fs::create_dir(directory.join("targets")).unwrap();
        // Scrapes are as often as a busy machine can stand: one that is late counts as failed, and nothing fires then.
        let config = json!({
            "global": { "scrape_interval": "5s", "scrape_timeout": "5s" },
            "rule_files": ["alerts.yml", "recording.yml", "standalone.yml", "objectives.yml"],
            "alerting": { "alertmanagers": [{ "static_configs": [{ "targets": [alertmanager.to_string()] }] }] },
            "scrape_configs": [{
                "job_name": "mcp-exporter",
                "file_sd_configs": [{ "files": ["targets/*.json"], "refresh_interval": "1s" }],
            }],
        });
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("prometheus").display()));
        Self::start("Prometheus", &mut command, directory)
    }

    /// Starts it on a free port and waits until it is ready.
    #[track_caller]
    fn start(name: &'static str, command: &mut Command, directory: &Path) -> Self {
        let port = Port::free();
        command.arg(format!("--web.listen-address={}", port.address()));
        let process = Process::start(command, directory.join(format!("{name}.log")));
        let mut service = Self { name, process, port };
        until(&format!("{name} to be ready"), || {
            let ended = service.process.ended();
            assert!(ended.is_none(), "{name} did not start: {}", service.process.output());
            http_ask(service.port.address(), "GET", "/-/ready", "").ok().filter(|response| response.status == 200)
        });
        service
    }

    /// A JSON answer; null while there is none.
    fn get(&self, path: &str) -> Value {
        let answer = http_ask(self.port.address(), "GET", path, "");
        answer.ok().and_then(|response| serde_json::from_str(&response.body).ok()).unwrap_or_default()
    }
}

/// Unix seconds of an RFC 3339 time.
fn unix_seconds(time: &Value) -> f64 {
    let time: jiff::Timestamp = time.as_str().unwrap_or_default().parse().unwrap();
    time.duration_since(jiff::Timestamp::UNIX_EPOCH).as_secs_f64()
}
