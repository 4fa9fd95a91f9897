//! The descriptor as a value: every call on it, for the daemon (pages of a replica) and for heaps that are
//! loaded lazily (pages of this very process).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use linux_raw_sys::general as linux;
use linux_raw_sys::ioctl::{
    UFFDIO_CONTINUE, UFFDIO_COPY, UFFDIO_REGISTER, UFFDIO_UNREGISTER, UFFDIO_WAKE, UFFDIO_WRITEPROTECT,
    UFFDIO_ZEROPAGE,
};

use super::{Access, Kind, Message, create_with, ioctl};
use crate::raw::{Errno, call};

/// What the bindings leave out: two requests, and modes that their macros hide.
const UFFDIO_MOVE: u32 = request(linux::_UFFDIO_MOVE, size_of::<linux::uffdio_move>());
const UFFDIO_POISON: u32 = request(linux::_UFFDIO_POISON, size_of::<linux::uffdio_poison>());
const UFFDIO_WRITEPROTECT_MODE_WP: u64 = 1;
const UFFDIO_CONTINUE_MODE_DONTWAKE: u64 = 1;
const UFFDIO_CONTINUE_MODE_WP: u64 = 1 << 1;
const UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES: u64 = 1 << 1;
const _: () = assert!(request(linux::_UFFDIO_COPY, size_of::<linux::uffdio_copy>()) == UFFDIO_COPY);

const fn request(number: u32, size: usize) -> u32 {
    const READ_AND_WRITE: u32 = 3 << 30;
    READ_AND_WRITE | ((size as u32) << 16) | (linux::UFFDIO << 8) | number
}

/// What is reported of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Writes to protected pages.
    Writes,
    /// These, and accesses to missing pages.
    WritesAndMissing,
    /// These, and accesses to pages that are in the memory file and not mapped.
    Everything,
}

/// What the write protection of a range is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteProtection {
    /// A write is a fault.
    Set,
    /// Writes pass; threads that wait for that are woken.
    Lifted,
}

/// Whether threads that wait for a page are woken when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// At once.
    Now,
    /// By a later call.
    Later,
}

/// A call that ended before the end of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Why.
    pub error: Errno,
    /// Bytes that were done before it.
    pub done: u64,
}

/// An open userfaultfd, of this process or of another one that has sent it.
///
/// The calls act on ranges that are registered with it, in the process that created it. Where that is another
/// process, they cannot harm this one; for one of this process see [`Userfaultfd::create`].
#[derive(Debug)]
pub struct Userfaultfd(OwnedFd);

