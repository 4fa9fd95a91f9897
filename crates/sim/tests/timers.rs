//! What a handler is told of the periods that its timer missed is right, whatever happens at the same time:
//! every order of the steps by which home raises a timer's signals and sees them taken, of ticks of its
//! clock, and of a program that takes signals and tells, or takes them and does not.
//!
//! `Timers` is the code that runs at home; the thread that keeps them and the program are a model of
//! `job/timers.rs` in the daemon and `process/timers.rs` in the stub.
#![forbid(unsafe_code)]

use banyan_core::timers::{Call, Clock, Counts, Due, Seen, Timers, Waiting};
use linux_raw_sys::general as linux;
use std::collections::HashSet;

const TIMER: u32 = 3;
const PERIOD: u64 = 10;
const CLOCK: Clock = Clock { of: 0, counts: Counts::All };

/// What the daemon could do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    /// The clock is read before the look at what waits.
    ReadsFirst,
    /// A signal is raised after its timer was seen to be due, and other things between.
    RaisesLater,
}

/// A look at the signal that waits, and the reading of the clock that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Nothing yet.
    Begins,
    /// What waits, as far as home knows.
    Knows(Option<Waiting>),
    /// What of it the kernel shows.
    Has(Option<(Waiting, Seen)>),
    /// And the clock's reading.
    Reads(Option<(Waiting, Seen)>, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    Looks(Look),
    /// Only with a slip.
    Raises(Due),
}

/// A signal: the reading at which it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signal {
    until: u64,
}

#[derive(Clone, Debug)]
struct State {
    timers: Timers,
    now: u64,
    ticks: u8,
    /// How often the program may take a signal without telling.
    silent: u8,
    keeper: Keeper,
    /// The signal that was due last.
    last: Option<Signal>,
    pending: Option<Signal>,
    /// A handler that tells: its signal, when it took it, and how far it has come.
    tells: Option<(Signal, u64, Look)>,
    /// Periods that handlers were told of, with those that brought the signals.
    told: u64,
}

fn call(number: u32, arguments: [u64; 2], read: [u64; 4]) -> Call {
    Call {
        number,
        timer: TIMER,
        thread: 1,
        process: 1,
        clock: linux::CLOCK_PROCESS_CPUTIME_ID,
        arguments,
        read,
    }
}

impl State {
    fn new(ticks: u8, silent: u8) -> Self {
        let mut timers = Timers::default();
        let event = [0, u64::from(linux::SIGUSR1), 0, 0];
        timers.call(&call(linux::__NR_timer_create, [1, 1], event), CLOCK, 0);
        timers.call(&call(linux::__NR_timer_settime, [0, 1], [0, PERIOD, 0, PERIOD]), CLOCK, 0);
        let keeper = Keeper::Looks(Look::Begins);
        let (now, told) = (0, 0);
        Self { timers, now, ticks, silent, keeper, last: None, pending: None, tells: None, told }
    }

    fn waiting(&self) -> Option<Waiting> {
        self.timers.waiting(CLOCK).next()
    }

    /// The next step of a look.
    fn look(&self, look: Look, slip: Option<Slip>) -> Look {
        let seen =
            |waiting: Waiting| (waiting, if self.pending.is_some() { Seen::Waiting } else { Seen::Gone });
        match (look, slip) {
            (Look::Begins, Some(Slip::ReadsFirst)) => Look::Reads(None, self.now),
            (Look::Begins, _) => Look::Knows(self.waiting()),
            (Look::Knows(waiting), _) => Look::Has(waiting.map(seen)),
            (Look::Has(seen), _) => Look::Reads(seen, self.now),
            (Look::Reads(..), _) => look,
        }
    }

    fn raise(&mut self, due: Due) {
        self.pending = self.last;
        self.timers.raised(&due, None);
        self.keeper = Keeper::Looks(Look::Begins);
    }

    fn missed(signal: Signal, now: u64) -> u64 {
        (now - signal.until) / PERIOD
    }

