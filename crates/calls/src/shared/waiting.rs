//! How the two ends of a channel wait for each other: spin a little, then sleep, and sleep in a
//! way that the death of the other end interrupts.
//!
//! The caller's side may run in a signal handler: no allocation, no lock, no `errno`. Each side
//! writes one word and reads the other's; a sleeper marks the word it sleeps on, so no thread wakes
//! the kernel for a waker that spins. The caller sleeps on a word that holds the worker's thread id
//! and is on its robust list: whether the worker answers or dies, the same word changes. Behind
//! that stands a look at the worker's process now and then, for a worker that broke its own robust
//! list before it died.
//!
//! The protocol is written over [`Word`], so that the tests run it on `loom`'s words, in every
//! order that the processors and the kernel allow.

use crate::shared::layout::{Channel, SEQUENCE_MASK, SLOT_DEAD, SlotState};
use crate::sys::channel::{
    OWNER_DIED, THREAD_MASK, WAITERS, counter, futex_wait, futex_wake, place_thread, process_cpu_ns,
    process_has_ended,
};
use std::hint::spin_loop;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};
use std::time::Duration;

/// How a caller waits for its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Hand the processor over at first; spin once calls come in quick succession and there is a
    /// processor to spare.
    #[default]
    Adaptive,
    /// Spin for up to a millisecond before sleeping. Fastest, and keeps two processors busy.
    Spin,
    /// Sleep at once: the worker is moved to the caller's processor and woken there.
    Block,
}

/// Why waiting ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The worker's thread is gone.
    Died,
    /// The time is over.
    Late,
    /// The worker put a word there that it must not.
    Violation,
}

/// Whether one call was cancelled: of its thread, the number of the call that is. The word stays where it
/// is, and may be read in a signal handler.
#[derive(Clone, Copy, Debug)]
pub struct Cancellation {
    cancelled: &'static AtomicU64,
    call: u64,
}

impl Cancellation {
    /// Of call number `call`, from 1, of a thread.
    pub(crate) const fn new(cancelled: &'static AtomicU64, call: u64) -> Self {
        Self { cancelled, call }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(self.call, Release);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Acquire) == self.call
    }
}

/// When a call must end, on the processor's counter: asking the kernel for the time costs more
/// than the rest of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    started: u64,
    budget_ns: u64,
    ticks_per_us: u64,
    cancellation: Option<Cancellation>,
}

impl Deadline {
    /// `budget` from now on.
    #[inline]
    pub(crate) fn after(budget: Duration, ticks_per_us: u64) -> Self {
        let budget_ns = budget.as_nanos().min(u64::MAX.into()) as u64;
        Self { started: counter(), budget_ns, ticks_per_us, cancellation: None }
    }

    /// The same, or when the call is cancelled: sleeps are short enough for that to be seen in moments.
    pub(crate) fn or_cancelled(self, cancellation: Option<Cancellation>) -> Self {
        Self { cancellation, ..self }
    }

    /// Nanoseconds since it was set.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        let ticks = u128::from(counter().wrapping_sub(self.started));
        (ticks * 1000 / u128::from(self.ticks_per_us)) as u64
    }

    /// Nanoseconds that are left, 0 when it has passed.
    pub(crate) fn left_ns(&self) -> u64 {
        if self.cancellation.is_some_and(|cancellation| cancellation.is_cancelled()) {
            return 0;
        }
        self.budget_ns.saturating_sub(self.elapsed_ns())
    }

    /// How long to sleep until a wake-up, before a look whether one was missed.
    pub(crate) fn check_ns(&self) -> u64 {
        self.left_ns().min(CHECK_MIN_NS)
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.left_ns() == 0
    }
}

/// When a wait must end, and whom it waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits<'a> {
    pub(crate) deadline: Deadline,
    /// The processor time of the worker's process at which it is ended, if there is such a limit.
    pub(crate) cpu_ns: Option<u64>,
    /// What the babysitter says about the worker.
    pub(crate) slot: &'a SlotState,
    pub(crate) generation: u32,
}

/// Shortest and longest sleep between two looks at the worker's process. The shortest is longer than a
/// kernel's tick: a timer that ends before everything else has the processor's timer set, and set back when
/// the answer comes, which takes a virtual machine ten microseconds each.
const CHECK_MIN_NS: u64 = 16_000_000;
const CHECK_MAX_NS: u64 = 64_000_000;

