//! What [`crate::guest!`]'s functions do: read the message, call the actor, keep it.
//!
//! A module's instance is one actor, so its state is one value, of the type whose number the host passes with
//! each message. Called by generated code only.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::cell::RefCell;

use crate::address::decode;
use crate::sys::{host, one_thread};
use crate::{Actor, Context, Numbered, fail};

one_thread!(
    /// The actor, while it handles nothing.
    STATE: Option<Box<dyn Any>> = None
);

/// What an actor becomes.
pub struct Next(Box<dyn Any>);

impl Next {
    pub(crate) fn of<A: Numbered>(next: A) -> Self {
        Self(Box::new(next))
    }
}

fn message(bytes: u32) -> Vec<u8> {
    let mut message = alloc::vec![0; bytes as usize];
    host::message_read(&mut message, 0);
    message
}

/// Makes the actor.
pub fn start<A: Numbered>(bytes: u32) {
    let mut context = Context { next: None };
    let actor = A::start(decode(&message(bytes)), &mut context);
    // It may become another one at once.
    let Next(actor) = context.next.take().unwrap_or_else(|| Next::of(actor));
    STATE.with(|state| state.replace(Some(actor)));
}

/// Handles one message. An event that fails leaves the actor as it was, since the host takes back what it did
/// to the module's memory.
pub fn receive<A: Numbered>(bytes: u32) {
    let Some(mut actor) = STATE.with(RefCell::take) else { fail("the actor was never started") };
    let mut context = Context { next: None };
    match actor.downcast_mut::<A>() {
        Some(actor) => Actor::receive(actor, decode(&message(bytes)), &mut context),
        None => fail("the actor is of another type"),
    }
    let actor = context.next.take().map_or(actor, |Next(next)| next);
    STATE.with(|state| state.replace(Some(actor)));
}

/// The host asked for an actor that this module does not have.
pub fn no_such_behaviour(number: u32) -> ! {
    fail(&alloc::format!("this module has no actor of number {number}"))
}

/// A panic fails the event with its words and where it was.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panicked(information: &core::panic::PanicInfo<'_>) -> ! {
    host::fail(&alloc::format!("{information}"));
    core::arch::wasm32::unreachable()
}
