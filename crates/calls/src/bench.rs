//! The bars of calls, measured: each row a promise, its value, and whether it is kept here.
//!
//! For `banyan call bench`. Medians over many calls; the floors are measured in the same run, so
//! that ratios mean the same on any machine. Not a comparison with other systems.

use crate::allocations;
use crate::blob::{Blob, Blobs, Sharing};
use crate::connection::{CallOptions, Connection, ticks_per_us};
use crate::error::CallError;
use crate::service::{Configuration, FunctionName, open_library};
use crate::waiting::Wait;
use crate::worker::NULL_FUNCTION;
use banyan_sys::call_channel::{
    counter, current_processor, futex_wait, futex_wake, place_thread, process_cpu_ns, thread_id,
};
use banyan_wire::call_frame::{Registers, Shape};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Release};
use std::time::Duration;

mod flaky;

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
    /// How it was measured.
    pub detail: String,
}

const FUNCTIONS: &[&str] = &["strlen", "malloc", "memset", "memcpy", "snprintf"];

fn open() -> Result<Connection, CallError> {
    let functions =
        FUNCTIONS.iter().map(|name| FunctionName { name: (*name).into(), version: None }).collect();
    open_library(
        &Configuration { library: Some("libc.so.6".into()), functions, ..Configuration::default() },
        None,
    )
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
    // SAFETY: the functions below get arguments that suit them, or are meant to crash elsewhere.
    unsafe { connection.call_registers(number, &mut registers, shape, &[], shape.general.into(), options)? };
    Ok(registers.rax)
}

fn microseconds(ticks: u64) -> f64 {
    ticks as f64 / ticks_per_us() as f64
}

/// Sorted times of `count` runs, in ticks.
fn times(count: usize, mut run: impl FnMut() -> Result<(), CallError>) -> Result<Vec<u64>, CallError> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = counter();
        run()?;
        times.push(counter() - start);
    }
    times.sort_unstable();
    Ok(times)
}

fn at(times: &[u64], share: f64) -> f64 {
    microseconds(times[((times.len() - 1) as f64 * share) as usize])
}

/// Round trip of a shared cache line between two spinning threads, in microseconds.
fn spin_floor() -> f64 {
    let (ball, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Acquire) {
                let seen = ball.load(Acquire);
                if seen % 2 == 1 {
                    ball.store(seen + 1, Release);
                }
            }
        });
        let mut times: Vec<u64> = (0..200_000_u64)
            .map(|round| {
                let start = counter();
                ball.store(round * 2 + 1, Release);
                while ball.load(Acquire) != round * 2 + 2 {}
                counter() - start
            })
            .collect();
        stop.store(true, Release);
        times.sort_unstable();
        at(&times, 0.5)
    })
}

/// Round trip of a futex between two threads on the caller's processor, in microseconds: median.
fn futex_floor() -> f64 {
    const ROUNDS: u32 = 20_000;
    let (ball, other) = (AtomicU32::new(0), AtomicU32::new(0));
    let here = Some(current_processor());
    std::thread::scope(|scope| {
        place_thread(thread_id(), here);
        scope.spawn(|| {
            place_thread(thread_id(), here);
            for round in 1..=ROUNDS {
                while ball.load(Acquire) != round {
                    futex_wait(&ball, round - 1, 1_000_000_000);
                }
                other.store(round, Release);
                futex_wake(&other, 1);
            }
        });
        let mut times: Vec<u64> = (1..=ROUNDS)
            .map(|round| {
                let start = counter();
                ball.store(round, Release);
                futex_wake(&ball, 1);
                while other.load(Acquire) != round {
                    futex_wait(&other, round - 1, 1_000_000_000);
                }
                counter() - start
            })
            .collect();
        place_thread(thread_id(), None);
        times.sort_unstable();
        at(&times, 0.5)
    })
}