    /// Every state that may be next, or what is wrong.
    fn next(&self, slip: Option<Slip>) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        if self.ticks > 0 {
            all.push(Self { ticks: self.ticks - 1, now: self.now + PERIOD, ..self.clone() });
        }
        let mut next = self.clone();
        match self.keeper {
            Keeper::Looks(Look::Reads(mut seen, now)) => {
                if slip == Some(Slip::ReadsFirst) {
                    let Look::Has(late) = self.look(Look::Knows(self.waiting()), slip) else {
                        unreachable!()
                    };
                    seen = late;
                }
                if let Some((signal, Seen::Gone)) = seen {
                    next.timers.gone(&signal, now);
                }
                next.keeper = Keeper::Looks(Look::Begins);
                if let Some(&due) = next.timers.due(CLOCK, now).first() {
                    // What waits is due again one period after it was.
                    let until = next.timers.left(CLOCK, 0).unwrap_or(0) - PERIOD;
                    next.last = Some(Signal { until });
                    next.keeper = Keeper::Raises(due);
                    if slip != Some(Slip::RaisesLater) {
                        next.raise(due);
                    }
                }
            }
            Keeper::Looks(look) => next.keeper = Keeper::Looks(self.look(look, slip)),
            Keeper::Raises(due) => next.raise(due),
        }
        all.push(next);
        match self.tells {
            None => {
                if let Some(signal) = self.pending {
                    let taken = Self { pending: None, ..self.clone() };
                    all.push(Self { tells: Some((signal, self.now, Look::Begins)), ..taken.clone() });
                    if self.silent > 0 {
                        all.push(Self { silent: self.silent - 1, ..taken });
                    }
                }
            }
            Some((signal, at, Look::Reads(seen, now))) => {
                let mut next = Self { tells: None, ..self.clone() };
                let seen = if slip == Some(Slip::ReadsFirst) {
                    self.waiting().map(|w| (w, Seen::Gone))
                } else {
                    seen
                };
                next.timers.told(TIMER, seen, now);
                let (overruns, _) =
                    next.timers.call(&call(linux::__NR_timer_getoverrun, [1, 0], [0; 4]), CLOCK, now);
                let (least, most) = (Self::missed(signal, at), Self::missed(signal, self.now));
                if !(least..=most).contains(&(overruns as u64)) {
                    return Err(format!("{overruns} overruns are told, not {least} to {most}: {self:?}"));
                }
                next.told += 1 + overruns as u64;
                all.push(next);
            }
            Some((signal, at, look)) => {
                all.push(Self { tells: Some((signal, at, self.look(look, slip))), ..self.clone() });
            }
        }
        Ok(all)
    }

    /// When all that was taken was told of, each period was told once.
    fn check(&self, silent: u8) -> Result<(), String> {
        let quiet = self.tells.is_none() && self.waiting().is_none();
        let next = self.timers.left(CLOCK, 0).unwrap_or(0);
        if silent == 0 && quiet && next != (self.told + 1) * PERIOD {
            return Err(format!("{} periods were told of, and the next is at {next}: {self:?}", self.told));
        }
        Ok(())
    }
}

/// Follows every order of steps, and says how many states there are.
fn explore(ticks: u8, silent: u8, slip: Option<Slip>) -> Result<usize, String> {
    let mut seen = HashSet::new();
    let mut left = vec![State::new(ticks, silent)];
    while let Some(state) = left.pop() {
        state.check(silent)?;
        left.extend(state.next(slip)?.into_iter().filter(|next| seen.insert(format!("{next:?}"))));
    }
    Ok(seen.len())
}

#[test]
fn handlers_are_told_of_each_period_once() {
    let states = explore(5, 0, None).unwrap();
    assert!(states > 1000, "{states} states");
}

#[test]
fn a_signal_that_is_taken_in_silence_changes_nothing_for_the_next() {
    let states = explore(5, 2, None).unwrap();
    assert!(states > 1000, "{states} states");
}

#[test]
fn what_is_done_wrong_is_noticed() {
    for slip in [Slip::ReadsFirst, Slip::RaisesLater] {
        let explored = explore(5, 1, Some(slip)).and(explore(5, 0, Some(slip)));
        assert!(explored.is_err(), "unnoticed: {slip:?}");
    }
}
