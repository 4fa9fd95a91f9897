//! A thread's channel: found by the thread pointer in a table without locks, and held for one call.
//!
//! Runs in signal handlers: no allocation, no lock, no thread-local storage.

use crate::caller::connection::{CALLED_BACK, Connection, IDLE, WAITING};
use crate::error::CallError;
use crate::shared::layout::CHANNELS;
use crate::sys::channel::{stack_pointer, thread_id, thread_lives, thread_pointer};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

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
    pub(super) fn claim(&self) -> Result<Claim<'_>, CallError> {
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
                    return self.take_over(key).map_or(Err(CallError::TooMany), |index| claimed(index, IDLE));
                };
                let client = &self.state().channels[index];
                let state = client.state.load(Relaxed);
                if state == WAITING || client.state.compare_exchange(state, WAITING, AcqRel, Relaxed).is_err()
                {
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

    /// Takes the channel of a thread that has ended, for when the table is full. Only one that is idle: a
    /// thread pointer is used again, and its new owner may be in a call.
    #[cold]
    fn take_over(&self, key: u64) -> Option<usize> {
        for (index, client) in self.state().channels.iter().enumerate() {
            let thread = client.thread.load(Acquire);
            if thread == 0
                || thread_lives(thread)
                || client.state.compare_exchange(IDLE, WAITING, AcqRel, Relaxed).is_err()
            {
                continue;
            }
            client.owner.store(key, Release);
            client.thread.store(thread_id(), Relaxed);
            client.depth.store(0, Relaxed);
            return Some(index);
        }
        None
    }
}
