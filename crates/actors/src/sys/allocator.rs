//! What the allocator is asked for beside memory: to give back what it keeps of what was freed in small
//! pieces.
//!
//! `malloc_trim` gives back what lies between pieces in use, in all arenas, but what lies behind the last one
//! only in the main thread's. So that is taken in larger pieces by the thread that has it ([`Behind`]), of
//! which the pages are given back, some at a time.

use rustix::mm::{Advice, madvise};

/// A piece that is taken from the place where the allocator takes most, below what it maps by itself.
const PIECE: usize = 96 << 10;
const PAGE: usize = 4096;
/// The most that is looked through.
const LOOKED_MAX: usize = 1 << 30;
/// Pieces at a time: a tenth of a millisecond.
const STEP: usize = 8;

/// Gives to the system what lies free between pieces in use. It takes milliseconds: not for the thread of a
/// host.
pub(crate) fn trim() {
    debug_assert!(
        std::thread::current().name().is_none_or(|name| !name.starts_with("banyan-host")),
        "a host does not stop for this"
    );
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What lies free behind the last piece in use of the thread that this is made on.
#[derive(Default)]
pub(crate) struct Behind {
    left: usize,
    /// Held until the last one is taken, so that each is another.
    pieces: Vec<Vec<u8>>,
}

impl Behind {
    /// About so many bytes are to be given back.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.left = (self.left + bytes / PIECE).min(LOOKED_MAX / PIECE);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Gives some of it to the system.
    pub(crate) fn step(&mut self) {
        for _ in 0..STEP.min(self.left) {
            let mut piece: Vec<u8> = Vec::with_capacity(PIECE);
            let begin = piece.as_mut_ptr().addr().next_multiple_of(PAGE);
            let end = (piece.as_mut_ptr().addr() + PIECE) / PAGE * PAGE;
            let pages = piece.as_mut_ptr().with_addr(begin);
            // SAFETY: whole pages within a block that is owned here, in which there is nothing yet. What
            // cannot be given back stays.
            let _ = unsafe { madvise(pages.cast(), end - begin, Advice::LinuxDontNeed) };
            self.pieces.push(piece);
            self.left -= 1;
        }
        if self.left == 0 {
            self.pieces = Vec::new();
        }
    }
}
