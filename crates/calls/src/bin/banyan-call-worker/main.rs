//! The process that hosts an isolated C library.
//!
//! Its `malloc` is the crate's, so that the caller sees what the library allocates; its functions
//! on files and descriptors send those that the caller opened back to the caller. Not to be run by
//! hand.

mod caller;
mod descriptors;
mod heap;
mod streams;

fn main() {
    banyan_calls::host_library(caller::learn);
    eprintln!("banyan-call-worker hosts a library for the process that starts it; use `banyan call`");
    std::process::exit(2);
}
