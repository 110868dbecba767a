//! All servers on a page: how they are in one sentence, then each, the worst first.

use std::sync::Arc;
use std::time::SystemTime;

use maud::{Markup, html};

use super::super::select::{LONGEST_TEXT, Query, Selection, Standing, select};
use super::{Frame, badges, chart, database_word, grade, label, labels, maintenance, path_of, sign, why, words};
use crate::snapshot::{SnapshotStore, TargetState};

/// Servers on one page: some 150 KB, which compress to a tenth.
const PER_PAGE: usize = 100;

/// What a visitor asked for. What cannot be read is as if it were not there: a person gets a page, not an error.
#[derive(Debug, Default)]
pub(super) struct Wish {
    text: String,
    standing: Option<Standing>,
    /// From 1.
    page: usize,
}

impl Wish {
    pub(super) fn read(query: &str) -> Self {
        let mut wish = Self { page: 1, ..Self::default() };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "q" => wish.text = value.trim().chars().take(LONGEST_TEXT).collect(),
                "status" => wish.standing = Standing::parse(&value),
                "page" => {
                    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                    let page = if digits { value.parse().unwrap_or(usize::MAX) } else { 1 };
                    wish.page = page.max(1);
                }
                _ => {}
            }
        }
        wish
    }

    /// A link to another part of the same list.
    fn link(&self, standing: Option<Standing>, page: usize) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if !self.text.is_empty() {
            query.append_pair("q", &self.text);
        }
        if let Some(standing) = standing {
            query.append_pair("status", standing.word());
        }
        if page > 1 {
            query.append_pair("page", &page.to_string());
        }
        let query = query.finish();
        // An empty link would keep the query of the page it is on.
        if query.is_empty() { "./".to_owned() } else { format!("?{query}") }
    }

    fn query(&self) -> Query {
        Query {
            text: self.text.clone(),
            standing: self.standing,
            worst_first: true,
            offset: (self.page - 1).saturating_mul(PER_PAGE),
            limit: PER_PAGE,
        }
    }
}

pub(super) fn page(frame: &Frame<'_>, store: &SnapshotStore, wish: &Wish, now: SystemTime) -> Markup {
    let mut wish = Wish { text: wish.text.clone(), ..*wish };
    let mut selection = select(store.snapshot(), &wish.query());
    let pages = selection.matched.div_ceil(PER_PAGE).max(1);
    if wish.page > pages {
        wish.page = pages;
        selection = select(store.snapshot(), &wish.query());
    }
    if selection.total == 0 {
        let (title, content) = if store.is_silent() { ("Stopping", stopping()) } else { ("No servers", nothing_yet()) };
        return frame.page(title, "strained.svg", &content);
    }
    let sentence = sentence(&selection, store);
    let icon = match worst(&selection) {
        Standing::Failed | Standing::Unhealthy => "down.svg",
        Standing::Degraded | Standing::Unknown => "strained.svg",
        Standing::Healthy => "well.svg",
    };
    let content = html! {
        div.hero {
            h1 { (sentence) }
            p.lead { (lead(&selection, now)) }
            (chart::shares(&Standing::ALL.map(|standing| (standing.word(), selection.all[standing as usize]))))
        }
        (filter(&wish, &selection))
        @if selection.targets.is_empty() { (no_match(&wish)) }
        @else {
            h2.unseen { "Servers" }
            ol.cards {
                @for target in &selection.targets { (card(target, store, now)) }
            }
            @if pages > 1 { (paging(&wish, pages, selection.matched)) }
        }
    };
    frame.page(sentence.trim_end_matches('.'), icon, &content)
}

fn worst(selection: &Selection) -> Standing {
    Standing::ALL.into_iter().find(|standing| selection.all[*standing as usize] > 0).unwrap_or(Standing::Healthy)
}

/// How they are, in one sentence.
fn sentence(selection: &Selection, store: &SnapshotStore) -> String {
    let count = |standing: Standing| selection.all[standing as usize];
    let total = selection.total;
    let down = count(Standing::Failed) + count(Standing::Unhealthy);
    let strained = count(Standing::Degraded);
    let only = || store.snapshot().targets.first().map(|target| target.name.to_string()).unwrap_or_default();
    match (down, strained, count(Standing::Unknown)) {
        (0, 0, 0) if total == 1 => format!("{} is well.", only()),
        (0, 0, 0) => format!("All {total} servers are well."),
        (0, 0, _) => "Waiting for first answers.".to_owned(),
        (0, 1, _) if total == 1 => format!("{} is under strain.", only()),
        (0, 1, _) => format!("1 of {total} servers is under strain."),
        (0, _, _) => format!("{strained} of {total} servers are under strain."),
        (1, _, _) if total == 1 => format!("{} needs you.", only()),
        (1, _, _) => format!("1 of {total} servers needs you."),
        _ => format!("{down} of {total} servers need you."),
    }
}

/// What else is worth a line.
fn lead(selection: &Selection, now: SystemTime) -> Markup {
    let latest = selection.targets.iter().filter_map(|target| target.last.as_ref()?.finished_at).max();
    html! {
        @match worst(selection) {
            Standing::Healthy => "Nothing needs you. Enjoy the quiet.",
            Standing::Unknown => "Each server answers for the first time within its interval.",
            Standing::Degraded => "Everybody answers; not everything is as it should be.",
            Standing::Unhealthy | Standing::Failed => "The worst come first, with the reason and what to do.",
        }
        @if let Some(latest) = latest { " Last poll " (super::ago(latest, now)) "." }
    }
}

