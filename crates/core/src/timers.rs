//! Timers that run by the processor time of a program on several nodes, as timer_settime(2) and setitimer(2)
//! have them: what calls about them return, and which signals are due. The readings of clocks come in as
//! values.
//!
//! Not for clocks that are the same wherever one looks: those timers are the kernel's.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use linux_raw_sys::errno::EINVAL;
use linux_raw_sys::general as linux;
use linux_raw_sys::general::{
    CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, ITIMER_PROF, ITIMER_VIRTUAL, SIGALRM, SIGEV_NONE,
    SIGEV_THREAD_ID, SIGPROF, SIGVTALRM, TIMER_ABSTIME,
};

const NANOSECONDS: u64 = 1_000_000_000;
/// Nanoseconds of a `struct timeval`'s parts.
const MICROSECOND: u64 = 1000;
/// `INT_MAX`, which a count does not exceed.
const OVERRUNS_MAX: u64 = i32::MAX as u64;
/// `SI_TIMER`: where a signal says that it comes from. One of setitimer(2) would say `SI_KERNEL`, which the
/// kernel lets no thread say but the first.
pub const SI_TIMER: u64 = -2_i32 as u32 as u64;

/// What a signal says that comes from no timer with a number.
pub const NO_NUMBER: u64 = u32::MAX as u64;

/// What a timer runs by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clock {
    /// A thread's id at home; 0 for the process.
    pub of: u32,
    /// What of its processor time.
    pub counts: Counts,
}

/// What of the processor time a clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counts {
    /// That of the program's code, and the kernel's for it.
    All,
    /// That of the program's code.
    User,
}

/// A signal that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The thread that gets it, or `None` for the process.
    pub to: Option<u32>,
    /// How its `siginfo_t` begins.
    pub information: [u64; 4],
}

/// Which timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// One of setitimer(2).
    Interval(u32),
    /// One of timer_create(2).
    Numbered(u32),
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    clock: Clock,
    due: Option<Due>,
    interval: u64,
    /// The reading of the clock at which it is due, while it runs; while its signal waits, at which it was.
    until: Option<u64>,
    /// Its signal was raised and, as far as is known, not taken: until then it is not raised again.
    waiting: Option<Waiting>,
    /// Signals that were due.
    signals: u64,
    /// How often it was due while the signal waited that was taken last.
    overruns: u64,
    /// That signal was seen to be gone, and who took it has not told so: it has not got that far, or never
    /// tells (sigwaitinfo(2)).
    is_untold: bool,
}

impl Timer {
    const fn new(clock: Clock, due: Option<Due>) -> Self {
        Self {
            clock,
            due,
            interval: 0,
            until: None,
            waiting: None,
            signals: 0,
            overruns: 0,
            is_untold: false,
        }
    }

    /// How often it was due again since `until`.
    fn missed(&self, until: u64, now: u64) -> u64 {
        now.saturating_sub(until).checked_div(self.interval).unwrap_or(0)
    }

    /// The reading at which it is due next.
    fn next(&self, now: u64) -> Option<u64> {
        let until = self.until?;
        match self.waiting {
            None => Some(until),
            Some(_) => Some(self.after(until, self.missed(until, now))),
        }
    }

    /// The signal that waits was taken at this reading of the clock, or before: what was missed until now
    /// counts, and the timer goes on.
    fn take(&mut self, now: u64) {
        self.waiting = None;
        if let Some(until) = self.until {
            self.overruns = self.missed(until, now);
            self.until = Some(self.after(until, self.overruns));
        }
    }

    /// The reading at which it is due after a number of missed expirations.
    fn after(&self, until: u64, missed: u64) -> u64 {
        until.saturating_add(self.interval.saturating_mul(missed.saturating_add(1)))
    }
}

/// What was seen of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It waits to be taken, or another one of its number does.
    Waiting,
    /// It does not wait any more.
    Gone,
}

/// The signal of a timer with a number that comes again and again, which was raised and waits to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The timer's number.
    pub timer: u32,
    /// The signal's.
    pub signal: u64,
    /// The thread that gets it, or `None` for the process.
    pub to: Option<u32>,
    /// Its number among the timer's signals.
    serial: u64,
}

/// A call about a timer, as the program makes it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Number of the call.
    pub number: u32,
    /// The timer's number; of one of setitimer(2) its number there.
    pub timer: u32,
    /// The calling thread's id at home.
    pub thread: u32,
    /// The process's id.
    pub process: u32,
    /// Of timer_create(2): the clock.
    pub clock: u32,
    /// The second and the third argument.
    pub arguments: [u64; 2],
    /// What lies where the call reads.
    pub read: [u64; 4],
}

