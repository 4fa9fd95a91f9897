//! Untrusted actors: WebAssembly modules, contained in time, memory and reach.
//!
//! An [`Engine`] checks and compiles a [`Module`]; a module gives actors, each with its own memory. What a
//! guest may call is fixed by [`abi`] and described in `docs/reference/guest-abi.md`: it reaches only
//! addresses that it was given, knows them by handles that mean nothing outside of it, and has no clock, no
//! randomness and no other input.
//!
//! - `validator` refuses what cannot be kept or costs too much; `instrument` rewrites the rest so that it can
//!   be kept, and `metering` so that it counts and can be stopped.
//! - `compiling` does that for an actor, on a thread of the pool.
//! - `memory` puts a guest's memory at addresses of ours; `instance` makes an instance from what was kept.
//! - `host_functions` are what a guest calls; `handles` its table of addresses; `actor` one event from begin
//!   to end, `failure` how it ends otherwise, `kept` what is left of an actor between events.
//! - `time` says how long an event may keep its host; `watchdog` is a thread of the process that tells events
//!   which run too long to stop; `memory` has one for each engine, which empties what large guests have
//!   written.

pub mod abi;
mod actor;
#[doc(hidden)]
pub mod bare;
mod compiling;
mod engine;
mod failure;
mod handles;
mod host_functions;
mod instance;
mod instrument;
mod kept;
mod limits;
mod memory;
mod metering;
mod module_error;
mod state;
mod time;
mod validator;
mod watchdog;

pub use compiling::{CompileError, Compiled};
pub use engine::{Engine, EngineError, EngineOptions, Module};
pub use kept::RestoreError;
pub use limits::Limits;
pub use metering::Metering;
pub use module_error::ModuleError;
