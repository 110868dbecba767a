//! A target for each address behind a name: servers with `resolve: all`.
//!
//! [`Replicas`] stands between the configuration and whoever polls. It looks names up now and then and hands on a
//! configuration in which such a server is replaced by one target per address; all else about them is the server's. It
//! neither connects nor polls.
//!
//! The surprise: a name that was looked up in vain and never led anywhere is handed on as the one target that it is
//! in the file. Its polls fail as those of any server whose name does not resolve, so that it shows up everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::probe::{ProbeError, Shared, addresses};
use crate::target::{Address, Endpoint, Labels, Target, TargetName};

/// Addresses of one name that are polled. A Service with more pods than that is no single server any more; and what
/// a name leads to is not ours to say, so there has to be an end.
pub const MOST: usize = 64;

/// How long one lookup may take. Nothing waits for it but a name that was never found.
const PATIENCE: Duration = Duration::from_secs(10);

/// From one lookup to the next of a name that leads nowhere yet, where its own interval is longer.
const RETRY: Duration = Duration::from_secs(5);

/// Addresses in one line of the log.
const MOST_SHOWN: usize = 10;

/// A name that is looked up, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The server in the configuration.
    pub name: TargetName,
    /// Its configured labels.
    pub labels: Labels,
    /// Whether a lookup has ended, well or not.
    pub looked_up: bool,
    /// Addresses that are polled.
    pub replicas: usize,
    /// Addresses of the last lookup that are not, because there were too many.
    pub left_out: usize,
    /// Lookups that failed.
    pub failures: u64,
}

/// Where [`Replicas`] leaves the newest [`State`] of each name, sorted by name.
pub type States = Arc<ArcSwap<Vec<State>>>;

/// Every name that is looked up.
#[derive(Debug, Default)]
struct Names(BTreeMap<TargetName, Name>);

#[derive(Debug)]
struct Name {
    labels: Labels,
    endpoint: Arc<Endpoint>,
    interval: Duration,
    /// Sorted.
    addresses: Vec<SocketAddr>,
    looked_up: bool,
    left_out: usize,
    failures: u64,
    /// Why the last lookup failed; empty where it did not.
    failure: String,
    /// When it is looked up next; `None` while it is.
    due: Option<Instant>,
}

impl Names {
    /// Looks up what the configuration says. Where a URL stayed what it was, so does what is known.
    fn follow(&mut self, config: &Config, now: Instant) {
        let mut old = std::mem::take(&mut self.0);
        for target in config.targets.iter().filter(|target| target.poll) {
            let Some(interval) = target.lookup_interval() else { continue };
            let (endpoint, labels, interval) = (Arc::clone(&target.endpoint), target.labels.clone(), interval.get());
            let name = match old.remove(&target.name) {
                Some(known) if same_host(&known.endpoint, &endpoint) => {
                    let due = known.due.map(|due| due.min(now + interval));
                    Name { labels, endpoint, interval, due, ..known }
                }
                _ => Name {
                    labels,
                    endpoint,
                    interval,
                    addresses: Vec::new(),
                    looked_up: false,
                    left_out: 0,
                    failures: 0,
                    failure: String::new(),
                    due: Some(now),
                },
            };
            self.0.insert(target.name.clone(), name);
        }
    }

    /// Those that are due; whoever hears of them looks them up.
    fn take_due(&mut self, now: Instant) -> Vec<(TargetName, Arc<Endpoint>)> {
        let due = self.0.iter_mut().filter(|(_, name)| name.due.is_some_and(|due| due <= now));
        due.map(|(id, name)| {
            name.due = None;
            (id.clone(), Arc::clone(&name.endpoint))
        })
        .collect()
    }