/// What a call returns: a negated errno or 0, and what it writes.
pub type Answer = (i64, [u64; 4]);

/// All timers of one program.
#[derive(Clone, Debug, Default)]
pub struct Timers(BTreeMap<Key, Timer>);

impl Timers {
    /// The clock of the timer that a call is about, if it is one of these: the call needs its reading.
    #[must_use]
    pub fn clock(&self, call: &Call) -> Option<Clock> {
        match call.number {
            linux::__NR_timer_create => clock(call),
            _ => Some(self.0.get(&key(call)).copied().or_else(|| interval_timer(key(call)))?.clock),
        }
    }

    /// Makes a call about a timer of which [`Self::clock`] has told the clock, which now reads `now`.
    pub fn call(&mut self, call: &Call, clock: Clock, now: u64) -> Answer {
        let key = key(call);
        if call.number == linux::__NR_timer_create {
            self.0.insert(key, Timer::new(clock, due(call)));
            return (0, [0; 4]);
        }
        let Some(mut timer) = self.0.get(&key).copied().or_else(|| interval_timer(key)) else {
            return (-i64::from(EINVAL), [0; 4]);
        };
        let part = if matches!(key, Key::Interval(_)) { MICROSECOND } else { 1 };
        let left = timer.next(now).map_or(0, |until| until.saturating_sub(now).max(part));
        let pair = |time: u64| [time / NANOSECONDS, time % NANOSECONDS / part];
        let ([a, b], [c, d]) = (pair(timer.interval), pair(left));
        match call.number {
            linux::__NR_timer_delete => {
                self.0.remove(&key);
            }
            linux::__NR_timer_getoverrun => return (timer.overruns.min(OVERRUNS_MAX) as i64, [0; 4]),
            linux::__NR_setitimer | linux::__NR_timer_settime => {
                let [every, every_parts, first, first_parts] = call.read;
                let missing = call.number == linux::__NR_timer_settime && call.arguments[1] == 0;
                let (Some(interval), Some(first), false) =
                    (time(every, every_parts, part), time(first, first_parts, part), missing)
                else {
                    return (-i64::from(EINVAL), [0; 4]);
                };
                let absolute =
                    call.number == linux::__NR_timer_settime && call.arguments[0] as u32 & TIMER_ABSTIME != 0;
                timer = Timer { interval, ..Timer::new(clock, timer.due) };
                timer.until = match first {
                    0 => None,
                    _ if absolute => Some(first),
                    _ => Some(now.saturating_add(first)),
                };
                self.0.insert(key, timer);
            }
            _ => {}
        }
        (0, [a, b, c, d])
    }

    /// The clocks by which a timer runs.
    #[must_use]
    pub fn running(&self) -> BTreeSet<Clock> {
        self.0.values().filter(|timer| timer.until.is_some()).map(|timer| timer.clock).collect()
    }

    /// The signals that are due when a clock reads `now`. They are to be raised before anything else is asked
    /// of the timers: what waits can be seen to wait.
    pub fn due(&mut self, clock: Clock, now: u64) -> Vec<Due> {
        let mut all = Vec::new();
        for (key, timer) in self.0.iter_mut().filter(|(_, timer)| timer.clock == clock) {
            let until = timer.until.filter(|&until| until <= now && timer.waiting.is_none());
            let Some(until) = until else { continue };
            all.extend(timer.due);
            match (key, timer.due) {
                _ if timer.interval == 0 => timer.until = None,
                (&Key::Numbered(number), Some(due)) => {
                    timer.signals += 1;
                    let (signal, serial) = (due.information[0], timer.signals);
                    timer.waiting = Some(Waiting { timer: number, signal, to: due.to, serial });
                }
                // What was missed is not made up for.
                _ => timer.until = Some(timer.after(until, timer.missed(until, now))),
            }
        }
        all
    }

    /// A signal that was due was raised, and this thread got it.
    pub fn raised(&mut self, due: &Due, to: Option<u32>) {
        let timer = self.0.get_mut(&Key::Numbered(due.information[2] as u32));
        if let Some(waiting) = timer.and_then(|timer| timer.waiting.as_mut()) {
            waiting.to = to;
        }
    }

