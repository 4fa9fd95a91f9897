//! Linux, made safe.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
pub mod call_channel;
#[cfg(feature = "std")]
pub mod call_memory;
#[cfg(feature = "std")]
pub mod call_process;
#[cfg(feature = "std")]
pub mod sandbox;
