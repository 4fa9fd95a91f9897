//! The `banyan` command.
#![forbid(unsafe_code)]
fn main() {}