impl From<OwnedFd> for Userfaultfd {
    /// A descriptor that came from another process. (Safe code has no other: to create one in this process is
    /// unsafe.)
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl AsFd for Userfaultfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Userfaultfd {
    /// A userfaultfd of this very process, with these features; reading it does not wait.
    ///
    /// # Safety
    /// No range may be registered with it whose content safe code relies on: pages that are missing there
    /// take the content that they are provided with.
    ///
    /// # Errors
    /// `EPERM` where this is not allowed; `EINVAL` if the kernel lacks a feature.
    pub unsafe fn create(kind: Kind, features: u64) -> Result<Self, Errno> {
        let (descriptor, _) = create_with(kind, linux::O_NONBLOCK, features)?;
        // SAFETY: the descriptor was made by the line above and has no other owner.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Registers `[start, start + length)`.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` where nothing is mapped.
    pub fn register(&self, start: u64, length: u64, what: Registration) -> Result<(), Errno> {
        const WRITES: u32 = linux::UFFDIO_REGISTER_MODE_WP;
        const MISSING: u32 = linux::UFFDIO_REGISTER_MODE_MISSING;
        let mode = u64::from(match what {
            Registration::Writes => WRITES,
            Registration::WritesAndMissing => WRITES | MISSING,
            Registration::Everything => WRITES | MISSING | linux::UFFDIO_REGISTER_MODE_MINOR,
        });
        let mut register = linux::uffdio_register { range: range(start, length), mode, ioctls: 0 };
        // SAFETY: the kernel reads and writes one `uffdio_register`.
        unsafe { self.ioctl(UFFDIO_REGISTER, &mut register) }
    }

    /// Takes the range out of the registration and wakes its waiters: from now on its faults are native.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` where nothing is mapped.
    pub fn unregister(&self, start: u64, length: u64) -> Result<(), Errno> {
        // SAFETY: the kernel reads one `uffdio_range`.
        unsafe { self.ioctl(UFFDIO_UNREGISTER, &mut range(start, length)) }
    }

    /// Wakes threads that wait on the range; they try again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wake(&self, start: u64, length: u64) -> Result<(), Errno> {
        // SAFETY: the kernel reads one `uffdio_range`.
        unsafe { self.ioctl(UFFDIO_WAKE, &mut range(start, length)) }
    }

    /// Sets or lifts write protection of the range.
    ///
    /// # Errors
    /// The kernel's; `ENOENT` where nothing is registered, `EAGAIN` to try again.
    pub fn write_protect(&self, start: u64, length: u64, to: WriteProtection) -> Result<(), Errno> {
        let mode = match to {
            WriteProtection::Set => UFFDIO_WRITEPROTECT_MODE_WP,
            WriteProtection::Lifted => 0,
        };
        let mut protect = linux::uffdio_writeprotect { range: range(start, length), mode };
        // SAFETY: the kernel reads one `uffdio_writeprotect`.
        unsafe { self.ioctl(UFFDIO_WRITEPROTECT, &mut protect) }
    }

    /// Maps pages that are in the memory file.
    ///
    /// # Errors
    /// [`Partial`]: `EEXIST` if a page is mapped already, `EFAULT` if one is not in the file.
    pub fn map_present(&self, start: u64, length: u64, access: Access, wake: Wake) -> Result<(), Partial> {
        let protected = if access == Access::Read { UFFDIO_CONTINUE_MODE_WP } else { 0 };
        let mode = protected | if wake == Wake::Later { UFFDIO_CONTINUE_MODE_DONTWAKE } else { 0 };
        let mut arguments = linux::uffdio_continue { range: range(start, length), mode, mapped: 0 };
        // SAFETY: the kernel reads and writes one `uffdio_continue`.
        let result = unsafe { self.ioctl(UFFDIO_CONTINUE, &mut arguments) };
        partial(result, arguments.mapped)
    }

    /// Gives missing pages this content, maps them and wakes their waiters.
    ///
    /// # Errors
    /// [`Partial`]: `EEXIST` if a page is there already, `ENOENT` if the range is not mapped in the process.
    pub fn copy(&self, start: u64, bytes: &[u8], access: Access) -> Result<(), Partial> {
        let mode = match access {
            Access::Read => u64::from(linux::UFFDIO_COPY_MODE_WP),
            Access::Write => 0,
        };
        let (src, len) = (bytes.as_ptr() as u64, bytes.len() as u64);
        let mut arguments = linux::uffdio_copy { dst: start, src, len, mode, copy: 0 };
        // SAFETY: the kernel reads and writes one `uffdio_copy`, and reads the slice.
        let result = unsafe { self.ioctl(UFFDIO_COPY, &mut arguments) };
        partial(result, arguments.copy)
    }

    /// Makes missing pages zero, to be written too, and wakes their waiters.
    ///
    /// # Errors
    /// [`Partial`]: `EEXIST` if a page is there already.
    pub fn fill_with_zeroes(&self, start: u64, length: u64) -> Result<(), Partial> {
        let mut arguments = linux::uffdio_zeropage { range: range(start, length), mode: 0, zeropage: 0 };
        // SAFETY: the kernel reads and writes one `uffdio_zeropage`.
        let result = unsafe { self.ioctl(UFFDIO_ZEROPAGE, &mut arguments) };
        partial(result, arguments.zeropage)
    }

    /// Makes every access to missing pages end in `SIGBUS`.
    ///
    /// # Errors
    /// [`Partial`]: `EEXIST` if a page is there already, `EINVAL` from a kernel before Linux 6.6.
    pub fn poison(&self, start: u64, length: u64) -> Result<(), Partial> {
        let mut arguments = linux::uffdio_poison { range: range(start, length), mode: 0, updated: 0 };
        // SAFETY: the kernel reads and writes one `uffdio_poison`.
        let result = unsafe { self.ioctl(UFFDIO_POISON, &mut arguments) };
        partial(result, arguments.updated)
    }

    /// Moves private pages from one registered place to another, holes apart.
    ///
    /// # Safety
    /// No code relies on what is at `to`, nor on the content at `from` but through a fault.
    ///
    /// # Errors
    /// [`Partial`]: `EBUSY` if a page is shared, `EINVAL` from a kernel before Linux 6.8.
    pub unsafe fn move_pages(&self, to: u64, from: u64, length: u64) -> Result<(), Partial> {
        let mode = UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES;
        let mut arguments = linux::uffdio_move { dst: to, src: from, len: length, mode, move_: 0 };
        // SAFETY: the kernel reads and writes one `uffdio_move`; the caller gives up the content.
        let result = unsafe { self.ioctl(UFFDIO_MOVE, &mut arguments) };
        partial(result, arguments.move_)
    }

    /// Waits for faults, if the descriptor is one that waits, and stores them in `messages`; gives how many
    /// came.
    ///
    /// # Errors
    /// The kernel's; `EINTR` to try again, `EAGAIN` if there is none and the descriptor does not wait.
    pub fn read(&self, messages: &mut [Message]) -> Result<usize, Errno> {
        let (into, bytes) = (messages.as_mut_ptr() as u64, size_of_val(messages) as u64);
        // SAFETY: the kernel writes at most that many bytes into the slice; any bytes make valid messages.
        unsafe { call(linux::__NR_read, [self.number(), into, bytes]) }
            .map(|read| read as usize / size_of::<Message>())
    }

    fn number(&self) -> u64 {
        self.0.as_raw_fd() as u64
    }

    /// # Safety
    /// `T` is the structure of the request, and the call does no harm.
    unsafe fn ioctl<T>(&self, request: u32, argument: &mut T) -> Result<(), Errno> {
        // SAFETY: passed on to the caller.
        unsafe { ioctl(self.0.as_raw_fd(), request, std::ptr::from_mut(argument) as u64) }.map(drop)
    }
}

fn range(start: u64, len: u64) -> linux::uffdio_range {
    linux::uffdio_range { start, len }
}

/// `done` is what the kernel left in the structure: the bytes, or the error once more.
fn partial(result: Result<(), Errno>, done: i64) -> Result<(), Partial> {
    result.map_err(|error| Partial { error, done: done.max(0) as u64 })
}
