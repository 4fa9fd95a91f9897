//! Processor time of the program: its threads use it where they execute and where their calls are made, so
//! `clock_gettime`, `getrusage` and `times` add up what the nodes say.
//!
//! Not here: timers that run by these clocks (`timers`).

use crate::daemon::{requests, settings};
use crate::kernel;
use crate::memory::copy::{self, ProgramAddress};
use crate::thread::{Role, Thread, block};
use banyan_wire::stub::{Answer, Request, TimeElsewhere, Used};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use zerocopy::IntoBytes;

/// Words of what a call writes at most: `struct rusage`.
pub const WORDS: usize = 18;
const NANOSECONDS: u64 = 1_000_000_000;
const MICROSECONDS: u64 = 1_000_000;
/// Nanoseconds of the unit of times(2), `USER_HZ`.
const TICK: u64 = 10_000_000;
/// `CPUCLOCK_CLOCK_MASK` of a clock of a process or thread: of which, negated, the other bits are the id.
const CLOCK_KIND: i32 = 3;
/// `CLOCKFD`: the clock of a descriptor.
const CLOCK_OF_DESCRIPTOR: i32 = 3;
/// `CPUCLOCK_SCHED`: all processor time.
const CLOCK_OF_ALL: i32 = 2;
/// `CPUCLOCK_PERTHREAD_MASK`.
const CLOCK_OF_THREAD: i32 = 4;

/// Whose processor time a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The calling thread's.
    Caller,
    /// The whole process's.
    Process,
    /// That of the thread with this id.
    Thread(u32),
    /// What the kernel alone knows: another clock, another process.
    Other,
}

/// Whose processor time a call with these arguments asks for.
pub fn subject(number: u32, arguments: &[u64; 6]) -> Subject {
    let which = arguments[0] as i32;
    match number {
        linux::__NR_times => Subject::Process,
        linux::__NR_getrusage => match which as u32 {
            linux::RUSAGE_SELF => Subject::Process,
            linux::RUSAGE_THREAD => Subject::Caller,
            _ => Subject::Other,
        },
        _ => subject_of_clock(which),
    }
}

fn subject_of_clock(clock: i32) -> Subject {
    let id = !(clock >> 3) as u32;
    match clock as u32 {
        linux::CLOCK_PROCESS_CPUTIME_ID => Subject::Process,
        linux::CLOCK_THREAD_CPUTIME_ID => Subject::Caller,
        _ if clock >= 0 || clock & CLOCK_KIND == CLOCK_OF_DESCRIPTOR => Subject::Other,
        _ if clock & CLOCK_OF_THREAD != 0 => {
            if id == 0 {
                Subject::Caller
            } else {
                Subject::Thread(id)
            }
        }
        _ if id == 0 || id == kernel::process_id() => Subject::Process,
        _ => Subject::Other,
    }
}

/// The call of a thread that executes here.
pub fn call(thread: &Thread, number: u32, arguments: &[u64; 6]) -> i64 {
    let mut words = [0; WORDS];
    let result = make(thread, number, arguments, &mut words);
    deliver(arguments[pointer(number)], result, written(number, arguments, result, &words))
}

/// The argument that points to where the call writes.
pub fn pointer(number: u32) -> usize {
    usize::from(number != linux::__NR_times)
}

/// What the call writes.
pub fn written<'a>(number: u32, arguments: &[u64; 6], result: i64, words: &'a [u64; WORDS]) -> &'a [u8] {
    let count = match number {
        _ if result < 0 => 0,
        linux::__NR_times if arguments[0] == 0 => 0,
        linux::__NR_times => 4,
        linux::__NR_getrusage => WORDS,
        _ => 2,
    };
    words[..count].as_bytes()
}

/// Writes it to the program.
pub fn deliver(to: u64, result: i64, written: &[u8]) -> i64 {
    match copy::copy_out(ProgramAddress(to), written) {
        Ok(()) => result,
        Err(error) => error.negated(),
    }
}

/// Makes the call with the stub's own memory, and adds what was used elsewhere.
pub fn make(thread: &Thread, number: u32, arguments: &[u64; 6], words: &mut [u64; WORDS]) -> i64 {
    let mut own = *arguments;
    own[pointer(number)] = words.as_mut_ptr() as u64;
    // SAFETY: the words live across the call, which writes no more than the largest of the three.
    let result = unsafe { kernel::raw(number, own) };
    let subject = subject(number, arguments);
    if result < 0 || subject == Subject::Other {
        return result;
    }
    let of = match subject {
        Subject::Caller => Some(thread),
        Subject::Thread(id) => with_id(id),
        Subject::Process | Subject::Other => None,
    };
    let (user, system) = match of {
        _ if subject == Subject::Process => elsewhere(0, 0),
        Some(of) => of_thread(of),
        None => (0, 0),
    };
    match number {
        linux::__NR_times => {
            words[0] += user / TICK;
            words[1] += system / TICK;
        }
        linux::__NR_getrusage => {
            add(&mut words[0..2], user / 1000, MICROSECONDS);
            add(&mut words[2..4], system / 1000, MICROSECONDS);
        }
        _ => {
            // Of a thread it is not told apart what was user time.
            let all = subject != Subject::Process || wants_all(arguments[0] as i32);
            add(&mut words[0..2], if all { user + system } else { user }, NANOSECONDS);
            if let Some(of) = of {
                // While a thread is between two nodes, neither tells what it used there.
                let time = words[0] * NANOSECONDS + words[1];
                let told = of.told.fetch_max(time, Ordering::Relaxed).max(time);
                (words[0], words[1]) = (told / NANOSECONDS, told % NANOSECONDS);
            }
        }
    }
    result
}

