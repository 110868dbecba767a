//! Names to addresses, a bounded number at a time.
//!
//! The system's resolver blocks a thread for each name, for ten seconds and more where no name server answers, and cannot
//! be called off: an attempt that runs out of time leaves its lookup behind. Unbounded, a fleet would fill its runtime's
//! threads for blocking work with those, and what else needs one would wait: files with secrets, looks at children, and on the
//! daemon's own runtime, where `/probe` asks, the rendering of `/metrics`.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Names that are looked up at once, half of the runtime's threads for blocking work. Whoever comes later waits, for as
/// long as its attempt lasts.
const LOOKUPS: usize = 256;

/// Addresses of one name that are tried for one connection. More are a mistake, or a name that means to keep us busy.
const MAX_ADDRESSES: usize = 8;

/// Gives the addresses of a name, and may block meanwhile.
type Resolve = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// The lookups of a process.
pub(super) struct Lookups {
    places: Arc<Semaphore>,
    resolve: Resolve,
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lookups({} places)", self.places.available_permits())
    }
}

impl Default for Lookups {
    /// By the system's resolver.
    fn default() -> Self {
        Self::with(Arc::new(|name, port| Ok((name, port).to_socket_addrs()?.collect())))
    }
}

impl Lookups {
    pub(super) fn with(resolve: Resolve) -> Self {
        Self { places: Arc::new(Semaphore::new(LOOKUPS)), resolve }
    }

    /// The first addresses of a name; there may be none.
    ///
    /// # Errors
    ///
    /// The system's resolver does not know it, or no name server answers.
    pub(super) async fn addresses(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut addresses = self.all_addresses(name, port).await?;
        addresses.truncate(MAX_ADDRESSES);
        Ok(addresses)
    }

    /// However many there are of a name.
    ///
    /// # Errors
    ///
    /// As for some of them.
    pub(super) async fn all_addresses(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let (name, resolve) = (name.to_owned(), Arc::clone(&self.resolve));
        self.run(move || resolve(&name, port)).await
    }

    /// Runs a lookup in its turn. Once begun it keeps its place until it ends, also when nobody waits for it any more.
    async fn run<T: Send + 'static>(&self, lookup: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("nobody closes the semaphore");
        let lookup = move || {
            let _place = place;
            lookup()
        };
        spawn_blocking(lookup).await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn lookups_that_nobody_waits_for_keep_their_places() {
        let lookups = Lookups { places: Arc::new(Semaphore::new(2)), ..Lookups::default() };
        let mut stuck = Vec::new();
        for _ in 0..2 {
            let (release, released) = mpsc::channel::<()>();
            let lookup = lookups.run(move || released.recv().map_err(io::Error::other));
            let given_up = tokio::time::timeout(Duration::from_millis(10), lookup).await;
            assert!(given_up.is_err(), "it hangs");
            stuck.push(release);
        }
        let third = lookups.addresses("127.0.0.1", 80);
        let mut third = std::pin::pin!(third);
        assert!(tokio::time::timeout(Duration::from_millis(10), third.as_mut()).await.is_err(), "no place is free");
        drop(stuck.pop());
        assert_eq!(third.await.expect("an address"), [SocketAddr::from(([127, 0, 0, 1], 80))]);
    }

    /// A name server that says nothing, and more names than there are places: a page is rendered all the same, a name that
    /// gets its turn is found, and in the end every place is free.
    #[tokio::test]
    async fn names_that_hang_leave_threads_for_others() {
        let (answer, answered) = mpsc::channel::<()>();
        let answered = std::sync::Mutex::new(answered);
        // Ends when the sender is dropped: for whoever waits, and for those behind him.
        let hanging = move |_: &str, port: u16| {
            let waited = answered.lock().map(|answered| answered.recv());
            waited.map(|_| vec![SocketAddr::from(([127, 0, 0, 1], port))]).map_err(|_| io::ErrorKind::Other.into())
        };
        let lookups = Arc::new(Lookups::with(Arc::new(hanging)));
        let mut asked = tokio::task::JoinSet::new();
        for number in 0..2 * LOOKUPS {
            let lookups = Arc::clone(&lookups);
            asked.spawn(async move {
                // Every second one gives up, as an attempt does when its time is over.
                let patience = Duration::from_millis(if number % 2 == 0 { 20 } else { 600_000 });
                tokio::time::timeout(patience, lookups.addresses("nobody.answers", 80)).await
            });
        }
        for _ in 0..LOOKUPS {
            let given_up = asked.join_next().await.expect("there are more").expect("no panic");
            assert!(given_up.is_err(), "{given_up:?}");
        }
        assert_eq!(lookups.places.available_permits(), 0);
        assert_eq!(spawn_blocking(|| "a page").await.expect("a thread"), "a page");
        drop(answer);
        while let Some(found) = asked.join_next().await {
            let found = found.expect("no panic").expect("it is answered now").expect("it has an address");
            assert_eq!(found, [SocketAddr::from(([127, 0, 0, 1], 80))]);
        }
        drop(lookups.places.acquire_many(LOOKUPS as u32).await.expect("nobody closes it"));
        assert_eq!(lookups.places.available_permits(), LOOKUPS);
    }
}
