//! One server on a page: why it stands as it does, what it said, what it has been through, and where to go from here.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::super::select::Standing;
use super::{
    Frame, ago, badge, badges, chart, database_word, grade, labels, maintenance, path_of, promql, sign, why, words,
};
use crate::health::{Check, HealthDocument, Status, Thresholds};
use crate::snapshot::{Canaries, History, LastPoll, POLLS, SnapshotStore, TargetState};
use crate::target::{Target, TargetName};

/// Names to offer to somebody who asked for one that is not there.
const SUGGESTIONS: usize = 8;

/// `None` when no server of this name is polled.
pub(super) fn page(frame: &Frame<'_>, store: &SnapshotStore, name: &TargetName, now: SystemTime) -> Option<Markup> {
    let (state, target, history) = (store.state(name)?, store.target(name)?, store.history(name)?);
    let standing = Standing::of(&state);
    let icon = match standing {
        Standing::Failed | Standing::Unhealthy => "down.svg",
        Standing::Degraded | Standing::Unknown => "strained.svg",
        Standing::Healthy => "well.svg",
    };
    let answer = state.last.as_ref().and_then(|last| last.result.as_ref().ok());
    let limits = &target.health.reading.thresholds;
    let content = html! {
        p.back { a href=(frame.home()) { "← All servers" } }
        div.hero.one data-key=(name) data-status=(standing.word()) {
            h1 { (name) }
            p.badges { (badges(&state, now)) }
            (labels(&state))
            (why(&state))
            (runbooks(&state))
            (maintenance(&state, now))
        }
        (polls(&history, &target, now))
        div.sections {
            @if let Some(answer) = answer {
                (parts(&answer.document, limits))
                (checks(&answer.document.checks))
                (canaries(&state.canaries, now))
            }
            (says(&state, &target, now))
            @if let Some(last) = &state.last { (phases(last)) }
            (failures(&history, now))
            (changes(&history, now))
        }
        (questions(&state))
    };
    let title = format!("{name}: {}", standing.word());
    Some(frame.page(&title, icon, &content))
}

/// The replicas that share this name, to choose from; `None` where there are none.
pub(super) fn replicas(frame: &Frame<'_>, store: &SnapshotStore, name: &str, now: SystemTime) -> Option<Markup> {
    let mut targets = store.snapshot().targets;
    targets.retain(|target| target.name.as_str() == name && target.name.address().is_some());
    if targets.is_empty() {
        return None;
    }
    let content = html! {
        p.back { a href=(frame.home()) { "← All servers" } }
        div.hero {
            h1 { (name) }
            p.lead { "Each address behind its name is a server of its own: " (targets.len()) " of them." }
        }
        div.empty {
            ul.alike {
                @for target in &targets {
                    li { a href={ (frame.root) (path_of(&target.name)) } { (sign(Standing::of(target))) (target.name) } " " (badges(target, now)) }
                }
            }
        }
    };
    Some(frame.page(name, "well.svg", &content))
}

/// Nobody is called so: what is called alike, and the way back.
pub(super) fn unknown(frame: &Frame<'_>, store: &SnapshotStore, name: &str) -> Markup {
    let shown: String = name.chars().take(128).collect();
    let wanted = name.to_lowercase();
    let alike = store.snapshot().targets.into_iter().filter(|target| {
        let name = target.name.as_str().to_lowercase();
        name.contains(&wanted) || wanted.contains(&name)
    });
    let alike: Vec<_> = alike.take(SUGGESTIONS).collect();
    let content = html! {
        div.empty {
            @if store.is_silent() {
                h1 { "The exporter is stopping." }
            } @else {
                h1 { "No server is called “" (shown) "”" }
                p.lead { "It may have left the configuration, be set to " code { "poll: false" } ", or be spelt differently. A slash in a name is written " code { "%2F" } "." }
            }
            @if !alike.is_empty() {
                ul.alike {
                    @for target in &alike {
                        li { a href={ (frame.root) (path_of(&target.name)) } { (sign(Standing::of(target))) (target.name) } }
                    }
                }
            }
            p { a.button href=(frame.home()) { "Show all servers" } }
        }
    };
    frame.page("Not found", "strained.svg", &content)
}

fn runbooks(state: &TargetState) -> Markup {
    let runbooks = promql::runbooks(state);
    html! {
        @if !runbooks.is_empty() {
            p.runbooks {
                "What to do: "
                @for (index, (name, address)) in runbooks.iter().enumerate() {
                    @if index > 0 { ", " }
                    a href=(address) rel="noreferrer" { (name) }
                }
            }
        }
    }
}

fn section(title: &str, class: &str, content: &Markup) -> Markup {
    html! { section class={ "panel " (class) } { h2 { (title) } (content) } }
}

