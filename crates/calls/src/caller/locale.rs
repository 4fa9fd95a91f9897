//! The program's locale, for workers: what drop-ins say when the program sets it.
//!
//! A worker that has missed the last change receives it before its next call. A program that never sets
//! its locale, or did before the library was opened, pays one look.

use crate::shared::layout::{LOCALE_WORDS, SlotHead};
use std::ffi::CStr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// How often the program has set its locale, and what it is now.
static CHANGES: AtomicU32 = AtomicU32::new(0);
static NAME: [AtomicU64; LOCALE_WORDS] = [const { AtomicU64::new(0) }; LOCALE_WORDS];

/// The program has set its locale. For interposed `setlocale`, which one thread at a time may call.
#[unsafe(no_mangle)]
extern "C" fn banyan_calls_locale() {
    // SAFETY: asks, and changes nothing; the text is the C library's until the next change.
    let name = unsafe { libc::setlocale(libc::LC_ALL, std::ptr::null()) };
    if name.is_null() {
        return;
    }
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if name.len() > LOCALE_WORDS * 8 {
        return;
    }
    for (word, bytes) in NAME.iter().zip(name.chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_le_bytes(whole), Relaxed);
    }
    CHANGES.fetch_add(1, Release);
}

/// Tells a worker of the last change, if it has not heard of it.
#[inline]
pub(crate) fn tell(head: &SlotHead) {
    let changes = CHANGES.load(Acquire);
    if changes != head.locale_changes.load(Relaxed) {
        for (to, from) in head.locale.iter().zip(&NAME) {
            to.store(from.load(Relaxed), Relaxed);
        }
        head.locale_changes.store(changes, Release);
    }
}
