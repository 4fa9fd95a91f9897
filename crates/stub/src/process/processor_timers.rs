//! Timers on processor time, for a process with threads on other nodes. They are the home kernel's, which
//! counts what is used at home; what is used elsewhere is brought to them here: an alarm has the service
//! thread ask for it while one of them runs, and a timer that is over thereby is made to be over.
//!
//! Not here: sleeping on such a clock, and `RLIMIT_CPU`. Both go by what is used at home.
//!
//! Locks: `LOCK` is held while the daemon is asked, which never waits for the service thread meanwhile.

use super::processor_time::{self, Subject};
use crate::daemon::settings::SETTINGS;
use crate::kernel;
use crate::lock::Lock;
use crate::memory::copy::{self, ProgramAddress};
use crate::process::descriptors;
use crate::thread::Thread;
use core::sync::atomic::{AtomicU64, Ordering};
use linux_raw_sys::general as linux;

const NANOSECONDS: u64 = 1_000_000_000;
const MICROSECONDS: u64 = 1_000_000;
/// Timers of `timer_create` that are followed. More than these go by what is used at home.
const CREATED_MAX: usize = 64;
/// The shortest and the longest time between two looks, in nanoseconds: a tick of the kernel's, which lets
/// timers on processor time be late by as much, and what a person does not notice.
const PAUSE: [u64; 2] = [4_000_000, 100_000_000];
/// How many processors may use time for one timer, for all that is known.
const PROCESSORS: u64 = 64;

static LOCK: Lock = Lock::new();
/// `ITIMER_VIRTUAL` and `ITIMER_PROF`.
static INTERVAL_TIMERS: [Timer; 2] = [const { Timer::new() }; 2];
static CREATED: [Timer; CREATED_MAX] = [const { Timer::new() }; CREATED_MAX];

/// A timer that is followed. Changed with the lock only.
struct Timer {
    /// 0, or its number and 1: `ITIMER_`, or the kernel's id.
    number: AtomicU64,
    /// The kernel's clock that it runs by.
    clock: AtomicU64,
    /// What had been used elsewhere when that was looked at last, in nanoseconds.
    seen: AtomicU64,
    /// What was used elsewhere while it ran, and is not yet counted.
    owed: AtomicU64,
}

/// Time that is left, and the time between two expirations, in nanoseconds. Nothing is left of a timer that
/// does not run.
#[derive(Clone, Copy)]
struct Setting {
    left: u64,
    interval: u64,
}

/// From when on what is used elsewhere counts for a timer.
#[derive(Clone, Copy)]
enum Since {
    /// From now on.
    Now,
    /// From the beginning: it is over when the clock, which counts all of it, says so.
    Always,
}

/// Makes a call about a timer, and notes what it starts.
pub fn call(thread: &Thread, number: u32, arguments: &[u64; 6]) -> i64 {
    let _guard = LOCK.lock();
    // SAFETY: the program's own call.
    let result = unsafe { kernel::raw(number, *arguments) };
    if result < 0 {
        return result;
    }
    match number {
        linux::__NR_setitimer => {
            let clock = match arguments[0] as u32 {
                linux::ITIMER_VIRTUAL => clock_of(kernel::process_id(), processor_time::CLOCK_OF_USER),
                linux::ITIMER_PROF => clock_of(kernel::process_id(), processor_time::CLOCK_OF_BOTH),
                _ => return result,
            };
            let timer = &INTERVAL_TIMERS[arguments[0] as usize - 1];
            timer.enter(arguments[0], clock);
            timer.start(Since::Now);
        }
        linux::__NR_timer_create => {
            let clock = match processor_time::subject_of_clock(arguments[0] as i32) {
                Subject::Caller => clock_of(
                    thread.thread_id.load(Ordering::Relaxed),
                    processor_time::CLOCK_OF_ALL | processor_time::CLOCK_OF_THREAD,
                ),
                Subject::Process => clock_of(kernel::process_id(), arguments[0] as i32 & 3),
                Subject::Thread(_) => arguments[0],
                Subject::Other => return result,
            };
            if let Ok(id) = copy::load::<u32>(ProgramAddress(arguments[2]))
                && let Some(free) = CREATED.iter().find(|timer| timer.is_free())
            {
                free.enter(id.into(), clock);
            }
        }
        linux::__NR_timer_settime => {
            if let Some(timer) = created(arguments[0]) {
                let absolute = arguments[1] & u64::from(linux::TIMER_ABSTIME) != 0;
                timer.start(if absolute { Since::Always } else { Since::Now });
            }
        }
        linux::__NR_timer_gettime => {
            if let Some(timer) = created(arguments[0]) {
                timer.show(ProgramAddress(arguments[1]));
            }
        }
        linux::__NR_timer_delete => {
            if let Some(timer) = created(arguments[0]) {
                timer.number.store(0, Ordering::Relaxed);
            }
        }
        _ => {}
    }
    result
}

