//! Work that another thread can cut off when it has used too much of its processor's time.
//!
//! A thread runs work by its [`Runner`], with a [`Gate`]: a page that the work loads from now and then. A
//! watcher reads the processor time of that thread by the [`Watched`] half, and closes the gate of a run that
//! it names; then the next load faults, and the handler of faults ends the work. So the work pays for a load,
//! and neither for a comparison nor for a call. Beginning and ending take no lock, and no system call but to
//! open a gate again.
//!
//! A run is cut off at most once, and never after its end: the gate is open when `run` returns, and serves
//! the next run at once. The state of the runner is the whole protocol. The watcher touches the gate in one
//! phase only, which `run` waits out:
//!
//! ```text
//! resting ──run──► running ──watcher──► closing ──watcher──► closed ──run──► resting
//!                     └────────────────────run────────────────────────────────┘
//! ```

use std::io;
use std::marker::PhantomData;
use std::ptr::with_exposed_provenance_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::mm::{MprotectFlags, mprotect};

use crate::sys::guest_memory::PAGE;

/// The phase is in the lowest bits of the state, and the number of the run above.
const PHASES: u64 = 0b11;
const RESTING: u64 = 0;
const RUNNING: u64 = 1;
const CLOSING: u64 = 2;
const CLOSED: u64 = 3;

#[derive(Debug)]
struct Shared {
    state: AtomicU64,
    gate: AtomicUsize,
    allowed_ns: AtomicU64,
    clock: libc::clockid_t,
}

/// A page that can be loaded from while it is open.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    address: usize,
    owner: PhantomData<&'a ()>,
}

impl Gate<'_> {
    /// The gate at this address.
    ///
    /// # Safety
    /// A page of private memory is mapped there to be read and written, as long as the gate lives, and
    /// nothing holds a reference into it while a run can be cut off.
    #[must_use]
    pub(crate) unsafe fn at(address: usize) -> Self {
        Self { address, owner: PhantomData }
    }
}

/// The half of the thread that works. It stays on that thread.
#[derive(Debug)]
pub(crate) struct Runner {
    shared: Arc<Shared>,
    stays: PhantomData<*const ()>,
}

/// The watcher's half.
#[derive(Clone, Debug)]
pub(crate) struct Watched(Arc<Shared>);

/// One run of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    state: u64,
    /// Processor time that it may use.
    pub allowed: Duration,
}

/// Ends the run also when the work unwinds.
struct Ending<'a>(&'a Shared);

impl Runner {
    /// A runner for the calling thread.
    ///
    /// # Errors
    /// What the system says when the thread's clock cannot be had.
    pub(crate) fn new() -> io::Result<Self> {
        let mut clock = 0;
        // SAFETY: the calling thread lives, and the clock's identifier is written to a local variable.
        let error = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let (state, gate, allowed_ns) = (AtomicU64::new(RESTING), AtomicUsize::new(0), AtomicU64::new(0));
        Ok(Self { shared: Arc::new(Shared { state, gate, allowed_ns, clock }), stays: PhantomData })
    }

    /// The other half.
    #[must_use]
    pub(crate) fn watched(&self) -> Watched {
        Watched(Arc::clone(&self.shared))
    }

    /// Does the work, which may use so much processor time, and says whether its gate was closed. That it
    /// began is seen by every thread that looks after `begun` was called.
    ///
    /// # Errors
    /// The gate was closed and could not be opened again: what the system says. It must not be used any more,
    /// nor if the work unwinds.
    ///
    /// # Panics
    /// If the runner is running already.
    pub(crate) fn run<R>(
        &self,
        gate: &Gate<'_>,
        allowed: Duration,
        begun: impl FnOnce(),
        work: impl FnOnce() -> R,
    ) -> (R, io::Result<bool>) {
        let shared = &*self.shared;
        let before = shared.state.load(Ordering::Relaxed);
        assert_eq!(before & PHASES, RESTING, "a thread does one thing at a time");
        shared.gate.store(gate.address, Ordering::Relaxed);
        let allowed = u64::try_from(allowed.as_nanos()).unwrap_or(u64::MAX);
        shared.allowed_ns.store(allowed, Ordering::Relaxed);
        // An exchange, so that it is ordered before what `begun` reads as well.
        shared.state.swap((before | PHASES) + 1 + RUNNING, Ordering::SeqCst);
        let ending = Ending(shared);
        begun();
        let result = work();
        let closed = ending.end();
        std::mem::forget(ending);
        (result, closed)
    }
}

impl Ending<'_> {
    /// Whether the gate was closed; it is open then.
    fn end(&self) -> io::Result<bool> {
        let Shared { state, gate, .. } = self.0;
        let running = state.load(Ordering::Relaxed) & !PHASES | RUNNING;
        let rest = running & !PHASES | RESTING;
        // The watcher may try to close it, fail, and leave it as it was.
        while state.compare_exchange(running, rest, Ordering::AcqRel, Ordering::Acquire).is_err() {
            if state.load(Ordering::Acquire) & PHASES == CLOSED {
                state.store(rest, Ordering::Release);
                let page = with_exposed_provenance_mut(gate.load(Ordering::Relaxed));
                // SAFETY: the gate is borrowed until `run` returns, and is a mapped page as long.
                unsafe { mprotect(page, PAGE, MprotectFlags::READ | MprotectFlags::WRITE) }?;
                return Ok(true);
            }
            std::thread::yield_now();
        }
        Ok(false)
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        // The caller of `run` takes the gate for spoilt when it unwinds.
        let _ = self.end();
    }
}

