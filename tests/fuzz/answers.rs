//! Answers of HTTP/1.1 that are changed at random: words left out, put in twice, exchanged, and single bytes.
//!
//! A failure prints its seed; set `ANSWER_SEED` to run it again.

use std::path::Path;
use std::{env, fs, panic};

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

fn change(text: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let at = random.usize(..=text.len());
    let end = (at + random.usize(..20)).min(text.len());
    match random.u8(..4) {
        0 => drop(text.drain(at..end)),
        1 => drop(text.splice(at..at, random.choice(WORDS).expect("one").bytes())),
        2 => {
            let twice = text[at..end].to_vec();
            drop(text.splice(at..at, twice));
        }
        _ => {
            if let Some(byte) = text.get_mut(at) {
                *byte = random.u8(..);
            }
        }
    }
}

#[test]
fn answers_changed_at_random() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/answer");
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("one").path()).collect();
    paths.sort();
    let seed = env::var("ANSWER_SEED").ok().map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    let mut random = fastrand::Rng::with_seed(seed);
    for path in paths {
        let kept = fs::read(path).expect("it can be read");
        for _ in 0..ROUNDS {
            let mut text = kept.clone();
            (0..random.usize(1..6)).for_each(|_| change(&mut text, &mut random));
            let held = panic::catch_unwind(|| subjects::answer(&text));
            assert!(held.is_ok(), "ANSWER_SEED={seed}: {:?}", String::from_utf8_lossy(&text));
        }
    }
}