/// Statuses to choose from, and words to search for: links and a form, so that no script is needed.
fn filter(wish: &Wish, selection: &Selection) -> Markup {
    let all: usize = selection.with_words.iter().sum();
    html! {
        div.filter {
            nav.chips aria-label="By status" {
                a.chip href=(wish.link(None, 1)) aria-current=[wish.standing.is_none().then_some("true")] {
                    "All " span.number { (all) }
                }
                @for standing in Standing::ALL {
                    @let count = selection.with_words[standing as usize];
                    @let chosen = wish.standing == Some(standing);
                    @if count > 0 || chosen {
                        a class={ "chip " (standing.word()) } href=(wish.link(Some(standing), 1)) aria-current=[chosen.then_some("true")] {
                            (sign(standing)) (label(standing)) " " span.number { (count) }
                        }
                    }
                }
            }
            form #search role="search" method="get" action="./" data-keep {
                label.unseen for="q" { "Find servers by name, label or reason" }
                input #q type="search" name="q" value=(wish.text) maxlength=(LONGEST_TEXT) placeholder="name, team=search, timeout" autocomplete="off";
                @if let Some(standing) = wish.standing { input type="hidden" name="status" value=(standing.word()); }
                button type="submit" { "Find" }
            }
        }
    }
}

fn card(target: &Arc<TargetState>, store: &SnapshotStore, now: SystemTime) -> Markup {
    let standing = Standing::of(target);
    let name = &target.name;
    let polls = store.polls(&target.name);
    html! {
        li class={ "card " (standing.word()) } data-key=(name) data-status=(standing.word()) {
            div.head {
                h3 { a href=(path_of(name)) { (name) } }
                p.badges { (badges(target, now)) }
            }
            (labels(target))
            @if standing != Standing::Healthy { (why(target)) }
            (maintenance(target, now))
            (chart::strip(&polls))
            (facts(target, store, &polls))
        }
    }
}

/// Database, pool, response time: what is known of them.
fn facts(target: &TargetState, store: &SnapshotStore, polls: &[crate::snapshot::PastPoll]) -> Markup {
    let answer = target.last.as_ref().and_then(|last| last.result.as_ref().ok());
    let limits = store.target(&target.name).map(|target| target.health.reading.thresholds);
    let database = answer.map(|answer| answer.document.database).filter(|base| *base != Default::default());
    let pool = answer.and_then(|answer| answer.document.pool.utilization);
    html! {
        dl.facts {
            @if let Some(database) = database {
                div {
                    dt { "Database" }
                    dd {
                        @if let Some(status) = database.status { span class={ "word " (status.word()) } { (database_word(status)) } " " }
                        @if let Some(latency) = database.latency_seconds { (words::seconds(latency)) }
                    }
                }
            }
            @if let Some(used) = pool {
                @let class = limits.map_or("healthy", |limits| grade(used, limits.pool_degraded, limits.pool_unhealthy));
                div { dt { "Pool" } dd { (words::percent(used)) " used" (chart::bar(used, class)) } }
            }
            @if let Some(answer) = answer {
                div { dt { "Answers in" } dd { (words::duration(answer.response_time)) (chart::line(polls, 3)) } }
            }
        }
    }
}

fn paging(wish: &Wish, pages: usize, matched: usize) -> Markup {
    let (first, last) = ((wish.page - 1) * PER_PAGE + 1, matched.min(wish.page * PER_PAGE));
    html! {
        nav.paging aria-label="Parts of the list" {
            @if wish.page > 1 { a rel="prev" href=(wish.link(wish.standing, wish.page - 1)) { "← Worse" } }
            span { (first) " to " (last) " of " (matched) }
            @if wish.page < pages { a rel="next" href=(wish.link(wish.standing, wish.page + 1)) { "Better →" } }
        }
    }
}

fn no_match(wish: &Wish) -> Markup {
    html! {
        div.empty {
            h2 {
                @match wish.standing {
                    _ if !wish.text.is_empty() => { "No server matches “" (wish.text) "”" }
                    Some(Standing::Unknown) => "Every server has been polled",
                    Some(standing) => { "No server is " (standing.word()) }
                    None => "No server matches",
                }
            }
            p { a.button href="./" { "Show all servers" } }
        }
    }
}

fn nothing_yet() -> Markup {
    html! {
        div.empty.welcome {
            h1 { "Ready when you are." }
            p.lead { "No server is configured yet. Two lines are enough to begin:" }
            pre tabindex="0" { code { "servers:\n  - url: http://localhost:8000/mcp" } }
            p { "Put them into " code { "config/mcp-exporter.yaml" } " and send SIGHUP, or start without a file: " }
            pre tabindex="0" { code { "mcp-exporter --target http://localhost:8000/mcp" } }
            p { "Nothing to watch at hand? " code { "mcp-exporter demo" } " brings three small servers along." }
        }
    }
}

fn stopping() -> Markup {
    html! {
        div.empty {
            h1 { "The exporter is stopping." }
            p.lead { "It shows no servers from here on, so that a rollout wakes nobody. See you soon." }
        }
    }
}
