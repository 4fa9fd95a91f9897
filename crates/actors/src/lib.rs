//! Configurations of actors under sponsors, usable alone.
//!
//! A **configuration** is a set of actors with one queue of events; a **processor** runs them, one event of
//! each configuration that has any per turn. An event runs to its end or leaves nothing behind: what it
//! creates, sends and becomes is collected and applied only when it completes. Every cycle, byte and event is
//! paid for by the event's **sponsor** (`banyan_core::sponsors` decides). A behaviour is a type that
//! implements [`Behaviour`].
//!
//! Unsafe code: `sys`, and `wasm::memory`, since the engine asks for an unsafe trait there.
//!
//! Locks: the accounts', the directory's, the names', the log's, each taken alone (`system`). Threads: one
//! per processor (`processor::runtime`), the pool's (`processor::pool`), a router's (`router::unix`); and
//! with modules one that cuts off long events (`wasm::watchdog`), and one that empties what they have written
//! (`wasm::memory`).
#![deny(unsafe_code)]

mod configuration;
mod containment;
pub mod durable;
mod model;
pub mod mutation;
mod processor;
pub mod router;
mod sponsors;
mod sys;
mod system;

#[cfg(feature = "wasm")]
pub mod wasm;

pub use banyan_core::sponsors::{Quota, Resource, SponsorId};
pub use configuration::effects::Seed;
pub use configuration::settings::Configuration;
pub use durable::{
    DurableError, DurableSeed, DurableStore, KeepBudgetsError, KillPoint, Kinds, OpenDurableError,
};
pub use model::actor::{Actor, DurableActor, Revoke, Work, closure, kept, native, rebuild};
pub use model::address::{Addr, Address, Door};
pub use model::ask::AskError;
pub use model::behaviour::{Behaviour, Exhausted, Failure};
pub use model::context::Context;
pub use model::durable_address::DurableAddress;
pub use model::group::{Group, Grouped};
pub use model::message::{CodecError, Message, Packet, Payload};
pub use model::saved::Saved;
pub use model::supervision::{Directive, End, Ended, Failed};
pub use model::supervisor::Supervisor;
pub use model::timers::TimerId;
pub use model::{actor, address, ask, behaviour, context, message, supervision, timers};
pub use processor::runtime::{Runtime, RuntimeOptions};
pub use processor::simulation::Simulation;
pub use processor::{probe, runtime, simulation};
pub use sponsors::sponsor::{Signal, Sponsor};
pub use system::handle;
pub use system::handle::{Granted, Handle};
pub use system::mailboxes::{MailboxFull, WhenFull};
pub use system::names::NameTaken;

/// The programs of the guides and of the README, compiled as tests.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/guides/first-actor.md")]
    mod first_actor {}
    #[doc = include_str!("../../../docs/guides/first-sponsor.md")]
    mod first_sponsor {}
    #[doc = include_str!("../../../docs/guides/lasting-actors.md")]
    mod lasting_actors {}
}
