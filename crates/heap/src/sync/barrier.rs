//! A barrier in a cell: the threads that come wait for each other until there are as many as were agreed.
//!
//! | bits | what |
//! |---|---|
//! | 63 to 32 | how often it has opened; threads sleep on it |
//! | 31 to 16 | how many have come |
//! | 15 to 0 | how many must come |
//!
//! To come is one atomic change, and so is the last one's, which opens it. A process is in the table of holds
//! from the first time it comes; if it dies, the barrier is broken, and all who wait or come hear so: the one
//! that is missing will never come. One that dies before it ever came is not known here; set a time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cell::{Cell, Kind};
use super::error::LockError;
use super::word::Waiting;
use crate::attachment::Attachment;
use crate::death::point;
use crate::layout::BARRIER_BROKEN;
use crate::sys::futex::{self, Half};

/// Most threads of a barrier.
pub const BARRIER_MAX: u32 = u16::MAX as u32;
const ARRIVED: u64 = 1 << 16;
const COUNT: u64 = 0xffff;
/// In the third word: the opening in its upper half was none, but a reset.
const RESET: u64 = 2;

/// A barrier at an address of a heap.
#[derive(Clone, Copy, Debug)]
pub struct RawBarrier<'a>(Cell<'a>);

/// Which of its threads this was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The one that came last, of which there is one.
    Last,
    /// Another.
    Other,
}

impl<'a> RawBarrier<'a> {
    /// Makes a barrier of 64 bytes at `address` that nothing else uses, for `count` threads of any processes.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if the address is not one, or `count` is 0 or above [`BARRIER_MAX`].
    pub fn make(attachment: &'a Attachment, address: usize, count: u32) -> Result<Self, LockError> {
        if count == 0 || count > BARRIER_MAX {
            return Err(LockError::NoSuchObject { expected: "count of 1 to 65535 for a barrier", address });
        }
        Cell::make(attachment, address, Kind::Barrier, count.into()).map(Self)
    }

    /// The barrier at `address`.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if none was made there.
    pub fn at(attachment: &'a Attachment, address: usize) -> Result<Self, LockError> {
        Cell::of(attachment, address, Kind::Barrier).map(Self)
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if none was made there.
    pub fn destroy(attachment: &Attachment, address: usize) -> Result<(), LockError> {
        Cell::destroy(attachment, address, Kind::Barrier)
    }

    /// Comes, and waits for the others for `timeout` at most.
    ///
    /// # Errors
    /// [`LockError::Broken`], or time over; this thread then has not come.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Passed, LockError> {
        let process = self.0.attachment.this_holder()?.process();
        let holds = self.0.attachment.holds();
        if !holds.has(self.0.address, process, 0) && !holds.enter(self.0.address, process, 0) {
            return Err(LockError::TooManyReaders);
        }
        if self.is_broken() {
            return Err(LockError::Broken);
        }
        let mut seen = self.0.state.load(Ordering::SeqCst);
        loop {
            let is_last = (seen >> 16) & COUNT >= (seen & COUNT).saturating_sub(1);
            let next = if is_last { after(seen) } else { seen + ARRIVED };
            match self.0.state.compare_exchange(seen, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) if is_last => {
                    point("barrier.opened");
                    futex::wake(self.0.state, Half::High, futex::ALL);
                    return Ok(Passed::Last);
                }
                Ok(_) => return self.sleep(seen >> 32, timeout),
                Err(other) => seen = other,
            }
        }
    }

    fn sleep(&self, opened: u64, timeout: Option<Duration>) -> Result<Passed, LockError> {
        point("barrier.came");
        let waiting = Waiting::new(timeout);
        loop {
            let seen = self.0.state.load(Ordering::SeqCst);
            if seen >> 32 != opened {
                let more = self.0.more.load(Ordering::SeqCst);
                let is_reset = more & RESET != 0 && more >> 32 == opened;
                return if is_reset { Err(LockError::Broken) } else { Ok(Passed::Other) };
            }
            let is_broken = self.is_broken();
            match waiting.next_sleep() {
                Some(at_most) if !is_broken => {
                    futex::wait(self.0.state, Half::High, seen, at_most);
                }
                _ if self.retract(opened) => {
                    return Err(if is_broken {
                        LockError::Broken
                    } else {
                        LockError::TimedOut { waited: waiting.waited(), holder: None }
                    });
                }
                _ => {}
            }
        }
    }

    /// Takes this thread's coming back, unless the barrier has opened.
    fn retract(&self, opened: u64) -> bool {
        let less = |seen: u64| (seen >> 32 == opened && seen & (COUNT << 16) != 0).then(|| seen - ARRIVED);
        self.0.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }

    fn is_broken(&self) -> bool {
        if self.0.more.load(Ordering::SeqCst) & BARRIER_BROKEN != 0 {
            return true;
        }
        let (_, dead) = self.0.attachment.count_holds(self.0.address);
        if dead > 0 {
            break_cell(&self.0);
        }
        dead > 0
    }

    /// Makes a broken barrier whole, for `count` threads from now on, or as many as
    /// before. Threads that wait hear that it was broken.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if `count` is above [`BARRIER_MAX`] or 0.
    pub fn reset(&self, count: Option<u32>) -> Result<(), LockError> {
        if count.is_some_and(|count| count == 0 || count > BARRIER_MAX) {
            let address = self.0.address;
            return Err(LockError::NoSuchObject { expected: "count of 1 to 65535 for a barrier", address });
        }
        self.0.attachment.count_holds(self.0.address);
        let mut seen = self.0.state.load(Ordering::SeqCst);
        loop {
            // Said before it is done, so that no thread takes the reset for an opening.
            self.0.more.store((seen >> 32 << 32) | RESET | BARRIER_BROKEN, Ordering::SeqCst);
            let next = count.map_or(after(seen), |count| (after(seen) & !COUNT) | u64::from(count));
            match self.0.state.compare_exchange(seen, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => break,
                Err(other) => seen = other,
            }
        }
        self.0.more.fetch_and(!BARRIER_BROKEN, Ordering::SeqCst);
        futex::wake(self.0.state, Half::High, futex::ALL);
        Ok(())
    }
}

/// The state after it has opened once more: nobody has come.
fn after(seen: u64) -> u64 {
    ((seen >> 32).wrapping_add(1) << 32) | (seen & COUNT)
}

fn break_cell(cell: &Cell<'_>) {
    cell.more.fetch_or(BARRIER_BROKEN, Ordering::SeqCst);
    futex::wake(cell.state, Half::High, futex::ALL);
}