    /// The signals of a clock's timers that were raised and not, as far as is known, taken.
    pub fn waiting(&self, clock: Clock) -> impl Iterator<Item = Waiting> + '_ {
        self.0.values().filter(move |timer| timer.clock == clock).filter_map(|timer| timer.waiting)
    }

    /// The signal that waits of the timer that a call is about.
    #[must_use]
    pub fn waiting_of(&self, call: &Call) -> Option<Waiting> {
        self.0.get(&key(call))?.waiting
    }

    /// A signal that waited was seen to be gone, at this reading of the clock. It may be told of already.
    pub fn gone(&mut self, signal: &Waiting, now: u64) {
        let Some(timer) = self.0.get_mut(&Key::Numbered(signal.timer)) else { return };
        if timer.waiting.is_some_and(|waiting| waiting.serial == signal.serial) {
            timer.is_untold = true;
            timer.take(now);
        }
    }

    /// A timer's signal was taken at this reading of the clock, says who took it to handle it. `seen` is the
    /// signal that waited before that was heard, and what was seen of it.
    ///
    /// If one was seen to be gone and not told of, this may be that one. It is not if the next one has been
    /// taken, too: then the one before was taken by who does not tell.
    pub fn told(&mut self, number: u32, seen: Option<(Waiting, Seen)>, now: u64) {
        let Some(timer) = self.0.get_mut(&Key::Numbered(number)) else { return };
        let Some(waiting) = timer.waiting else {
            timer.is_untold = false;
            return;
        };
        let is_gone =
            seen.is_some_and(|(signal, seen)| seen == Seen::Gone && signal.serial == waiting.serial);
        let was_untold = core::mem::replace(&mut timer.is_untold, false);
        if !was_untold || is_gone {
            timer.take(now);
        }
    }

    /// How long it is until the next signal by a clock that reads `now`.
    #[must_use]
    pub fn left(&self, clock: Clock, now: u64) -> Option<u64> {
        let timers = self.0.values().filter(|timer| timer.clock == clock);
        let untils = timers.filter_map(|timer| timer.next(now));
        untils.min().map(|until| until.saturating_sub(now))
    }
}

fn key(call: &Call) -> Key {
    match call.number {
        linux::__NR_setitimer | linux::__NR_getitimer => Key::Interval(call.timer),
        _ => Key::Numbered(call.timer),
    }
}

/// One of setitimer(2) that was never set.
fn interval_timer(key: Key) -> Option<Timer> {
    let (signal, counts) = match key {
        Key::Interval(ITIMER_PROF) => (SIGPROF, Counts::All),
        Key::Interval(ITIMER_VIRTUAL) => (SIGVTALRM, Counts::User),
        Key::Interval(_) | Key::Numbered(_) => return None,
    };
    let due = Some(Due { to: None, information: [signal.into(), SI_TIMER, NO_NUMBER, 0] });
    Some(Timer::new(Clock { of: 0, counts }, due))
}

/// The clock of a new timer, if it is one of this program's processor time. The kernel has checked that it
/// exists.
fn clock(call: &Call) -> Option<Clock> {
    // `CPUCLOCK_PERTHREAD_MASK`, `CPUCLOCK_CLOCK_MASK`, and of the latter `CPUCLOCK_VIRT` and `CLOCKFD`.
    const OF_THREAD: u32 = 4;
    const KIND: u32 = 3;
    const USER: u32 = 1;
    const OF_DESCRIPTOR: u32 = 3;
    let (of, counts) = match call.clock {
        CLOCK_PROCESS_CPUTIME_ID => (0, Counts::All),
        CLOCK_THREAD_CPUTIME_ID => (call.thread, Counts::All),
        clock if (clock as i32) >= 0 || clock & KIND == OF_DESCRIPTOR => return None,
        clock => {
            let id = !(clock as i32 >> 3) as u32;
            let counts = if clock & KIND == USER { Counts::User } else { Counts::All };
            match (clock & OF_THREAD != 0, id) {
                (true, 0) => (call.thread, counts),
                (true, id) => (id, counts),
                (false, id) if id == 0 || id == call.process => (0, counts),
                (false, _) => return None,
            }
        }
    };
    Some(Clock { of, counts })
}

/// What a timer that `call` makes does when it is due, from the beginning of a `struct sigevent`.
fn due(call: &Call) -> Option<Due> {
    let (mut value, mut signal, mut to) = (u64::from(call.timer), SIGALRM, None);
    if call.arguments[0] != 0 {
        let [own, how, thread, _] = call.read;
        (value, signal) = (own, how as u32);
        match (how >> 32) as u32 {
            SIGEV_NONE => return None,
            SIGEV_THREAD_ID => to = Some(thread as u32),
            _ => {}
        }
    }
    // si_signo, si_code, si_timerid, si_value.
    let information = [signal.into(), SI_TIMER, call.timer.into(), value];
    Some(Due { to, information })
}

