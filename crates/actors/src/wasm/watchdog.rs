//! The clock that ends an event that runs too long: one thread in the process that adds one to each engine's
//! epoch every millisecond while events run, and sleeps when none do.
//!
//! Compiled code compares the epoch at loop heads and function entries, and asks [`judge`] when a deadline has passed. What
//! counts is the processor time of the event's thread: on a busy machine, an event is not cut off because others run. An event that is under way when the thread wakes
//! up from its sleep has lost nothing: its deadline counts ticks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{EngineWeak, Trap, UpdateDeadline};

/// Between ticks.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// Ticks without an event before the thread sleeps.
const IDLE_TICKS: u32 = 100;

struct Watchdog {
    engines: Mutex<Vec<EngineWeak>>,
    /// Events begun, and ended: equal when none runs.
    begun: AtomicU64,
    ended: AtomicU64,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

fn watchdog() -> &'static Arc<Watchdog> {
    static WATCHDOG: OnceLock<Arc<Watchdog>> = OnceLock::new();
    WATCHDOG.get_or_init(|| {
        let watchdog = Arc::new(Watchdog {
            engines: Mutex::default(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let ticker = Arc::clone(&watchdog);
        // Without the thread no event would ever be cut off, so there is no going on without it.
        let thread = std::thread::Builder::new().name("banyan-watchdog".into()).spawn(move || ticker.tick());
        let thread = thread.expect("a thread can be started");
        let _ = watchdog.thread.set(thread.thread().clone());
        watchdog
    })
}

/// Decides on an event whose deadline has passed: it goes on until the tick given, or ends.
pub(super) fn judge(first_ns: &mut Option<u64>, event_time: Duration) -> wasmtime::Result<UpdateDeadline> {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let now = clock.tv_sec as u64 * 1_000_000_000 + clock.tv_nsec as u64;
    // Before it was first looked at, the event had run for up to a tick, which is its own.
    let used = Duration::from_nanos(now.saturating_sub(*first_ns.get_or_insert(now)));
    let left = event_time.saturating_sub(used);
    if left.is_zero() {
        return Err(Trap::Interrupt.into());
    }
    Ok(UpdateDeadline::Continue(left.as_nanos().div_ceil(TICK.as_nanos()) as u64))
}

/// Ticks for an engine from now on, as long as it lives.
pub(super) fn watch(engine: &wasmtime::Engine) {
    watchdog().engines.lock().unwrap_or_else(PoisonError::into_inner).push(engine.weak());
}

/// An event under way.
pub(super) struct Running(());

impl Running {
    pub(super) fn begin() -> Self {
        let watchdog = watchdog();
        // Against the order in `tick`: either the thread sees this event, or this sees it asleep.
        watchdog.begun.fetch_add(1, Ordering::SeqCst);
        if watchdog.asleep.load(Ordering::SeqCst) {
            watchdog.asleep.store(false, Ordering::SeqCst);
            if let Some(thread) = watchdog.thread.get() {
                thread.unpark();
            }
        }
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        watchdog().ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Watchdog {
    fn tick(&self) {
        let mut seen = 0;
        let mut idle = 0;
        loop {
            std::thread::sleep(TICK);
            self.engines.lock().unwrap_or_else(PoisonError::into_inner).retain(|engine| {
                let engine = engine.upgrade();
                if let Some(engine) = &engine {
                    engine.increment_epoch();
                }
                engine.is_some()
            });
            // What ended is read first: more may begin meanwhile, never fewer.
            let ended = self.ended.load(Ordering::SeqCst);
            let begun = self.begun.load(Ordering::SeqCst);
            idle = if begun == ended && begun == seen { idle + 1 } else { 0 };
            seen = begun;
            if idle < IDLE_TICKS {
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            while self.asleep.load(Ordering::SeqCst) && self.begun.load(Ordering::SeqCst) == seen {
                std::thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }
}
