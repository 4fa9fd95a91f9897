//! How a call waits: how long both ends spin, and on which processor the worker's thread runs.
//!
//! A worker that sleeps answers soonest on the caller's own processor, which is about to have nothing to do.
//! So does its thread that brings pages: left alone, the kernel would wake it on an idle processor, which
//! takes a virtual machine forty microseconds, there and back, for each fault. Calls that follow each other
//! closely are worth spinning for, on two processors. Not for the waiting itself; that is `waiting`.

use crate::caller::connection::{ClientChannel, Connection, Current};
use crate::shared::layout::Channel;
use crate::shared::waiting::Wait;
use crate::sys::channel::{WAITERS, counter, current_processor, is_thread_of, place_thread};
use std::sync::atomic::Ordering::Relaxed;

/// After this many quick calls in a row it is worth spinning for the next.
const STREAK: u32 = 8;
/// The same after spinning has failed at least that often, as a power of two.
const IN_VAIN_MAX: u32 = 10;

impl ClientChannel {
    /// Whether it is worth spinning after this number of quick calls in a row.
    #[inline]
    fn may_spin(&self, streak: u32) -> bool {
        let in_vain = self.in_vain.load(Relaxed);
        if in_vain > 0 && streak > STREAK << (in_vain + 2) {
            self.in_vain.store(in_vain - 1, Relaxed);
        }
        streak > STREAK << in_vain
    }

    /// Spinning failed: the worker's thread has no processor, or takes long.
    pub(super) fn note_in_vain(&self) {
        self.streak.store(0, Relaxed);
        self.in_vain.store((self.in_vain.load(Relaxed) + 1).min(IN_VAIN_MAX), Relaxed);
    }
}

impl Connection {
    /// How long both ends spin, in microseconds, and on which processor a sleeping worker is woken.
    #[inline]
    pub(super) fn waiting_mode(
        &self,
        client: &ClientChannel,
        channel: &Channel,
        current: Current,
        wait: Wait,
    ) -> (u32, Option<u32>) {
        const QUICK_US: u64 = 200;
        const SPIN_US: u32 = 50;
        let spin = match wait {
            Wait::Spin => true,
            Wait::Block => false,
            Wait::Adaptive => {
                let now = counter();
                let quick =
                    now.wrapping_sub(client.last_counter.load(Relaxed)) < QUICK_US * self.ticks_per_us;
                client.last_counter.store(now, Relaxed);
                let streak = if quick { client.streak.load(Relaxed).saturating_add(1) } else { 0 };
                client.streak.store(streak, Relaxed);
                client.may_spin(streak) && self.processors > 1
            }
        };
        let placed = client.placed.load(Relaxed);
        let worker = channel.alive.word.load(Relaxed) & !WAITERS;
        if spin {
            if placed != u32::MAX {
                self.allowed.give(worker);
                if let Some(thread) = self.bringer(current) {
                    self.allowed.give(thread);
                }
                client.placed.store(u32::MAX, Relaxed);
            }
            return (if wait == Wait::Spin { 1000 } else { SPIN_US }, None);
        }
        let is_awake = channel.request.load(Relaxed) & WAITERS == 0;
        if wait == Wait::Adaptive && placed == u32::MAX && is_awake && self.processors > 1 {
            // It has just started, elsewhere: moving it here would take longer than its answer.
            return (SPIN_US, None);
        }
        let here = current_processor();
        if placed == here {
            return (0, None);
        }
        client.placed.store(here, Relaxed);
        if let Some(thread) = self.bringer(current) {
            place_thread(thread, here);
        }
        if is_awake {
            place_thread(worker, here);
            return (0, None);
        }
        (0, Some(here))
    }

    /// The worker's thread that brings pages. The worker says which: it could name any thread of this user's.
    #[cold]
    fn bringer(&self, current: Current) -> Option<u32> {
        let thread = self.head(current.slot()).bringer.load(Relaxed);
        let process = self.control().slots[current.slot()].process.load(Relaxed);
        (process != 0 && is_thread_of(process, thread)).then_some(thread)
    }
}