/// A time in nanoseconds, if it is one.
fn time(seconds: u64, parts: u64, part: u64) -> Option<u64> {
    let parts = parts.checked_mul(part).filter(|&parts| parts < NANOSECONDS)?;
    ((seconds as i64) >= 0).then(|| seconds.saturating_mul(NANOSECONDS).saturating_add(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREAD: u32 = 71;
    const PROCESS: u32 = 70;

    fn call(number: u32, timer: u32, arguments: [u64; 2], read: [u64; 4]) -> Call {
        Call { number, timer, thread: THREAD, process: PROCESS, clock: timer, arguments, read }
    }

    fn make(timers: &mut Timers, call: &Call, now: u64) -> Answer {
        let clock = timers.clock(call).expect("a timer of these");
        timers.call(call, clock, now)
    }

    #[test]
    fn a_profiling_timer_comes_again_and_what_was_missed_does_not() {
        let mut timers = Timers::default();
        let set = call(linux::__NR_setitimer, ITIMER_PROF, [1, 0], [0, 10_000, 0, 20_000]);
        assert_eq!(make(&mut timers, &set, 5_000_000), (0, [0; 4]));
        let clock = Clock { of: 0, counts: Counts::All };
        assert_eq!(timers.running().into_iter().collect::<Vec<_>>(), [clock]);
        assert_eq!(timers.left(clock, 5_000_000), Some(20_000_000));
        assert!(timers.due(clock, 24_999_999).is_empty());
        let due = timers.due(clock, 25_000_000);
        assert_eq!((due[0].to, due[0].information), (None, [u64::from(SIGPROF), SI_TIMER, NO_NUMBER, 0]));
        assert_eq!(timers.left(clock, 25_000_000), Some(10_000_000));
        // Two were missed; one signal comes, and the next at its time.
        assert_eq!(timers.due(clock, 57_000_000).len(), 1);
        assert_eq!(timers.left(clock, 57_000_000), Some(8_000_000));
        let get = call(linux::__NR_getitimer, ITIMER_PROF, [1, 0], [0; 4]);
        assert_eq!(make(&mut timers, &get, 57_000_000), (0, [0, 10_000, 0, 8_000]));
        // No new value has it stand still.
        let stop = call(linux::__NR_setitimer, ITIMER_PROF, [0, 0], [0; 4]);
        assert_eq!(make(&mut timers, &stop, 57_000_000), (0, [0, 10_000, 0, 8_000]));
        assert!(timers.running().is_empty() && timers.due(clock, u64::MAX).is_empty());
    }

    #[test]
    fn other_timers_are_the_kernels() {
        let timers = Timers::default();
        assert!(timers.clock(&call(linux::__NR_setitimer, linux::ITIMER_REAL, [1, 0], [0; 4])).is_none());
        assert!(timers.clock(&call(linux::__NR_timer_settime, 3, [0, 1], [0; 4])).is_none());
        for (clock, expected) in [
            (linux::CLOCK_MONOTONIC, None),
            (CLOCK_PROCESS_CPUTIME_ID, Some((0, Counts::All))),
            (CLOCK_THREAD_CPUTIME_ID, Some((THREAD, Counts::All))),
            (!PROCESS << 3 | 2, Some((0, Counts::All))),
            (!PROCESS << 3 | 1, Some((0, Counts::User))),
            (!(PROCESS + 9) << 3 | 2, None),
            (!(THREAD + 1) << 3 | 4 | 2, Some((THREAD + 1, Counts::All))),
            (!0 << 3 | 4 | 2, Some((THREAD, Counts::All))),
            (!5 << 3 | 3, None),
        ] {
            let found = timers.clock(&call(linux::__NR_timer_create, clock, [0, 1], [0; 4]));
            assert_eq!(found, expected.map(|(of, counts)| Clock { of, counts }), "{clock:#x}");
        }
    }

    #[test]
    fn a_timer_with_a_number_tells_what_it_was_made_with() {
        let mut timers = Timers::default();
        let event = [7, u64::from(linux::SIGUSR1) | u64::from(SIGEV_THREAD_ID) << 32, 72, 0];
        let create =
            Call { clock: CLOCK_THREAD_CPUTIME_ID, ..call(linux::__NR_timer_create, 3, [1, 1], event) };
        assert_eq!(make(&mut timers, &create, 0), (0, [0; 4]));
        let own = Clock { of: THREAD, counts: Counts::All };
        let set = |flags, read| call(linux::__NR_timer_settime, 3, [flags, 1], read);
        assert_eq!(make(&mut timers, &set(1, [0, 0, 0, 500]), 400), (0, [0; 4]));
        assert_eq!(timers.left(own, 400), Some(100));
        let due = timers.due(own, 500);
        assert_eq!((due[0].to, due[0].information[3]), (Some(72), 7));
        assert_eq!((due[0].information[1], due[0].information[2]), (SI_TIMER, 3));
        assert!(timers.running().is_empty(), "it came once");
        // What is no time is refused, and changes nothing.
        for read in [[0, NANOSECONDS, 0, 1], [0, 0, u64::MAX, 0]] {
            assert_eq!(make(&mut timers, &set(0, read), 0).0, -i64::from(EINVAL));
        }
        assert_eq!(
            make(&mut timers, &call(linux::__NR_timer_settime, 3, [0, 0], [0; 4]), 0).0,
            -i64::from(EINVAL)
        );
        assert!(timers.running().is_empty());
        assert_eq!(make(&mut timers, &call(linux::__NR_timer_delete, 3, [0, 0], [0; 4]), 0), (0, [0; 4]));
        assert!(timers.clock(&set(0, [0; 4])).is_none());
    }

    #[test]
    fn a_timer_counts_how_often_it_was_due_while_its_signal_waited() {
        let mut timers = Timers::default();
        let event = [5, u64::from(linux::SIGUSR1), 0, 0];
        let create =
            Call { clock: CLOCK_PROCESS_CPUTIME_ID, ..call(linux::__NR_timer_create, 6, [1, 1], event) };
        let set = |every| call(linux::__NR_timer_settime, 6, [0, 1], [0, every, 0, 10]);
        let [get, count] = [linux::__NR_timer_gettime, linux::__NR_timer_getoverrun]
            .map(|number| call(number, 6, [1, 0], [0; 4]));
        let clock = Clock { of: 0, counts: Counts::All };
        let _ = (make(&mut timers, &create, 0), make(&mut timers, &set(10), 0));
        let due = timers.due(clock, 12);
        timers.raised(&due[0], Some(THREAD));
        let waiting = Waiting { timer: 6, signal: linux::SIGUSR1.into(), to: Some(THREAD), serial: 1 };
        assert_eq!(timers.waiting(clock).collect::<Vec<_>>(), [waiting]);
        assert_eq!(timers.waiting_of(&count), Some(waiting));
        // It is not raised again, and what is left is the time to the next period.
        assert!(timers.due(clock, 35).is_empty());
        assert_eq!((timers.left(clock, 35), make(&mut timers, &get, 35)), (Some(5), (0, [0, 10, 0, 5])));
        assert_eq!(make(&mut timers, &count, 35), (0, [0; 4]), "nothing was taken yet");
        timers.told(6, Some((waiting, Seen::Gone)), 47);
        assert_eq!(make(&mut timers, &count, 48), (3, [0; 4]), "due at 20, 30 and 40");
        assert_eq!((timers.waiting_of(&count), timers.left(clock, 48)), (None, Some(2)));
        // Twice taken is taken once.
        timers.told(6, None, 90);
        timers.gone(&waiting, 90);
        assert_eq!(timers.left(clock, 48), Some(2));
        assert_eq!((timers.due(clock, 50).len(), make(&mut timers, &count, 50)), (1, (3, [0; 4])));
        // Set anew it has missed nothing, and a signal that comes once does not hold it.
        let _ = (make(&mut timers, &set(0), 99), timers.due(clock, 109));
        assert_eq!((timers.waiting_of(&count), make(&mut timers, &count, 200)), (None, (0, [0; 4])));
        let _ = (make(&mut timers, &set(1), 200), timers.due(clock, 210));
        timers.told(6, None, u64::MAX);
        assert_eq!(make(&mut timers, &count, u64::MAX).0, i64::from(i32::MAX));
    }

    #[test]
    fn a_timer_that_tells_nobody_runs() {
        let mut timers = Timers::default();
        let event = [0, u64::from(SIGEV_NONE) << 32, 0, 0];
        let create =
            Call { clock: CLOCK_PROCESS_CPUTIME_ID, ..call(linux::__NR_timer_create, 4, [1, 1], event) };
        let _ = make(&mut timers, &create, 0);
        let _ = make(&mut timers, &call(linux::__NR_timer_settime, 4, [0, 1], [0, 9, 0, 9]), 0);
        let clock = Clock { of: 0, counts: Counts::All };
        assert!(timers.due(clock, 10).is_empty());
        assert_eq!(timers.left(clock, 10), Some(8));
    }
}
