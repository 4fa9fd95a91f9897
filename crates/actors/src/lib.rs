//! Configurations of actors under sponsors, usable alone.
//!
//! A **guest configuration** is a set of actors with one queue of events; a **host** is the run loop of one processor,
//! which takes one event of each runnable guest per turn. An event runs to its end or leaves nothing behind: what it
//! creates, sends and becomes is collected and applied only when it completes. Every cycle, byte and event is paid for
//! by the event's **sponsor** (`banyan_core::sponsors` decides). A behaviour is
//! whatever implements [`Behaviour`].
//!
//! Unsafe code: `wasm::memory` alone, since the engine asks for an unsafe trait there.
//!
//! Locks: the ledger's, the directory's, the names', the log's, each taken alone (`system`). Threads: one per host
//! (`runtime`), and the pool's (`pool`).
#![deny(unsafe_code)]

pub mod actor;
pub mod address;
pub mod ask;
pub mod behaviour;
#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "cli")]
pub mod cli;
pub mod configuration;
pub mod context;
mod doors;
pub mod durable;
mod effects;
pub mod examples;
mod guest;
pub mod handle;
mod host;
pub mod kept_budgets;
mod lease;
pub mod message;
mod money;
mod pool;
pub mod probe;
pub mod router;
pub mod runtime;
mod signals;
pub mod simulation;
pub mod sponsor;
pub mod supervision;
mod system;
pub mod timers;

#[cfg(feature = "wasm")]
pub mod wasm;

pub use actor::{Actor, DurableActor, Revoke, Work, closure, kept, native, rebuild};
pub use address::{Addr, Address, Door};
pub use ask::AskError;
pub use banyan_core::sponsors::{Quota, Resource, SponsorId};
pub use banyan_wire::actor_frame::DurableAddress;
pub use behaviour::{Behaviour, Exhausted, Failure, Saved};
pub use configuration::{Configuration, Seed};
pub use context::Context;
pub use durable::{DurableError, DurableSeed, DurableStore, KillPoint, Kinds, OpenDurableError};
pub use handle::{Handle, Outlet};
pub use kept_budgets::KeepBudgetsError;
pub use message::{CodecError, Message, Packet, Payload};
pub use runtime::{Runtime, RuntimeOptions};
pub use simulation::Simulation;
pub use sponsor::{Short, Signal, Sponsor};
pub use supervision::{Directive, End, Ended, Failed, Supervisor};
pub use system::NameTaken;
pub use timers::TimerId;

/// The programs of the guides, compiled as tests.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../docs/guides/first-actor.md")]
    mod first_actor {}
    #[doc = include_str!("../../../docs/guides/first-sponsor.md")]
    mod first_sponsor {}
}
