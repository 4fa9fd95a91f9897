//! Configurations.
#[cfg(feature = "wasm")]
pub mod wasm;
