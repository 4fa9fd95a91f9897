//! The lock that all others are made of: one word, which names its holder.
//!
//! | bits | what |
//! |---|---|
//! | 63 to 32 | the holder's process, 0 while free |
//! | 31 | threads may be asleep on it |
//! | 30 | a holder died, and nothing was said to be repaired since |
//! | 29 | a thread was passed by for too long: who comes new does not get it before who has slept |
//! | 28 | done, of a *once* |
//! | 27 to 0 | the holder's thread, by the kernel's number |
//!
//! Taking and giving up are one atomic change each, so there is no state between in which a process can die.
//! A holder is dead when its place in the table of participants is free (`participants`); a thread that waits
//! finds that out each time before it sleeps, and takes the lock from it.
//!
//! Fairness: a free lock goes to whichever thread is first, which is fast; a thread that has waited for
//! [`PATIENCE`] and was passed by sets bit 29, and then only threads that have slept get it, which the kernel
//! wakes in their order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::TICK;
use super::error::{Acquired, HolderInfo, LockError};
use super::waits::Wait;
use crate::attachment::Attachment;
use crate::death::point;
use crate::identity::{Holder, THREAD_MASK};
use crate::sys::futex::{self, Half, Waited};

const SLEEPERS: u64 = 1 << 31;
const DIED: u64 = 1 << 30;
const FAIR: u64 = 1 << 29;
/// For `once` alone.
pub(crate) const DONE: u64 = 1 << 28;
const FLAGS: u64 = SLEEPERS | DIED | FAIR | DONE;
const _: () = assert!(FLAGS & THREAD_MASK == 0);

/// After this long, threads that come new do not pass one that waits.
const PATIENCE: Duration = Duration::from_millis(1);
/// Looks before the first sleep: about as long as a short critical section.
const SPINS: u32 = 100;

/// How many sleepers a released lock wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The one that has slept longest.
    One,
    /// All, who may have it together.
    All,
}

/// A lock's word, and where it is for others to know.
#[derive(Clone, Copy)]
pub(crate) struct LockWord<'a> {
    pub(crate) attachment: &'a Attachment,
    pub(crate) word: &'a AtomicU64,
    /// By which it is known in the table of waits.
    pub(crate) address: usize,
}

/// What a thread that waits remembers from sleep to sleep.
pub(crate) struct Waiting<'a> {
    began: Instant,
    timeout: Option<Duration>,
    has_slept: bool,
    /// Made with the first tick: most waits are shorter.
    wait: Option<Wait<'a>>,
}

