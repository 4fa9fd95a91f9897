//! Pages of the caller that stay when a call ends, or calls back, until the same thread runs again.
//!
//! Meanwhile they may be out of date, and must be out of reach of whatever runs in this process. So only the
//! thread that was last inside a serial library keeps its pages: who enters after it takes them away first,
//! and so does a call that does not wait for others. A library with threads of its own has none kept.
//!
//! Not for what the caller says of them; that is `exchange::kept` at its end. Lock order: the gate of the
//! library, under which the owner changes.

use super::memory::remove;
use super::{HAS_THREADS, Thread, gate, view};
use crate::shared::keeping;
use crate::shared::layout::{KEPT_MAX, KEPT_OFFSET, Kept, LINE, PAGE};
use crate::shared::message::Keeping;
use crate::sys::memory::at;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicPtr, AtomicUsize};

/// The thread whose pages stay while it is outside of the library.
static OWNER: AtomicPtr<Thread> = AtomicPtr::new(std::ptr::null_mut());
/// Calls inside that did not wait for others.
static BESIDE: AtomicUsize = AtomicUsize::new(0);

/// How a call is inside of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Inside {
    /// Not. Of zeroes, it is this.
    Outside = 0,
    /// Alone.
    Alone,
    /// Beside others, in a library that lets all in.
    Beside,
    /// Beside the call that it interrupts, which waits for it.
    Interrupting,
}

impl Inside {
    /// Enters the library so, for a call on the channel of `thread`.
    #[inline]
    pub(super) fn enter(self, thread: &Thread) {
        match self {
            Self::Outside => {}
            Self::Alone => {
                gate::LIBRARY.enter();
                take(thread);
            }
            Self::Beside | Self::Interrupting => {
                if self == Self::Interrupting {
                    view::begin_interrupting();
                }
                BESIDE.fetch_add(1, SeqCst);
                // Who gives up pages now has not seen that we are here. It holds the gate for a moment only.
                while !OWNER.load(SeqCst).is_null() {
                    if gate::LIBRARY.try_enter() {
                        take(thread);
                        gate::LIBRARY.leave();
                    } else {
                        std::thread::yield_now();
                    }
                }
            }
        }
    }

    /// Leaves it.
    #[inline]
    pub(super) fn leave(self) {
        match self {
            Self::Outside => {}
            Self::Alone => gate::LIBRARY.leave(),
            Self::Beside | Self::Interrupting => {
                BESIDE.fetch_sub(1, SeqCst);
                if self == Self::Interrupting {
                    view::end_interrupting();
                }
            }
        }
    }
}

/// Takes away the pages of another thread that was inside before. The calling thread has the gate.
fn take(thread: &Thread) {
    let owner = OWNER.load(Relaxed);
    if owner.is_null() {
        return;
    }
    OWNER.store(std::ptr::null_mut(), SeqCst);
    if !std::ptr::eq(owner, thread) {
        // SAFETY: such a thread's state is never removed. It is outside of the library, and touches the
        // account of its pages only inside.
        unsafe { &*owner }.forget(u64::MAX);
    }
}

impl Thread {
    /// Whether pages may stay that this thread has when it leaves the library; from then on they may go.
    pub(super) fn keeps(&self, inside: Inside) -> bool {
        if !keeping::may_stay(inside == Inside::Alone, self.granted.get(), HAS_THREADS.load(Relaxed)) {
            return false;
        }
        OWNER.store(std::ptr::from_ref(self).cast_mut(), SeqCst);
        let is_alone = BESIDE.load(SeqCst) == 0;
        if !is_alone {
            OWNER.store(std::ptr::null_mut(), SeqCst);
        }
        is_alone
    }

    /// Takes away those kept pages whose bits are set.
    fn forget(&self, numbers: u64) {
        for number in 0..self.granted.get().min(KEPT_MAX) {
            let address = self.fetched[number].get();
            if numbers >> number & 1 != 0 && address != 0 {
                self.fetched[number].set(0);
                remove(address, PAGE);
            }
        }
    }

    /// Brings the kept pages up to date, as the caller says. The calling thread is inside of the library.
    #[inline]
    pub(super) fn resume_kept(&self, keeping: Keeping) {
        if self.granted.get() != 0 && keeping != Keeping::All {
            self.renew(keeping);
        }
    }

    fn renew(&self, keeping: Keeping) {
        let bulk = self.bulk();
        // SAFETY: it lies in the bulk area, which is mapped, and is all atomics.
        let told: &Kept = unsafe { at(bulk + KEPT_OFFSET) };
        let (kept, changed) = (told.kept.load(Relaxed), told.changed.load(Relaxed));
        let renewal = keeping::renewed(keeping, kept, changed, self.granted.get());
        self.forget(renewal.forgotten);
        self.granted.set(renewal.granted);
        for number in (0..renewal.granted).filter(|number| renewal.changed >> number & 1 != 0) {
            let address = self.fetched[number].get() & !(PAGE - 1);
            if address == 0 {
                continue;
            }
            let copy = bulk + number as u64 * PAGE;
            let lines = told.lines[number].load(Relaxed);
            for offset in (0..64).filter(|line| lines >> line & 1 != 0).map(|line| line * LINE) {
                // SAFETY: the page was placed by `fetch` and is ours; the copy lies in the bulk area, which
                // the caller does not touch while we hold control.
                unsafe {
                    let (from, to) = ((copy + offset) as *const u8, (address + offset) as *mut u8);
                    std::ptr::copy_nonoverlapping(from, to, LINE as usize);
                }
            }
        }
    }
}
