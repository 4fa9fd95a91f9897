//! What a call costs whose callee crashes: until the error, and until the retry has succeeded.

use super::{MALLOC, MEMSET, STRLEN, at, call, open, open_with, options};
use crate::row::Row;
use banyan_calls::Wait;
use banyan_calls::allocations;
use banyan_calls::connection::{CallOptions, Connection};
use banyan_calls::error::CallError;
use banyan_calls::measuring::NULL_FUNCTION;
use banyan_calls::measuring::counter;
use std::time::Duration;

/// Long enough for the babysitter to have a spare ready again.
const PAUSE: Duration = Duration::from_millis(5);
/// An address at which `strlen` crashes.
const WILD: u64 = 8;

fn crash(connection: &Connection, options: &CallOptions) -> Result<u64, CallError> {
    let start = counter();
    match call(connection, STRLEN, &[WILD], options) {
        Err(CallError::Crashed { .. }) => Ok(counter() - start),
        Err(error) => Err(error),
        Ok(_) => Err(CallError::Failed("a call that must crash returned".into())),
    }
}

fn row(name: &'static str, times: &[u64], bar: f64, detail: &str) -> Row {
    let value = at(times, 0.5);
    let detail = format!("{detail}p99 {:.1} us of {}", at(times, 0.99), times.len());
    Row::new(name, value, "us").judged(format!("at most {bar} us"), value <= bar).note(detail)
}

/// Times of crashes until the error, and until the same caller's next call has succeeded; in ticks.
fn crashes(spares: u32) -> Result<(Vec<u64>, Vec<u64>), CallError> {
    let connection = open_with(spares)?;
    let options = options(Wait::Adaptive);
    let (mut errors, mut recovered) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        call(&connection, NULL_FUNCTION, &[], &options)?;
        std::thread::sleep(PAUSE);
        call(&connection, NULL_FUNCTION, &[], &options)?;
        let error = crash(&connection, &options)?;
        let start = counter();
        call(&connection, NULL_FUNCTION, &[], &options)?;
        errors.push(error);
        recovered.push(error + counter() - start);
    }
    Ok((errors, recovered))
}

/// A crash while a spare stands ready.
pub(super) fn with_spare() -> Result<Vec<Row>, CallError> {
    let (errors, recovered) = crashes(1)?;
    Ok(vec![
        row("call.crash.spare.error", &errors, 50.0, ""),
        row("call.crash.spare.retried", &recovered, 100.0, ""),
    ])
}

/// A crash when there is no spare: the babysitter forks.
pub(super) fn without_spare() -> Result<Vec<Row>, CallError> {
    let (_, recovered) = crashes(0)?;
    let floor = at(&super::floors::fork(200), 0.5);
    #[cfg(feature = "rivals")]
    let rivals = super::rivals::crash_and_retry()?;
    #[cfg(not(feature = "rivals"))]
    let rivals = "";
    let detail = format!("fork, exit and wait of this process {floor:.1} us; {rivals}");
    let row = row("call.crash.no_spare", &recovered, 400.0, &detail);
    let ratio = row.value.unwrap_or(f64::NAN) / floor;
    Ok(vec![row.against("a fork of this process", ratio)])
}

/// A crash of a callee that has changed 256 MiB.
pub(super) fn dirty() -> Result<Vec<Row>, CallError> {
    const BYTES: u64 = 256 << 20;
    let connection = open()?;
    let options = options(Wait::Adaptive);
    let mut errors = Vec::new();
    for _ in 0..16 {
        let memory = call(&connection, MALLOC, &[BYTES], &options)?;
        call(&connection, MEMSET, &[memory, 1, BYTES], &options)?;
        errors.push(crash(&connection, &options)?);
    }
    Ok(vec![row("call.crash.dirty", &errors, 100.0, "")])
}

/// Allocator calls in twenty thousand calls that succeed and one that crashes and is made again.
pub(super) fn allocator_calls() -> Result<Vec<Row>, CallError> {
    let connection = open()?;
    let options = options(Wait::Adaptive);
    let text = c"a text of the caller";
    call(&connection, NULL_FUNCTION, &[], &options)?;
    let before = allocations::of_this_thread();
    for _ in 0..10_000 {
        call(&connection, NULL_FUNCTION, &[], &options)?;
        call(&connection, STRLEN, &[text.as_ptr() as u64], &options)?;
    }
    let retried = CallOptions { retries: 1, ..options };
    // The retry crashes as well.
    let crashed = call(&connection, STRLEN, &[WILD], &retried).is_err();
    let counted = allocations::of_this_thread() - before;
    let (value, detail) = if allocations::is_installed() {
        let what = "20,000 calls, half of them with memory of the caller, and a crash with a retry";
        (counted as f64, what)
    } else {
        (f64::NAN, "not measured: this program does not count what it allocates")
    };
    let ok = allocations::is_installed() && counted == 0 && crashed;
    Ok(vec![Row::new("call.allocator", value, "calls").judged("none", ok).note(detail)])
}