impl Waiting<'_> {
    /// For `timeout` at most, or for ever.
    pub(crate) fn new(timeout: Option<Duration>) -> Self {
        Self { began: Instant::now(), timeout, has_slept: false, wait: None }
    }

    /// How long to sleep now; `None` when the time is over.
    pub(crate) fn next_sleep(&self) -> Option<Duration> {
        match self.timeout {
            None => Some(TICK),
            Some(timeout) => {
                let left = timeout.saturating_sub(self.began.elapsed());
                (!left.is_zero()).then(|| left.min(TICK))
            }
        }
    }

    /// For how long it has been.
    pub(crate) fn waited(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Who has the lock whose word was `seen`.
#[inline]
pub(crate) fn holder_in(seen: u64) -> Option<Holder> {
    match seen & !FLAGS {
        0 => None,
        holder => Some(Holder(holder)),
    }
}

fn acquired(seen: u64) -> Acquired {
    if seen & DIED == 0 { Acquired::Clean } else { Acquired::OwnerDied }
}

impl<'a> LockWord<'a> {
    /// Takes the lock if it is free or its holder is dead; `None` if another thread has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Result<Option<Acquired>, LockError> {
        let me = self.attachment.this_holder()?;
        if self.word.compare_exchange(0, me.0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            return Ok(Some(Acquired::Clean));
        }
        loop {
            let seen = self.word.load(Ordering::SeqCst);
            match holder_in(seen) {
                None if seen & DONE != 0 => return Ok(None),
                None => {
                    let mine = me.0 | (seen & (DIED | SLEEPERS | FAIR));
                    if self.exchange(seen, mine) {
                        return Ok(Some(acquired(seen)));
                    }
                }
                Some(holder) if !self.attachment.is_alive(holder) => {
                    if self.take_from_the_dead(seen, me) {
                        return Ok(Some(Acquired::OwnerDied));
                    }
                }
                Some(_) => return Ok(None),
            }
        }
    }

    /// Takes the lock, and waits for it for `timeout` at most.
    #[inline]
    pub(crate) fn lock(&self, timeout: Option<Duration>) -> Result<Acquired, LockError> {
        let me = self.attachment.this_holder()?;
        if self.word.compare_exchange(0, me.0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            point("lock.taken");
            return Ok(Acquired::Clean);
        }
        self.lock_slowly(me, timeout)
    }

    #[cold]
    fn lock_slowly(&self, me: Holder, timeout: Option<Duration>) -> Result<Acquired, LockError> {
        let mut waiting = Waiting::new(timeout);
        for _ in 0..SPINS {
            let seen = self.word.load(Ordering::Relaxed);
            if holder_in(seen).is_none() || seen & SLEEPERS != 0 {
                break;
            }
            std::hint::spin_loop();
        }
        loop {
            let seen = self.word.load(Ordering::SeqCst);
            if holder_in(seen).is_none() && (seen & FAIR == 0 || waiting.has_slept) {
                // Who has slept does not know who else does.
                let sleepers = if waiting.has_slept { SLEEPERS } else { seen & SLEEPERS };
                if self.exchange(seen, me.0 | (seen & DIED) | sleepers) {
                    point("lock.taken_after_wait");
                    return Ok(acquired(seen));
                }
                continue;
            }
            if let Some(holder) = holder_in(seen) {
                if holder == me {
                    return Err(LockError::Deadlock { circle: vec![self.attachment.info_of(me)] });
                }
                if !self.attachment.is_alive(holder) {
                    if self.take_from_the_dead(seen, me) {
                        return Ok(Acquired::OwnerDied);
                    }
                    continue;
                }
            }
            self.sleep(seen, &mut waiting)?;
        }
    }

    /// Sleeps until the word is another one than `seen`, or a tick is over.
    pub(crate) fn sleep(&self, seen: u64, waiting: &mut Waiting<'a>) -> Result<(), LockError> {
        let Some(at_most) = waiting.next_sleep() else {
            let holder = holder_in(self.word.load(Ordering::SeqCst)).map(|it| self.attachment.info_of(it));
            return Err(LockError::TimedOut { waited: waiting.waited(), holder });
        };
        let is_passed_by = waiting.has_slept && waiting.waited() >= PATIENCE;
        let asleep = seen | SLEEPERS | if is_passed_by { FAIR } else { 0 };
        if asleep != seen && !self.exchange(seen, asleep) {
            return Ok(());
        }
        point("lock.asleep");
        match futex::wait(self.word, Half::Low, asleep, at_most) {
            Waited::Changed => {}
            Waited::Woken => waiting.has_slept = true,
            Waited::TimedOut => {
                waiting.has_slept = true;
                if waiting.wait.is_none() {
                    waiting.wait = Wait::begin(self.attachment, self.address)?;
                }
                if let Some(circle) = waiting.wait.as_mut().and_then(|wait| wait.circle(self.word)) {
                    return Err(LockError::Deadlock { circle });
                }
            }
        }
        Ok(())
    }

    fn take_from_the_dead(&self, seen: u64, me: Holder) -> bool {
        self.exchange(seen, me.0 | DIED | SLEEPERS)
    }

    /// Frees a lock whose holder is dead, for waiters that cannot have it for themselves alone.
    pub(crate) fn free_of_the_dead(&self, seen: u64) {
        if self.exchange(seen, DIED) {
            futex::wake(self.word, Half::Low, futex::ALL);
        }
    }

    /// Gives the lock up.
    #[inline]
    pub(crate) fn unlock(&self, wake: Wake) -> Result<(), LockError> {
        let me = self.attachment.this_holder()?;
        if self.word.compare_exchange(me.0, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            return Ok(());
        }
        self.unlock_slowly(me, wake, 0)
    }

    /// Gives it up and says that what it stood for is done.
    pub(crate) fn unlock_done(&self) -> Result<(), LockError> {
        self.unlock_slowly(self.attachment.this_holder()?, Wake::All, DONE)
    }

    #[cold]
    fn unlock_slowly(&self, me: Holder, wake: Wake, done: u64) -> Result<(), LockError> {
        loop {
            let seen = self.word.load(Ordering::SeqCst);
            let holder = holder_in(seen);
            if holder != Some(me) {
                return Err(LockError::NotHeld { holder: holder.map(|it| self.attachment.info_of(it)) });
            }
            if self.exchange(seen, (seen & (DIED | FAIR)) | done) {
                point("lock.freed");
                if seen & SLEEPERS != 0 {
                    futex::wake(self.word, Half::Low, if wake == Wake::One { 1 } else { futex::ALL });
                }
                return Ok(());
            }
        }
    }

    /// Says that what the lock protects is whole again, by its holder.
    pub(crate) fn make_consistent(&self) -> Result<(), LockError> {
        let me = self.attachment.this_holder()?;
        loop {
            let seen = self.word.load(Ordering::SeqCst);
            let holder = holder_in(seen);
            if holder != Some(me) {
                return Err(LockError::NotHeld { holder: holder.map(|it| self.attachment.info_of(it)) });
            }
            if self.exchange(seen, seen & !DIED) {
                return Ok(());
            }
        }
    }

    /// Whether a holder died and nothing was repaired since.
    pub(crate) fn is_left_by_the_dead(seen: u64) -> bool {
        seen & DIED != 0
    }

    fn exchange(&self, seen: u64, new: u64) -> bool {
        self.word.compare_exchange(seen, new, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}

impl Attachment {
    /// A holder as messages name it.
    pub(crate) fn info_of(&self, holder: Holder) -> HolderInfo {
        HolderInfo {
            process_id: self.participants().process_id(holder.process()),
            thread_id: holder.thread(),
        }
    }
}
