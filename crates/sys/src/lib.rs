//! Linux, made safe.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
pub mod dirty_pages;
#[cfg(feature = "std")]
pub mod mapping;