fn polls(history: &History, target: &Target, now: SystemTime) -> Markup {
    let polls = &history.polls;
    let times: Vec<Duration> = polls.iter().filter_map(|poll| poll.response_time).collect();
    let span = polls.first().map(|first| SystemTime::UNIX_EPOCH + Duration::from_secs(first.at.into()));
    section(
        "Last polls",
        "wide",
        &html! {
            (chart::strip(polls))
            p.scale aria-hidden="true" {
                span { @if let Some(first) = span {
                    @if polls.len() < POLLS { "first poll " }
                    (words::since(first, now)) " ago"
                } }
                span { "now" }
            }
            @if let (Some(longest), Some(shortest)) = (times.iter().max(), times.iter().min()) {
                div.times { (chart::line(polls, 1)) }
                dl.facts {
                    div { dt { "Fastest" } dd { (words::duration(*shortest)) } }
                    div { dt { "Typical" } dd { (words::duration(chart::median(times.clone()))) } }
                    div { dt { "Slowest" } dd { (words::duration(*longest)) } }
                    div { dt { "Asked every" } dd { (target.timing.interval) } }
                }
            } @else if polls.is_empty() {
                p.quiet { "The first poll has not finished yet." }
            }
            p.legend {
                @for standing in [Standing::Healthy, Standing::Degraded, Standing::Unhealthy, Standing::Failed] {
                    span class=(standing.word()) { (sign(standing)) (standing.word()) }
                }
            }
        },
    )
}

/// One line of a description, where there is something to say.
fn item(name: &str, value: Option<impl maud::Render>) -> Markup {
    html! { @if let Some(value) = value { div { dt { (name) } dd { (value) } } } }
}

fn says(state: &TargetState, target: &Target, now: SystemTime) -> Markup {
    let answer = state.last.as_ref().and_then(|last| last.result.as_ref().ok());
    let said = answer.map(|answer| &answer.document);
    let server = answer.and_then(|answer| answer.server.as_ref());
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let timestamp = said
        .and_then(|said| said.timestamp_seconds)
        .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?));
    let counted = |number: u64| (number > 0).then_some(number);
    section(
        "What it says",
        "",
        &html! {
            dl.details {
                (item("Message", said.and_then(|said| said.message.as_deref())))
                (item("Computed status", said.and_then(|said| said.computed).map(Status::word)))
                (item("Source", answer.map(|answer| answer.source.label())))
                (item("Dialect", said.map(|said| said.dialect.label())))
                (item("Reported version", said.and_then(|said| said.reported_version.as_deref())))
                (item("Environment", said.and_then(|said| said.reported_environment.as_deref())))
                (item("Region", said.and_then(|said| said.reported_region.as_deref())))
                (item("Running for", said.and_then(|said| said.uptime_seconds).map(words::seconds)))
                (item("Its own clock", timestamp.map(words::clock)))
                (item("Server", server.and_then(|server| known(&format!("{} {}", server.name, server.version)))))
                (item("Protocol", server.and_then(|server| known(&server.protocol_version))))
                (item("Transport", server.map(|server| server.transport.label())))
                div { dt { "Address" } dd { code { (target.endpoint) } } }
                (item("Sessions opened", counted(state.counters.sessions_opened)))
                (item("Last success", state.last.as_ref().and_then(|last| last.last_success_at).map(|time| ago(time, now))))
                @if let Some(said) = said {
                    @if !said.invalid_fields.is_empty() { (item("Dropped fields", Some(said.invalid_fields.join(", ")))) }
                }
            }
        },
    )
}

fn parts(said: &HealthDocument, limits: &Thresholds) -> Markup {
    let (pool, database, memory, disk) = (said.pool, said.database, said.memory, said.disk);
    let number = |value: Option<f64>| value.map(|value| format!("{value}"));
    if pool == Default::default()
        && database == Default::default()
        && memory == Default::default()
        && disk == Default::default()
    {
        return html! {};
    }
    section(
        "Pool and database",
        "",
        &html! {
            @if database != Default::default() {
                p.gauge {
                    span.what { "Database" }
                    span.figure {
                        @if let Some(status) = database.status { span class={ "word " (status.word()) } { (database_word(status)) } }
                        @if let Some(latency) = database.latency_seconds { " " (words::seconds(latency)) }
                    }
                }
            }
            (share("Pool", pool.utilization, limits.pool_degraded, limits.pool_unhealthy, None))
            (share("Memory", memory.utilization, limits.memory_degraded, limits.memory_unhealthy, memory.usage_bytes.map(words::bytes)))
            (share("Disk", disk.utilization, 0.8, 0.95, disk.free_bytes.map(|free| format!("{} left", words::bytes(free)))))
            dl.facts {
                (item("Active", number(pool.active)))
                (item("Idle", number(pool.idle)))
                (item("Open", number(pool.size)))
                (item("At least", number(pool.min_size)))
                (item("At most", number(pool.max_size)))
                (item("Waiting", number(pool.waiting)))
                (item("Leaked", number(pool.leaked)))
            }
        },
    )
}

fn share(what: &str, used: Option<f64>, degraded: f64, unhealthy: f64, more: Option<String>) -> Markup {
    html! {
        @if used.is_some() || more.is_some() {
            div.gauge {
                span.what { (what) }
                span.figure {
                    @if let Some(used) = used { (words::percent(used)) " used" }
                    @if let Some(more) = more { @if used.is_some() { ", " } (more) }
                }
                @if let Some(used) = used { (chart::bar(used, grade(used, degraded, unhealthy))) }
            }
        }
    }
}

