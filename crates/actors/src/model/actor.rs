//! Native actors with typed messages: the trait [`Actor`], and the same as a closure ([`closure`]).
//!
//! An actor sees `&self` and the message by reference: a failed event leaves nothing behind, and an event
//! that waits for its sponsor can be tried again, only if neither was changed. An actor changes by becoming
//! its next self. Changing it behind the shared reference (`Cell`, `RefCell`) is not undone when an event
//! fails; do so last.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::configuration::effects::Seed;
use crate::configuration::settings::Configuration;
use crate::containment::discard;
use crate::model::address::{Addr, Address};
use crate::model::behaviour::{Behaviour, Failure};
use crate::model::context::Context;
use crate::model::message::{CodecError, Message, Packet, Payload};
use crate::model::saved::Saved;
use crate::model::start::Start;
use crate::model::supervision::{End, Failed};

/// A native actor.
pub trait Actor: Send + Sized + 'static {
    /// What it takes.
    type Message: Payload;

    /// Handles one message.
    ///
    /// # Errors
    /// [`Failure`]: the event is undone, and the supervisor decides about the actor.
    fn receive(&self, message: &Self::Message, work: &mut Work<'_, '_, Self>) -> Result<(), Failure>;

    /// Whether [`started`](Self::started) is to be called: it is an event more for each actor.
    const HAS_START: bool = false;

    /// Its first event, before any message; once more when it is restarted, not when it is put back from a
    /// store. If it fails, the supervisor decides as ever, and who resumes the actor has it go on without.
    ///
    /// # Errors
    /// [`Failure`], as [`receive`](Self::receive).
    fn started(&self, _work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        Ok(())
    }

    /// It is restarted after a failure, for this reason: [`Behaviour::restarting`].
    fn restarting(&mut self, _reason: &str) {}

    /// It has ended: [`Behaviour::ended`]. What it holds beside memory is given back here, or when it is
    /// dropped.
    fn ended(&mut self, _how: &End) {}
}

/// An actor whose state outlives its process: it is kept after each event.
pub trait DurableActor: Actor + Serialize + DeserializeOwned {
    /// Names the type in the store, for ever.
    const KIND: &'static str;
}

/// One event of an [`Actor`] under way. What a sponsor cannot pay for unwinds from here, and the event is
/// undone.
pub struct Work<'w, 'c, A> {
    context: &'w mut Context<'c>,
    next: Option<A>,
}

impl<'c, A> Deref for Work<'_, 'c, A> {
    type Target = Context<'c>;
    fn deref(&self) -> &Context<'c> {
        self.context
    }
}

impl<A> DerefMut for Work<'_, '_, A> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.context
    }
}

impl<A: Actor> Work<'_, '_, A> {
    /// The address of the actor itself.
    #[must_use]
    pub fn me(&self) -> Addr<A::Message> {
        self.context.this().typed()
    }

    /// The actor is `next` from its next event on.
    #[inline]
    pub fn become_next(&mut self, next: A) {
        self.next = Some(next);
    }
}

/// An [`Actor`] as a behaviour.
struct Native<A>(A);

#[inline]
fn run<A: Actor>(actor: &mut A, message: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
    if A::HAS_START && message.is_internal::<Start>() {
        return start(actor, context);
    }
    let message = message.view::<A::Message>()?;
    let mut work = Work { context, next: None };
    actor.receive(&message, &mut work)?;
    let next = work.next;
    // What it took and what it was go before anything is changed, or without a panic.
    drop(message);
    if let Some(next) = next {
        context.running.effects.changed = context.running.changed.is_some();
        discard(std::mem::replace(actor, next));
    }
    Ok(())
}

#[cold]
fn start<A: Actor>(actor: &mut A, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut work = Work { context, next: None };
    actor.started(&mut work)?;
    let next = work.next;
    if let Some(next) = next {
        context.running.effects.changed = context.running.changed.is_some();
        discard(std::mem::replace(actor, next));
    }
    Ok(())
}

impl<A: Actor> Behaviour for Native<A> {
    fn receive(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
        run(&mut self.0, message, context)
    }

    fn has_start(&self) -> bool {
        A::HAS_START
    }

    fn restarting(&mut self, reason: &str) {
        self.0.restarting(reason);
    }

    fn ended(&mut self, how: &End) {
        self.0.ended(how);
    }
}

/// A [`DurableActor`] as a behaviour.
struct Kept<A>(A);

impl<A: DurableActor> Behaviour for Kept<A> {
    fn receive(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
        run(&mut self.0, message, context)
    }

    fn has_start(&self) -> bool {
        A::HAS_START
    }

    fn restarting(&mut self, reason: &str) {
        self.0.restarting(reason);
    }

    fn ended(&mut self, how: &End) {
        self.0.ended(how);
    }

    fn can_be_kept(&self) -> bool {
        true
    }

    fn save(&mut self) -> Option<Saved> {
        Some(Saved { kind: A::KIND.to_owned(), state: Packet::encode_own(&self.0).ok()? })
    }
}

/// The behaviour of an actor.
pub fn native<A: Actor>(actor: A) -> Box<dyn Behaviour> {
    Box::new(Native(actor))
}

/// The behaviour of an actor that is kept.
pub fn kept<A: DurableActor>(actor: A) -> Box<dyn Behaviour> {
    Box::new(Kept(actor))
}

