//! The outputs that the README shows are what the program says about the real servers.
//!
//! `MCP_EXPORTER_UPDATE_README=1 cargo test --test lint readme` writes them.

use std::path::Path;

use mcp_exporter::demo::Fleet;
use serde_json::Value;

use crate::support::{RealServer, Recipe, Software, project_file, until};
use crate::{PROGRAM, block, lint, readme};

/// A text without what is another in each run: how long things took.
fn normalised(text: &str) -> String {
    text.lines().map(|line| normalised_line(line) + "\n").collect()
}

fn normalised_line(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        let number = words[at].parse::<f64>().is_ok();
        if number && words[at - 1] == "in" {
            words[at] = "some".to_owned();
        }
        if words[at - 1] == "some" && ["ms", "s"].contains(&words[at].as_str()) {
            words[at] = "time".to_owned();
        }
    }
    words.join(" ")
}

/// What `lint` says, under the command that says so, with these addresses in place of those that it has today. A machine
/// that is busy may be slow just now.
#[track_caller]
fn told(prompt: &str, urls: &[(String, &str)]) -> String {
    let arguments: Vec<&str> = urls.iter().map(|(url, _)| url.as_str()).collect();
    let out = until("quick answers", || Some(lint(&arguments).0).filter(|out| !out.contains("slow-health")));
    let shown: Vec<&str> = urls.iter().map(|(_, shown)| *shown).collect();
    let mut text = format!("{prompt}$ mcp-exporter lint {}\n{out}", shown.join(" "));
    for (url, shown) in urls {
        let place = |url: &str| url.split_once("://").unwrap().1.to_owned();
        text = text.replace(&place(url), &place(shown));
    }
    text
}

#[track_caller]
fn shows(marker: &str, fresh: &str) {
    let shown = block(marker);
    if normalised(&shown) == normalised(fresh) {
        return;
    }
    if std::env::var_os("MCP_EXPORTER_UPDATE_README").is_some() {
        let path = project_file("README.md");
        let under = |text: &str| format!("<!-- {marker} -->\n```console\n{text}```");
        let beside = path.with_extension("md.new");
        std::fs::write(&beside, readme().replacen(&under(&shown), &under(fresh), 1)).unwrap();
        std::fs::rename(beside, path).unwrap();
        return;
    }
    assert_eq!(shown, fresh, "stale: MCP_EXPORTER_UPDATE_README=1 cargo test --test lint readme");
}

/// One after the other: with the update switch both write the README.
#[tokio::test(flavor = "multi_thread")]
async fn shows_what_lint_says() {
    let recipe =
        Recipe { name: "everything", software: Software::Everything, transport: "streamable-http", arguments: &[] };
    let everything = tokio::task::spawn_blocking(move || {
        let server = RealServer::start_new(recipe, &Value::Null);
        let url = server.entry()["url"].as_str().unwrap().to_owned();
        told("$ npx @modelcontextprotocol/server-everything streamableHttp &\n", &[(url, "http://localhost:3001/mcp")])
    });
    shows("output: server-everything", &everything.await.unwrap());

    let fleet = Fleet::start(Path::new(PROGRAM)).await.unwrap();
    let [search, orders, _] = &fleet.targets()[..] else { panic!("three targets") };
    let (search, orders) = (search.endpoint.to_string(), orders.endpoint.to_string());
    let urls = [(search, "http://localhost:8000/mcp"), (orders, "http://localhost:8001/sse")];
    let demo = tokio::task::spawn_blocking(move || told("", &urls));
    shows("output: demo", &demo.await.unwrap());
    fleet.stop().await;
}

#[test]
fn times_are_all_that_is_normalised() {
    assert_eq!(normalised("a in 2.5 ms\nb in 12 s\nin 3 steps"), "a in some time\nb in some time\nin some steps\n");
    assert_eq!(normalised("7120 bytes"), "7120 bytes\n");
}
