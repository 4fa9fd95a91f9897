//! The understudy: a fork of the babysitter that takes its place when it is killed.
//!
//! It has the library loaded at the same addresses, so that a program's pointers into it stay right; only the
//! workers and what they held are lost. It is made before the babysitter needs it and after the last one took
//! over, so two processes must be killed at once to end the service. Not for a service of several programs:
//! that one forks a babysitter for each who comes, and they come again.

use super::descendants::Descendants;
use super::{Babysitter, is_alive};
use crate::shared::layout::{CONTROL_BYTES, CONTROL_READY, Control, SLOT_DEAD, SLOTS, slot_address};
use crate::sys::channel::{
    futex_wake, join_robust_list, now_ns, process_has_ended, signal_process, thread_id,
};
use crate::sys::memory::{Access, at, leave_out_of_forks, map_shared};
use crate::sys::process::{end_now, fork, process_descriptor, signal_group, wait_readable};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// How long the workers of a babysitter that was killed may take to end.
const ENDING_NS: u64 = 100_000_000;

impl Babysitter {
    /// Makes an understudy if there is none; returns after how many milliseconds to try again, if that
    /// failed.
    pub(super) fn keep_understudy(&mut self, control: &'static Control, client: &OwnedFd) -> Option<u64> {
        if self.understudy != 0 || self.program.admit.is_some() {
            return None;
        }
        let Ok(own) = process_descriptor(std::process::id()) else { return Some(super::AGAIN_MS) };
        // SAFETY: the babysitter has one thread.
        match unsafe { fork() } {
            Ok(0) => self.stand_by(&own, client),
            Ok(process) => {
                self.understudy = process;
                control.understudy.store(process, Release);
                None
            }
            Err(_) => Some(super::AGAIN_MS),
        }
    }

    /// In the understudy: waits until the babysitter or the program has ended.
    fn stand_by(&mut self, babysitter: &OwnedFd, client: &OwnedFd) -> ! {
        // What belongs to the babysitter is not in its forks.
        if map_shared(&self.file, 0, self.window, CONTROL_BYTES, Access::Write).is_err()
            || leave_out_of_forks(self.window, CONTROL_BYTES).is_err()
        {
            end_now(2)
        }
        // SAFETY: mapped a line ago, for the life of the process.
        let control: &'static Control = unsafe { at(slot_address(self.window, 0)) };
        let ended = loop {
            let ended = wait_readable([client, babysitter], -1);
            if ended.contains(&true) {
                break ended;
            }
        };
        if ended[0] || control.finish.load(Acquire) != 0 {
            end_now(0)
        }
        self.take_over(control, client);
        self.serve(control)
    }

    fn take_over(&mut self, control: &'static Control, client: &OwnedFd) {
        // First, so that the service outlasts our end too. What the fork does not know it finds out as we do.
        self.understudy = 0;
        if self.is_library {
            self.descendants = Descendants::adopt();
        }
        let _ = self.keep_understudy(control, client);
        let deadline = now_ns() + ENDING_NS;
        for (index, slot) in control.slots.iter().enumerate().skip(1) {
            let process = slot.process.load(Acquire);
            if is_alive(slot) {
                // They end with their babysitter; the next may not find their hands in its memory.
                signal_process(process, libc::SIGKILL);
                signal_group(process, libc::SIGKILL);
                while !process_has_ended(process) && now_ns() < deadline {
                    std::thread::yield_now();
                }
                slot.wait_status.store(libc::SIGKILL as u32, Release);
                slot.state.store(SLOT_DEAD, Release);
            }
            // What we knew is from when we were forked.
            let generation = slot.generation.load(Acquire);
            if generation != 0 {
                self.ended[index] = generation.into();
                self.turns[index] = slot.heap_steps.load(Relaxed) + 1;
            }
            self.generation = self.generation.max(generation);
        }
        self.ends = self.generation.into();
        (self.failed_workers, self.openings, self.not_before_ns) = (0, 0, 0);
        self.started_ns = [0; SLOTS];
        control.babysitter.store(std::process::id(), Release);
        // SAFETY: the control part stays mapped for the life of the process, and its owner has ended.
        if unsafe { !join_robust_list(&[&control.alive]) } {
            end_now(2)
        }
        control.alive.word.store(thread_id(), Release);
        futex_wake(&control.alive.word, u32::MAX >> 1);
        self.tell(control, CONTROL_READY);
    }
}
