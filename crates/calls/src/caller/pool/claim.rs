//! A thread's channel: found by the thread pointer in a table without locks, and held for one call.
//!
//! Runs in signal handlers: no allocation, no lock, no thread-local storage.

use crate::caller::connection::{CALLED_BACK, Connection, IDLE, WAITING};
use crate::error::{CallError, Ran};
use crate::shared::layout::CHANNELS;
use crate::shared::waiting::Deadline;
use crate::sys::channel::{stack_pointer, thread_id, thread_lives, thread_pointer};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Duration;

/// The owner of a channel that passes from one thread to another. No thread pointer is so.
const TAKEN: u64 = u64::MAX;
/// How long a thread without a channel leaves the processor to those that have one, at first and at most:
/// looking for one that has become free asks the kernel of each other thread.
const BESIDE: Duration = Duration::from_micros(100);
const BESIDE_MAX: Duration = Duration::from_millis(5);

/// Whose channel may be taken.
#[derive(Clone, Copy)]
enum Whose {
    /// A thread's that has ended.
    Ended,
    /// Any thread's. What the library keeps for each thread is then another's.
    Any,
}

/// A thread's hold on its channel for one call.
pub(super) struct Claim<'a> {
    connection: &'a Connection,
    pub(super) index: usize,
    before: u32,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.connection.state().channels[self.index].state.store(self.before, Release);
    }
}

impl Connection {
    /// The channel that belongs to `key`, or a free one, which then does; `None` when all are others'.
    #[inline]
    fn channel_of(&self, key: u64) -> Option<usize> {
        let state = self.state();
        let hint = &state.hints[((key >> 12) ^ (key >> 20) ^ key) as usize % CHANNELS];
        let hinted = hint.load(Relaxed) as usize % CHANNELS;
        if state.channels[hinted].owner.load(Acquire) == key {
            return Some(hinted);
        }
        // In order: a worker has a thread for each channel up to the last one in use.
        for (index, client) in state.channels.iter().enumerate() {
            let mut owner = client.owner.load(Acquire);
            if owner == 0 {
                match client.owner.compare_exchange(0, key, AcqRel, Acquire) {
                    Ok(_) => {
                        client.thread.store(thread_id(), Relaxed);
                        owner = key;
                    }
                    Err(other) => owner = other,
                }
            }
            if owner == key {
                hint.store(index as u32, Relaxed);
                return Some(index);
            }
        }
        None
    }

    /// Finds or takes the calling thread's channel, idle or in a call-back, and marks it busy.
    ///
    /// There are fewer channels than threads may be: one that finds none waits for one that is idle.
    pub(super) fn claim(&self, deadline: &Deadline) -> Result<Claim<'_>, CallError> {
        if self.is_forked() {
            return Err(CallError::NoService("the process has forked; open a new connection".into()));
        }
        let pointer = thread_pointer();
        let claimed = |index, before| Ok(Claim { connection: self, index, before });
        // A signal handler that interrupts a wait uses the next level's channel.
        'levels: for level in 0..4 {
            let key = pointer + level;
            loop {
                let Some(index) = self.channel_of(key) else {
                    return claimed(self.take_over(key, deadline)?, IDLE);
                };
                let client = &self.state().channels[index];
                let state = client.state.load(Acquire);
                if state == WAITING || client.state.compare_exchange(state, WAITING, AcqRel, Acquire).is_err()
                {
                    if client.owner.load(Acquire) != key {
                        // Not we wait there, but the thread that takes it over.
                        continue;
                    }
                    continue 'levels;
                }
                if client.owner.load(Acquire) != key {
                    // Another thread took it over from one that had our thread pointer before us.
                    client.state.store(state, Release);
                    continue;
                }
                let mut before = IDLE;
                if state == CALLED_BACK {
                    // Frames that the program has jumped out of are not coming back.
                    let here = stack_pointer();
                    let mut depth = client.depth.load(Relaxed);
                    while depth > 0 && here > client.call_back_stack[depth as usize - 1].load(Relaxed) {
                        depth -= 1;
                    }
                    client.depth.store(depth, Relaxed);
                    before = if depth > 0 { CALLED_BACK } else { IDLE };
                }
                return claimed(index, before);
            }
        }
        Err(CallError::TooMany)
    }

    /// Takes a channel of another thread, for when the table is full; waits until there is one.
    #[cold]
    fn take_over(&self, key: u64, deadline: &Deadline) -> Result<usize, CallError> {
        let mut pause = BESIDE;
        loop {
            for whose in [Whose::Ended, Whose::Any] {
                if let Some(index) = self.take_idle(key, whose) {
                    return Ok(index);
                }
            }
            if deadline.has_passed() {
                return Err(CallError::TimedOut { ran: Ran::No });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(BESIDE_MAX);
        }
    }

    /// Takes an idle channel. Its owner may begin a call meanwhile, or have ended and its thread pointer be
    /// another's: so the channel is no thread's before its state is changed, and each looks at the owner
    /// again once it has changed the state.
    fn take_idle(&self, key: u64, whose: Whose) -> Option<usize> {
        let channels = &self.state().channels;
        // Not all from the same end.
        let first = (key >> 12) as usize;
        for index in (0..CHANNELS).map(|offset| (first + offset) % CHANNELS) {
            let client = &channels[index];
            let (owner, thread) = (client.owner.load(Acquire), client.thread.load(Acquire));
            if [0, TAKEN].contains(&owner)
                || thread == 0
                || client.state.load(Relaxed) != IDLE
                || matches!(whose, Whose::Ended) && thread_lives(thread)
                || client.owner.compare_exchange(owner, TAKEN, AcqRel, Acquire).is_err()
            {
                continue;
            }
            if client.state.compare_exchange(IDLE, WAITING, AcqRel, Acquire).is_err() {
                client.owner.store(owner, Release);
                continue;
            }
            client.thread.store(thread_id(), Relaxed);
            client.depth.store(0, Relaxed);
            client.owner.store(key, Release);
            return Some(index);
        }
        None
    }
}
