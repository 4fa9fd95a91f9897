//! How long pages are kept that a worker has used: what a channel's caller notes of each.
//!
//! Looking at a page costs a tenth of bringing it, so one that is not used for some calls is given up, and
//! one that is asked for again soon after stays for longer. Not for bringing them up to date; that is
//! `exchange::kept`.

use crate::shared::layout::{KEPT_MAX, PAGE};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// For how many calls a page is kept that is used by none of them, at first; as a power of two.
const FIRST_LIFE: u32 = 4;
/// The same for a page that was brought along with others before it, which are often read once.
const FIRST_LIFE_BEHIND: u32 = 1;
/// The longest such life.
const LONGEST_LIFE: u32 = 10;
/// For how many calls nothing is kept after a worker has lost what it kept to another thread's call.
pub(super) const PAUSE: u32 = 64;

/// Room for the pages as they are now.
pub(crate) type Scratch = [[AtomicU64; PAGE as usize / 8]; KEPT_MAX];

/// What a channel's caller knows of the pages that its worker keeps. Only the channel's owner uses it.
#[repr(C)]
pub(crate) struct KeptPages {
    /// Calls, and returns to call-backs, in which there were such pages.
    pub(super) clock: AtomicU32,
    /// How many were kept when the worker began to run.
    pub(super) before: AtomicU32,
    /// Calls for which nothing is to be kept.
    pub(super) paused: AtomicU32,
    /// When each was last used, as far as is seen.
    used: [AtomicU32; KEPT_MAX],
    /// How long each is kept without that, as a power of two.
    life: [AtomicU32; KEPT_MAX],
    /// Pages given up, each at the place of its number: the address and how long it was kept.
    given_up: [AtomicU64; KEPT_MAX],
}

const fn place(address: u64) -> usize {
    (address / PAGE) as usize % KEPT_MAX
}

impl KeptPages {
    /// A page was brought, as the `behind`th of those asked for at once.
    pub(super) fn note_brought(&self, number: usize, address: u64, behind: usize) {
        let given_up = self.given_up[place(address)].load(Relaxed);
        let life = match given_up & !(PAGE - 1) == address {
            true => ((given_up % PAGE) as u32 + 1).min(LONGEST_LIFE),
            false if behind == 0 => FIRST_LIFE,
            false => FIRST_LIFE_BEHIND,
        };
        self.life[number].store(life, Relaxed);
        self.used[number].store(self.clock.load(Relaxed), Relaxed);
    }

    pub(super) fn note_used(&self, number: usize) {
        self.used[number].store(self.clock.load(Relaxed), Relaxed);
    }

    pub(super) fn is_over(&self, number: usize, now: u32) -> bool {
        now.wrapping_sub(self.used[number].load(Relaxed)) > 1 << self.life[number].load(Relaxed)
    }

    pub(super) fn give_up(&self, number: usize, address: u64) {
        let life = self.life[number].load(Relaxed);
        self.given_up[place(address)].store(address | u64::from(life), Relaxed);
    }
}
