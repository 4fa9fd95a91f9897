//! Bytes that cross a boundary.
#![no_std]
#![forbid(unsafe_code)]

pub mod call_frame;
