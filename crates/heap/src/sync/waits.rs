//! Which threads have waited for longer than a tick, and for which lock: what deadlocks are found by, and
//! what `banyan heap stat` shows.
//!
//! A thread that waits follows the holder of its lock to the lock that the holder waits for, and so on. If
//! that ends at itself twice in a row, a tick apart, by the same way, it is a circle: a holder that waits
//! gives nothing up. Readers, and locks of other heaps, are not followed.
//!
//! A record is its thread's alone from the change of its first word on, until that is 0 again; one whose
//! process is dead is free.

use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{HolderInfo, LockError};
use super::word::holder_in;
use crate::attachment::Attachment;
use crate::identity::Holder;
use crate::layout::{WAIT_WORDS, WAITS, WORD_WAITS};
use crate::sys::clock::now_ns;

/// Longest circle that is looked for.
const CIRCLE_MAX: usize = 64;

/// The record of a thread that waits; ends with it.
pub(crate) struct Wait<'a> {
    attachment: &'a Attachment,
    record: usize,
    me: Holder,
    last: Vec<Holder>,
}

fn word(attachment: &Attachment, record: usize, word: usize) -> &AtomicU64 {
    &attachment.memory().metadata()[WORD_WAITS + record * WAIT_WORDS + word]
}

impl<'a> Wait<'a> {
    /// Records that this thread waits for the lock at `address`; `None` if there is no room, which costs
    /// the report alone.
    pub(crate) fn begin(attachment: &'a Attachment, address: usize) -> Result<Option<Self>, LockError> {
        let me = attachment.this_holder()?;
        for number in 0..WAITS {
            let record = (me.thread() as usize + number) % WAITS;
            let first = word(attachment, record, 0);
            let seen = first.load(Ordering::SeqCst);
            if seen != 0 && attachment.is_alive(Holder(seen)) {
                continue;
            }
            if first.compare_exchange(seen, me.0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                word(attachment, record, 2).store(now_ns(), Ordering::Relaxed);
                word(attachment, record, 1).store(address as u64, Ordering::SeqCst);
                return Ok(Some(Self { attachment, record, me, last: Vec::new() }));
            }
        }
        Ok(None)
    }

    /// The circle that this thread is part of, if it was there a tick ago too. `lock` is the word it waits
    /// for.
    pub(crate) fn circle(&mut self, lock: &AtomicU64) -> Option<Vec<HolderInfo>> {
        let now = self.follow(lock).unwrap_or_default();
        if now.is_empty() || now != self.last {
            self.last = now;
            return None;
        }
        Some(now.iter().map(|holder| self.attachment.info_of(*holder)).collect())
    }

    fn follow(&self, lock: &AtomicU64) -> Option<Vec<Holder>> {
        let mut way = vec![holder_in(lock.load(Ordering::SeqCst))?];
        while way.len() < CIRCLE_MAX {
            let last = way[way.len() - 1];
            if last == self.me {
                // The circle is said from outside: this thread is its end.
                way.pop();
                return Some(way);
            }
            let address = self.waits_for(last)?;
            let lock = self.attachment.memory().word(address)?;
            way.push(holder_in(lock.load(Ordering::SeqCst))?);
        }
        None
    }

    fn waits_for(&self, holder: Holder) -> Option<usize> {
        let is_its = |record: &usize| word(self.attachment, *record, 0).load(Ordering::SeqCst) == holder.0;
        let first = holder.thread() as usize;
        let record = (0..WAITS).map(|number| (first + number) % WAITS).find(is_its)?;
        let address = word(self.attachment, record, 1).load(Ordering::SeqCst);
        (is_its(&record) && address != 0).then_some(address as usize)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        word(self.attachment, self.record, 1).store(0, Ordering::SeqCst);
        word(self.attachment, self.record, 0).store(0, Ordering::SeqCst);
    }
}

/// A thread that has waited for longer than a tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitInfo {
    /// Which.
    pub thread: HolderInfo,
    /// The lock's address.
    pub lock: usize,
    /// For how long.
    pub waited_ns: u64,
    /// Who has the lock, if one thread has it.
    pub holder: Option<HolderInfo>,
}

/// All threads that wait.
pub(crate) fn list(attachment: &Attachment) -> Vec<WaitInfo> {
    let mut found = Vec::new();
    for record in 0..WAITS {
        let thread = word(attachment, record, 0).load(Ordering::SeqCst);
        let lock = word(attachment, record, 1).load(Ordering::SeqCst) as usize;
        let since = word(attachment, record, 2).load(Ordering::Relaxed);
        if thread == 0 || lock == 0 || !attachment.is_alive(Holder(thread)) {
            continue;
        }
        let holder = attachment.memory().word(lock).and_then(|word| holder_in(word.load(Ordering::SeqCst)));
        found.push(WaitInfo {
            thread: attachment.info_of(Holder(thread)),
            lock,
            waited_ns: now_ns().saturating_sub(since),
            holder: holder.map(|holder| attachment.info_of(holder)),
        });
    }
    found
}
