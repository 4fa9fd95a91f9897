//! Every byte that crosses a boundary: between nodes, between a stub and its daemon, between a carrier and its
//! deputy. Types and checks only; no I/O, no allocation, no unsafe.
#![no_std]
#![forbid(unsafe_code)]

pub mod deputy;
pub mod layout;
pub mod stub;
pub mod syscalls;
