//! The clock that ends an event that runs too long: one thread in the process that looks twice in a
//! millisecond at the threads which run events, and sleeps when none do.
//!
//! What counts is the processor time of the event's thread: on a busy machine, an event is not cut off
//! because others run. It counts from the first look at the event, and is looked at now and then: so an event
//! is ended up to two ticks before it has used what is allowed, rather than after. To end
//! one, the page is closed that its code loads from ([`metering`](super::metering)); that this happens at
//! most once and never to the next event is [`cut_off`](crate::sys::cut_off)'s promise.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::sys::cut_off::{Gate, Run, Runner, Watched};
use crate::sys::punctual::run_soon_after_waking;

/// Between looks.
const TICK: Duration = Duration::from_micros(500);
/// What an event may have used before it was first looked at, and may use until it is next.
const UNSEEN: Duration = Duration::from_millis(1);
/// Looks without an event before the thread sleeps.
const IDLE_TICKS: u32 = 200;

/// A thread that runs events.
struct Worker {
    watched: Watched,
    /// The run that was under way at the last look, and the thread's processor time when it was first seen.
    seen: Option<(Run, Duration)>,
}

struct Watchdog {
    workers: Mutex<Vec<Worker>>,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

static WATCHDOG: Watchdog =
    Watchdog { workers: Mutex::new(Vec::new()), asleep: AtomicBool::new(false), thread: OnceLock::new() };

thread_local! {
    static RUNNER: Runner = {
        // A thread of this process can read its own clock, on every kernel that this runs on.
        let runner = Runner::new().expect("a thread has a clock");
        WATCHDOG.workers().push(Worker { watched: runner.watched(), seen: None });
        runner
    };
}

/// Starts the thread, once in a process.
pub(super) fn start() {
    WATCHDOG.thread.get_or_init(|| {
        // Without the thread no event would ever be cut off, so there is no going on without it.
        let thread = std::thread::Builder::new().name("banyan-watchdog".into()).spawn(|| WATCHDOG.look());
        thread.expect("a thread can be started").thread().clone()
    });
}

/// Runs what loads from the gate, and says whether it was cut off; an error if the gate stays closed.
pub(super) fn run<R>(gate: &Gate<'_>, allowed: Duration, work: impl FnOnce() -> R) -> (R, io::Result<bool>) {
    RUNNER.with(|runner| runner.run(gate, allowed, || WATCHDOG.wake(), work))
}

impl Watchdog {
    /// A list that is whole between any two of its changes.
    fn workers(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.workers.lock()
    }

    fn wake(&self) {
        // Against the order in `rest`: either the thread sees this run, or this sees it asleep.
        if self.asleep.load(Ordering::SeqCst) {
            self.asleep.store(false, Ordering::SeqCst);
            if let Some(thread) = self.thread.get() {
                thread.unpark();
            }
        }
    }

    fn look(&self) {
        run_soon_after_waking();
        let (mut idle, mut begun) = (0, 0);
        loop {
            std::thread::sleep(TICK);
            let (now_begun, running) = self.tick();
            idle = if running || now_begun != begun { 0 } else { idle + 1 };
            begun = now_begun;
            if idle >= IDLE_TICKS {
                self.rest(begun);
                idle = 0;
            }
        }
    }

    /// Looks at every thread: the events that were begun, and whether one is under way.
    fn tick(&self) -> (u64, bool) {
        let (mut begun, mut running) = (0u64, false);
        let mut workers = self.workers();
        workers.retain(|worker| !worker.watched.is_gone());
        for worker in workers.iter_mut() {
            begun = begun.wrapping_add(worker.watched.begun());
            let run = worker.watched.running();
            running |= run.is_some();
            // A clock that cannot be read is that of a thread which has ended, or is about to.
            let now = run.and_then(|run| Some((run, worker.watched.used().ok()?)));
            match (now, worker.seen) {
                (Some((run, now)), Some((seen, since))) if run == seen => {
                    if now.saturating_sub(since) + UNSEEN >= run.allowed {
                        // One that could not be cut off goes on, and is tried again with the next look.
                        let _ = worker.watched.cut_off(run);
                    }
                }
                _ => worker.seen = now,
            }
        }
        (begun, running)
    }

    fn rest(&self, begun: u64) {
        self.asleep.store(true, Ordering::SeqCst);
        while self.asleep.load(Ordering::SeqCst) && self.tick() == (begun, false) {
            std::thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}