    fn next_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|name| name.due).min()
    }

    /// Takes in how a lookup of this endpoint's host ended. Says whether the targets are others now.
    fn take(
        &mut self,
        id: &TargetName,
        asked: &Endpoint,
        found: Result<Vec<SocketAddr>, ProbeError>,
        now: Instant,
    ) -> bool {
        let Some(name) = self.0.get_mut(id) else { return false };
        // The configuration may have changed meanwhile: then it is looked up afresh.
        if !same_host(&name.endpoint, asked) {
            return false;
        }
        let first = !std::mem::replace(&mut name.looked_up, true);
        let changed = match found {
            Ok(found) => name.succeed(id, &found),
            Err(error) => {
                name.fail(id, &error);
                false
            }
        };
        let pause = if name.addresses.is_empty() { RETRY.min(name.interval) } else { name.interval };
        name.due = Some(now + pause);
        first || changed
    }

    /// The configuration with a target for each address.
    fn expand(&self, config: &Arc<Config>) -> Arc<Config> {
        if self.0.is_empty() {
            return Arc::clone(config);
        }
        let mut targets = Vec::with_capacity(config.targets.len());
        for target in &config.targets {
            match self.0.get(&target.name) {
                Some(name) if !name.looked_up => {}
                Some(name) if !name.addresses.is_empty() => {
                    targets.extend(name.addresses.iter().map(|address| target.at(*address)));
                }
                _ => targets.push(target.clone()),
            }
        }
        Arc::new(Config { targets, ..Config::clone(config) })
    }

    fn states(&self) -> Vec<State> {
        let states = self.0.iter().map(|(id, name)| State {
            name: id.clone(),
            labels: name.labels.clone(),
            looked_up: name.looked_up,
            replicas: name.addresses.len(),
            left_out: name.left_out,
            failures: name.failures,
        });
        states.collect()
    }
}

impl Name {
    fn succeed(&mut self, id: &TargetName, found: &[SocketAddr]) -> bool {
        let server = id.as_str();
        if !std::mem::take(&mut self.failure).is_empty() {
            info!(server, "the name can be looked up again");
        }
        let (kept, left_out) = choose(&self.addresses, found);
        if left_out > 0 && self.left_out == 0 {
            warn!(
                server,
                addresses = found.len(),
                most = MOST,
                "the name has too many addresses: the rest is not polled"
            );
        }
        self.left_out = left_out;
        if kept == self.addresses {
            return false;
        }
        let came = shown(kept.iter().filter(|address| !self.addresses.contains(address)));
        let went = shown(self.addresses.iter().filter(|address| !kept.contains(address)));
        info!(server, replicas = kept.len(), came, went, "the name leads to other addresses");
        self.addresses = kept;
        true
    }

    /// Those that were known stay: a name server that is down says nothing about servers.
    fn fail(&mut self, id: &TargetName, error: &ProbeError) {
        self.failures += 1;
        let failure = error.chain();
        if failure != self.failure {
            let (reason, kept) = (error.failure.label(), self.addresses.len());
            warn!(server = id.as_str(), reason, kept, "the addresses of a server cannot be looked up: {failure}");
            self.failure = failure;
        }
    }
}

/// Those of the addresses that are polled, sorted, and how many are not. Those that already are come first: a name
/// with too many, which a resolver gives in another order each time, does not change them all at each lookup.
fn choose(known: &[SocketAddr], found: &[SocketAddr]) -> (Vec<SocketAddr>, usize) {
    let found: BTreeSet<SocketAddr> = found.iter().copied().collect();
    let (stay, come): (Vec<_>, Vec<_>) = found.iter().partition(|address| known.contains(address));
    let mut kept: Vec<SocketAddr> = stay.into_iter().chain(come).take(MOST).collect();
    kept.sort_unstable();
    let left_out = found.len() - kept.len();
    (kept, left_out)
}

fn shown<'a>(addresses: impl Iterator<Item = &'a SocketAddr>) -> Option<String> {
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    let more = addresses.len().saturating_sub(MOST_SHOWN);
    let text = addresses[..addresses.len() - more].join(", ");
    match (text.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(text),
        (false, more) => Some(format!("{text} and {more} more")),
    }
}

/// Whether a lookup for the one is a lookup for the other.
fn same_host(a: &Endpoint, b: &Endpoint) -> bool {
    let host = |endpoint: &Endpoint| match &endpoint.address {
        Address::Http(http) => http.url.host_str().map(|host| (host.to_owned(), http.url.port_or_known_default())),
        Address::Stdio(_) => None,
    };
    host(a) == host(b)
}

/// Follows names for as long as the daemon runs.
pub struct Replicas {
    configs: watch::Receiver<Arc<Config>>,
    expanded: watch::Sender<Arc<Config>>,
    names: Names,
    states: States,
    shared: Arc<Shared>,
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replicas {{ {:?} }}", self.names)
    }
}

impl Replicas {
    /// Nothing is looked up yet.
    #[must_use]
    pub fn new(mut configs: watch::Receiver<Arc<Config>>, shared: Arc<Shared>, states: States) -> Self {
        let config = Arc::clone(&configs.borrow_and_update());
        let mut names = Names::default();
        names.follow(&config, Instant::now());
        states.store(Arc::new(names.states()));
        Self { configs, expanded: watch::Sender::new(names.expand(&config)), names, states, shared }
    }

