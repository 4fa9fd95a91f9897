//! Work that another thread can tell to stop when it has used too much of its processor's time.
//!
//! A thread runs work by its [`Runner`], with a word that the work looks at now and then. A watcher reads the processor
//! time of that thread by the [`Watched`] half, and writes [`STOP`] to the word of a run that it names; to obey is the work's part.
//! Beginning and ending take no lock and no system call.
//!
//! A run is told to stop at most once, and never after its end, so that a word can serve the next run at once. The
//! state of the runner is the whole protocol, and the watcher touches the word in one of its phases only, which `run` waits out:
//!
//! ```text
//! resting ──run──► running ──watcher──► telling ──watcher──► told ──run──► resting
//!                     └───────────────────run───────────────────────────────┘
//! ```

use std::io;
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

/// What is in the word of a run that shall stop: more than any other value.
pub const STOP: i64 = i64::MAX;

/// The phase is in the lowest bits of the state, and the number of the run above.
const PHASES: u64 = 0b11;
const RESTING: u64 = 0;
const RUNNING: u64 = 1;
const TELLING: u64 = 2;
const TOLD: u64 = 3;

#[derive(Debug)]
struct Shared {
    state: AtomicU64,
    word: AtomicPtr<AtomicI64>,
    allowed_ns: AtomicU64,
    clock: libc::clockid_t,
}

/// The half of the thread that works. It stays on that thread.
#[derive(Debug)]
pub struct Runner {
    shared: Arc<Shared>,
    stays: PhantomData<*const ()>,
}

/// The half of whoever watches it.
#[derive(Clone, Debug)]
pub struct Watched(Arc<Shared>);

/// One run of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
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
    pub fn new() -> io::Result<Self> {
        let mut clock = 0;
        // SAFETY: the calling thread lives, and the clock's identifier is written to a local variable.
        let error = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let (state, word, allowed_ns) =
            (AtomicU64::new(RESTING), AtomicPtr::new(null_mut()), AtomicU64::new(0));
        Ok(Self { shared: Arc::new(Shared { state, word, allowed_ns, clock }), stays: PhantomData })
    }

    /// The other half.
    #[must_use]
    pub fn watched(&self) -> Watched {
        Watched(Arc::clone(&self.shared))
    }

    /// Does the work, which may use so much processor time, and says whether it was told to stop by `word`. That it
    /// began is seen by every thread that looks after `begun` was called.
    ///
    /// # Panics
    /// If the runner is running already.
    pub fn run<R>(
        &self,
        word: &AtomicI64,
        allowed: Duration,
        begun: impl FnOnce(),
        work: impl FnOnce() -> R,
    ) -> (R, bool) {
        let shared = &*self.shared;
        let before = shared.state.load(Ordering::Relaxed);
        assert_eq!(before & PHASES, RESTING, "a thread does one thing at a time");
        shared.word.store(std::ptr::from_ref(word).cast_mut(), Ordering::Relaxed);
        let allowed = u64::try_from(allowed.as_nanos()).unwrap_or(u64::MAX);
        shared.allowed_ns.store(allowed, Ordering::Relaxed);
        // An exchange, so that it is ordered before what `begun` reads as well.
        shared.state.swap((before | PHASES) + 1 + RUNNING, Ordering::SeqCst);
        let ending = Ending(shared);
        begun();
        let result = work();
        let told = ending.end();
        std::mem::forget(ending);
        (result, told)
    }
}

