//! The understudy: a fork of the babysitter that takes its place when it is killed.
//!
//! It has the library loaded at the same addresses, so that a program's pointers into it stay right; only the
//! workers and what they held are lost. It is made before the babysitter needs it and after the last one took
//! over, so two processes must be killed at once to end the service. Not for a service of several programs:
//! that one forks a babysitter for each who comes, and they come again.

use super::descendants::Descendants;
use super::{Babysitter, is_alive};
use crate::shared::layout::{CONTROL_BYTES, CONTROL_READY, Control, SLOT_DEAD, SLOTS};
use crate::sys::channel::{
    futex_wake, join_robust_list, now_ns, process_has_ended, signal_process, thread_id,
};
use crate::sys::memory::{Access, leave_out_of_forks, map_shared};
use crate::sys::process::{end_now, fork, process_descriptor, signal_group, wait_readable};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// How long the workers of a babysitter that was killed may take to end.
const ENDING_NS: u64 = 100_000_000;

/// Which of the two processes goes on after a fork for an understudy.
enum Fork {
    Babysitter,
    /// With what tells it that its babysitter has ended.
    Understudy(OwnedFd),
}

impl Babysitter {
    /// Makes an understudy if there is none; returns after how many milliseconds to look again, if that
    /// failed. Returns in the understudy, too, once that has taken over, and there is work to do at once. It
    /// goes on in its babysitter's frame and with its descriptors: there may be any number of them one after
    /// the other.
    pub(super) fn keep_understudy(&mut self, control: &'static Control, client: &OwnedFd) -> Option<u64> {
        if self.understudy != 0 || self.program.admit.is_some() {
            return None;
        }
        match self.fork_understudy(control) {
            Ok(Fork::Babysitter) => None,
            Ok(Fork::Understudy(babysitter)) => {
                self.stand_by(control, babysitter, client);
                self.take_over(control);
                Some(0)
            }
            Err(_) => Some(super::AGAIN_MS),
        }
    }

    /// Splits this process in two, of which the new one is the understudy.
    fn fork_understudy(&mut self, control: &'static Control) -> io::Result<Fork> {
        let own = process_descriptor(std::process::id())?;
        // SAFETY: the babysitter has one thread.
        match unsafe { fork()? } {
            0 => {
                // What belongs to the babysitter is not in its forks.
                let place = std::ptr::from_ref(control) as u64;
                if map_shared(&self.file, 0, place, CONTROL_BYTES, Access::Write).is_err()
                    || leave_out_of_forks(place, CONTROL_BYTES).is_err()
                {
                    end_now(2)
                }
                // A caller may have placed the babysitter beside itself, on a processor that is busy now.
                self.allowed.take();
                Ok(Fork::Understudy(own))
            }
            process => {
                self.understudy = process;
                control.understudy.store(process, Release);
                Ok(Fork::Babysitter)
            }
        }
    }

    /// In the understudy: waits until its babysitter has ended, and has an understudy of its own then. Ends
    /// with the program.
    fn stand_by(&mut self, control: &'static Control, mut babysitter: OwnedFd, client: &OwnedFd) {
        loop {
            let [ended, is_next] = wait_readable([client, &babysitter], -1);
            if ended || is_next && control.finish.load(Acquire) != 0 {
                end_now(0)
            }
            if !is_next {
                continue;
            }
            // First, so that the service outlasts our end too.
            match self.fork_understudy(control) {
                Ok(Fork::Understudy(next)) => babysitter = next,
                // Without one, another try follows once this one serves.
                Ok(Fork::Babysitter) | Err(_) => return,
            }
        }
    }

    /// In an understudy whose babysitter has ended: becomes the babysitter. What it does not know, as that
    /// changed since the fork, it finds out.
    fn take_over(&mut self, control: &'static Control) {
        if self.is_library {
            self.descendants = Descendants::adopt();
        }
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
