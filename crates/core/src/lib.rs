//! Pure decisions: no input or output, no clock, no threads, no unsafe. Drivers live in `node`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod regions;
