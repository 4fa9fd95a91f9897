//! The process that hosts an isolated C library.
//!
//! Its `malloc` is the crate's, so that the caller sees what the library allocates; its functions
//! on files and descriptors send those that the caller opened back to the caller. Not to be run by
//! hand.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "reads and writes the caller's streams, as the C library's macros do")]
mod buffers;
#[expect(unsafe_code, reason = "calls the program's functions, by their addresses")]
mod caller;
#[expect(unsafe_code, reason = "functions of C's library, in its place")]
mod descriptors;
mod errors;
#[expect(unsafe_code, reason = "functions of C's library, in its place")]
mod formats;
#[expect(unsafe_code, reason = "the allocator of the library, in C's terms")]
mod heap;
#[expect(unsafe_code, reason = "a function of C's library, in its place")]
mod jumps;
#[expect(unsafe_code, reason = "functions of C's library, in its place")]
mod mappings;
#[expect(unsafe_code, reason = "functions of C's library, in its place")]
mod names;
#[expect(unsafe_code, reason = "functions of C's library, in its place")]
mod process;
#[expect(unsafe_code, reason = "copies what the caller does not see")]
mod seen;
#[expect(unsafe_code, reason = "functions of C's library, in its place")]
mod streams;
#[expect(unsafe_code, reason = "a function of C's library, in its place")]
mod threads;
#[expect(unsafe_code, reason = "functions of C's library, in its place")]
mod waits;

fn main() {
    banyan_calls::host_library(caller::learn);
    eprintln!("banyan-call-worker hosts a library for the process that starts it; use `banyan call`");
    std::process::exit(2);
}
