//! A shared object with functions that run in a worker, for programs that are not written in Rust.

use banyan_calls::{CallError, isolated};

#[isolated(deadline = "20s")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[isolated(deadline = "20s")]
fn crash() {
    std::process::abort()
}

/// What a program may have started that asks for its own worker: nothing of ours is in its environment.
#[isolated(deadline = "20s")]
fn is_marked() -> bool {
    std::env::var_os("BANYAN_CALL_WORKER").is_some()
}

fn told<T>(result: Result<T, CallError>, number: impl FnOnce(T) -> i64) -> i64 {
    result.map(number).unwrap_or_else(|error| {
        eprintln!("{error}");
        -1
    })
}

/// The sum of two numbers; -1 if the call failed.
#[unsafe(no_mangle)]
pub extern "C" fn object_add(a: u64, b: u64) -> i64 {
    told(add(a, b), |sum| sum as i64)
}

/// Always -1.
#[unsafe(no_mangle)]
pub extern "C" fn object_crash() -> i64 {
    told(crash(), |()| 0)
}

/// Whether the worker's environment marks it as one.
#[unsafe(no_mangle)]
pub extern "C" fn object_is_marked() -> i64 {
    told(is_marked(), i64::from)
}