/// Round trip of 64 bytes over a Unix stream socket between two threads on the caller's processor.
fn socket_floor() -> std::io::Result<f64> {
    use std::io::{Read, Write};
    const ROUNDS: usize = 10_000;
    let (mut near, mut far) = std::os::unix::net::UnixStream::pair()?;
    let here = Some(current_processor());
    let mut times = Vec::with_capacity(ROUNDS);
    std::thread::scope(|scope| {
        place_thread(thread_id(), here);
        scope.spawn(move || {
            place_thread(thread_id(), here);
            let mut bytes = [0; 64];
            while far.read_exact(&mut bytes).and_then(|()| far.write_all(&bytes)).is_ok() {}
        });
        let mut bytes = [0; 64];
        for _ in 0..ROUNDS {
            let start = counter();
            if near.write_all(&bytes).and_then(|()| near.read_exact(&mut bytes)).is_err() {
                break;
            }
            times.push(counter() - start);
        }
        place_thread(thread_id(), None);
        drop(near);
    });
    times.sort_unstable();
    Ok(if times.is_empty() { f64::NAN } else { at(&times, 0.5) })
}

/// Allocator calls in ten thousand calls that succeed and one that crashes and is made again.
fn allocator_calls(connection: &Connection, options: &CallOptions) -> Result<Option<u64>, CallError> {
    let text = c"a text of the caller";
    let before = allocations::of_this_thread();
    for _ in 0..10_000 {
        call(connection, NULL_FUNCTION, &[], options)?;
        call(connection, 0, &[text.as_ptr() as u64], options)?;
    }
    let retried = CallOptions { retries: 1, ..*options };
    let _ = call(connection, 0, &[8], &retried);
    let counted = allocations::of_this_thread() - before;
    Ok(allocations::is_installed().then_some(counted))
}

