//! Every byte that crosses a boundary: between nodes, between a stub and its daemon, between a carrier and
//! its deputy; and the tables that both sides of a boundary share.
//!
//! Not for decisions about what to send (that is `banyan-core`) nor for sockets (that is `banyan-node`).
//! Nothing here allocates unless the features `bounded`, `coherence` or `control` are on, so that the stub,
//! which has no allocator, can use the rest.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "bounded", feature = "coherence"))]
extern crate alloc;

pub mod address_space;
#[cfg(feature = "bounded")]
pub mod bounded;
#[cfg(feature = "control")]
pub mod cluster;
#[cfg(feature = "coherence")]
pub mod coherence;
#[cfg(feature = "control")]
pub mod control;
pub mod deputy;
pub mod descriptors;
#[cfg(feature = "bounded")]
pub mod frame;
#[cfg(feature = "control")]
pub mod fuzz;
pub mod handshake;
pub mod ids;
#[cfg(feature = "bounded")]
pub mod services;
#[cfg(feature = "control")]
pub mod sql;
#[cfg(feature = "control")]
pub mod statistics;
pub mod stub;
pub mod syscalls;
