//! The node daemon.
pub mod loader;
pub mod memory_file;
