//! The program's locale in a worker: set before the first call that the caller makes after it has changed.
//!
//! A worker that may not open files has what the environment names, and no other: it was read before.

use crate::shared::layout::SlotHead;
use std::ffi::CStr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Mutex, PoisonError};

/// As many changes as this process knows of.
static KNOWN: AtomicU32 = AtomicU32::new(0);
/// Locales that are in memory. Not changed after the babysitter's start.
static READ: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The locales that a name has, for its categories or for all.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split(';').map(|part| part.split_once('=').map_or(part, |(_, locale)| locale))
}

/// Reads the locales of the environment, for workers that cannot.
pub(crate) fn prepare() {
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the process has one thread. The object is kept, and with it what was read; names are copied
    // before the next change, which puts back what was.
    unsafe {
        libc::newlocale(libc::LC_ALL_MASK, c"".as_ptr(), std::ptr::null_mut());
        let name = |name: *const libc::c_char| {
            (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
        };
        let before = name(libc::setlocale(libc::LC_ALL, std::ptr::null()));
        let environment = name(libc::setlocale(libc::LC_ALL, c"".as_ptr()));
        if let Some(before) = before.as_ref().and_then(|before| std::ffi::CString::new(before.as_str()).ok())
        {
            libc::setlocale(libc::LC_ALL, before.as_ptr());
        }
        let names = [before, environment, Some("C".to_owned()), Some("POSIX".to_owned())];
        read.extend(names.iter().flatten().flat_map(|name| parts(name)).map(str::to_owned));
    }
}

/// Follows the caller. The calling thread may enter the library.
#[inline]
pub(super) fn follow(head: &SlotHead, opens_files: bool) {
    if head.locale_changes.load(Relaxed) != KNOWN.load(Relaxed) {
        follow_now(head, opens_files);
    }
}

#[cold]
fn follow_now(head: &SlotHead, opens_files: bool) {
    KNOWN.store(head.locale_changes.load(Acquire), Relaxed);
    let mut name = Vec::with_capacity(size_of_val(&head.locale));
    for word in &head.locale {
        name.extend(word.load(Relaxed).to_le_bytes());
    }
    let Ok(name) = CStr::from_bytes_until_nul(&name) else { return };
    let read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let is_read = |part: &str| read.iter().any(|known| known == part);
    if opens_files || parts(&name.to_string_lossy()).all(is_read) {
        // SAFETY: a C string. Threads of the library that use the locale meanwhile would race with the
        // program's change in one process, too.
        unsafe { libc::setlocale(libc::LC_ALL, name.as_ptr()) };
    }
}
