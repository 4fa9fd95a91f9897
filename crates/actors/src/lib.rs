//! Configurations of actors under sponsors, usable alone.
//!
//! A **guest configuration** is a set of actors with one queue of events; a **host** is the run loop of one processor,
//! which takes one event of each runnable guest per turn. An event runs to its end or leaves nothing behind: what it
//! creates, sends and becomes is collected and applied only when it completes. Every cycle, byte and event is paid for
//! by the event's **sponsor** (`banyan_core::sponsors` decides). A behaviour is
//! whatever implements [`Behaviour`].
//!
//! Unsafe code: `message` and `wasm::memory` only.

pub mod address;
pub mod behaviour;
pub mod context;
mod effects;
mod guest;
pub mod message;
pub mod probe;

#[cfg(feature = "wasm")]
pub mod wasm;

pub use address::{Addr, Address};
pub use banyan_core::sponsors::{Quota, Resource, SponsorId};
pub use behaviour::{Behaviour, Exhausted, Failure, Saved};
pub use context::Context;
pub use message::{Message, Packet, Payload};
