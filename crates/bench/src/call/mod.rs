//! Calls in another process. Medians over many calls; the floors, and the rivals where this is built
//! with them, take turns with ours, so that ratios mean the same on any machine.

use banyan_calls::Wait;
use banyan_calls::connection::{CallOptions, Connection};
use banyan_calls::error::CallError;
use banyan_calls::launch::open_library;
use banyan_calls::measuring::{Registers, Shape};
use banyan_calls::measuring::{counter, ticks_per_us};
use banyan_calls::service::{Configuration, FunctionName};
use std::time::Duration;

use crate::plan::{Bench, Plan};
use crate::report::Report;
use crate::row::Row;
use crate::statistics::percentile;

mod chatty;
mod coverage;
mod failure;
#[expect(unsafe_code, reason = "the callee writes to memory of this process")]
mod flaky;
#[expect(unsafe_code, reason = "a child of this process is made and waited for")]
mod floors;
#[expect(unsafe_code, reason = "functions of C libraries are called")]
mod images;
mod latency;
#[cfg(feature = "rivals")]
pub(crate) mod rivals;

/// The functions of the C library that the rows call, in the order of their numbers.
const FUNCTIONS: &[&str] = &["strlen", "malloc", "memset", "memcpy"];
const STRLEN: u64 = 0;
const MALLOC: u64 = 1;
const MEMSET: u64 = 2;
const MEMCPY: u64 = 3;

fn open() -> Result<Connection, CallError> {
    open_with(1)
}

fn open_with(spares: u32) -> Result<Connection, CallError> {
    let functions =
        FUNCTIONS.iter().map(|name| FunctionName { name: (*name).into(), version: None }).collect();
    let library = Some("libc.so.6".into());
    open_library(&Configuration { library, functions, spares, ..Configuration::default() }, None)
}

fn options(wait: Wait) -> CallOptions {
    CallOptions { deadline: Duration::from_secs(10), wait, ..CallOptions::default() }
}

fn call(
    connection: &Connection,
    number: u64,
    arguments: &[u64],
    options: &CallOptions,
) -> Result<u64, CallError> {
    let mut registers = Registers::default();
    registers.general[..arguments.len()].copy_from_slice(arguments);
    let shape = Shape { general: arguments.len() as u8, vector: 0, stack: 0 };
    #[expect(unsafe_code, reason = "functions of the C library are called")]
    // SAFETY: the functions get arguments that suit them, or are meant to crash elsewhere.
    unsafe {
        connection.call_registers(number, &mut registers, shape, &[], shape.general.into(), options)?;
    };
    Ok(registers.rax)
}

fn microseconds(ticks: u64) -> f64 {
    ticks as f64 / ticks_per_us() as f64
}

/// Times of `count` runs, in ticks.
fn times(count: usize, mut run: impl FnMut() -> Result<(), CallError>) -> Result<Vec<u64>, CallError> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = counter();
        run()?;
        times.push(counter() - start);
    }
    Ok(times)
}

/// The time, in microseconds, that this share of the times, which are in ticks, does not exceed.
fn at(times: &[u64], share: f64) -> f64 {
    percentile(times.iter().map(|&ticks| microseconds(ticks)), share)
}

/// Measures some rows.
type Measure = fn() -> Result<Vec<Row>, CallError>;

/// The name of the row, or what the names of the rows begin with; what is measured; how.
const BENCHES: &[(&str, &str, Measure)] = &[
    ("call.null.spinning", "a call that does nothing, while both ends spin", latency::spinning),
    ("call.null.blocking", "a call that does nothing, while both ends sleep", latency::blocking),
    ("call.idle", "processor time of a worker that nothing calls", latency::idle),
    ("call.blobs", "what two blobs of 1 MiB add to a call", latency::blobs),
    ("call.crash.spare", "a crash of the callee while a spare worker stands ready", failure::with_spare),
    ("call.crash.dirty", "a crash of a callee that has changed 256 MiB", failure::dirty),
    ("call.crash.no_spare", "a crash of the callee without a spare worker", failure::without_spare),
    ("call.images", "a large image through zlib and libpng, isolated and in place", images::rows),
    ("call.chatty", "programs that call a library very often, isolated and in place", chatty::rows),
    ("call.flaky", "a million calls of a function that crashes one time in forty", flaky::rows),
    ("call.allocator", "allocator calls on the caller's side", failure::allocator_calls),
    ("call.coverage", "exports of five libraries that are wrapped without annotation", coverage::rows),
];

/// The benches, for a list.
pub(crate) fn benches() -> Vec<Bench> {
    BENCHES.iter().map(|(name, about, _)| Bench { name, about }).collect()
}

/// Takes the measurements that are selected.
pub(crate) fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    for (name, about, measure) in BENCHES.iter().filter(|(name, ..)| plan.selection.wants_of(name)) {
        report.announce(name, about);
        match measure() {
            Ok(rows) => rows.iter().for_each(|row| report.add(row)),
            Err(error) => report.add(&Row::failed(*name, error.to_string())),
        }
    }
    Ok(())
}
