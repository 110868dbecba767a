//! Whole outputs with their exit codes, from servers that follow a script. Time is paused: waiting is free and exact.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::*;
use crate::health::{Check, Database, Dialect, Disk, HealthDocument, Memory, Pool, Status, Thresholds};
use crate::maintenance::{Maintenance, When, Window};
use crate::probe::{Answer, Failure, ProbeError, ServerInfo, Source, Transport};
use crate::target::{Labels, TargetName};

/// 2026-11-22 20:31:07.125 UTC.
const NOON: Duration = Duration::from_millis(1_795_379_467_125);

/// A server that gives one answer after the other, the last for ever.
struct Fake {
    name: TargetName,
    labels: Labels,
    maintenance: Maintenance,
    takes: Duration,
    script: VecDeque<Result<Answer, ProbeError>>,
    began: Instant,
    closed: Arc<AtomicUsize>,
}

impl Subject for Fake {
    fn name(&self) -> &TargetName {
        &self.name
    }

    async fn check(&mut self) -> Finding {
        tokio::time::sleep(self.takes).await;
        let result = match self.script.len() {
            1 => self.script[0].clone(),
            _ => self.script.pop_front().expect("a script has an answer"),
        };
        Finding {
            name: self.name.clone(),
            labels: self.labels.clone(),
            thresholds: Thresholds::default(),
            maintenance: self.maintenance.clone(),
            result,
            at: SystemTime::UNIX_EPOCH + NOON + self.began.elapsed(),
        }
    }

