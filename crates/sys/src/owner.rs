//! Which process something belongs to: a child made by fork(2) has a copy of everything in memory, and of the
//! descriptors, but none of the threads, of the heap, or of the right to write the file.
//!
//! [`Owner`] tells the copy from the original, whatever the program forked by: it compares with a number in a
//! page that the kernel empties in a child. [`LeftToParent`] has a descriptor closed in children that fork(3)
//! makes, since a lock ends with its *last* descriptor: a child that sleeps would keep the lock of a parent
//! that is dead. Children that clone(2) makes without the C library's knowledge keep it.

use std::cell::UnsafeCell;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::ptr::NonNull;
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
pub struct Owner(u64);

impl Owner {
    /// This process.
    ///
    /// # Errors
    /// What the kernel says of one page of memory.
    pub fn this_process() -> io::Result<Self> {
        if NUMBER.load(Ordering::Acquire).is_null() {
            make_number()?;
        }
        Ok(Self(number()))
    }

    /// Whether this is still the process, not one that was forked from it.
    #[inline]
    pub fn is_here(self) -> bool {
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
/// number itself stays taken: a copy of the parent's `File` will close it. -1 until [`watch_forks`] is done.
static NOTHING: AtomicI32 = AtomicI32::new(-1);

/// Held while a descriptor is opened and put into a place, and while fork(3) makes a child: so no child has
/// one that is in no place. Recursive, since the handlers that take it may be there twice.
struct Opening(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a mutex is for all threads.
unsafe impl Sync for Opening {}

static OPENING: Opening = Opening(UnsafeCell::new(libc::PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP));

extern "C" fn lock_opening() {
    // SAFETY: the mutex lives for ever.
    unsafe { libc::pthread_mutex_lock(OPENING.0.get()) };
}

extern "C" fn unlock_opening() {
    // SAFETY: this thread has locked it.
    unsafe { libc::pthread_mutex_unlock(OPENING.0.get()) };
}

/// As long as this lives, a child has no copy of the descriptor.
#[derive(Debug)]
pub struct LeftToParent {
    place: NonNull<Place>,
    descriptor: RawFd,
}

// SAFETY: places are made of atomics, and are never freed.
unsafe impl Send for LeftToParent {}
// SAFETY: as above.
unsafe impl Sync for LeftToParent {}

impl LeftToParent {
    /// Opens a descriptor and keeps it from children.
    ///
    /// # Errors
    /// What `open` gives; what the kernel says of a handler for forks.
    pub fn open<D: AsRawFd, E: From<io::Error>>(open: impl FnOnce() -> Result<D, E>) -> Result<(D, Self), E> {
        if NOTHING.load(Ordering::Acquire) < 0 {
            watch_forks()?;
        }
        lock_opening();
        let opened = open().map(|descriptor| {
            let kept = Self::keep(descriptor.as_raw_fd());
            (descriptor, kept)
        });
        unlock_opening();
        opened
    }

    fn keep(wanted: RawFd) -> Self {
        let mut at = PLACES.load(Ordering::Acquire);
        // SAFETY: places are never freed.
        while let Some(place) = unsafe { at.as_ref() } {
            if place.descriptor.compare_exchange(-1, wanted, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Self { place: NonNull::from(place), descriptor: wanted };
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
        Self { place: kept, descriptor: wanted }
    }
}

impl Drop for LeftToParent {
    fn drop(&mut self) {
        // SAFETY: places are never freed.
        let place = unsafe { self.place.as_ref() };
        // In a child the place may be another descriptor's by now.
        let _ = place.descriptor.compare_exchange(self.descriptor, -1, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Has [`in_child`] called in every child. `NOTHING` comes last, and without a lock: another thread may fork
/// in between, and a child that is made before the handler is there must set its own up, for what it keeps
/// from its own children. Two threads that come at once set up the handlers twice, which is as good as once.
fn watch_forks() -> io::Result<()> {
    let nothing = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    // SAFETY: in the child the handler does only what a signal handler may.
    let error = unsafe { libc::pthread_atfork(Some(lock_opening), Some(unlock_opening), Some(in_child)) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let ours = nothing.as_raw_fd();
    if NOTHING.compare_exchange(-1, ours, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        // It stays open for good.
        let _ours = nothing.into_raw_fd();
    }
    Ok(())
}

extern "C" fn in_child() {
    // The mutex knows its owner by the number of a thread of the parent.
    // SAFETY: the child has one thread.
    unsafe { *OPENING.0.get() = libc::PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP };
    let nothing = NOTHING.load(Ordering::Acquire);
    if nothing < 0 {
        return;
    }
    let mut at = PLACES.load(Ordering::Acquire);
    // SAFETY: places are never freed.
    while let Some(place) = unsafe { at.as_ref() } {
        let descriptor: RawFd = place.descriptor.swap(-1, Ordering::AcqRel);
        if descriptor >= 0 {
            // SAFETY: the descriptor belongs to a copy of a value that refuses to use it, see `Owner`.
            unsafe { libc::dup3(nothing, descriptor, libc::O_CLOEXEC) };
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
        let copy = || writer.try_clone();
        let kept = [LeftToParent::open(copy).unwrap(), LeftToParent::open(copy).unwrap()];
        // SAFETY: the child does only what it may after a fork of a process with threads.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let is_closed = |writer| rustix::io::write(writer, b"x") == Err(rustix::io::Errno::BADF);
            let sees = owner.is_here() || !kept.iter().all(|(writer, _)| is_closed(writer));
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