/// The kernel's clock of a kind, of a thread or a process.
fn clock_of(id: u32, kind: i32) -> u64 {
    (!(id as i32) << 3 | kind) as u64
}

fn created(id: u64) -> Option<&'static Timer> {
    CREATED.iter().find(|timer| timer.number.load(Ordering::Relaxed) == u64::from(id as u32) + 1)
}

/// Waits until the daemon says something, and meanwhile follows the timers that run.
pub fn wait_for_command(socket: i32) {
    let alarm = SETTINGS.alarm.load(Ordering::Relaxed);
    loop {
        let wanted = |descriptor| linux::pollfd { fd: descriptor, events: linux::POLLIN as i16, revents: 0 };
        let mut ready = [wanted(socket), wanted(alarm)];
        let arguments = [ready.as_mut_ptr() as u64, ready.len() as u64, 0, 0, 0, 0];
        // SAFETY: the two live across the call, which writes them.
        let waited = unsafe { kernel::checked(linux::__NR_ppoll, arguments) };
        if waited.is_ok() && ready[1].revents != 0 {
            let mut expirations = 0_u64;
            let arguments = [alarm as u64, &raw mut expirations as u64, 8, 0, 0, 0];
            // SAFETY: the count lives across the call, which writes it.
            let _ = unsafe { kernel::raw(linux::__NR_read, arguments) };
            look();
        }
        if waited.is_err() || ready[0].revents != 0 {
            return;
        }
    }
}

/// Makes the alarm. Without it timers go by what is used at home.
pub fn begin() {
    let (clock, flags) = (linux::CLOCK_MONOTONIC.into(), (linux::TFD_CLOEXEC | linux::TFD_NONBLOCK).into());
    // SAFETY: no pointers.
    if let Ok(alarm) = unsafe { kernel::checked(linux::__NR_timerfd_create, [clock, flags, 0, 0, 0, 0]) } {
        SETTINGS.alarm.store(descriptors::hide(alarm as i32), Ordering::Relaxed);
    }
}

/// Has the alarm ring once.
fn ring_after(nanoseconds: u64) {
    let time = [0, 0, 0, nanoseconds];
    let arguments = [SETTINGS.alarm.load(Ordering::Relaxed) as u64, 0, time.as_ptr() as u64, 0, 0, 0];
    // SAFETY: the time lives across the call, which reads it.
    let _ = unsafe { kernel::raw(linux::__NR_timerfd_settime, arguments) };
}

/// Looks at what was used, and rings again if a timer runs.
fn look() {
    let _guard = LOCK.lock();
    let mut of_process = None;
    let steps = INTERVAL_TIMERS.iter().chain(&CREATED).filter_map(|timer| timer.step(&mut of_process));
    if let Some(left) = steps.min() {
        ring_after((left / PROCESSORS).clamp(PAUSE[0], PAUSE[1]));
    }
}

impl Timer {
    const fn new() -> Self {
        Self {
            number: AtomicU64::new(0),
            clock: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            owed: AtomicU64::new(0),
        }
    }

    fn is_free(&self) -> bool {
        self.number.load(Ordering::Relaxed) == 0
    }

    fn enter(&self, number: u64, clock: u64) {
        self.number.store(number + 1, Ordering::Relaxed);
        self.clock.store(clock, Ordering::Relaxed);
    }

    /// What counts for it and was used elsewhere.
    fn elsewhere(&self, of_process: &mut Option<(u64, u64)>) -> Option<u64> {
        let clock = self.clock.load(Ordering::Relaxed) as i32;
        let (user, system) = match processor_time::subject_of_clock(clock) {
            Subject::Thread(id) => processor_time::of_thread(processor_time::with_id(id)?),
            _ => *of_process.get_or_insert_with(|| processor_time::elsewhere(0, 0)),
        };
        Some(if processor_time::wants_all(clock) { user + system } else { user })
    }

    /// It was set.
    fn start(&self, since: Since) {
        let seen = match since {
            Since::Now => self.elsewhere(&mut None).unwrap_or(0),
            Since::Always => 0,
        };
        self.seen.store(seen, Ordering::Relaxed);
        self.owed.store(0, Ordering::Relaxed);
        ring_after(PAUSE[0]);
    }

