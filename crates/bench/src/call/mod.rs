//! The bars of calls, measured: each row a promise, its value, and whether it is kept here.
//!
//! For `banyan call bench`. Medians over many calls; the floors, and the rivals where this is built
//! with them, take turns with ours, so that ratios mean the same on any machine.

use banyan_calls::Wait;
use banyan_calls::connection::{CallOptions, Connection};
use banyan_calls::error::CallError;
use banyan_calls::measuring::{Registers, Shape};
use banyan_calls::measuring::{counter, ticks_per_us};
use banyan_calls::service::{Configuration, FunctionName, open_library};
use serde::Serialize;
use std::time::Duration;

mod coverage;
mod failure;
mod flaky;
mod floors;
mod images;
mod latency;
#[cfg(feature = "rivals")]
pub mod rivals;

/// One measured promise.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// The value, in `unit`.
    pub value: f64,
    /// The unit of `value` and `bar`.
    pub unit: &'static str,
    /// The value over the floor of the same run, where there is one.
    pub ratio: Option<f64>,
    /// What was promised.
    pub bar: f64,
    /// Whether the promise is kept.
    pub ok: bool,
    /// How it was measured, and the rivals.
    pub detail: String,
}

impl Row {
    pub(crate) const fn new(
        name: &'static str,
        value: f64,
        unit: &'static str,
        bar: f64,
        ok: bool,
        detail: String,
    ) -> Self {
        Self { name, value, unit, ratio: None, bar, ok, detail }
    }

    fn over(self, floor: f64) -> Self {
        Self { ratio: Some(self.value / floor), ..self }
    }
}

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
    // SAFETY: the functions get arguments that suit them, or are meant to crash elsewhere.
    unsafe { connection.call_registers(number, &mut registers, shape, &[], shape.general.into(), options)? };
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

/// The value below which that share of the sorted times lies, in microseconds.
fn at(times: &[u64], share: f64) -> f64 {
    let index = (times.len().saturating_sub(1) as f64 * share) as usize;
    times.get(index).map_or(f64::NAN, |&ticks| microseconds(ticks))
}

/// Measures some rows.
type Part = fn() -> Result<Vec<Row>, CallError>;

/// The parts by name.
const PARTS: &[(&str, Part)] = &[
    ("spinning", latency::spinning),
    ("blocking", latency::blocking),
    ("idle", latency::idle),
    ("blobs", latency::blobs),
    ("crash", failure::with_spare),
    ("dirty", failure::dirty),
    ("no-spare", failure::without_spare),
    ("images", images::rows),
    ("snprintf", flaky::rows),
    ("allocator", failure::allocator_calls),
    ("coverage", coverage::rows),
];

/// The names of the parts, in the order in which they are measured.
pub fn parts() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|(name, _)| *name)
}

/// Measures the part of that name; no row for another name.
///
/// # Errors
/// [`CallError`] when a call that must succeed does not.
pub fn measure(part: &str) -> Result<Vec<Row>, CallError> {
    PARTS.iter().find(|(name, _)| *name == part).map_or(Ok(Vec::new()), |(_, measure)| measure())
}
