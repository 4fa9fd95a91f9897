//! [`Start`]: the message of an actor's first event.

/// The message of an actor's first event, if its behaviour wants one. No other code can make one.
pub struct Start(());

impl Start {
    pub(crate) const NEW: Self = Self(());
}