/// Rebuilds the behaviour of an actor that was kept.
///
/// # Errors
/// [`CodecError::Decode`] if the bytes are no state of this type.
pub fn rebuild<A: DurableActor>(state: &Packet) -> Result<Box<dyn Behaviour>, CodecError> {
    Ok(kept(state.decode_own::<A>()?))
}

struct Closure<S, M, F> {
    state: S,
    handle: F,
    takes: PhantomData<fn(M)>,
}

impl<S, M, F> Behaviour for Closure<S, M, F>
where
    S: Clone + Send + 'static,
    M: Payload,
    F: Fn(&mut S, &M, &mut Context<'_>) -> Result<(), Failure> + Send + 'static,
{
    fn receive(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
        let message = message.view::<M>()?;
        // The closure works on a copy, which is dropped if the event fails.
        let mut state = self.state.clone();
        (self.handle)(&mut state, &message, context)?;
        drop(message);
        discard(std::mem::replace(&mut self.state, state));
        Ok(())
    }
}

/// A behaviour from a state and a closure, which works on a copy of the state.
pub fn closure<S, M, F>(state: S, handle: F) -> Box<dyn Behaviour>
where
    S: Clone + Send + 'static,
    M: Payload,
    F: Fn(&mut S, &M, &mut Context<'_>) -> Result<(), Failure> + Send + 'static,
{
    Box::new(Closure { state, handle, takes: PhantomData })
}

/// Stands between an address and its holder, and can be revoked: what is sent then goes nowhere. Make it with
/// [`Context::create_actor`], give out its address instead of the target's, and keep [`Revoke`] for yourself
/// by sending it from wherever the right to revoke is.
struct Caretaker {
    target: Option<Address>,
}

/// The message that revokes what [`Context::revocable`] has made; the address to send it to is the second
/// that it returned.
#[derive(Clone, Copy, Debug, Serialize, serde::Deserialize)]
pub struct Revoke;

impl Behaviour for Caretaker {
    fn receive(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
        if message.downcast::<RevokeNow>().is_some() {
            self.target = None;
            context.stop();
            return Ok(());
        }
        if let Some(target) = &self.target {
            // What was sent as a native value cannot be copied but through its bytes.
            context.deliver(target, Message::from_packet(message.to_packet()?))?;
        }
        Ok(())
    }
}

/// Only the revoker sends it: it is no payload, so no other code can make a message of it.
struct RevokeNow;

struct Revoker {
    caretaker: Address,
}

impl Behaviour for Revoker {
    fn receive(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
        message.view::<Revoke>()?;
        context.deliver(&self.caretaker, Message::internal(RevokeNow))?;
        context.stop();
        Ok(())
    }
}

impl Context<'_> {
    /// An address that leads to `target` until it is revoked, and the address that revokes it. Not in a
    /// durable configuration: the event fails.
    ///
    /// # Errors
    /// [`Failure::Exhausted`].
    pub fn revocable(&mut self, target: &Address) -> Result<(Address, Addr<Revoke>), Failure> {
        self.refuse_where_durable(
            "a revocable address is not made in a durable configuration, since it would not outlive the process: make it \
             in another configuration",
        );
        let caretaker = self.create(Box::new(Caretaker { target: Some(target.clone()) }))?;
        let revoker = self.create(Box::new(Revoker { caretaker: caretaker.clone() }))?;
        Ok((caretaker, revoker.typed()))
    }

    /// Creates a native actor.
    pub fn create_actor<A: Actor>(&mut self, actor: A) -> Addr<A::Message> {
        self.create(native(actor)).unwrap_or_else(|exhausted| cut_off(exhausted)).typed()
    }

    /// Creates a native actor that is kept, if the configuration is durable.
    pub fn create_kept<A: DurableActor>(&mut self, actor: A) -> Addr<A::Message> {
        self.create(kept(actor)).unwrap_or_else(|exhausted| cut_off(exhausted)).typed()
    }

    /// Creates a native actor whose failures are reported to `supervisor`, as [`Context::create_supervised`].
    pub fn create_supervised_actor<A: Actor>(
        &mut self,
        supervisor: &Addr<Failed>,
        factory: impl Fn() -> A + Send + 'static,
    ) -> Addr<A::Message> {
        let created = self.create_supervised(supervisor, move || native(factory()));
        created.unwrap_or_else(|exhausted| cut_off(exhausted)).typed()
    }

    /// Sends a message. If the sponsor cannot pay for it, the event is cut off here: this does not return.
    #[inline]
    pub fn send<M: Payload>(&mut self, target: &Addr<M>, message: M) {
        if let Err(exhausted) = self.deliver(target.address(), Message::new(message)) {
            cut_off(exhausted);
        }
    }
}

/// Unwinds from an event that cannot be paid for, without the words of a panic.
#[cold]
pub(crate) fn cut_off(exhausted: crate::model::behaviour::Exhausted) -> ! {
    std::panic::resume_unwind(Box::new(Failure::Exhausted(exhausted)))
}

impl Configuration {
    /// With its first actor: what a processor is asked to make.
    pub fn with_actor<A: Actor>(self, first: A) -> Seed {
        self.with_behaviour(native(first))
    }
}