    /// The configuration with a target for each address. What nobody has looked up yet is not in it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Config>> {
        self.expanded.subscribe()
    }

    /// Follows the configuration and the names in it until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut running = JoinSet::new();
        loop {
            for (id, endpoint) in self.names.take_due(Instant::now()) {
                let shared = Arc::clone(&self.shared);
                running.spawn(async move {
                    let found = addresses(&endpoint, &shared, PATIENCE).await;
                    (id, endpoint, found)
                });
            }
            let due = self.names.next_due();
            let changed = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                changed = self.configs.changed() => {
                    if changed.is_err() { break }
                    let config = Arc::clone(&self.configs.borrow_and_update());
                    self.names.follow(&config, Instant::now());
                    true
                }
                Some(ended) = running.join_next() => match ended {
                    Ok((id, endpoint, found)) => self.names.take(&id, &endpoint, found, Instant::now()),
                    // Only of a bug in the resolver. The name is not looked up again until the configuration changes.
                    Err(failure) => {
                        warn!("a lookup ended badly: {failure}");
                        false
                    }
                },
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => false,
            };
            self.states.store(Arc::new(self.names.states()));
            if changed {
                let config = Arc::clone(&self.configs.borrow());
                self.expanded.send_replace(self.names.expand(&config));
            }
        }
        // From here on no server has any series, nor has its name.
        self.states.store(Arc::default());
    }
}