    /// Counts what was used since the last step. Returns what is left if it goes on.
    fn step(&self, of_process: &mut Option<(u64, u64)>) -> Option<u64> {
        let number = self.number.load(Ordering::Relaxed).checked_sub(1)?;
        let is_created = CREATED.as_ptr_range().contains(&core::ptr::from_ref(self));
        let Setting { left, interval } = setting(is_created, number)?;
        let owed = self.count(of_process)?;
        // To set `setitimer`'s anew makes it late by a tick. So one with an interval goes by what is used
        // at home, and is told once more for each interval that is used elsewhere.
        let is_extra = !is_created && interval > 0 && left <= interval;
        let due = if is_extra { interval } else { left };
        if owed < due {
            return Some(due - owed);
        }
        self.owed.store((owed - due).checked_rem(interval).unwrap_or(0), Ordering::Relaxed);
        if is_created {
            expire(number, self.clock.load(Ordering::Relaxed), interval);
        } else {
            if !is_extra {
                set_interval_timer(number, interval);
            }
            let virtual_time = number == u64::from(linux::ITIMER_VIRTUAL);
            let signal = if virtual_time { linux::SIGVTALRM } else { linux::SIGPROF };
            // SAFETY: no pointers.
            let _ = unsafe {
                kernel::raw(linux::__NR_kill, [kernel::process_id().into(), signal.into(), 0, 0, 0, 0])
            };
        }
        (interval > 0).then_some(interval)
    }

    /// Counts what was used since the last look. Returns all that is not yet counted.
    fn count(&self, of_process: &mut Option<(u64, u64)>) -> Option<u64> {
        let now = self.elsewhere(of_process)?;
        let used = now.saturating_sub(self.seen.swap(now, Ordering::Relaxed));
        Some(self.owed.fetch_add(used, Ordering::Relaxed) + used)
    }

    /// Takes what is owed from what the kernel has just told of it.
    fn show(&self, at: ProgramAddress) {
        let left = at.add(16);
        let Ok([seconds, nanoseconds]) = copy::load::<[u64; 2]>(left) else { return };
        let told = seconds * NANOSECONDS + nanoseconds;
        if told > 0 {
            // It has not expired yet.
            let told = told.saturating_sub(self.count(&mut None).unwrap_or(0)).max(1);
            let _ = copy::store(left, &[told / NANOSECONDS, told % NANOSECONDS]);
        }
    }
}

/// How a timer stands, if it runs.
fn setting(is_created: bool, number: u64) -> Option<Setting> {
    let mut words = [0_u64; 4];
    let (call, parts) = if is_created {
        (linux::__NR_timer_gettime, NANOSECONDS)
    } else {
        (linux::__NR_getitimer, MICROSECONDS)
    };
    // SAFETY: the words live across the call, which writes them.
    let told = unsafe { kernel::checked(call, [number, words.as_mut_ptr() as u64, 0, 0, 0, 0]) };
    let [interval, left] = [0, 2].map(|at| words[at] * NANOSECONDS + words[at + 1] * (NANOSECONDS / parts));
    (told.is_ok() && left > 0).then_some(Setting { left, interval })
}

/// Sets what is left to the interval; without one the timer ends.
fn set_interval_timer(which: u64, interval: u64) {
    let pair = [interval / NANOSECONDS, interval % NANOSECONDS / (NANOSECONDS / MICROSECONDS)];
    let words = [pair; 2];
    // SAFETY: the words live across the call, which reads them.
    let _ = unsafe { kernel::raw(linux::__NR_setitimer, [which, words.as_ptr() as u64, 0, 0, 0, 0]) };
}

/// Has the kernel find that a timer is over: at the time that its clock shows now.
fn expire(id: u64, clock: u64, interval: u64) {
    let mut now = [0_u64; 2];
    // SAFETY: the words live across the calls, of which the first writes two and the other reads all.
    unsafe {
        let _ = kernel::raw(linux::__NR_clock_gettime, [clock, now.as_mut_ptr() as u64, 0, 0, 0, 0]);
        let words = [[interval / NANOSECONDS, interval % NANOSECONDS], now];
        let absolute = linux::TIMER_ABSTIME.into();
        let _ = kernel::raw(linux::__NR_timer_settime, [id, absolute, words.as_ptr() as u64, 0, 0, 0]);
    }
}
