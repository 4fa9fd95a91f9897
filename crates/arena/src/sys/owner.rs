//! Which process something belongs to: a child made by fork(2) has a copy of everything in memory, and of the
//! descriptors, but none of the threads, of the heap, or of the right to write the file.
//!
//! [`Owner`] tells the copy from the original, whatever the program forked by: it compares with a number in a
//! page that the kernel empties in a child. [`LeftToParent`] has a descriptor closed in children that fork(3)
//! makes, since a lock ends with its *last* descriptor: a child that sleeps would keep the lock of a parent
//! that is dead.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::{io, ptr};

use rustix::fs::{Mode, OFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

const PAGE: usize = 4096;

/// The number of this process; 0 right after a fork. Null before the first use.
static NUMBER: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// Numbers given so far. A child begins with a copy, so its number differs from those of all its forebears.
static GIVEN: AtomicU64 = AtomicU64::new(0);

/// The process that made this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner(u64);

impl Owner {
    /// This process.
    ///
    /// # Errors
    /// What the kernel says of one page of memory.
    pub(crate) fn this_process() -> io::Result<Self> {
        if NUMBER.load(Ordering::Acquire).is_null() {
            make_number()?;
        }
        Ok(Self(number()))
    }

    /// Whether this is still the process, not one that was forked from it.
    #[inline]
    pub(crate) fn is_here(self) -> bool {
        number() == self.0
    }
}

#[inline]
fn number() -> u64 {
    // SAFETY: the pointer is null or to the page that `make_number` has mapped for good.
    let Some(word) = (unsafe { NUMBER.load(Ordering::Acquire).as_ref() }) else { return 0 };
    match word.load(Ordering::Relaxed) {
        0 => take_number(word),
        number => number,
    }
}

#[cold]
fn take_number(word: &AtomicU64) -> u64 {
    let number = GIVEN.fetch_add(1, Ordering::Relaxed) + 1;
    match word.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => number,
        Err(other) => other,
    }
}

fn make_number() -> io::Result<()> {
    // SAFETY: without an address of the caller's, no memory that someone uses changes.
    let page = unsafe {
        mmap_anonymous(ptr::null_mut(), PAGE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    }?;
    // SAFETY: the page is ours; the advice concerns children only.
    let advised = unsafe { madvise(page, PAGE, Advice::LinuxWipeOnFork) };
    let won = advised.is_ok()
        && NUMBER.compare_exchange(ptr::null_mut(), page.cast(), Ordering::AcqRel, Ordering::Acquire).is_ok();
    if !won {
        // SAFETY: nothing refers to the page.
        let _unmapped = unsafe { munmap(page, PAGE) };
    }
    Ok(advised?)
}

/// A place for a descriptor that is closed in children. Places are used again and never freed, so that the
/// child, which may take no lock, can walk them.
struct Place {
    /// -1: free.
    descriptor: AtomicI32,
    next: AtomicPtr<Place>,
}

static PLACES: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());
/// What a descriptor stands for in a child: a file that can neither be read, nor written, nor locked. The
/// number itself stays taken: a copy of the parent's `File` will close it.
static NOTHING: OnceLock<OwnedFd> = OnceLock::new();

/// As long as this lives, a child has no copy of the descriptor.
#[derive(Debug)]
pub(crate) struct LeftToParent(NonNull<Place>);

// SAFETY: places are made of atomics, and are never freed.
unsafe impl Send for LeftToParent {}
// SAFETY: as above.
unsafe impl Sync for LeftToParent {}

impl LeftToParent {
    /// Keeps a descriptor from children.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn keep(descriptor: &impl AsRawFd) -> io::Result<Self> {
        if NOTHING.get().is_none() {
            let nothing = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            if NOTHING.set(nothing).is_ok() {
                // SAFETY: the handler does only what a signal handler may.
                let error = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
                if error != 0 {
                    return Err(io::Error::from_raw_os_error(error));
                }
            }
        }
        let wanted = descriptor.as_raw_fd();
        let mut at = PLACES.load(Ordering::Acquire);
        // SAFETY: places are never freed.
        while let Some(place) = unsafe { at.as_ref() } {
            if place.descriptor.compare_exchange(-1, wanted, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(Self(NonNull::from(place)));
            }
            at = place.next.load(Ordering::Acquire);
        }
        let place = Box::leak(Box::new(Place {
            descriptor: AtomicI32::new(wanted),
            next: AtomicPtr::new(PLACES.load(Ordering::Acquire)),
        }));
        let kept = NonNull::from(&*place);
        let mut first = place.next.load(Ordering::Relaxed);
        while let Err(other) =
            PLACES.compare_exchange_weak(first, kept.as_ptr(), Ordering::AcqRel, Ordering::Acquire)
        {
            first = other;
            place.next.store(first, Ordering::Relaxed);
        }
        Ok(Self(kept))
    }
}

impl Drop for LeftToParent {
    fn drop(&mut self) {
        // SAFETY: places are never freed.
        unsafe { self.0.as_ref() }.descriptor.store(-1, Ordering::Release);
    }
}

extern "C" fn in_child() {
    let Some(nothing) = NOTHING.get() else { return };
    let mut at = PLACES.load(Ordering::Acquire);
    // SAFETY: places are never freed.
    while let Some(place) = unsafe { at.as_ref() } {
        let descriptor: RawFd = place.descriptor.load(Ordering::Acquire);
        if descriptor >= 0 {
            // SAFETY: the descriptor belongs to a copy of a value that refuses to use it, see `Owner`.
            unsafe { libc::dup3(nothing.as_raw_fd(), descriptor, libc::O_CLOEXEC) };
        }
        at = place.next.load(Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_another_process_and_has_no_copy_of_what_is_kept() {
        let owner = Owner::this_process().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let kept = [LeftToParent::keep(&writer).unwrap(), LeftToParent::keep(&writer).unwrap()];
        // SAFETY: the child does only what it may after a fork of a process with threads.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let sees = owner.is_here() || rustix::io::write(&writer, b"x") != Err(rustix::io::Errno::BADF);
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(sees)) };
        }
        let mut status = 0;
        // SAFETY: the child is ours, and the status is a place of ours.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        assert!(owner.is_here() && Owner::this_process().unwrap().is_here());
        drop(kept);
        drop(writer);
        assert_eq!(rustix::io::read(&reader, &mut [0]), Ok(0), "no child has the other end");
    }
}
