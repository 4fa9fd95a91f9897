//! Events: a computation on the arena's state that is committed whole, or never was.
//!
//! [`EventRunner::event`] runs a closure on a separate stack, whose backing store is an unlinked file: it may
//! recurse as deep as the disk is large. A deadline, another thread ([`EventRunner::stopper`]), a panic, an
//! error or an overflow of that stack ends it, and the arena is then rolled back to its last commit. What a
//! stopped closure leaves behind, and where it is not stopped, is said in the guide; in short: memory of the
//! process that it owned is lost, a lock that it held stays locked (so it takes none, or holds a [`Shield`]
//! meanwhile), and its stack is not used again.
//!
//! One thread owns a runner, and events run on it.

use std::alloc::Layout;
use std::any::Any;
use std::hash::Hash;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::time::Duration;

use crate::sys::scratch_stack::{Ended, Lent, ScratchStack};
pub use crate::sys::scratch_stack::{Shield, ShieldedAllocator, Shown, Stop, Stopper};

use crate::arena::{AllocateError, Arena, RollbackError};
use crate::collections::{
    ABox, AMap, AOrderedMap, AString, AVec, CollectionError, Collections, OrderedKey, OrderedValue, Persist,
};
use crate::disk::{Disk, FileDisk};
use crate::noun::Nouns;
use crate::store::{CommitError, Position};

/// What may be chosen for a runner.
#[derive(Clone, Debug)]
pub struct EventOptions {
    /// Where the nameless file of the stack is made: a directory on a disk.
    pub directory: PathBuf,
    /// Largest depth of an event's stack. Room is taken as it is used.
    pub stack_bytes: usize,
    /// Longest time of an event; `None` is as long as it takes.
    pub deadline: Option<Duration>,
}

impl Default for EventOptions {
    fn default() -> Self {
        Self { directory: PathBuf::from("."), stack_bytes: 64 << 30, deadline: None }
    }
}

/// Why an event did not happen. The arena is at its last commit, but for `Rollback`.
#[derive(Debug, thiserror::Error)]
pub enum EventError<E> {
    /// The closure gave an error.
    #[error("the event was refused")]
    Refused(E),
    /// The closure panicked, with this message.
    #[error("the event panicked: {0}")]
    Panicked(String),
    /// Its time was up.
    #[error("the event was stopped at its deadline; give it more time, or less to do")]
    Deadline,
    /// Another thread has stopped it.
    #[error("the event was stopped by another thread")]
    Stopped,
    /// Its stack was used up.
    #[error("the event used up its stack; give the runner a larger one, or the event less depth")]
    Overflow,
    /// The disk had no room for more of its stack.
    #[error(
        "the disk has no room for the event's stack; free some, or move the stack with EventOptions::directory"
    )]
    DiskFull,
    /// It ended well, but could not be committed, and was undone.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// It was not begun: a stack could not be had, or this thread is in an event already.
    #[error("the event could not be begun: {0}")]
    Begin(#[source] std::io::Error),
    /// The arena could not be put back to its last commit: drop the runner and open the arena again.
    #[error(transparent)]
    Rollback(#[from] RollbackError),
}

/// An arena whose state changes by events.
pub struct EventRunner<D: Disk + 'static = FileDisk> {
    arena: Arena<D>,
    options: EventOptions,
    stopper: Stopper,
    stack: Option<ScratchStack>,
    /// Stacks on which an event was stopped.
    spent: Vec<ScratchStack>,
}