fn with_id(id: u32) -> Option<&'static Thread> {
    block::all().find(|other| other.role() != Role::Service && other.thread_id.load(Ordering::Relaxed) == id)
}

/// Whether a clock of processor time counts what the kernel does, too: `CPUCLOCK_VIRT` does not.
fn wants_all(clock: i32) -> bool {
    clock & CLOCK_KIND != 1
}

/// What a thread used where it does not execute.
fn of_thread(thread: &Thread) -> (u64, u64) {
    loop {
        let departures = thread.departures.load(Ordering::Acquire);
        let used = thread.used_elsewhere.load(Ordering::Acquire);
        let node = thread.node.load(Ordering::Acquire);
        let found = match thread.role() {
            // The kernel does what a deputy is for.
            Role::Carrier => (0, used),
            // Between two nodes its carriers are in what was used before.
            Role::Deputy if node != u32::from(settings::node()) => {
                let (user, system) = elsewhere(thread.thread_id.load(Ordering::Relaxed), node);
                (user + used, system)
            }
            Role::Deputy | Role::Home | Role::Service | Role::Child => (used, 0),
        };
        if departures.is_multiple_of(2) && thread.departures.load(Ordering::Acquire) == departures {
            return found;
        }
        core::hint::spin_loop();
    }
}

fn elsewhere(thread: u32, node: u32) -> (u64, u64) {
    match requests::ask(&Request::ProcessorTime(TimeElsewhere { thread, node })) {
        Answer::Used(Used { user, system }) => (user, system),
        _ => requests::unexpected(),
    }
}

/// Adds to a pair of seconds and their parts.
fn add(pair: &mut [u64], parts: u64, in_a_second: u64) {
    let parts = pair[1] + parts;
    pair[0] += parts / in_a_second;
    pair[1] = parts % in_a_second;
}

/// What was used in this replica, user and system time in nanoseconds: by the thread with this id at home, or
/// by all.
pub fn used_here(thread: u32) -> Used {
    let mut words = [0_u64; WORDS];
    let (number, which, parts) = if thread == 0 {
        (linux::__NR_getrusage, linux::RUSAGE_SELF as i32, 1000)
    } else {
        // The deputy of a thread that has left reports what it used.
        let carrier = with_id(thread).map_or(0, |it| match it.role() {
            Role::Carrier => it.carrier.load(Ordering::Relaxed),
            _ => thread,
        });
        if carrier == 0 {
            return Used { user: 0, system: 0 };
        }
        let clock = !(carrier as i32) << 3 | CLOCK_OF_THREAD | CLOCK_OF_ALL;
        (linux::__NR_clock_gettime, clock, 1)
    };
    // SAFETY: the words live across the call, which writes no more than the larger of the two.
    let _ = unsafe { kernel::raw(number, [which as u64, words.as_mut_ptr() as u64]) };
    let [seconds, rest, system_seconds, system_rest, ..] = words;
    Used {
        user: seconds * NANOSECONDS + rest * parts,
        // A clock's two words are user time, or not told apart.
        system: system_seconds * NANOSECONDS + system_rest * parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_says_whose_it_is() {
        let clock = |id: i32, kind: i32| !id << 3 | kind;
        let own = kernel::process_id() as i32;
        for (which, expected) in [
            (linux::CLOCK_MONOTONIC as i32, Subject::Other),
            (linux::CLOCK_PROCESS_CPUTIME_ID as i32, Subject::Process),
            (linux::CLOCK_THREAD_CPUTIME_ID as i32, Subject::Caller),
            (clock(own, CLOCK_OF_ALL), Subject::Process),
            (clock(0, CLOCK_OF_ALL), Subject::Process),
            (clock(own + 1, CLOCK_OF_ALL), Subject::Other),
            (clock(own + 1, CLOCK_OF_ALL | CLOCK_OF_THREAD), Subject::Thread(own as u32 + 1)),
            (clock(0, CLOCK_OF_THREAD), Subject::Caller),
            (clock(3, CLOCK_OF_DESCRIPTOR), Subject::Other),
        ] {
            assert_eq!(subject_of_clock(which), expected, "{which:#x}");
        }
    }

    #[test]
    fn parts_of_a_second_are_carried() {
        let mut pair = [1, 999_999_999];
        add(&mut pair, 2_000_000_001, NANOSECONDS);
        assert_eq!(pair, [4, 0]);
    }
}
