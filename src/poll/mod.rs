//! Who is polled when.
//!
//! [`Supervisor`] owns one poller per target; a poller owns its target's session. Nothing here knows how a question is
//! put or how an answer is read: that is [`crate::probe`].

mod catalog;
mod poller;
mod schedule;
mod supervisor;

pub use supervisor::Supervisor;