/// The targets with one for each address, all names looked up once. A name that does not resolve stays one target.
pub async fn once(targets: &[Target], shared: &Shared) -> Vec<Target> {
    let each = targets.iter().map(|target| async move {
        if !target.has_replicas() {
            return vec![target.clone()];
        }
        match addresses(&target.endpoint, shared, PATIENCE).await {
            Ok(found) => choose(&[], &found).0.into_iter().map(|address| target.at(address)).collect(),
            Err(_) => vec![target.clone()],
        }
    });
    futures_util::future::join_all(each).await.concat()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use super::*;
    use crate::config::Reloader;
    use crate::probe::Failure;
    use crate::target::{CatalogSettings, EndpointRedactor, HttpAddress, HttpTransport, Proxy, Resolve, TlsSettings};
    use crate::units::PromDuration;

    fn target(name: &str, url: &str, resolve: Resolve) -> Target {
        let address = HttpAddress {
            url: url.parse().expect("a URL"),
            socket: None,
            resolve,
            transport: HttpTransport::Auto,
            tls: TlsSettings::default(),
            proxy: Proxy::Direct,
            auth: None,
            headers: Vec::new(),
            allowed: None,
        };
        let endpoint = Endpoint {
            address: Address::Http(Box::new(address)),
            startup_timeout: None,
            max_connection_age: PromDuration::from_secs(3_600),
            max_answer_bytes: 1 << 20,
            redactor: EndpointRedactor::default(),
        };
        Target {
            name: TargetName::new(name),
            labels: Labels::default(),
            endpoint: Arc::new(endpoint),
            timing: crate::target::Timing::default(),
            health: Arc::default(),
            catalog: CatalogSettings::default(),
            passthrough: None,
            canaries: Arc::default(),
            poll: true,
            maintenance: crate::maintenance::Maintenance::default(),
        }
    }

    fn all(seconds: u64) -> Resolve {
        Resolve::All { interval: PromDuration::from_secs(seconds) }
    }

    fn config(targets: Vec<Target>) -> Arc<Config> {
        Reloader::fixed(targets).current()
    }

    fn ip(last: u16) -> SocketAddr {
        let [high, low] = last.to_be_bytes();
        SocketAddr::from(([10, 0, high, low], 8000))
    }

    fn ids(config: &Config) -> Vec<String> {
        config.targets.iter().map(|target| target.name.to_string()).collect()
    }

    /// One name through a series of lookups, each with what is polled after it. `None` is a lookup that fails.
    #[track_caller]
    fn check(lookups: &[(Option<&[u16]>, &[&str])]) -> State {
        let config =
            config(vec![target("a", "http://a.test:8000/mcp", all(30)), target("z", "http://z/", Resolve::Any)]);
        let (mut names, mut now) = (Names::default(), Instant::now());
        names.follow(&config, now);
        assert_eq!(ids(&names.expand(&config)), ["z"], "nothing is said of it before it was looked up");
        for (found, polled) in lookups {
            now = names.next_due().expect("it is looked up again").max(now);
            let [(id, endpoint)] = &names.take_due(now)[..] else { panic!("one name is due") };
            let found = match found {
                Some(found) => Ok(found.iter().copied().map(ip).collect()),
                None => Err(ProbeError::new(Failure::Dns, "nobody knows it")),
            };
            let before = ids(&names.expand(&config));
            let changed = names.take(id, endpoint, found, now);
            let after = ids(&names.expand(&config));
            assert_eq!(after, [*polled, &["z"]].concat());
            assert!(changed || before == after, "a change is told");
        }
        names.states().remove(0)
    }

    const ONE: &str = "a at 10.0.0.1:8000";
    const TWO: &str = "a at 10.0.0.2:8000";
    const THREE: &str = "a at 10.0.0.3:8000";

    #[test]
    fn addresses_come_and_go() {
        let state = check(&[
            (Some(&[2, 1, 2]), &[ONE, TWO]),
            (Some(&[1, 2]), &[ONE, TWO]),
            (Some(&[3, 2]), &[TWO, THREE]),
            (Some(&[2]), &[TWO]),
        ]);
        assert_eq!((state.replicas, state.left_out, state.failures), (1, 0, 0));
    }

    #[test]
    fn a_lookup_that_fails_changes_nothing() {
        let state =
            check(&[(Some(&[1, 2]), &[ONE, TWO]), (None, &[ONE, TWO]), (None, &[ONE, TWO]), (Some(&[2]), &[TWO])]);
        assert_eq!((state.replicas, state.failures), (1, 2));
    }

    #[test]
    fn a_name_that_leads_nowhere_is_polled_as_it_stands() {
        let state = check(&[(None, &["a"]), (None, &["a"]), (Some(&[1]), &[ONE])]);
        assert_eq!((state.looked_up, state.replicas, state.failures), (true, 1, 2));
    }

    #[test]
    fn a_flood_of_addresses_is_cut_and_counted() {
        let flood: Vec<SocketAddr> = (0..10_000).map(ip).collect();
        let (first, left_out) = choose(&[], &flood);
        assert_eq!((first.len(), left_out), (MOST, 10_000 - MOST));
        // In another order, and with lower ones than before: those that are polled stay.
        let known: Vec<SocketAddr> = (5_000..5_060).map(ip).collect();
        let backwards: Vec<SocketAddr> = flood.iter().rev().copied().collect();
        let (then, _) = choose(&known, &backwards);
        assert_eq!(then.len(), MOST);
        assert!(known.iter().all(|address| then.contains(address)));
        assert!(then.is_sorted());
        let many: Vec<u16> = (1..=10_000).collect();
        let polled: Vec<String> = (1..=64).map(|last| format!("a at {}", ip(last))).collect();
        let polled: Vec<&str> = polled.iter().map(String::as_str).collect();
        let state = check(&[(Some(&many), &polled), (Some(&[1]), &[ONE])]);
        assert_eq!((state.replicas, state.left_out), (1, 0));
        let shown = shown(flood.iter()).expect("addresses");
        assert!(shown.ends_with("10.0.0.9:8000 and 9990 more"), "{shown}");
    }

    #[test]
    fn names_are_asked_for_at_their_intervals() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let config = config(vec![target("a", "http://a.test/", all(30)), target("b", "http://b.test/", all(2))]);
        let mut names = Names::default();
        names.follow(&config, start);
        let due = names.take_due(start);
        assert_eq!((due.len(), names.next_due()), (2, None), "nobody asks while a lookup runs");
        for (id, endpoint) in &due {
            names.take(id, endpoint, Ok(vec![ip(1)]), start);
        }
        assert_eq!(names.next_due(), Some(start + 2 * second));
        let again = names.take_due(start + 29 * second);
        assert_eq!(again.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["b"]);
        names.take(&again[0].0, &again[0].1, Err(ProbeError::new(Failure::Dns, "gone")), start + 29 * second);
        assert_eq!(names.next_due(), Some(start + 30 * second));
        // What leads nowhere yet is asked for sooner than every 30 s, and not all the time.
        let (id, endpoint) = &due[0];
        names.0.get_mut(id).expect("a").addresses.clear();
        names.take(id, endpoint, Err(ProbeError::new(Failure::Dns, "gone")), start);
        assert_eq!(names.0[id].due, Some(start + RETRY));
    }

    #[test]
    fn a_reload_keeps_what_is_known_of_a_name() {
        let now = Instant::now();
        let mut names = Names::default();
        let url = "http://a.test:8000/mcp";
        names.follow(&config(vec![target("a", url, all(30))]), now);
        let [(id, asked)] = &names.take_due(now)[..] else { panic!("one name is due") };
        names.take(id, asked, Ok(vec![ip(1)]), now);
        let again = config(vec![target("a", "http://a.test:8000/other", all(5))]);
        names.follow(&again, now);
        assert_eq!(ids(&names.expand(&again)), [ONE]);
        assert_eq!(names.next_due(), Some(now + Duration::from_secs(5)), "a shorter interval counts from now on");
        let elsewhere = config(vec![target("a", "http://b.test:8000/mcp", all(5))]);
        names.follow(&elsewhere, now);
        assert!(ids(&names.expand(&elsewhere)).is_empty(), "another name is looked up first");
        assert!(!names.take(id, asked, Ok(vec![ip(2)]), now), "an answer about the old name comes too late");
        assert!(ids(&names.expand(&elsewhere)).is_empty());
        let plain = config(vec![target("a", url, Resolve::Any)]);
        names.follow(&plain, now);
        assert!(Arc::ptr_eq(&names.expand(&plain), &plain));
        assert_eq!(names.states(), []);
    }

    #[test]
    fn a_replica_is_its_server_at_one_address() {
        let server = target("a", "https://a.test/mcp", all(30));
        let replica = server.at(ip(1));
        assert_eq!((replica.name.as_str(), replica.name.address()), ("a", Some(ip(1))));
        assert!(server.has_replicas() && !replica.has_replicas());
        let Address::Http(http) = &replica.endpoint.address else { panic!("HTTP") };
        assert_eq!((http.url.as_str(), http.resolve), ("https://a.test/mcp", Resolve::Only(ip(1))));
        assert_eq!(server.name.address(), None);
    }

    /// Answers a lookup with what a test has put there last.
    #[derive(Clone, Default)]
    struct Zone(Arc<Mutex<Vec<SocketAddr>>>);

    impl Zone {
        fn put(&self, addresses: &[u16]) {
            *self.0.lock().expect("nobody panicked") = addresses.iter().copied().map(ip).collect();
        }

        fn shared(&self) -> Arc<Shared> {
            let zone = self.clone();
            Arc::new(Shared::resolving(move |name, port| {
                assert_eq!((name, port), ("a.test", 8000));
                let found = zone.0.lock().expect("nobody panicked").clone();
                if found.is_empty() { Err(io::Error::other("no such name")) } else { Ok(found) }
            }))
        }
    }

    const PATIENT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn names_are_followed_until_the_end() {
        let zone = Zone::default();
        zone.put(&[1, 2]);
        let often = Resolve::All { interval: PromDuration::from_millis(10) };
        let reloader = Reloader::fixed(vec![target("a", "http://a.test:8000/mcp", often)]);
        let states = States::default();
        let replicas = Replicas::new(reloader.subscribe(), zone.shared(), Arc::clone(&states));
        assert!(!states.load()[0].looked_up);
        let (mut polled, stop) = (replicas.subscribe(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(replicas.run(stop.clone()));
        for (put, expected) in [(&[1, 2][..], vec![ONE, TWO]), (&[2, 3][..], vec![TWO, THREE])] {
            zone.put(put);
            let seen = polled.wait_for(|config| ids(config) == expected);
            drop(tokio::time::timeout(PATIENT, seen).await.expect("in time").expect("it runs"));
        }
        zone.put(&[]);
        let failed = async {
            while states.load()[0].failures == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENT, failed).await.expect("in time");
        assert_eq!(ids(&polled.borrow()), [TWO, THREE]);
        stop.cancel();
        tokio::time::timeout(PATIENT, tasks.join_all()).await.expect("in time");
        assert_eq!(states.load().len(), 0, "a daemon that stops says nothing of servers");
    }

    #[tokio::test]
    async fn one_look_is_enough_for_a_check() {
        let zone = Zone::default();
        let targets = [target("a", "http://a.test:8000/mcp", all(30)), target("z", "http://127.0.0.1/", Resolve::Any)];
        let names = |targets: &[Target]| targets.iter().map(|target| target.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&once(&targets, &zone.shared()).await), ["a", "z"]);
        zone.put(&[2, 1]);
        assert_eq!(names(&once(&targets, &zone.shared()).await), [ONE, TWO, "z"]);
        let literal = [target("a", "http://[::1]:8000/mcp", all(30))];
        assert_eq!(names(&once(&literal, &zone.shared()).await), ["a at [::1]:8000"], "nobody is asked");
    }
}
