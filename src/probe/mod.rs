//! One target, one attempt: ask it how it is.
//!
//! No retry and no schedule: those belong to [`crate::poll`]. Nothing here reads a health answer: that is
//! [`crate::health`].

mod ask;
mod outcome;
mod process;
mod session;
pub mod transport;

pub(crate) use outcome::offered;
pub use outcome::{
    Answer, Attempt, Failure, Phase, Phases, ProbeError, Protection, ServerInfo, Sessions, Source, TlsVersion,
    Transport, Validity,
};
pub use process::{Exit, ProcessCounts, ProcessReport, Running};
pub use session::{CLOSE_GRACE, Session};
pub(crate) use transport::AcceptAny;
pub use transport::{Fetch, Offers, Page, Shared, addresses, fetch};