impl Watched {
    /// The run that is under way and was not cut off.
    #[must_use]
    pub(crate) fn running(&self) -> Option<Run> {
        let state = self.0.state.load(Ordering::SeqCst);
        // If this belongs to a later run, the state cannot be exchanged any more.
        let allowed = Duration::from_nanos(self.0.allowed_ns.load(Ordering::Relaxed));
        (state & PHASES == RUNNING).then_some(Run { state, allowed })
    }

    /// Runs that were begun.
    #[must_use]
    pub(crate) fn begun(&self) -> u64 {
        self.0.state.load(Ordering::SeqCst) >> PHASES.count_ones()
    }

    /// Processor time that the runner's thread has used.
    ///
    /// # Errors
    /// What the system says, as when the thread has ended.
    pub(crate) fn used(&self) -> io::Result<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the time is written to a local variable.
        if unsafe { libc::clock_gettime(self.0.clock, &raw mut time) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    /// Whether the runner is gone, with its thread.
    #[must_use]
    pub(crate) fn is_gone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Closes the gate of a run; `false` if it has ended or was cut off already.
    ///
    /// # Errors
    /// What the system says; the run goes on then.
    pub(crate) fn cut_off(&self, run: Run) -> io::Result<bool> {
        let Shared { state, gate, .. } = &*self.0;
        let closing = run.state & !PHASES | CLOSING;
        if state.compare_exchange(run.state, closing, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Ok(false);
        }
        let page = with_exposed_provenance_mut(gate.load(Ordering::Relaxed));
        // SAFETY: the gate was put there before the state became that of this run, and `run`, which borrows
        // it, does not return while the state is `CLOSING`.
        let closed = unsafe { mprotect(page, PAGE, MprotectFlags::empty()) };
        let next = if closed.is_ok() { run.state & !PHASES | CLOSED } else { run.state };
        state.store(next, Ordering::Release);
        closed?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use super::{Gate, Run, Runner};
    use crate::sys::guest_memory::{ImageFile, PAGE, Window};

    const ALLOWED: Duration = Duration::from_millis(10);

    fn window() -> Window {
        Window::reserve(&ImageFile::new(1, PAGE).unwrap(), PAGE).unwrap()
    }

    fn run(runner: &Runner, gate: &Gate<'_>, work: impl FnOnce()) -> bool {
        runner.run(gate, ALLOWED, || (), work).1.unwrap()
    }

    fn is_open(gate: &Gate<'_>) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let here = maps.lines().find(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let [start, end] = [start, end].map(|address| usize::from_str_radix(address, 16).unwrap());
            (start..end).contains(&gate.address)
        });
        here.unwrap().contains(" rw-p ")
    }

    #[test]
    fn a_run_is_cut_off_once_and_not_after_its_end() {
        let (runner, window) = (Runner::new().unwrap(), window());
        let (watched, gate) = (runner.watched(), window.gate());
        assert_eq!(watched.running(), None);
        let mut seen = None;
        assert!(!run(&runner, &gate, || seen = watched.running()));
        let first: Run = seen.unwrap();
        assert_eq!((first.allowed, watched.begun()), (ALLOWED, 1));
        assert!(!watched.cut_off(first).unwrap(), "it has ended");
        assert!(is_open(&gate));
        let closed = run(&runner, &gate, || {
            assert!(!watched.cut_off(first).unwrap(), "another one runs");
            let second = watched.running().unwrap();
            assert!(watched.cut_off(second).unwrap());
            assert!(!is_open(&gate));
            assert!(!watched.cut_off(second).unwrap(), "it was cut off");
            assert_eq!(watched.running(), None);
        });
        assert!(closed && is_open(&gate));
        assert!(!run(&runner, &gate, || ()), "the next one was not");
        assert_eq!(watched.begun(), 3);
    }

    #[test]
    fn work_that_unwinds_has_ended() {
        let (runner, window) = (Runner::new().unwrap(), window());
        let (watched, gate) = (runner.watched(), window.gate());
        let work = || {
            run(&runner, &gate, || {
                watched.cut_off(watched.running().unwrap()).unwrap();
                panic!("as the test wants");
            })
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_err();
        assert!(watched.running().is_none() && is_open(&gate));
        assert!(!run(&runner, &gate, || ()));
        drop(runner);
        assert!(watched.is_gone());
    }

    #[test]
    fn the_time_is_that_of_the_thread() {
        let runner = Runner::new().unwrap();
        let watched = runner.watched();
        let before = watched.used().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        // Another thread reads it.
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(watched.used().unwrap() >= before));
        });
        while watched.used().unwrap() == before {
            assert!(Instant::now() < deadline, "the clock stands");
        }
    }

    /// Runs that last no longer than it takes to cut one off: whichever comes first, both say the same, and
    /// the gate is open.
    #[test]
    fn the_end_and_the_watcher_at_once() {
        const RUNS: u64 = 50_000;
        let (runner, window) = (Runner::new().unwrap(), window());
        let (watched, gate) = (runner.watched(), window.gate());
        let (done, cut_off) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    if let Some(run) = watched.running() {
                        cut_off.fetch_add(u64::from(watched.cut_off(run).unwrap()), Ordering::Relaxed);
                    }
                }
            });
            let mut closed = 0;
            for number in 0..RUNS {
                let spin = || (0..number % 64).for_each(|_| std::hint::spin_loop());
                closed += u64::from(run(&runner, &gate, spin));
                // A fault, if it is closed.
                window.set_word(0, window.word(0) + 1);
            }
            done.store(true, Ordering::Relaxed);
            watcher.join().unwrap();
            assert_eq!(closed, cut_off.load(Ordering::Relaxed));
        });
        assert_eq!((watched.begun(), window.word(0)), (RUNS, RUNS as i64));
    }
}
