//! [`Behaviour`]: the seam between the runtime and whatever an actor is made of, native or WebAssembly.
//!
//! Above it, `actor` makes typed native actors; below it, `configuration` holds the actors and
//! `processor` runs them. A behaviour
//! sees one message at a time and a [`Context`], through which alone it can do anything.

use banyan_core::sponsors::Resource;

use crate::model::context::Context;
use crate::model::message::{CodecError, Message};
use crate::model::saved::Saved;
pub use crate::model::start::Start;
use crate::model::supervision::End;

/// What handles the events of one actor.
pub trait Behaviour: Send {
    /// Handles one event.
    ///
    /// If it returns an error, or unwinds, the behaviour must be as it was before: the runtime drops the
    /// event's effects, and the same event may come again. After `Ok` nothing can undo the event.
    ///
    /// # Errors
    /// [`Failure`]. Pass on what the context's methods return.
    fn receive(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), Failure>;

    /// The state, and by what name to find the maker that rebuilds a behaviour from it; `None` if this
    /// behaviour cannot be kept. Called only between events.
    fn save(&mut self) -> Option<Saved> {
        None
    }

    /// Whether `save` gives something: only such behaviours can live in a durable configuration.
    fn can_be_kept(&self) -> bool {
        false
    }

    /// Whether its actor gets an event before its first message, and again when it begins anew. The message
    /// of that is a [`Start`].
    fn has_start(&self) -> bool {
        false
    }

    /// Whether `receive` charges its own cycles ([`Context::charge_cycles`]). Else the host's clock does.
    fn meters_itself(&self) -> bool {
        false
    }

    /// Its actor begins anew after a failure, for this reason, and this is dropped. It is no event: nothing
    /// can be sent, and a panic is only logged.
    fn restarting(&mut self, _reason: &str) {}

    /// Its actor has ended, and this is dropped. It is no event, as above. Not called when the process ends.
    fn ended(&mut self, _how: &End) {}

    /// Bytes that the behaviour takes: what creating it costs.
    fn size(&self) -> u64 {
        size_of_val(self) as u64
    }
}

/// Makes a behaviour anew.
pub(crate) type Factory = Box<dyn Fn() -> Box<dyn Behaviour> + Send>;

/// The sponsor's quota of a resource does not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sponsor's quota of {0} is used up")]
pub struct Exhausted(pub Resource);

/// Why an event did not complete. Nothing of it is left, whichever it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The event waits with its sponsor, and is tried again when the sponsor is started again.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// It sends to a configuration that has as many events as it takes; the number of that.
    #[error(
        "a configuration that it sends to has as many events as it takes: send less, or let its mailbox make \
         senders wait"
    )]
    Full(crate::model::address::ConfigurationNumber),
    /// The message is not one that the actor takes. The event is consumed, the actor lives.
    #[error(transparent)]
    NotUnderstood(#[from] CodecError),
    /// The behaviour gave up. The event is consumed; the supervisor decides on the actor.
    #[error("{0}")]
    Failed(String),
    /// The behaviour panicked or trapped. As `Failed`.
    #[error("panicked: {0}")]
    Panicked(String),
}

impl Failure {
    /// A failure with words that say what went wrong.
    pub fn because(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into())
    }
}

/// Ends the event as a failure with these words, which are for the author of the behaviour.
#[cold]
pub(crate) fn refuse(words: &str) -> ! {
    std::panic::resume_unwind(Box::new(Failure::because(words)))
}