/// Measures every row; about two minutes, most of them for a million calls of what crashes.
///
/// # Errors
/// [`CallError`] when a call that must succeed does not.
pub fn run() -> Result<Vec<Row>, CallError> {
    let options = |wait| CallOptions { deadline: Duration::from_secs(10), wait, ..CallOptions::default() };
    let mut rows = Vec::new();
    let mut row = |name, value, unit, ratio: Option<f64>, bar, ok, detail: String| {
        rows.push(Row { name, value, unit, ratio, bar, ok, detail });
    };
    let floor = spin_floor();
    let connection = open()?;
    let spin = options(Wait::Spin);
    times(10_000, || call(&connection, NULL_FUNCTION, &[], &spin).map(drop))?;
    let null = times(200_000, || call(&connection, NULL_FUNCTION, &[], &spin).map(drop))?;
    let p50 = at(&null, 0.5);
    // Before and after: other work on the machine slows both, seldom both alike.
    let floor = floor.min(spin_floor());
    let detail = format!("floor {floor:.3} us, p99 {:.3} us, death notice on", at(&null, 0.99));
    row(
        "null call, spinning, p50",
        p50,
        "us",
        Some(p50 / floor),
        0.40,
        p50 <= 0.40 && p50 <= 1.5 * floor,
        detail,
    );

    let block = options(Wait::Block);
    times(2000, || call(&connection, NULL_FUNCTION, &[], &block).map(drop))?;
    let blocked = times(50_000, || call(&connection, NULL_FUNCTION, &[], &block).map(drop))?;
    let (p50, p99) = (at(&blocked, 0.5), at(&blocked, 0.99));
    let (futex, socket) = (futex_floor(), socket_floor().unwrap_or(f64::NAN));
    let detail = format!(
        "hand-over on the caller's processor; floors on one processor: futex {futex:.2} us, Unix socket {socket:.2} us"
    );
    row("null call, blocking, p50", p50, "us", Some(p50 / futex), 2.5, p50 <= 2.5, detail);
    row("null call, blocking, p99", p99, "us", None, 10.0, p99 <= 10.0, String::new());

    std::thread::sleep(Duration::from_millis(50));
    let used = |connection: &Connection| -> u64 {
        let processes = connection.worker_processes().into_iter().chain([connection.babysitter_process()]);
        processes.filter_map(process_cpu_ns).sum()
    };
    let before = used(&connection);
    std::thread::sleep(Duration::from_secs(1));
    let idle = (used(&connection) - before) as f64 / 1000.0;
    row(
        "processor time of an idle worker, one second",
        idle,
        "us",
        None,
        0.0,
        idle == 0.0,
        "workers, spare and babysitter".into(),
    );

    let blobs = Blobs::new(&connection);
    let none = || CallError::NoService("no blob memory".into());
    let input = Blob::<u64, _>::new(&blobs, 131_072, Sharing::Constant).ok_or_else(none)?;
    let output = Blob::<u64, _>::new(&blobs, 131_072, Sharing::Writable).ok_or_else(none)?;
    let passed = times(50_000, || {
        call(&connection, NULL_FUNCTION, &[output.address(), input.address(), 1 << 20], &spin).map(drop)
    })?;
    let null = times(50_000, || call(&connection, NULL_FUNCTION, &[], &spin).map(drop))?;
    let extra = at(&passed, 0.5) - at(&null, 0.5);
    row("1 MiB in and out through blobs, above a null call", extra, "us", None, 1.0, extra <= 1.0, {
        let copied = times(200, || {
            call(&connection, 3, &[output.address(), input.address(), 1 << 20], &spin).map(drop)
        })?;
        format!("the callee's own work not counted; with its memcpy of the MiB {:.1} us", at(&copied, 0.5))
    });

    let adaptive = options(Wait::Adaptive);
    let mut crashes = Vec::new();
    for _ in 0..100 {
        call(&connection, NULL_FUNCTION, &[], &adaptive)?;
        std::thread::sleep(Duration::from_millis(3));
        call(&connection, NULL_FUNCTION, &[], &adaptive)?;
        let start = counter();
        if call(&connection, 0, &[8], &adaptive).is_ok() {
            return Err(none());
        }
        crashes.push((counter() - start, {
            let start = counter();
            call(&connection, NULL_FUNCTION, &[], &adaptive)?;
            counter() - start
        }));
    }
    let mut errors: Vec<u64> = crashes.iter().map(|crash| crash.0).collect();
    errors.sort_unstable();
    let mut recovered: Vec<u64> = crashes.iter().map(|crash| crash.0 + crash.1).collect();
    recovered.sort_unstable();
    let value = at(&errors, 0.5);
    row(
        "SIGSEGV to error, p50",
        value,
        "us",
        None,
        50.0,
        value <= 50.0,
        format!("p99 {:.1} us", at(&errors, 0.99)),
    );
    let value = at(&recovered, 0.5);
    row(
        "crash to retried success with a spare, p50",
        value,
        "us",
        None,
        100.0,
        value <= 100.0,
        format!("p99 {:.1} us", at(&recovered, 0.99)),
    );

    let mut dirty = Vec::new();
    for _ in 0..8 {
        let memory = call(&connection, 1, &[256 << 20], &adaptive)?;
        call(&connection, 2, &[memory, 1, 256 << 20], &adaptive)?;
        let start = counter();
        let _ = call(&connection, 0, &[8], &adaptive);
        dirty.push(counter() - start);
    }
    dirty.sort_unstable();
    let value = at(&dirty, 0.5);
    row("SIGSEGV to error with 256 MiB dirty, p50", value, "us", None, 100.0, value <= 100.0, String::new());

    // Two crashes back to back: the second finds no spare, so the babysitter must fork.
    let mut forked = Vec::new();
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(4));
        call(&connection, NULL_FUNCTION, &[], &adaptive)?;
        for process in connection.worker_processes() {
            banyan_sys::call_channel::signal_process(process, 9);
        }
        let start = counter();
        let retried = CallOptions { retries: 5, ..adaptive };
        call(&connection, NULL_FUNCTION, &[], &retried)?;
        forked.push(counter() - start);
    }
    forked.sort_unstable();
    let value = at(&forked, 0.5);
    row(
        "crash to retried success without a spare, p50",
        value,
        "us",
        None,
        400.0,
        value <= 400.0,
        "worker and spare killed at once".into(),
    );
    let allocated = allocator_calls(&connection, &adaptive)?;
    row(
        "allocator calls in the client path",
        allocated.map_or(f64::NAN, |count| count as f64),
        "calls",
        None,
        0.0,
        allocated == Some(0),
        match allocated {
            Some(_) => {
                "20,000 calls, half of them with memory of the caller, and a crash with a retry".into()
            }
            None => "not measured: this program does not count what it allocates".into(),
        },
    );
    rows.push(flaky::row()?);
    rows.push(crate::generate::coverage::row());
    Ok(rows)
}