fn checks(checks: &[Check]) -> Markup {
    if checks.is_empty() {
        return html! {};
    }
    section(
        "Checks",
        "",
        &html! {
            div.scroll tabindex="0" role="region" aria-label="Checks" {
                table {
                    thead { tr { th scope="col" { "Check" } th scope="col" { "Status" } th scope="col" { "Took" } } }
                    tbody {
                        @for check in checks {
                            tr {
                                th scope="row" {
                                    (check.name)
                                    @if let Some(message) = &check.message { span.small { (message) } }
                                    @for (field, value) in &check.values { span.small { (field) ": " (value) } }
                                }
                                td { @if let Some(status) = check.status { (check_badge(status)) } @else { "–" } }
                                td { @if let Some(took) = check.duration_seconds { (words::seconds(took)) } @else { "–" } }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn canaries(canaries: &Canaries, now: SystemTime) -> Markup {
    let called: Vec<_> =
        canaries.iter().filter_map(|(name, state)| Some((name, state, state.last.as_ref()?))).collect();
    if called.is_empty() {
        return html! {};
    }
    section(
        "Canaries",
        "",
        &html! {
            div.scroll tabindex="0" role="region" aria-label="Canaries" {
                table {
                    thead { tr { th scope="col" { "Tool" } th scope="col" { "Status" } th scope="col" { "Took" } th scope="col" { "Called" } } }
                    tbody {
                        @for (name, state, last) in called {
                            tr {
                                th scope="row" {
                                    (name)
                                    @if let Err(error) = &last.result {
                                        span.small { (error.text) }
                                        @if let Some(hint) = &error.hint { span.small { span.unseen { "Hint: " } (hint) } }
                                        @if let Some(time) = state.last_success_at { span.small { "last success " (ago(time, now)) } }
                                    }
                                }
                                td { (check_badge(if last.result.is_ok() { Status::Healthy } else { Status::Unhealthy })) }
                                td { @if let Some(took) = last.time { (words::duration(took)) } @else { "–" } }
                                td { (ago(last.finished_at, now)) }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn check_badge(status: Status) -> Markup {
    let (standing, word) = match status {
        Status::Healthy => (Standing::Healthy, "pass"),
        Status::Degraded => (Standing::Degraded, "warn"),
        Status::Unhealthy => (Standing::Unhealthy, "fail"),
    };
    html! { span class={ "badge " (standing.word()) } { (sign(standing)) (word) } }
}

fn phases(last: &LastPoll) -> Markup {
    let whole: Duration = last.phases.iter().map(|(_, time)| time).sum();
    if whole.is_zero() {
        return html! {};
    }
    let part = |time: Duration| time.as_secs_f64() / whole.as_secs_f64();
    let mut begun = Duration::ZERO;
    let rows: Vec<_> = last
        .phases
        .iter()
        .map(|(phase, time)| {
            let start = begun;
            begun += time;
            (phase.label(), time, part(start), part(begun))
        })
        .collect();
    section(
        "The last poll",
        "",
        &html! {
            table.phases {
                thead.unseen { tr { th scope="col" { "Phase" } th scope="col" { "When" } th scope="col" { "Took" } } }
                tbody {
                    @for (phase, time, start, end) in rows {
                        tr { th scope="row" { (phase) } td.wide { (chart::span(start, end)) } td.number { (words::duration(time)) } }
                    }
                }
            }
            p.quiet { (words::duration(whole)) " altogether, in the attempt that decided. A kept connection has nothing to connect." }
        },
    )
}

fn failures(history: &History, now: SystemTime) -> Markup {
    section(
        "Last failures",
        "",
        &html! {
            @if history.failures.is_empty() { p.quiet { "None since the exporter started." } }
            ul.events {
                @for failure in &history.failures {
                    li {
                        p {
                            code { (failure.reason.label()) } " "
                            span.when { (ago(failure.last_at, now)) }
                            @if failure.count > 1 { span.when { " · " (failure.count) " times since " (words::clock(failure.first_at)) } }
                        }
                        p.why { (failure.text) }
                        @if let Some(hint) = &failure.hint { p.hint { span.unseen { "Hint: " } (hint) } }
                    }
                }
            }
        },
    )
}

fn changes(history: &History, now: SystemTime) -> Markup {
    section(
        "Changes of status",
        "",
        &html! {
            @if history.changes.is_empty() { p.quiet { "None since the exporter started." } }
            ol.events {
                @for change in &history.changes {
                    li {
                        p {
                            (badge(change.from.into(), None)) span.arrow { " → " span.unseen { "became" } } (badge(change.to.into(), None))
                            " " span.when { (ago(change.at, now)) }
                        }
                        @if let Some(text) = &change.text { p.why { (text) } }
                    }
                }
            }
        },
    )
}

fn questions(state: &TargetState) -> Markup {
    section(
        "Ask Prometheus",
        "wide",
        &html! {
            dl.questions {
                @for question in promql::questions(state) {
                    div {
                        dt { (question.tells) }
                        dd { code { (question.query) } button.copy type="button" hidden { "Copy" } }
                    }
                }
            }
        },
    )
}
