//! Answers that are sent while they are still being made: a thread makes pieces, a connection takes them.
//!
//! The thread waits for the connection, but not for long, and then goes on without it: what has no reader yet is kept, as a
//! whole answer would be. So a client that reads slowly or not at all costs memory, and nobody else's turn.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use futures_util::stream::{self, StreamExt as _};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::debug;

/// Pieces that are made and not taken yet. With pieces of 128 KiB that is a megabyte, and some milliseconds' work.
const PIECES_AHEAD: usize = 8;

/// How long the making of one answer waits for its client, all in all. Who takes 50 MB in that time above making them, reads
/// some 400 Mbit/s.
const PATIENCE: Duration = Duration::from_secs(1);

/// The making ended before its end.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be made")]
pub(super) struct Broken;

/// The body that `make` makes where it may take its time, piece by piece. One that has a single piece has a length.
///
/// # Errors
///
/// The making fails at once. Where it fails later, the body breaks off.
pub(super) async fn body(
    make: impl FnOnce(&mut dyn FnMut(Bytes) -> fmt::Result) -> fmt::Result + Send + 'static,
) -> Result<Body, Broken> {
    patient_body(PATIENCE, make).await
}

async fn patient_body(
    patience: Duration,
    make: impl FnOnce(&mut dyn FnMut(Bytes) -> fmt::Result) -> fmt::Result + Send + 'static,
) -> Result<Body, Broken> {
    let (pieces, receiver) = unbounded_channel();
    let room = Arc::new(Semaphore::new(PIECES_AHEAD));
    let mut maker = Maker { pieces, room: Arc::clone(&room), patience, runtime: Handle::current() };
    let mut taker = Taker { pieces: receiver, room };
    // It ends by itself: with its work, or when nobody takes it any more.
    drop(tokio::task::spawn_blocking(move || {
        if make(&mut |piece| maker.hand_over(piece)).is_ok() {
            maker.end();
        }
    }));
    let Some(first) = taker.next().await.transpose()? else { return Ok(Body::empty()) };
    let Some(second) = taker.next().await.transpose()? else { return Ok(Body::from(first)) };
    let rest = stream::unfold(taker, |mut taker| async { Some((taker.next().await?, taker)) });
    Ok(Body::from_stream(stream::iter([Ok(first), Ok(second)]).chain(rest)))
}

/// The end, or what comes before it: a body must not look whole because its maker is gone.
enum Piece {
    More(Bytes),
    End,
}

struct Maker {
    pieces: UnboundedSender<Piece>,
    /// A permit for each piece that may still be handed over; closed when nobody takes any.
    room: Arc<Semaphore>,
    /// What is left of it.
    patience: Duration,
    runtime: Handle,
}

impl Maker {
    fn hand_over(&mut self, piece: Bytes) -> fmt::Result {
        if !self.patience.is_zero() {
            self.wait_for_room()?;
        }
        self.pieces.send(Piece::More(piece)).map_err(|_| fmt::Error)
    }

    fn wait_for_room(&mut self) -> fmt::Result {
        let began = Instant::now();
        match self.runtime.block_on(tokio::time::timeout(self.patience, self.room.acquire())) {
            Ok(Ok(permit)) => {
                permit.forget();
                self.patience = self.patience.saturating_sub(began.elapsed());
            }
            Ok(Err(_closed)) => return Err(fmt::Error),
            Err(_elapsed) => self.patience = Duration::ZERO,
        }
        if self.patience.is_zero() {
            debug!("a client reads slowly: the rest of its answer is kept for it");
        }
        Ok(())
    }

    fn end(self) {
        // A client that is gone needs no end.
        drop(self.pieces.send(Piece::End));
    }
}

struct Taker {
    pieces: UnboundedReceiver<Piece>,
    room: Arc<Semaphore>,
}

impl Taker {
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        match self.pieces.recv().await {
            Some(Piece::More(piece)) => {
                self.room.add_permits(1);
                Some(Ok(piece))
            }
            Some(Piece::End) => None,
            None => Some(Err(Broken)),
        }
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use axum::body::{HttpBody as _, to_bytes};

    use super::*;

    /// Longer than any test waits.
    const LONG: Duration = Duration::from_secs(600);

    /// Hands over so many pieces, each of which says its number.
    fn number(count: usize, take: &mut dyn FnMut(Bytes) -> fmt::Result) -> fmt::Result {
        (0..count).try_for_each(|place| take(format!("{place}\n").into()))
    }

    fn numbers(count: usize) -> String {
        (0..count).map(|place| format!("{place}\n")).collect()
    }

    async fn whole(body: Body) -> String {
        let bytes = to_bytes(body, usize::MAX).await.expect("a whole body");
        String::from_utf8(bytes.to_vec()).expect("UTF-8")
    }

    #[tokio::test]
    async fn a_short_answer_has_a_length() {
        for count in [0, 1] {
            let body = patient_body(LONG, move |take| number(count, take)).await.expect("a body");
            assert_eq!(body.size_hint().exact(), Some(numbers(count).len() as u64));
            assert_eq!(whole(body).await, numbers(count));
        }
    }

    #[tokio::test]
    async fn a_long_answer_comes_in_pieces_and_in_order() {
        for count in [2, PIECES_AHEAD, 20 * PIECES_AHEAD] {
            let body = patient_body(LONG, move |take| number(count, take)).await.expect("a body");
            assert_eq!(body.size_hint().exact(), None);
            assert_eq!(whole(body).await, numbers(count));
        }
    }

    #[tokio::test]
    async fn what_fails_at_once_is_no_answer() {
        for count in [0, 1] {
            let failing = move |take: &mut dyn FnMut(Bytes) -> fmt::Result| {
                number(count, take)?;
                Err(fmt::Error)
            };
            assert!(patient_body(LONG, failing).await.is_err());
        }
    }

    #[tokio::test]
    async fn what_fails_later_breaks_off() {
        let failing = |take: &mut dyn FnMut(Bytes) -> fmt::Result| {
            number(5, take)?;
            Err(fmt::Error)
        };
        let panicking = |take: &mut dyn FnMut(Bytes) -> fmt::Result| {
            number(5, take)?;
            panic!("a bug")
        };
        for body in [patient_body(LONG, failing).await, patient_body(LONG, panicking).await] {
            assert!(to_bytes(body.expect("a body"), usize::MAX).await.is_err());
        }
    }

    #[tokio::test]
    async fn who_reads_nothing_is_not_waited_for_and_loses_nothing() {
        let (ended, end) = mpsc::channel();
        let count = 20 * PIECES_AHEAD;
        let making = move |take: &mut dyn FnMut(Bytes) -> fmt::Result| {
            number(count, take)?;
            ended.send(()).map_err(|_| fmt::Error)
        };
        let body = patient_body(Duration::from_millis(50), making).await.expect("a body");
        let all_made = tokio::task::spawn_blocking(move || end.recv()).await.expect("it waits");
        assert_eq!(all_made, Ok(()));
        assert_eq!(whole(body).await, numbers(count));
    }

    #[tokio::test]
    async fn who_goes_away_ends_the_making() {
        let (ended, end) = mpsc::channel();
        let making = move |take: &mut dyn FnMut(Bytes) -> fmt::Result| {
            let result = number(usize::MAX, take);
            ended.send(()).map_err(|_| fmt::Error)?;
            result
        };
        drop(patient_body(LONG, making).await.expect("a body"));
        let has_ended = tokio::task::spawn_blocking(move || end.recv()).await.expect("it waits");
        assert_eq!(has_ended, Ok(()));
    }
}
