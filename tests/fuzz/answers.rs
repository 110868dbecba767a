//! Answers of HTTP/1.1 that are changed at random.
//!
//! A failure prints its seed; set `ANSWER_SEED` to run it again.

use std::path::Path;
use std::{fs, panic};

use super::chance::{change_bytes, seeded_by};
use super::subjects;

/// Changed answers for each kept one.
const ROUNDS: usize = 100;

const WORDS: [&str; 18] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.0 404 Not Found\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "Content-Length: 3\r\n",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: ",
    "gzip, ",
    "Connection: close\r\n",
    ": ",
    ";a=\"b\"",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "00000000000000000",
    "\0",
];

#[test]
fn answers_changed_at_random() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/answer");
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("one").path()).collect();
    paths.sort();
    let mut random = seeded_by("ANSWER_SEED");
    for path in paths {
        let kept = fs::read(path).expect("it can be read");
        for _ in 0..ROUNDS {
            let mut text = kept.clone();
            change_bytes(&mut text, &WORDS, &mut random);
            let held = panic::catch_unwind(|| subjects::answer(&text));
            assert!(held.is_ok(), "{:?}", String::from_utf8_lossy(&text));
        }
    }
}
