//! What an actor is: addresses, messages, behaviours, and what a behaviour may do during one event.
//!
//! Not here: who runs it (`configuration`, `processor`) and who pays for it (`sponsors`).

pub mod actor;
pub mod address;
pub mod ask;
pub mod behaviour;
pub mod context;
pub(crate) mod durable_address;
pub(crate) mod group;
mod measure;
pub mod message;
pub(crate) mod saved;
pub(crate) mod start;
pub mod supervision;
pub(crate) mod supervisor;
pub mod timers;