impl Limits<'_> {
    /// How long the sleep of number `round` may take, in nanoseconds, or why there is none.
    fn sleep_ns(&self, round: u32) -> Result<u64, Ended> {
        let left = self.deadline.left_ns();
        if left == 0 {
            return Err(Ended::Late);
        }
        let process = self.slot.process.load(Relaxed);
        if round > 0 && self.worker_is_gone(process) {
            return Err(Ended::Died);
        }
        let mut slice = left.min((CHECK_MIN_NS << round.min(2)).min(CHECK_MAX_NS));
        if let Some(end) = self.cpu_ns {
            match process_cpu_ns(process) {
                Some(used) if used >= end => return Err(Ended::Late),
                Some(used) => slice = slice.min((end - used).max(1_000_000)),
                None => {}
            }
        }
        Ok(slice)
    }

    fn worker_is_gone(&self, process: u32) -> bool {
        self.slot.generation.load(Acquire) != self.generation
            || self.slot.state.load(Acquire) == SLOT_DEAD
            || process_has_ended(process)
    }
}

/// A word that two processes share, and that one may sleep on.
pub(crate) trait Word {
    fn load(&self) -> u32;
    fn swap(&self, value: u32) -> u32;
    /// Replaces `from` by `to`; the value found otherwise.
    fn replace(&self, from: u32, to: u32) -> Result<u32, u32>;
    /// Sleeps while the word holds `expected`, until the timeout at the latest; may return early.
    fn sleep(&self, expected: u32, timeout_ns: u64);
    /// Wakes one sleeper.
    fn wake(&self);
    /// Orders what was written to this word before what is read of another.
    fn barrier();
}

impl Word for AtomicU32 {
    #[inline]
    fn load(&self) -> u32 {
        Self::load(self, Acquire)
    }

    #[inline]
    fn swap(&self, value: u32) -> u32 {
        Self::swap(self, value, AcqRel)
    }

    #[inline]
    fn replace(&self, from: u32, to: u32) -> Result<u32, u32> {
        self.compare_exchange(from, to, AcqRel, Acquire)
    }

    fn sleep(&self, expected: u32, timeout_ns: u64) {
        futex_wait(self, expected, timeout_ns);
    }

    fn wake(&self) {
        futex_wake(self, 1);
    }

    fn barrier() {
        fence(SeqCst);
    }
}

/// The three words of a channel.
pub(crate) struct Words<'a, W> {
    pub(crate) request: &'a W,
    pub(crate) reply: &'a W,
    pub(crate) alive: &'a W,
}

impl<W: Word> Words<'_, W> {
    /// Puts request `sequence` into effect. Returns whether the worker sleeps, and must be woken.
    #[inline]
    fn post_request(&self, sequence: u32) -> bool {
        self.request.swap(sequence) & WAITERS != 0
    }

    /// What `word` in the place of the answer says of request `sequence`; `None` if it is neither an answer
    /// nor an end.
    fn classify(&self, word: u32, sequence: u32) -> Option<Result<(), Ended>> {
        if word == sequence {
            return Some(Ok(()));
        }
        if word & OWNER_DIED != 0 || self.alive.load() & OWNER_DIED != 0 {
            // An answer given just before the death still counts.
            return Some(if self.reply.load() == sequence { Ok(()) } else { Err(Ended::Died) });
        }
        None
    }

    /// Sleeps until request `sequence` is answered; `sleep_ns` says how long each sleep may take, or
    /// ends the wait.
    fn sleep_for_reply(
        &self,
        sequence: u32,
        mut sleep_ns: impl FnMut(u32) -> Result<u64, Ended>,
    ) -> Result<(), Ended> {
        let before = sequence.wrapping_sub(1) & SEQUENCE_MASK;
        let asleep = self.alive.load() & THREAD_MASK | WAITERS;
        let mut round = 0;
        loop {
            if let Err(word) = self.reply.replace(before, asleep)
                && word != asleep
            {
                return self.classify(word, sequence).unwrap_or(Err(Ended::Violation));
            }
            // The kernel marks `alive` before it looks at `reply`: a death that missed our mark shows here.
            W::barrier();
            if let Some(end) = self.classify(self.reply.load(), sequence) {
                return end;
            }
            let slice = match sleep_ns(round) {
                Ok(slice) => slice,
                // It may have answered and died since the last look.
                Err(ended) => return self.classify(self.reply.load(), sequence).unwrap_or(Err(ended)),
            };
            round += 1;
            self.reply.sleep(asleep, slice);
            let word = self.reply.load();
            if word != asleep {
                return self.classify(word, sequence).unwrap_or(Err(Ended::Violation));
            }
        }
    }

    /// Answers request `sequence`.
    #[inline]
    fn post_reply(&self, sequence: u32) {
        if self.reply.swap(sequence) & WAITERS != 0 {
            self.reply.wake();
        }
    }

    /// Sleeps until there is a request that is not `last`; returns its number.
    fn sleep_for_request(&self, last: u32, timeout_ns: u64) -> u32 {
        loop {
            let word = self.request.load();
            if word & SEQUENCE_MASK != last {
                return word & SEQUENCE_MASK;
            }
            if word & WAITERS != 0 || self.request.replace(last, last | WAITERS).is_ok() {
                self.request.sleep(last | WAITERS, timeout_ns);
            }
        }
    }
}

