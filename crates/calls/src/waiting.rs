//! How the two ends of a channel wait for each other: spin a little, then sleep, and sleep in a
//! way that the death of the other end interrupts.
//!
//! The caller's side may run in a signal handler: no allocation, no lock, no `errno`. Each side
//! writes one word and reads the other's; a sleeper marks the word it sleeps on, so nobody wakes
//! the kernel for a waker that spins. The caller sleeps on a word that holds the worker's thread id
//! and is on its robust list: whether the worker answers or dies, the same word changes.

use crate::layout::{Channel, SEQUENCE_MASK};
use banyan_sys::call_channel::{
    OWNER_DIED, THREAD_MASK, WAITERS, counter, futex_wait, futex_wake, now_ns, place_thread, process_cpu_ns,
};
use std::hint::spin_loop;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

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
    Lied,
}

/// When a wait must end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Monotonic time in nanoseconds.
    pub(crate) deadline_ns: u64,
    /// The worker's process and the processor time at which it is ended, if there is such a limit.
    pub(crate) cpu: Option<(u32, u64)>,
}

/// Puts a request into effect; the frame is stored already. Returns whether the worker slept.
pub(crate) fn post_request(
    channel: &Channel,
    sequence: u32,
    length: usize,
    spin_us: u32,
    beside: Option<u32>,
) -> bool {
    channel.request_length.store(length as u32 | spin_us.min(0xffff) << 16, Relaxed);
    let slept = channel.request.swap(sequence, AcqRel) & WAITERS != 0;
    if slept {
        if let Some(processor) = beside {
            place_thread(channel.alive.word.load(Relaxed) & THREAD_MASK, Some(processor));
        }
        futex_wake(&channel.request, 1);
    }
    slept
}

/// Waits for the answer to `sequence`. `spin_ticks` is the time to spin, in ticks of the counter.
pub(crate) fn wait_reply(
    channel: &Channel,
    sequence: u32,
    spin_ticks: u64,
    limits: &Limits,
) -> Result<(), Ended> {
    let reply = &channel.reply.word;
    let before = sequence.wrapping_sub(1) & SEQUENCE_MASK;
    let judge = |word: u32| {
        if word == sequence {
            return Some(Ok(()));
        }
        if word & OWNER_DIED != 0 || channel.alive.word.load(SeqCst) & OWNER_DIED != 0 {
            // An answer given just before the death still counts.
            return Some(if reply.load(Acquire) == sequence { Ok(()) } else { Err(Ended::Died) });
        }
        None
    };
    if spin_ticks > 0 {
        let start = counter();
        loop {
            for _ in 0..32 {
                let word = reply.load(Acquire);
                if word == sequence {
                    return Ok(());
                }
                if word != before {
                    return judge(word).unwrap_or(Err(Ended::Lied));
                }
                spin_loop();
            }
            if channel.alive.word.load(Relaxed) & OWNER_DIED != 0 {
                return judge(reply.load(Acquire)).unwrap_or(Err(Ended::Died));
            }
            if counter().wrapping_sub(start) > spin_ticks {
                break;
            }
        }
    }
    let thread = channel.alive.word.load(SeqCst) & THREAD_MASK;
    let asleep = thread | WAITERS;
    loop {
        if let Err(word) = reply.compare_exchange(before, asleep, SeqCst, Acquire)
            && word != asleep
        {
            return judge(word).unwrap_or(Err(Ended::Lied));
        }
        // The kernel marks `alive` before it looks at `reply`: a death that missed our mark shows here.
        if let Some(end) = judge(reply.load(Acquire)) {
            return end;
        }
        let now = now_ns();
        if now >= limits.deadline_ns {
            return Err(Ended::Late);
        }
        let mut slice = (limits.deadline_ns - now).min(100_000_000);
        if let Some((process, end)) = limits.cpu {
            match process_cpu_ns(process) {
                Some(used) if used >= end => return Err(Ended::Late),
                Some(used) => slice = slice.min((end - used).max(1_000_000)),
                None => {}
            }
        }
        futex_wait(reply, asleep, slice);
        let word = reply.load(Acquire);
        if word != asleep {
            return judge(word).unwrap_or(Err(Ended::Lied));
        }
    }
}

/// Answers request `sequence`; the frame is stored already.
pub(crate) fn post_reply(channel: &Channel, sequence: u32, length: usize) {
    channel.reply_length.store(length as u32, Relaxed);
    if channel.reply.word.swap(sequence, AcqRel) & WAITERS != 0 {
        futex_wake(&channel.reply.word, 1);
    }
}

/// Waits for a request that is not `last`; returns its sequence number. `ticks_per_us` scales the
/// spinning that the caller asked for.
pub(crate) fn wait_request(channel: &Channel, last: u32, ticks_per_us: u64) -> u32 {
    let spin = u64::from(channel.request_length.load(Relaxed) >> 16) * ticks_per_us;
    if spin > 0 {
        let start = counter();
        while counter().wrapping_sub(start) <= spin {
            for _ in 0..32 {
                let word = channel.request.load(Acquire);
                if word != last {
                    return word & SEQUENCE_MASK;
                }
                spin_loop();
            }
        }
    }
    loop {
        let word = channel.request.load(Acquire);
        if word & SEQUENCE_MASK != last {
            return word & SEQUENCE_MASK;
        }
        if word & WAITERS != 0
            || channel.request.compare_exchange(last, last | WAITERS, AcqRel, Acquire).is_ok()
        {
            futex_wait(&channel.request, last | WAITERS, 3_600_000_000_000);
        }
    }
}
