//! What the allocator is asked for beside memory.

use rustix::mm::{Advice, madvise};

/// A piece that is taken from the place where the allocator takes most, below what it maps by itself.
const PIECE: usize = 96 << 10;
const PAGE: usize = 4096;
/// The most that is looked through.
const LOOKED_MAX: usize = 1 << 30;

/// Gives memory to the system that this thread has freed in small pieces, about so many bytes.
///
/// `malloc_trim` gives back what lies between pieces in use, in all arenas, but what lies behind the last one
/// only in the main thread's. So that is taken here in larger pieces, of which the pages are given back.
pub(crate) fn trim(bytes: usize) {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for _ in 0..bytes.min(LOOKED_MAX) / PIECE {
        let mut piece: Vec<u8> = Vec::with_capacity(PIECE);
        let begin = piece.as_mut_ptr().addr().next_multiple_of(PAGE);
        let end = (piece.as_mut_ptr().addr() + PIECE) / PAGE * PAGE;
        let pages = piece.as_mut_ptr().with_addr(begin);
        // SAFETY: whole pages within a block of this thread's own, in which there is nothing yet. What cannot
        // be given back stays.
        let _ = unsafe { madvise(pages.cast(), end - begin, Advice::LinuxDontNeed) };
        pieces.push(piece);
    }
}
