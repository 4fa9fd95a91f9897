//! The ends of a module that Rust cannot check: the host's functions, the memory that it grants, and that
//! there is one thread.
//!
//! Not for what an actor is: nothing here knows of actors.

#[cfg(target_arch = "wasm32")]
mod allocator;
pub(crate) mod host;
mod one_thread;

#[cfg(target_arch = "wasm32")]
pub(crate) use one_thread::OneThread;
pub(crate) use one_thread::one_thread;
