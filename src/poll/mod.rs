//! Who is polled when.
//!
//! [`Supervisor`] owns one poller per target; a poller owns its target's session. Nothing here knows how a question is
//! put or how an answer is read: that is [`crate::probe`].

mod attempts;
mod canary;
mod catalog;
mod doors;
mod passthrough;
mod poller;
mod schedule;
mod supervisor;
mod threads;

pub use attempts::{Step, Traced, out_of_time, poll_until};
pub use doors::{Doors, NoAnswer};
pub use supervisor::Supervisor;
