//! Untrusted actors for Banyan, in Rust: an actor is a struct, its messages are a type that serde knows.
//!
//! ```
//! use banyan_actor_guest::{Actor, Address, Context};
//! use serde::{Deserialize, Serialize};
//!
//! struct Counter {
//!     sum: u64,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! enum Count {
//!     Add(u64),
//!     Tell(Address<u64>),
//! }
//!
//! impl Actor for Counter {
//!     type Start = u64;
//!     type Message = Count;
//!
//!     fn start(sum: u64, _context: &mut Context) -> Self {
//!         Self { sum }
//!     }
//!
//!     fn receive(&mut self, message: Count, context: &mut Context) {
//!         match message {
//!             Count::Add(number) => self.sum += number,
//!             Count::Tell(whom) => context.send(&whom, &self.sum),
//!         }
//!     }
//! }
//!
//! banyan_actor_guest::guest!(0 => Counter);
//! ```
//!
//! Built for `wasm32-unknown-unknown` as a `cdylib` with `#![no_std]`, this is a module that `banyan actor
//! run` takes. The crate brings the allocator and the panic handler: a panic fails the event, with its words,
//! and the event leaves nothing behind. For other targets everything compiles, so that a guest can be checked
//! and its logic tested, but there is no host: each call to one panics.
//!
//! The interface below is `docs/reference/guest-abi.md`; it is not Rust's, so a guest may be written in any
//! language.
//!
//! Unsafe code is in `sys`.
#![deny(unsafe_code)]
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod address;
mod context;
#[doc(hidden)]
pub mod runtime;
#[expect(unsafe_code, reason = "the host's functions, and memory that the host grants")]
mod sys;

pub use address::Address;
pub use context::{Context, Level, fail};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What an actor is: how it starts, and what it does with each message.
pub trait Actor: Sized + 'static {
    /// What it is given when it is created.
    type Start: Serialize + DeserializeOwned;
    /// What it takes.
    type Message: Serialize + DeserializeOwned;

    /// Makes the actor. Runs in its first event, before that event's message.
    fn start(start: Self::Start, context: &mut Context) -> Self;

    /// Handles one message. Everything it does counts only if it returns.
    fn receive(&mut self, message: Self::Message, context: &mut Context);
}

/// The number by which the host knows an actor's type within its module; [`guest!`] gives it.
pub trait Numbered: Actor {
    /// The number.
    const NUMBER: u32;
}

/// Makes a module of actors: each with the number that `create` knows it by. The host's first actor is number
/// 0.
///
/// Numbers are part of a kept actor's state: do not change them when the module changes.
#[macro_export]
macro_rules! guest {
    ($($number:literal => $actor:ty),+ $(,)?) => {
        $(impl $crate::Numbered for $actor {
            const NUMBER: u32 = $number;
        })+

        /// Says which version of the interface this module speaks; never called.
        #[unsafe(no_mangle)]
        pub extern "C" fn banyan_abi_1() {}

        /// Makes the actor, in its first event.
        #[unsafe(no_mangle)]
        pub extern "C" fn banyan_start(behaviour: u32, bytes: u32, _addresses: u32) {
            match behaviour {
                $($number => $crate::runtime::start::<$actor>(bytes),)+
                other => $crate::runtime::no_such_behaviour(other),
            }
        }

        /// Handles one message.
        #[unsafe(no_mangle)]
        pub extern "C" fn banyan_receive(behaviour: u32, bytes: u32, _addresses: u32) {
            match behaviour {
                $($number => $crate::runtime::receive::<$actor>(bytes),)+
                other => $crate::runtime::no_such_behaviour(other),
            }
        }
    };
}

/// The program of the README, compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
