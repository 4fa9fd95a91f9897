//! The heaps that this process is attached to: each once, found by an address inside, and taken along when
//! the process is copied.
//!
//! Lock order: [`LOCK`] is taken by opening, closing and fork(3), and nothing else is waited for that such a
//! thread might hold. It is a spin lock with sleeps, so that a copy of the process can let go of it without
//! the C library.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::forks;
use crate::attachment::Attachment;
use crate::layout::GRANULE;

/// Heaps of one process.
pub(crate) const HEAPS: usize = 64;
static ATTACHED: [AtomicPtr<Attachment>; HEAPS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; HEAPS];
/// What each of them covers: its first granule in the upper half, its granules in the lower. In one word, so
/// that a place which just changes hands matches no address of a third heap.
static RANGES: [AtomicU64; HEAPS] = [const { AtomicU64::new(0) }; HEAPS];
/// Places of [`ATTACHED`] that were ever used.
static REACHED: AtomicUsize = AtomicUsize::new(0);
static LOCK: AtomicBool = AtomicBool::new(false);
static WATCHES_FORKS: AtomicBool = AtomicBool::new(false);

/// The right to change the table.
pub(crate) struct Locked(());

impl Drop for Locked {
    fn drop(&mut self) {
        LOCK.store(false, Ordering::Release);
    }
}

/// Waits for the table. The holders do only what takes milliseconds.
pub(crate) fn lock() -> Locked {
    acquire();
    Locked(())
}

fn acquire() {
    while LOCK.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
        std::thread::sleep(Duration::from_micros(50));
    }
}

extern "C" fn before_fork() {
    acquire();
}

extern "C" fn in_parent() {
    LOCK.store(false, Ordering::Release);
}

extern "C" fn in_child() {
    crate::identity::is_copied();
    for place in &ATTACHED[..REACHED.load(Ordering::Acquire)] {
        // SAFETY: what is in the table lives until it is taken out, which needs the lock, and `before_fork`
        // has it.
        if let Some(attachment) = unsafe { place.load(Ordering::Acquire).as_ref() } {
            attachment.is_copied();
        }
    }
    LOCK.store(false, Ordering::Release);
}

extern "C" fn at_exit() {
    let _locked = lock();
    for place in &ATTACHED[..REACHED.load(Ordering::Acquire)] {
        // SAFETY: as in `in_child`; this thread has the lock.
        if let Some(attachment) = unsafe { place.load(Ordering::Acquire).as_ref() } {
            attachment.is_exiting();
        }
    }
}

impl Locked {
    /// The attachment to the file with this identity, if this process has one.
    ///
    /// # Errors
    /// The last handle is just being closed by another thread: `WouldBlock`; let go of the table and ask
    /// again.
    pub(crate) fn find(&self, file: (u64, u64)) -> io::Result<Option<Arc<Attachment>>> {
        for place in &ATTACHED[..REACHED.load(Ordering::Acquire)] {
            // SAFETY: as in `in_child`; this thread has the lock.
            let Some(attachment) = (unsafe { place.load(Ordering::Acquire).as_ref() }) else { continue };
            if attachment.file_identity() == file {
                return match attachment.handle() {
                    Some(handle) => Ok(Some(handle)),
                    None => Err(io::ErrorKind::WouldBlock.into()),
                };
            }
        }
        Ok(None)
    }

    /// Adds an attachment, which takes itself out when it is dropped; `false` if there is no place.
    ///
    /// # Errors
    /// What the C library says of handlers for forks.
    pub(crate) fn add(&self, attachment: &Arc<Attachment>) -> io::Result<bool> {
        if !WATCHES_FORKS.load(Ordering::Acquire) {
            forks::watch(before_fork, in_parent, in_child)?;
            forks::watch_exit(at_exit)?;
            WATCHES_FORKS.store(true, Ordering::Release);
        }
        let free = ATTACHED.iter().position(|place| place.load(Ordering::Acquire).is_null());
        let Some(free) = free else { return Ok(false) };
        let (base, end) = attachment.memory().range();
        let range = (((base / GRANULE) as u64) << 32) | ((end - base) / GRANULE) as u64;
        ATTACHED[free].store(Arc::as_ptr(attachment).cast_mut(), Ordering::Release);
        RANGES[free].store(range, Ordering::Release);
        REACHED.fetch_max(free + 1, Ordering::AcqRel);
        Ok(true)
    }

    /// Takes one out.
    pub(crate) fn remove(&self, attachment: *const Attachment) {
        for (place, range) in ATTACHED.iter().zip(&RANGES) {
            if std::ptr::eq(place.load(Ordering::Acquire), attachment) {
                range.store(0, Ordering::Release);
                place.store(std::ptr::null_mut(), Ordering::Release);
            }
        }
    }
}

/// The attachment of the heap that has `address`.
///
/// # Safety
/// The heap at `address`, if there is one, stays open in this process for `'a`.
#[inline]
pub unsafe fn attachment_of<'a>(address: usize) -> Option<&'a Attachment> {
    let granule = (address / GRANULE) as u64;
    for (place, range) in ATTACHED.iter().zip(&RANGES).take(REACHED.load(Ordering::Acquire)) {
        let range = range.load(Ordering::Acquire);
        if granule.wrapping_sub(range >> 32) < range & u64::from(u32::MAX) {
            // SAFETY: heaps of one process do not overlap, and a range is in the table only while its memory
            // is mapped: it is the caller's own heap, which stays.
            return unsafe { place.load(Ordering::Acquire).as_ref() };
        }
    }
    None
}

/// Asks until the table can say, for a second at most.
///
/// # Errors
/// As [`Locked::find`].
pub(crate) fn lock_and_find(file: (u64, u64)) -> io::Result<(Locked, Option<Arc<Attachment>>)> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let locked = lock();
        match locked.find(file) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                drop(locked);
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
            Ok(found) => return Ok((locked, found)),
        }
    }
}