    async fn close(&mut self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// A server that takes so many milliseconds to answer.
fn fake(name: &str, millis: u64, script: impl IntoIterator<Item = Result<Answer, ProbeError>>) -> Fake {
    Fake {
        name: TargetName::new(name),
        labels: Labels::default(),
        maintenance: Maintenance::default(),
        takes: Duration::from_millis(millis),
        script: script.into_iter().collect(),
        began: Instant::now(),
        closed: Arc::default(),
    }
}

fn says(status: Status) -> HealthDocument {
    HealthDocument {
        status,
        computed: None,
        dialect: Dialect::Guide,
        message: None,
        database: Database::default(),
        pool: Pool::default(),
        memory: Memory::default(),
        disk: Disk::default(),
        uptime_seconds: None,
        timestamp_seconds: None,
        checks: Vec::new(),
        reported_version: None,
        reported_environment: None,
        reported_region: None,
        invalid_fields: Vec::new(),
        invalid_count: 0,
        cut_count: 0,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an entry of a script")]
fn answer(millis: f64, document: HealthDocument) -> Result<Answer, ProbeError> {
    let response_time = Duration::from_secs_f64(millis / 1_000.0);
    Ok(Answer { document, source: Source::Resource, response_time, server: None })
}

fn well() -> Result<Answer, ProbeError> {
    answer(2.0, says(Status::Healthy))
}

fn refused() -> Result<Answer, ProbeError> {
    Err(ProbeError::new(Failure::Connect, "could not connect to http://localhost:8000/mcp")
        .because(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"))
        .hint("is the server running, and does it listen there?"))
}

fn database(status: Status, millis: Option<f64>) -> Database {
    Database { status: Some(status), latency_seconds: millis.map(|millis| millis / 1_000.0) }
}

fn pool(utilization: f64) -> Pool {
    Pool { utilization: Some(utilization), ..Pool::default() }
}

fn check(name: &str, status: Status, message: Option<&str>) -> Check {
    let (name, message) = (name.into(), message.map(Into::into));
    Check { name, status: Some(status), duration_seconds: None, values: Vec::new(), message }
}

/// One of each kind.
fn fleet() -> Vec<Fake> {
    let search =
        HealthDocument { database: database(Status::Healthy, Some(4.23)), pool: pool(0.35), ..says(Status::Healthy) };
    let orders = HealthDocument {
        database: database(Status::Healthy, Some(143.2)),
        pool: pool(0.875),
        message: Some("the database is slow".into()),
        checks: vec![
            check("database", Status::Degraded, None),
            check("disk", Status::Healthy, Some("fine")),
            check("memory", Status::Degraded, Some("86 % used")),
        ],
        ..says(Status::Degraded)
    };
    let billing =
        HealthDocument { database: database(Status::Unhealthy, None), pool: pool(1.0), ..says(Status::Unhealthy) };
    let everything = HealthDocument { dialect: Dialect::Protocol, ..says(Status::Healthy) };
    vec![
        fake("search", 5, [answer(12.4, search)]),
        fake("orders", 40, [answer(1_260.0, orders)]),
        fake("billing", 3, [answer(0.871, billing)]),
        fake("everything", 9, [answer(3.04, everything)]),
        fake("書庫", 110, [refused()]),
    ]
}

/// What a run printed, and its exit code.
struct Ran {
    out: String,
    err: String,
    code: u8,
}

struct Terminal {
    color: bool,
    size: fn() -> Option<(u16, u16)>,
    progress: bool,
}

const PIPE: Terminal = Terminal { color: false, size: || None, progress: false };

async fn run(fakes: &mut [Fake], options: Options, terminal: Terminal) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let Terminal { color, size, progress } = terminal;
    let mut screen = Screen { out: &mut out, err: &mut err, color, size, progress };
    let stop = CancellationToken::new();
    // Whoever watches for ever is stopped after 10 s and a bit.
    let stopper = async {
        tokio::time::sleep(Duration::from_millis(10_050)).await;
        stop.cancel();
        std::future::pending().await
    };
    let verdict = tokio::select! {
        verdict = watch(fakes, &options, &mut screen, &stop) => verdict.expect("writes"),
        () = stopper => unreachable!("waits for ever"),
    };
    let [out, err] = [out, err].map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
    Ran { out, err, code: verdict.exit_code() }
}

#[tokio::test(start_paused = true)]
async fn a_table_tells_everything_without_colour() {
    let mut fakes = fleet();
    let ran = run(&mut fakes, Options::default(), PIPE).await;
    assert_eq!(
        ran.out,
        "   SERVER      STATUS     DATABASE          POOL           LATENCY
✔  search      healthy    connected 4.2 ms  ███░░░░░  35%    12 ms
!  orders      degraded   connected 143 ms  ███████░  88%    1.3 s
     the database is slow
     warn: database
     warn: memory, 86 % used
✖  billing     unhealthy  disconnected      ████████ 100%  0.87 ms
✔  everything  healthy    –                 –               3.0 ms
     it answers, but says nothing about its health
✖  書庫        failed     –                 –                    –
     connect: could not connect to http://localhost:8000/mcp: connection refused
     hint: is the server running, and does it listen there?

5 servers: 2 healthy, 1 degraded, 1 unhealthy, 1 failed in 110 ms
"
    );
    assert_eq!((ran.err.as_str(), ran.code), ("", 2));
    // Checked once, nothing stays open.
    assert!(fakes.iter().all(|fake| fake.closed.load(Ordering::Relaxed) == 1));
}

#[tokio::test(start_paused = true)]
async fn colours_underline_what_words_say() {
    let ran = run(&mut fleet()[..2], Options::default(), Terminal { color: true, ..PIPE }).await;
    let second = ran.out.lines().nth(1).expect("a line");
    assert!(second.starts_with("\x1b[32m✔\x1b[0m  \x1b[1msearch\x1b[0m  \x1b[32mhealthy\x1b[0m"), "{second:?}");
    let third = ran.out.lines().nth(2).expect("a line");
    assert!(third.contains("\x1b[33m143 ms\x1b[0m") && third.contains("\x1b[33m███████\x1b[0m"), "{third:?}");
    // Without the colours it is the same text.
    let plain = run(&mut fleet()[..2], Options::default(), PIPE).await;
    assert_eq!(anstream::adapter::strip_str(&ran.out).to_string(), plain.out);
}

#[tokio::test(start_paused = true)]
async fn the_exit_code_is_the_worst() {
    for (answers, code, closing) in [
        (vec![well()], 0, "✔ healthy in 5.0 ms\n"),
        (vec![well(), well()], 0, "✔ all 2 healthy in 5.0 ms\n"),
        (vec![well(), answer(1.0, says(Status::Degraded))], 1, "2 servers: 1 healthy, 1 degraded in 5.0 ms\n"),
        (vec![answer(1.0, says(Status::Unhealthy))], 1, "1 server: 1 unhealthy in 5.0 ms\n"),
        (vec![refused(), answer(1.0, says(Status::Unhealthy))], 2, "2 servers: 1 unhealthy, 1 failed in 5.0 ms\n"),
    ] {
        let mut fakes: Vec<Fake> = answers.into_iter().map(|answer| fake("a", 5, [answer])).collect();
        let ran = run(&mut fakes, Options::default(), PIPE).await;
        assert_eq!((ran.code, ran.out.split("\n\n").last()), (code, Some(closing)));
    }
}

#[tokio::test(start_paused = true)]
async fn json_is_one_object_a_line() {
    let whole = HealthDocument {
        computed: Some(Status::Unhealthy),
        message: Some("say \"hi\"".into()),
        database: database(Status::Degraded, Some(143.5)),
        pool: Pool {
            size: Some(20.0),
            active: Some(19.0),
            idle: Some(1.0),
            waiting: Some(0.0),
            min_size: Some(2.0),
            max_size: Some(30.0),
            leaked: Some(1.0),
            utilization: Some(0.95),
        },
        memory: Memory { usage_bytes: Some(268_435_456.0), limit_bytes: Some(536_870_912.0), utilization: Some(0.5) },
        disk: Disk { free_bytes: Some(1.5), utilization: None },
        uptime_seconds: Some(4.81),
        timestamp_seconds: Some(1_795_379_400.0),
        checks: vec![
            Check {
                name: "queue \"a\"".into(),
                status: Some(Status::Degraded),
                duration_seconds: Some(0.25),
                values: vec![("depth".into(), 12.0)],
                message: Some("slow".into()),
            },
            Check { name: "empty".into(), status: None, duration_seconds: None, values: Vec::new(), message: None },
        ],
        reported_version: Some("1.2.3".into()),
        reported_environment: Some("production".into()),
        reported_region: Some("eu".into()),
        ..says(Status::Degraded)
    };
    let mut orders = fake("orders", 5, [answer(12.5, whole)]);
    orders.labels = Labels::new(BTreeMap::from([("team".to_owned(), "shop".to_owned())]));
    if let Ok(answer) = &mut orders.script[0] {
        answer.server = Some(Arc::new(ServerInfo {
            name: "orders-mcp".into(),
            version: "3".into(),
            protocol_version: "2025-11-25".into(),
            offered: Arc::default(),
            transport: Transport::StreamableHttp,
        }));
    }
    let mut fakes = [orders, fake("bare", 5, [well()]), fake("gone", 5, [refused()])];
    let ran = run(&mut fakes, Options { output: Output::Json, ..Options::default() }, PIPE).await;
    assert_eq!(
        ran.out,
        concat!(
            r#"{"timestamp":"2026-11-22T20:31:07.130Z","server":"orders","status":"degraded","labels":{"team":"shop"},"#,
            r#""response_time_seconds":0.0125,"computed_status":"unhealthy","message":"say \"hi\"","dialect":"guide","#,
            r#""source":"resource","database":{"status":"degraded","latency_seconds":0.1435},"#,
            r#""pool":{"size":20,"active":19,"idle":1,"waiting":0,"min_size":2,"max_size":30,"leaked":1,"utilization":0.95},"#,
            r#""memory":{"usage_bytes":268435456,"limit_bytes":536870912,"utilization":0.5},"disk":{"free_bytes":1.5},"#,
            r#""uptime_seconds":4.81,"server_timestamp":"2026-11-22T20:30:00.000Z","#,
            r#""checks":{"queue \"a\"":{"status":"warn","duration_seconds":0.25,"values":{"depth":12},"message":"slow"},"empty":{}},"#,
            r#""metadata":{"version":"1.2.3","environment":"production","region":"eu"},"#,
            r#""mcp":{"name":"orders-mcp","version":"3","protocol_version":"2025-11-25","transport":"streamable-http"}}"#,
            "\n",
            r#"{"timestamp":"2026-11-22T20:31:07.130Z","server":"bare","status":"healthy","#,
            r#""response_time_seconds":0.002,"dialect":"guide","source":"resource"}"#,
            "\n",
            r#"{"timestamp":"2026-11-22T20:31:07.130Z","server":"gone","status":"failed","reason":"connect","#,
            r#""error":"could not connect to http://localhost:8000/mcp: connection refused","#,
            r#""hint":"is the server running, and does it listen there?"}"#,
            "\n",
        )
    );
    assert_eq!(ran.code, 2);
    for line in ran.out.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    }
}

/// It is told of and excuses nothing: the exit code is that of the server.
#[tokio::test(start_paused = true)]
async fn maintenance_is_told_of() {
    let window = |start: &str, reason: Option<&str>| {
        let when =
            When::Once { start: start.parse().expect("a time"), end: "2026-11-22T22:00:00Z".parse().expect("a time") };
        Maintenance::new(vec![Window { when, reason: reason.map(Into::into) }])
    };
    let mended = || {
        let mut fakes = [fake("billing", 5, [refused()]), fake("orders", 5, [well()]), fake("search", 5, [well()])];
        fakes[0].maintenance = window("2026-11-22T20:00:00Z", Some("new disks"));
        fakes[1].maintenance = window("2026-11-22T20:00:00Z", None);
        fakes[2].maintenance = window("2026-11-22T21:00:00Z", Some("not yet"));
        fakes
    };
    let ran = run(&mut mended(), Options::default(), PIPE).await;
    assert_eq!(
        ran.out,
        "   SERVER   STATUS   DATABASE  POOL  LATENCY
✖  billing  failed   –         –           –
     maintenance: until 2026-11-22T22:00:00Z, new disks
     connect: could not connect to http://localhost:8000/mcp: connection refused
     hint: is the server running, and does it listen there?
✔  orders   healthy  –         –      2.0 ms
     maintenance: until 2026-11-22T22:00:00Z
✔  search   healthy  –         –      2.0 ms

3 servers: 2 healthy, 1 failed in 5.0 ms
"
    );
    assert_eq!(ran.code, 2);
    let ran = run(&mut mended(), Options { output: Output::Json, ..Options::default() }, PIPE).await;
    let said: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["maintenance"].take())
        .collect();
    let until = "2026-11-22T22:00:00.000Z";
    assert_eq!(
        said,
        [
            serde_json::json!({"until": until, "reason": "new disks"}),
            serde_json::json!({"until": until}),
            serde_json::Value::Null
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn watching_appends_to_a_pipe_until_it_is_stopped() {
    let options = Options { watch: Some(PromDuration::from_secs(5)), ..Options::default() };
    let mut fakes = [fake("search", 5, [well(), refused(), answer(2.0, says(Status::Degraded))])];
    let ran = run(&mut fakes, options, PIPE).await;
    assert_eq!(
        ran.out,
        "\
2026-11-22T20:31:07Z
   SERVER  STATUS   DATABASE  POOL  LATENCY
✔  search  healthy  –         –      2.0 ms

✔ healthy in 5.0 ms

2026-11-22T20:31:12Z
   SERVER  STATUS  DATABASE  POOL  LATENCY
✖  search  failed  –         –           –
     connect: could not connect to http://localhost:8000/mcp: connection refused
     hint: is the server running, and does it listen there?

1 server: 1 failed in 5.0 ms

2026-11-22T20:31:17Z
   SERVER  STATUS    DATABASE  POOL  LATENCY
!  search  degraded  –         –      2.0 ms

1 server: 1 degraded in 5.0 ms
"
    );
    // The verdict of the last round; the session was kept throughout.
    assert_eq!((ran.err.as_str(), ran.code), ("", 1));
    assert_eq!(fakes[0].closed.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn so_many_failures_in_a_row_end_it() {
    let degraded = || answer(1.0, says(Status::Degraded));
    let options = Options { output: Output::Json, watch: Some(PromDuration::from_secs(1)), failures: Some(3) };
    let mut fakes = [
        fake("up-and-down", 5, [refused(), refused(), well(), degraded(), refused(), well()]),
        fake("getting-worse", 5, [well(), well(), well(), degraded(), refused(), degraded()]),
    ];
    let ran = run(&mut fakes, options, PIPE).await;
    assert_eq!(ran.out.lines().count(), 2 * 6);
    assert_eq!((ran.err.as_str(), ran.code), ("`getting-worse` was not healthy 3 times in a row\n", 1));
}

#[tokio::test(start_paused = true)]
async fn a_narrow_terminal_has_a_list() {
    let ran = run(&mut fleet(), Options::default(), Terminal { size: || Some((40, 24)), ..PIPE }).await;
    assert_eq!(
        ran.out,
        "\
✔  search  healthy
     database connected 4.2 ms
     pool ███░░░░░  35%
     latency 12 ms
!  orders  degraded
     database connected 143 ms
     pool ███████░  88%
     latency 1.3 s
     the database is slow
     warn: database
     warn: memory, 86 % used
✖  billing  unhealthy
     database disconnected
     pool ████████ 100%
     latency 0.87 ms
✔  everything  healthy
     latency 3.0 ms
     it answers, but says nothing about
     its health
✖  書庫  failed
     connect: could not connect to
     http://localhost:8000/mcp:
     connection refused
     hint: is the server running, and
     does it listen there?

5 servers: 2 healthy, 1 degraded, 1 unhealthy, 1 failed in 110 ms
"
    );
}

#[tokio::test(start_paused = true)]
async fn a_terminal_is_drawn_over() {
    let options = Options { watch: Some(PromDuration::from_secs(8)), ..Options::default() };
    let mut fakes = [fake("search", 5, [well(), refused()]), fake("orders", 5, [well()])];
    let ran = run(&mut fakes, options, Terminal { size: || Some((80, 24)), ..PIPE }).await;
    assert_eq!(
        ran.out.replace('\x1b', "^"),
        "\
^[2J^[Hevery 8s, Ctrl-C ends it · 2026-11-22T20:31:07Z^[K
^[K
   SERVER  STATUS   DATABASE  POOL  LATENCY^[K
✔  search  healthy  –         –      2.0 ms^[K
✔  orders  healthy  –         –      2.0 ms^[K
^[K
✔ all 2 healthy in 5.0 ms^[K
^[J^[Hevery 8s, Ctrl-C ends it · 2026-11-22T20:31:15Z^[K
^[K
   SERVER  STATUS   DATABASE  POOL  LATENCY^[K
✖  search  failed   –         –           –^[K
     connect: could not connect to http://localhost:8000/mcp: connection refused^[K
     hint: is the server running, and does it listen there?^[K
✔  orders  healthy  –         –      2.0 ms^[K
^[K
2 servers: 1 healthy, 1 failed in 5.0 ms^[K
^[J"
    );
}

#[tokio::test(start_paused = true)]
async fn a_small_terminal_shows_who_is_not_well() {
    let options = Options { watch: Some(PromDuration::from_secs(20)), ..Options::default() };
    let mut fakes: Vec<Fake> = (0..30).map(|number| fake(&format!("server-{number}"), 5, [well()])).collect();
    fakes[7].script = [answer(2.0, says(Status::Degraded))].into();
    let ran = run(&mut fakes, options, Terminal { size: || Some((80, 24)), ..PIPE }).await;
    let (_, shown) = ran.out.split_once("\x1b[K\n\x1b[K\n").expect("a first line");
    assert_eq!(
        shown.replace("\x1b[K", ""),
        "   SERVER    STATUS    DATABASE  POOL  LATENCY
!  server-7  degraded  –         –      2.0 ms
  … and 29 healthy

30 servers: 29 healthy, 1 degraded in 5.0 ms
\x1b[J"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tiny_terminal_shows_as_many_as_fit() {
    let options = Options { watch: Some(PromDuration::from_secs(20)), ..Options::default() };
    let mut fakes: Vec<Fake> = (0..5).map(|number| fake(&format!("server-{number}"), 5, [refused()])).collect();
    fakes.push(fake("fine", 5, [well()]));
    let ran = run(&mut fakes, options, Terminal { size: || Some((60, 16)), ..PIPE }).await;
    let (_, shown) = ran.out.split_once("\x1b[K\n\x1b[K\n").expect("a first line");
    assert_eq!(
        shown.replace("\x1b[K", ""),
        "   SERVER    STATUS  DATABASE  POOL  LATENCY
✖  server-0  failed  –         –           –
     connect: could not connect to
     http://localhost:8000/mcp: connection refused
     hint: is the server running, and does it listen there?
✖  server-1  failed  –         –           –
     connect: could not connect to
     http://localhost:8000/mcp: connection refused
     hint: is the server running, and does it listen there?
  … and 3 not healthy, 1 healthy

6 servers: 1 healthy, 5 failed in 5.0 ms
\x1b[J"
    );
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_see_progress() {
    let mut fakes = [fake("quick", 5, [refused()]), fake("slow", 450, [well()]), fake("slower", 480, [well()])];
    let ran = run(&mut fakes, Options::default(), Terminal { progress: true, ..PIPE }).await;
    let frames: Vec<&str> = ran.err.split('\r').collect();
    assert_eq!(
        frames,
        [
            "",
            "\x1b[?7l██████░░░░░░░░░░░░░░ 1 of 3 checked, 1 not healthy, waiting for slow, slower\x1b[K\x1b[?7h",
            "\x1b[?7l██████░░░░░░░░░░░░░░ 1 of 3 checked, 1 not healthy, waiting for slow, slower\x1b[K\x1b[?7h",
            "\x1b[K"
        ]
    );
    // Whoever is quick shows none.
    let ran = run(&mut fleet(), Options::default(), Terminal { progress: true, ..PIPE }).await;
    assert_eq!(ran.err, "");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_stopped_leaves_no_trace() {
    let ran = run(&mut [fake("hung", 60_000, [well()])], Options::default(), Terminal { progress: true, ..PIPE }).await;
    assert_eq!((ran.out.as_str(), ran.code), ("", 2));
    assert!(ran.err.ends_with("\r\x1b[K"), "{:?}", ran.err);
}

#[tokio::test(start_paused = true)]
async fn many_servers_are_asked_together_but_not_all_at_once() {
    let mut fakes: Vec<Fake> = (0..CONCURRENCY * 2).map(|n| fake(&n.to_string(), 100, [well()])).collect();
    let ran = run(&mut fakes, Options::default(), PIPE).await;
    assert!(ran.out.ends_with("✔ all 128 healthy in 200 ms\n"), "{}", ran.out);
    // In the order in which they were named.
    assert!(ran.out.lines().nth(128).is_some_and(|line| line.starts_with("✔  127")));
}
