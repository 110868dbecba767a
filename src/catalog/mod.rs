//! What a server offers, its tools above all, and whether that is still what it was.
//!
//! Pure: definitions in, fingerprints and differences out. Knows neither how lists are asked for nor when. A definition is
//! reduced to what an agent acts upon ([`Definition`]), and from then on only its [`Print`] is kept, since a server's own
//! words may be long. What surprises: secrets are masked before anything is compared, so that a server which repeats its
//! token has the same fingerprint on every replica, and none of it ends up in a lock file.

mod canonical;
mod definition;
mod diff;
mod lock;
mod print;
mod reading;
mod watch;

pub use self::definition::Definition;
pub use self::diff::{Difference, differences};
pub use self::lock::{Lock, LockError, Offer, Reviewed};
pub use self::print::{Change, ChangeKind, Listing, Print, compare};
pub use self::reading::{Bounds, Read, Reading};
pub use self::watch::{Verdict, Watch};

/// What a server can list; also the label `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `tools/list`.
    Tools,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    ResourceTemplates,
    /// `prompts/list`.
    Prompts,
}

impl Kind {
    /// Every kind, in the order in which they are read.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Resources, Self::ResourceTemplates, Self::Prompts];

    /// The value of the label `kind`, and the key in a lock file.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resource_templates",
            Self::Prompts => "prompts",
        }
    }

    /// One of them, for people.
    #[must_use]
    pub const fn singular(self) -> &'static str {
        match self {
            Self::Tools => "tool",
            Self::Resources => "resource",
            Self::ResourceTemplates => "resource template",
            Self::Prompts => "prompt",
        }
    }

    /// Where a result of the protocol has them.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::ResourceTemplates => "resourceTemplates",
            other => other.label(),
        }
    }

    /// The JSON-RPC method that lists them.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Resources => "resources/list",
            Self::ResourceTemplates => "resources/templates/list",
            Self::Prompts => "prompts/list",
        }
    }
}