impl<D: Disk + 'static> EventRunner<D> {
    /// Takes an arena over. What is not committed yet becomes part of the first event.
    pub fn new(arena: Arena<D>, options: EventOptions) -> Self {
        Self { arena, options, stopper: Stopper::default(), stack: None, spent: Vec::new() }
    }

    /// The arena between events: to read, to take a snapshot, to collect.
    pub fn arena(&mut self) -> &mut Arena<D> {
        &mut self.arena
    }

    /// What stops the event that runs, from any thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The longest time of the events from now on.
    pub fn set_deadline(&mut self, deadline: Option<Duration>) {
        self.options.deadline = deadline;
    }

    /// Runs a closure on the state and commits, as the next event of the present epoch. If it does not end
    /// well, whatever it did to the arena is undone.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn event<T, E, F>(&mut self, computation: F) -> Result<T, EventError<E>>
    where
        F: FnOnce(&mut State<'_, D>) -> Result<T, E> + 'static,
        T: 'static,
        E: 'static,
    {
        self.event_on(&(), move |state, _| computation(state))
    }

    /// The same with something of the caller's to read, which need not be copied: [`Shown::with`] gives it. A
    /// closure itself borrows nothing, since one that is stopped is left where it is.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn event_on<I, T, E, F>(&mut self, input: &I, computation: F) -> Result<T, EventError<E>>
    where
        F: FnOnce(&mut State<'_, D>, &Shown<I>) -> Result<T, E> + 'static,
        I: ?Sized + 'static,
        T: 'static,
        E: 'static,
    {
        if !self.arena.is_here() {
            return Err(EventError::Commit(CommitError::Forked));
        }
        let mut stack = match self.stack.take() {
            Some(stack) => stack,
            None => ScratchStack::new(&self.options.directory, self.options.stack_bytes)
                .map_err(EventError::Begin)?,
        };
        let Self { arena, options, stopper, .. } = self;
        let ended = stack.run_on(arena, input, options.deadline, stopper, move |arena, input| {
            computation(&mut State { arena }, input)
        });
        if stack.is_abandoned() {
            self.spent.push(stack);
        } else {
            self.stack = Some(stack);
        }
        let error = match ended.map_err(EventError::Begin)? {
            Ended::Returned(Ok(value)) => match self.commit() {
                Ok(_) => return Ok(value),
                Err(error) => EventError::Commit(error),
            },
            Ended::Returned(Err(error)) => EventError::Refused(error),
            Ended::Panicked(payload) => EventError::Panicked(message_of(&*payload)),
            Ended::Stopped(Stop::Deadline) => EventError::Deadline,
            Ended::Stopped(Stop::Asked) => EventError::Stopped,
            Ended::Stopped(Stop::Overflow) => EventError::Overflow,
            Ended::Stopped(Stop::DiskFull) => EventError::DiskFull,
        };
        self.arena.rollback()?;
        Err(error)
    }

    fn commit(&mut self) -> Result<Position, CommitError> {
        let Position { epoch, event, .. } = *self.arena.position();
        let event = event.checked_add(1).ok_or(CommitError::EventNumber)?;
        self.arena.commit(epoch, event)
    }

    /// Gives the stacks of stopped events back: their addresses, and the room that they take on disk.
    /// Otherwise both are kept until the process ends.
    ///
    /// # Safety
    /// Nothing refers to the frames of a stopped event: none of them has started a thread that lives, nor
    /// given a reference to a local variable to anything outside.
    #[expect(unsafe_code, reason = "what a stopped event has shared is for the caller to know")]
    pub unsafe fn discard_spent_stacks(&mut self) {
        for stack in self.spent.drain(..) {
            // SAFETY: as the caller promises.
            unsafe { stack.discard() };
        }
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// The arena as an event sees it: everything but commits, rollbacks and snapshots, which are the runner's.
pub struct State<'a, D: Disk = FileDisk> {
    /// Also what keeps the state on its thread.
    arena: &'a mut Lent<Arena<D>>,
}

impl<D: Disk> State<'_, D> {
    fn arena(&mut self) -> &mut Arena<D> {
        self.arena.get_mut()
    }

    /// Epoch, event and roots of the last commit.
    #[must_use]
    pub fn position(&self) -> &Position {
        self.arena.get().position()
    }

    /// The nouns of the arena.
    pub fn nouns(&mut self) -> Nouns<'_, D> {
        Nouns::new(self.arena())
    }

    /// As [`Arena::root`].
    #[must_use]
    pub fn root(&self, name: &str) -> Option<u64> {
        self.arena.get().root(name)
    }

    /// As [`Arena::set_root`].
    pub fn set_root(&mut self, name: &str, value: u64) {
        self.arena().set_root(name, value);
    }

    /// As [`Arena::remove_root`].
    pub fn remove_root(&mut self, name: &str) {
        self.arena().remove_root(name);
    }

    /// As [`Arena::allocate`].
    ///
    /// # Errors
    /// [`AllocateError`].
    pub fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocateError> {
        self.arena().allocate(layout)
    }

    /// As [`Arena::free`].
    ///
    /// # Safety
    /// As [`Arena::free`].
    #[expect(unsafe_code, reason = "as for the arena's own objects")]
    pub unsafe fn free(&mut self, pointer: NonNull<u8>, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { self.arena().free(pointer, layout) };
    }

    /// As [`Arena::boxed`].
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn boxed<T: Persist>(
        &mut self,
        name: &str,
        first: impl FnOnce() -> T,
    ) -> Result<ABox<'_, T, D>, CollectionError> {
        self.arena().boxed(name, first)
    }

    /// As [`Arena::vec`].
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn vec<T: Persist>(&mut self, name: &str) -> Result<AVec<'_, T, D>, CollectionError> {
        self.arena().vec(name)
    }

    /// As [`Arena::string`].
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn string(&mut self, name: &str) -> Result<AString<'_, D>, CollectionError> {
        self.arena().string(name)
    }

    /// As [`Arena::map`].
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn map<K: Persist + Hash + Eq, V: Persist>(
        &mut self,
        name: &str,
    ) -> Result<AMap<'_, K, V, D>, CollectionError> {
        self.arena().map(name)
    }

    /// As [`Arena::ordered`].
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn ordered<K: OrderedKey + ?Sized, V: OrderedValue + ?Sized>(
        &mut self,
        name: &str,
    ) -> Result<AOrderedMap<'_, K, V, D>, CollectionError> {
        self.arena().ordered(name)
    }

    /// As [`Arena::collections`].
    pub fn collections(&mut self) -> Collections<'_, D> {
        self.arena().collections()
    }
}
