//! What is left to chance, and can be had again.

use std::env;

/// A generator whose seed a failing test shows; the variable sets it.
#[expect(clippy::print_stdout, reason = "shown when the test fails")]
pub(crate) fn seeded_by(variable: &str) -> fastrand::Rng {
    let given = env::var(variable).ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("{variable}={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Changes a few bytes: single ones, left out, put in twice, or one of the pieces between them.
pub(crate) fn change_bytes(body: &mut Vec<u8>, pieces: &[&str], random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=body.len());
        let to = random.usize(at..=body.len().min(at + 40));
        match random.u8(..5) {
            0 if at < body.len() => body[at] = random.u8(..),
            1 => drop(body.drain(at..to)),
            2 => drop(body.splice(at..at, random.choice(pieces).copied().unwrap_or_default().bytes())),
            3 => {
                let copy = body[at..to].to_vec();
                let there = random.usize(..=body.len());
                drop(body.splice(there..there, copy));
            }
            _ => body.truncate(at.max(body.len() / 2)),
        }
    }
}
