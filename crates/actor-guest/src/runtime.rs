//! What [`crate::guest!`]'s functions do: read the message, call the actor, keep it.
//!
//! A module's instance is one actor, so its state is one pointer, to a value of the type whose number the
//! host passes with each message. Called by generated code only.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::address::decode;
use crate::{Actor, Context, Numbered, fail, host};

/// The actor. An atomic only because statics must be; there is one thread.
static STATE: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// What an actor becomes.
pub struct Next {
    pointer: *mut (),
}

impl Next {
    pub(crate) fn of<A: Numbered>(next: A) -> Self {
        Self { pointer: Box::into_raw(Box::new(next)).cast() }
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
    let pointer = context.next.take().unwrap_or_else(|| Next::of(actor)).pointer;
    STATE.store(pointer, Ordering::Relaxed);
}

/// Handles one message.
pub fn receive<A: Numbered>(bytes: u32) {
    let state = STATE.load(Ordering::Relaxed).cast::<A>();
    if state.is_null() {
        fail("the actor was never started");
    }
    let mut context = Context { next: None };
    {
        // SAFETY: the host passes the number of the type that `start` or `become_actor` stored last, and
        // calls one function at a time, so this is the only reference.
        let actor = unsafe { &mut *state };
        <A as Actor>::receive(actor, decode(&message(bytes)), &mut context);
    }
    if let Some(next) = context.next.take() {
        STATE.store(next.pointer, Ordering::Relaxed);
        // SAFETY: it came from a box of this type, and is not stored any more.
        drop(unsafe { Box::from_raw(state) });
    }
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
