//! A configuration: its settings, its actors and events while it runs, and what its events ask for.
//!
//! Not here: who runs it (`processor`), and how it is kept (`durable`).

pub(crate) mod changed;
pub(crate) mod effects;
pub(crate) mod event;
pub(crate) mod running;
pub(crate) mod settings;
pub(crate) mod starting;
mod stash;
pub(crate) mod supervised;
mod timing;
