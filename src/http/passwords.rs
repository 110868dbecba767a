//! Whether a password is right, by bcrypt: slow on purpose, so it runs aside, one at a time, and what came of it is kept.
//!
//! A name that nobody has costs as much as one that somebody has: it is compared with a hash of a cost that is in use.
//! Measured with `tests/web_config/timing.py`, 200 wrong passwords each, cost 8, unoptimized, 2-core Xeon with other work
//! (load 14): refused after 103.8 ms for the user that there is (quartiles 89.9 and 123.6), 101.1 ms for names that nobody has
//! (85.8 and 123.0); at cost 10, 150 each (load 26), 819 ms (461 and 1096) and 774 ms (462 and 1126). The medians differ by
//! less than a tenth of the quartiles' distance: noise.
//!
//! The cache holds no password, only what a key of this very process makes of one. Right and wrong ones are kept apart, so
//! that no flood of guesses pushes out those who may ask.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use crate::config::web::PasswordHash;

/// Results that are kept, right ones and wrong ones each; as many as the toolkit keeps.
const CACHED: usize = 100;

/// Who may wait for a comparison. Beyond it, at 0.25 s for each, nobody would still be there to hear of it.
const MOST_WAITING: usize = 64;

/// Compares passwords.
pub(super) struct Passwords {
    key: hmac::Key,
    right: Mutex<Kept>,
    wrong: Mutex<Kept>,
    /// One at a time: guessing must not take every processor from polling.
    turns: Semaphore,
    waiting: AtomicUsize,
    computed: AtomicU64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// May ask.
    Right,
    /// The name or the password is not known.
    Wrong,
    /// Too many wait already.
    Busy,
}

type Fingerprint = [u8; 32];

/// A set that forgets the oldest.
#[derive(Default)]
struct Kept {
    known: HashSet<Fingerprint>,
    order: VecDeque<Fingerprint>,
}

impl Kept {
    fn remember(&mut self, fingerprint: Fingerprint) {
        if self.known.insert(fingerprint) {
            self.order.push_back(fingerprint);
        }
        if self.order.len() > CACHED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// One of those who wait; gives the place back when it is dropped.
struct Waiting<'p>(&'p AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Passwords {
    /// # Errors
    ///
    /// The system has no random numbers.
    pub(super) fn new() -> Result<Self, ring::error::Unspecified> {
        Ok(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?,
            right: Mutex::default(),
            wrong: Mutex::default(),
            turns: Semaphore::new(1),
            waiting: AtomicUsize::new(0),
            computed: AtomicU64::new(0),
        })
    }

    /// Whether the user has this password. Takes as long for a user that there is not.
    pub(super) async fn check(
        &self,
        users: &BTreeMap<String, PasswordHash>,
        user: &[u8],
        password: Vec<u8>,
    ) -> Verdict {
        let known = std::str::from_utf8(user).ok().and_then(|user| users.get(user));
        let hash = known.map_or_else(|| self.nobodys_hash(users, user), |hash| hash.text.expose().to_owned());
        let fingerprint = self.fingerprint(known.is_some(), user, &hash, &password);
        if let Some(verdict) = self.kept(&fingerprint) {
            return verdict;
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            drop(Waiting(&self.waiting));
            return Verdict::Busy;
        }
        let _waiting = Waiting(&self.waiting);
        let Ok(_turn) = self.turns.acquire().await else { return Verdict::Busy };
        // Whoever waited with the same question has the answer now.
        if let Some(verdict) = self.kept(&fingerprint) {
            return verdict;
        }
        self.computed.fetch_add(1, Ordering::Relaxed);
        let compare = move || bcrypt::verify(&password, &hash).unwrap_or(false);
        let equal = tokio::task::spawn_blocking(compare).await.unwrap_or(false);
        let (kept, verdict) = match equal && known.is_some() {
            true => (&self.right, Verdict::Right),
            false => (&self.wrong, Verdict::Wrong),
        };
        lock(kept).remember(fingerprint);
        verdict
    }

    fn kept(&self, fingerprint: &Fingerprint) -> Option<Verdict> {
        if lock(&self.right).known.contains(fingerprint) {
            Some(Verdict::Right)
        } else if lock(&self.wrong).known.contains(fingerprint) {
            Some(Verdict::Wrong)
        } else {
            None
        }
    }

    /// A hash for a name that nobody has. Where costs differ, each such name always gets the same one of them, as a user
    /// would have it.
    fn nobodys_hash(&self, users: &BTreeMap<String, PasswordHash>, user: &[u8]) -> String {
        let choice = hmac::sign(&self.key, user).as_ref().iter().fold(0, |sum, byte| sum + usize::from(*byte));
        let cost = users.values().nth(choice % users.len().max(1)).map_or(10, |hash| hash.cost);
        format!("$2y${cost:02}${}", ".".repeat(53))
    }

    /// Differs whenever one of its parts does; lengths keep the parts from running into each other.
    fn fingerprint(&self, known: bool, user: &[u8], hash: &str, password: &[u8]) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[u8::from(known)]);
        for part in [user, hash.as_bytes(), password] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }
}

fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    // A panic between its two halves costs a place in the cache, no more.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::secret::Secret;

    fn hash(password: &str, cost: u32) -> PasswordHash {
        PasswordHash { cost, text: Secret::new(&bcrypt::hash(password, cost).expect("a hash")) }
    }

    fn users() -> BTreeMap<String, PasswordHash> {
        [("prometheus".to_owned(), hash("right", 4)), ("other".to_owned(), hash("also right", 4))].into()
    }

    struct Gate {
        passwords: Passwords,
        users: BTreeMap<String, PasswordHash>,
    }

    impl Gate {
        /// What it says, and how many comparisons that took.
        async fn ask(&self, user: &str, password: &str) -> (Verdict, u64) {
            let before = self.passwords.computed.load(Ordering::Relaxed);
            let verdict = self.passwords.check(&self.users, user.as_bytes(), password.into()).await;
            (verdict, self.passwords.computed.load(Ordering::Relaxed) - before)
        }
    }

    fn gate() -> Gate {
        Gate { passwords: Passwords::new().expect("random numbers"), users: users() }
    }

    #[tokio::test]
    async fn unknown_users_cost_what_known_ones_cost() {
        let gate = gate();
        assert_eq!(gate.ask("prometheus", "wrong").await, (Verdict::Wrong, 1));
        assert_eq!(gate.ask("nobody", "wrong").await, (Verdict::Wrong, 1));
        assert_eq!(gate.ask("nobody", "right").await, (Verdict::Wrong, 1));
        assert_eq!(gate.ask("", "").await, (Verdict::Wrong, 1));
        for (user, password) in [("prometheus", "wrong"), ("nobody", "wrong"), ("nobody", "right"), ("", "")] {
            assert_eq!(gate.ask(user, password).await, (Verdict::Wrong, 0), "kept: {user}");
        }
        let not_utf8 = gate.passwords.check(&gate.users, b"\xff", b"x".to_vec()).await;
        assert_eq!((not_utf8, gate.passwords.computed.load(Ordering::Relaxed)), (Verdict::Wrong, 5));
    }

    #[tokio::test]
    async fn a_right_password_is_compared_once() {
        let gate = gate();
        assert_eq!(gate.ask("prometheus", "right").await, (Verdict::Right, 1));
        assert_eq!(gate.ask("prometheus", "right").await, (Verdict::Right, 0));
        assert_eq!(gate.ask("other", "right").await, (Verdict::Wrong, 1));
        assert_eq!(gate.ask("other", "also right").await, (Verdict::Right, 1));
    }

    #[tokio::test]
    async fn a_new_hash_forgets_the_old_password() {
        let mut gate = gate();
        assert_eq!(gate.ask("prometheus", "right").await, (Verdict::Right, 1));
        gate.users.insert("prometheus".to_owned(), hash("new", 4));
        assert_eq!(gate.ask("prometheus", "right").await, (Verdict::Wrong, 1));
        assert_eq!(gate.ask("prometheus", "new").await, (Verdict::Right, 1));
        gate.users.remove("prometheus");
        assert_eq!(gate.ask("prometheus", "new").await, (Verdict::Wrong, 1));
    }

    #[tokio::test]
    async fn guesses_do_not_push_out_those_who_may_ask() {
        let gate = gate();
        assert_eq!(gate.ask("prometheus", "right").await, (Verdict::Right, 1));
        for guess in 0..=CACHED {
            assert_eq!(gate.ask("prometheus", &guess.to_string()).await, (Verdict::Wrong, 1));
        }
        assert_eq!(gate.ask("prometheus", "right").await, (Verdict::Right, 0));
        for kept in [&gate.passwords.right, &gate.passwords.wrong] {
            let kept = lock(kept);
            assert_eq!(kept.known.len(), kept.order.len());
            assert!(kept.known.len() <= CACHED);
        }
        assert_eq!(gate.ask("prometheus", "0").await, (Verdict::Wrong, 1), "the oldest guess was forgotten");
    }

    #[tokio::test]
    async fn the_same_question_at_once_is_compared_once_and_not_everybody_may_wait() {
        let gate = Arc::new(gate());
        let same = (0..MOST_WAITING / 2).map(|_| gate.ask("prometheus", "right"));
        let verdicts = futures_util::future::join_all(same).await;
        assert!(verdicts.iter().all(|(verdict, _)| *verdict == Verdict::Right));
        assert_eq!(gate.passwords.computed.load(Ordering::Relaxed), 1);

        let guesses: Vec<String> = (0..MOST_WAITING * 2).map(|guess| guess.to_string()).collect();
        let (first, more) = guesses.split_at(MOST_WAITING);
        let ask =
            |guesses| futures_util::future::join_all(<[String]>::iter(guesses).map(|guess| gate.ask("nobody", guess)));
        // As long as somebody else has the turn, nobody is done.
        let turn = gate.passwords.turns.acquire().await.expect("a turn");
        let refused = async {
            while gate.passwords.waiting.load(Ordering::Relaxed) < MOST_WAITING {
                tokio::task::yield_now().await;
            }
            let verdicts = ask(more).await;
            drop(turn);
            verdicts
        };
        let (waited, refused) = tokio::join!(ask(first), refused);
        assert!(waited.iter().all(|(verdict, _)| *verdict == Verdict::Wrong));
        assert!(refused.iter().all(|(verdict, _)| *verdict == Verdict::Busy));
        assert_eq!(gate.passwords.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_hash_of_nobody_has_a_cost_that_is_in_use() {
        let passwords = Passwords::new().expect("random numbers");
        let users = BTreeMap::from([("a".to_owned(), hash("x", 5)), ("b".to_owned(), hash("x", 6))]);
        let costs: HashSet<String> =
            (0..100).map(|n| passwords.nobodys_hash(&users, format!("u{n}").as_bytes())[4..6].to_owned()).collect();
        assert_eq!(costs, HashSet::from(["05".to_owned(), "06".to_owned()]));
        assert_eq!(passwords.nobodys_hash(&users, b"u"), passwords.nobodys_hash(&users, b"u"));
        assert!(
            bcrypt::verify("x", &passwords.nobodys_hash(&users, b"u")).is_ok(),
            "it is a hash that can be compared"
        );
    }
}