const fn words(channel: &Channel) -> Words<'_, AtomicU32> {
    Words { request: &channel.request, reply: &channel.reply.word, alive: &channel.alive.word }
}

/// Loads of a word without the processor's pause, which costs as much as a round trip;
/// with it afterwards, for the sake of a neighbour on the same core.
const POLLS_WITHOUT_PAUSE: u32 = 512;
/// Loads between two of the counter, which costs as much as a dozen of them.
const POLLS_A_TIME: u32 = 64;

/// Loads a word up to `times` times; returns it once it is not `old` any more.
#[inline]
fn poll(word: &AtomicU32, old: u32, times: u32, between: impl Fn()) -> Option<u32> {
    for _ in 0..times {
        let value = word.load(Acquire);
        if value != old {
            return Some(value);
        }
        between();
    }
    None
}

/// Puts a request into effect; the frame is stored already. Returns whether the worker slept.
#[inline]
pub(crate) fn post_request(
    channel: &Channel,
    sequence: u32,
    length: usize,
    spin_us: u32,
    beside: Option<u32>,
) -> bool {
    channel.request_length.store(length as u32 | spin_us.min(0xffff) << 16, Relaxed);
    let slept = words(channel).post_request(sequence);
    if slept {
        if let Some(processor) = beside {
            place_thread(channel.alive.word.load(Relaxed) & THREAD_MASK, processor);
        }
        channel.request.wake();
    }
    slept
}

/// Spins for the answer to `sequence`, for a number of ticks of the counter; `None` if none came.
#[inline]
pub(crate) fn spin_for_reply(channel: &Channel, sequence: u32, spin_ticks: u64) -> Option<Result<(), Ended>> {
    let words = words(channel);
    let reply = &channel.reply.word;
    if spin_ticks > 0 {
        let before = sequence.wrapping_sub(1) & SEQUENCE_MASK;
        let classify = |word| words.classify(word, sequence).unwrap_or(Err(Ended::Violation));
        if let Some(word) = poll(reply, before, POLLS_WITHOUT_PAUSE, || {}) {
            return Some(if word == sequence { Ok(()) } else { classify(word) });
        }
        let start = counter();
        while counter().wrapping_sub(start) <= spin_ticks {
            if let Some(word) = poll(reply, before, POLLS_A_TIME, spin_loop) {
                return Some(classify(word));
            }
            if channel.alive.word.load(Relaxed) & OWNER_DIED != 0 {
                return Some(words.classify(reply.load(Acquire), sequence).unwrap_or(Err(Ended::Died)));
            }
        }
    }
    None
}

/// Sleeps until there is the answer to `sequence`.
pub(crate) fn sleep_for_reply(channel: &Channel, sequence: u32, limits: &Limits<'_>) -> Result<(), Ended> {
    words(channel).sleep_for_reply(sequence, |round| limits.sleep_ns(round))
}

/// Answers request `sequence`; the frame is stored already.
#[inline]
pub(crate) fn post_reply(channel: &Channel, sequence: u32, length: usize) {
    channel.reply.beside.store(length as u32, Relaxed);
    words(channel).post_reply(sequence);
}

/// Waits for a request that is not `last`; returns its sequence number. `ticks_per_us` scales the
/// spinning that the caller asked for.
#[inline]
pub(crate) fn wait_request(channel: &Channel, last: u32, ticks_per_us: u64) -> u32 {
    let spin = u64::from(channel.request_length.load(Relaxed) >> 16) * ticks_per_us;
    if spin > 0 {
        if let Some(word) = poll(&channel.request, last, POLLS_WITHOUT_PAUSE, || {}) {
            return word & SEQUENCE_MASK;
        }
        let start = counter();
        while counter().wrapping_sub(start) <= spin {
            if let Some(word) = poll(&channel.request, last, POLLS_A_TIME, spin_loop) {
                return word & SEQUENCE_MASK;
            }
        }
    }
    words(channel).sleep_for_request(last, 3_600_000_000_000)
}

/// Spins for the first request to a worker whose caller stands waiting for it; returns whether it came. The
/// caller may have been woken on this very processor, and goes first then.
pub(crate) fn expect_request(channel: &Channel, ticks_per_us: u64) -> bool {
    /// As long as a caller takes to wake up on another processor and ask.
    const FIRST_US: u64 = 80;
    let start = counter();
    while counter().wrapping_sub(start) <= FIRST_US * ticks_per_us {
        std::thread::yield_now();
        if poll(&channel.request, 0, POLLS_A_TIME, spin_loop).is_some() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