impl Ending<'_> {
    /// Whether it was told to stop.
    fn end(&self) -> bool {
        let state = &self.0.state;
        let running = state.load(Ordering::Relaxed) & !PHASES | RUNNING;
        let rest = running & !PHASES | RESTING;
        if state.compare_exchange(running, rest, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return false;
        }
        // Between the watcher's two writes.
        while state.load(Ordering::Acquire) & PHASES == TELLING {
            std::thread::yield_now();
        }
        state.store(rest, Ordering::Release);
        true
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl Watched {
    /// The run that is under way and was not told to stop.
    #[must_use]
    pub fn running(&self) -> Option<Run> {
        let state = self.0.state.load(Ordering::SeqCst);
        let allowed = Duration::from_nanos(self.0.allowed_ns.load(Ordering::Relaxed));
        (state & PHASES == RUNNING).then_some(Run { state, allowed })
    }

    /// Runs that were begun.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.0.state.load(Ordering::SeqCst) >> PHASES.count_ones()
    }

    /// Processor time that the runner's thread has used.
    ///
    /// # Errors
    /// What the system says, as when the thread has ended.
    pub fn used(&self) -> io::Result<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the time is written to a local variable.
        if unsafe { libc::clock_gettime(self.0.clock, &raw mut time) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    /// Whether the runner is gone, with its thread.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Tells a run to stop; `false` if it has ended or was told already.
    pub fn stop(&self, run: Run) -> bool {
        let shared = &*self.0;
        let telling = run.state & !PHASES | TELLING;
        if shared.state.compare_exchange(run.state, telling, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        let word = shared.word.load(Ordering::Relaxed);
        // SAFETY: the word was put there before the state became that of this run, and `run`, which borrows it, does
        // not return while the state is `TELLING`.
        unsafe { (*word).store(STOP, Ordering::Release) };
        shared.state.store(run.state & !PHASES | TOLD, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use super::{Run, Runner, STOP};

    const ALLOWED: Duration = Duration::from_millis(10);

    fn run(runner: &Runner, word: &AtomicI64, work: impl FnOnce()) -> bool {
        runner.run(word, ALLOWED, || (), work).1
    }

    #[test]
    fn a_run_is_told_once_and_not_after_its_end() {
        let (runner, word) = (Runner::new().unwrap(), AtomicI64::new(0));
        let watched = runner.watched();
        assert_eq!(watched.running(), None);
        let mut seen = None;
        assert!(!run(&runner, &word, || seen = watched.running()));
        let first: Run = seen.unwrap();
        assert_eq!((first.allowed, watched.begun()), (ALLOWED, 1));
        assert!(!watched.stop(first), "it has ended");
        assert_eq!(word.load(Ordering::Relaxed), 0);
        let told = run(&runner, &word, || {
            assert!(!watched.stop(first), "another one runs");
            let second = watched.running().unwrap();
            assert!(watched.stop(second));
            assert_eq!(word.load(Ordering::Relaxed), STOP);
            assert!(!watched.stop(second), "it was told");
            assert_eq!(watched.running(), None);
        });
        assert!(told);
        assert!(!run(&runner, &word, || ()), "the next one was not");
        assert_eq!(watched.begun(), 3);
    }

    #[test]
    fn work_that_unwinds_has_ended() {
        let (runner, word) = (Runner::new().unwrap(), AtomicI64::new(0));
        let watched = runner.watched();
        let work = || run(&runner, &word, || panic!("as the test wants"));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_err();
        assert_eq!(watched.running(), None);
        assert!(!run(&runner, &word, || ()));
        drop(runner);
        assert!(watched.is_gone());
    }

    #[test]
    fn the_time_is_that_of_the_thread() {
        let runner = Runner::new().unwrap();
        let watched = runner.watched();
        let before = watched.used().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        std::thread::scope(|scope| {
            // Another thread reads it, and this one's own time does not count.
            scope.spawn(|| assert!(watched.used().unwrap() >= before));
        });
        while watched.used().unwrap() == before {
            assert!(Instant::now() < deadline, "the clock stands");
        }
    }

    /// Runs that last no longer than it takes to stop one: each word that is `STOP` belongs to a run that was told so.
    #[test]
    fn the_end_and_the_watcher_at_once() {
        const RUNS: u64 = 200_000;
        let runner = Runner::new().unwrap();
        let watched = runner.watched();
        let (done, told) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    if let Some(run) = watched.running() {
                        told.fetch_add(u64::from(watched.stop(run)), Ordering::Relaxed);
                    }
                }
            });
            let mut stopped = 0;
            for number in 0..RUNS {
                let word = Box::new(AtomicI64::new(0));
                let spin = || (0..number % 64).for_each(|_| std::hint::spin_loop());
                let was_told = run(&runner, &word, spin);
                assert_eq!(word.load(Ordering::Relaxed) == STOP, was_told, "run {number}");
                stopped += u64::from(was_told);
            }
            done.store(true, Ordering::Relaxed);
            watcher.join().unwrap();
            assert_eq!(stopped, told.load(Ordering::Relaxed));
        });
        assert_eq!(watched.begun(), RUNS);
    }
}
