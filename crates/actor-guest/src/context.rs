//! [`Context`]: what an actor may do during one event.

use core::time::Duration;

use crate::address::encode;
use crate::sys::host;
use crate::{Address, Numbered, runtime};

/// The event under way. Everything done through it counts only if the event completes.
pub struct Context {
    pub(crate) next: Option<runtime::Next>,
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error = 0,
    /// Something may fail.
    Warning = 1,
    /// Something happened.
    Information = 2,
    /// For the author of the guest.
    Debug = 3,
}

impl Context {
    /// One's own address, for messages of one's own type.
    #[must_use]
    pub fn this<M>(&self) -> Address<M> {
        Address::of(0)
    }

    /// Sends a message. Between two actors, messages arrive in the order sent.
    pub fn send<M: serde::Serialize>(&mut self, to: &Address<M>, message: &M) {
        let (bytes, handles) = encode(message);
        host::send(to.handle(), &bytes, &handles);
    }

    /// Creates an actor of this module.
    pub fn create<A: Numbered>(&mut self, start: &A::Start) -> Address<A::Message> {
        let (bytes, handles) = encode(start);
        Address::of(host::create(A::NUMBER, &bytes, &handles))
    }

    /// From the next message on, this actor is another.
    pub fn become_actor<A: Numbered>(&mut self, next: A) {
        self.next = Some(runtime::Next::of(next));
        host::become_behaviour(A::NUMBER);
    }

    /// When the event began, since the beginning of 1970 (UTC). It stands still during an event.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::from_nanos(host::time())
    }

    /// Writes a line to the host's log.
    pub fn log(&mut self, level: Level, line: &str) {
        host::log(level as u32, line);
    }
}

/// Fails the event: nothing of it is left, and the actor's supervisor gets the words.
pub fn fail(words: &str) -> ! {
    host::fail(words);
    // The host does not return from there; this says so to the compiler, and stops what has no host.
    panic!("{words}")
}
