//! userfaultfd(2): page faults that are served by a program, and the calls that move a page between the
//! states of a lease.
//!
//! [`create`] works without a C library, since the stub makes the descriptor that the daemon uses: of the
//! kind that also reports faults taken inside the kernel (the other kind kills a process at the first signal
//! frame on an absent page). All the rest is [`Userfaultfd`]. Not for finding out what was written: that is
//! [`crate::dirty_pages`]. Sources: ioctl_userfaultfd(2) and Documentation/admin-guide/mm/userfaultfd.rst.

#[cfg(feature = "std")]
mod descriptor;

use core::ffi::CStr;
use linux_raw_sys::general as linux;
use linux_raw_sys::ioctl::UFFDIO_API;

#[cfg(feature = "std")]
pub use self::descriptor::{Partial, Registration, Userfaultfd, Wake, WriteProtection};
use crate::raw::{Errno, call};

/// What Banyan's coherent memory needs of the kernel.
pub const FEATURES: u64 = {
    let (mut all, mut at) = (0, 0);
    while at < FEATURE_NAMES.len() {
        all |= FEATURE_NAMES[at].0;
        at += 1;
    }
    all
};

/// The parts of [`FEATURES`] by the kernel's names.
pub const FEATURE_NAMES: [(u64, &str); 5] = [
    (linux::UFFD_FEATURE_MISSING_SHMEM as u64, "MISSING_SHMEM"),
    (linux::UFFD_FEATURE_THREAD_ID as u64, "THREAD_ID"),
    (linux::UFFD_FEATURE_MINOR_SHMEM as u64, "MINOR_SHMEM"),
    (linux::UFFD_FEATURE_WP_HUGETLBFS_SHMEM as u64, "WP_HUGETLBFS_SHMEM"),
    (linux::UFFD_FEATURE_WP_UNPOPULATED as u64, "WP_UNPOPULATED"),
];

/// `USERFAULTFD_IOC_NEW` of /dev/userfaultfd, which the bindings leave out.
const USERFAULTFD_IOC_NEW: u32 = linux::USERFAULTFD_IOC << 8;

/// What a thread does to a page, or may do to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// Whose page faults a userfaultfd reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program's, and the kernel's own within a system call.
    ProgramAndKernel,
    /// The program's only, which takes no privilege. A system call that meets a missing page fails with
    /// `EFAULT`.
    ProgramOnly,
}

/// `struct uffd_msg`: what reading the descriptor yields.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Message {
    event: u8,
    reserved: [u8; 7],
    flags: u64,
    address: u64,
    thread: u64,
}
const _: () = assert!(size_of::<Message>() == size_of::<linux::uffd_msg>());

/// A fault that a thread waits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The page-aligned address.
    pub address: u64,
    /// What the thread was about to do.
    pub access: Access,
    /// Why it cannot.
    pub cause: Cause,
    /// Id of the thread, as the process that created the descriptor sees it.
    pub thread: u32,
}

/// Why an access is a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The page is not there.
    Missing,
    /// The page is in the memory file and only unmapped.
    Unmapped,
    /// The page is mapped to be read only.
    Protected,
}

impl Message {
    /// The page fault that the message reports; `None` for other events.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let has = |flag: u32| self.flags & u64::from(flag) != 0;
        let is_protected = has(linux::UFFD_PAGEFAULT_FLAG_WP);
        let is_write = is_protected || has(linux::UFFD_PAGEFAULT_FLAG_WRITE);
        (u32::from(self.event) == linux::UFFD_EVENT_PAGEFAULT).then_some(Fault {
            address: self.address & !4095,
            access: if is_write { Access::Write } else { Access::Read },
            cause: match (is_protected, has(linux::UFFD_PAGEFAULT_FLAG_MINOR)) {
                (true, _) => Cause::Protected,
                (false, true) => Cause::Unmapped,
                (false, false) => Cause::Missing,
            },
            thread: self.thread as u32,
        })
    }
}

/// Creates a userfaultfd of the calling process that sees kernel faults, with [`FEATURES`], and gives its
/// number: it is for another process, to which the caller sends it.
///
/// # Errors
/// `EPERM` if neither the capability, nor `/dev/userfaultfd`, nor the sysctl allows it; `EINVAL` if the
/// kernel lacks a feature.
pub fn create() -> Result<i32, Errno> {
    create_with(Kind::ProgramAndKernel, 0, FEATURES).map(|(descriptor, _)| descriptor)
}

/// As [`create`], by the device file, which is open as this number: who may not open it may use what another
/// has opened.
///
/// # Errors
/// The device's; `EINVAL` if the kernel lacks a feature.
pub fn create_by(device: i32) -> Result<i32, Errno> {
    agree(create_from_open_device(device, 0)?, FEATURES).map(|(descriptor, _)| descriptor)
}

/// The device file by which a process has a userfaultfd that may not ask the kernel for one.
pub const DEVICE: &CStr = c"/dev/userfaultfd";

/// The features that this kernel has.
///
/// # Errors
/// As [`create`], but for `EINVAL`.
pub fn supported_features() -> Result<u64, Errno> {
    let (descriptor, features) = create_with(Kind::ProgramAndKernel, 0, 0)?;
    close(descriptor);
    Ok(features)
}

/// A new descriptor with these flags on which these features are agreed, and all features that the kernel
/// has.
fn create_with(kind: Kind, flags: u32, features: u64) -> Result<(i32, u64), Errno> {
    let kind_flag = match kind {
        Kind::ProgramAndKernel => 0,
        Kind::ProgramOnly => linux::UFFD_USER_MODE_ONLY,
    };
    let all_flags = u64::from(linux::O_CLOEXEC | flags | kind_flag);
    // SAFETY: no pointers; makes a descriptor.
    let descriptor = match unsafe { call(linux::__NR_userfaultfd, [all_flags]) } {
        Ok(descriptor) => descriptor as i32,
        Err(Errno::EPERM) if kind == Kind::ProgramAndKernel => create_from_device(flags)?,
        Err(error) => return Err(error),
    };
    agree(descriptor, features)
}

/// Agrees with the kernel on the features of a new descriptor.
fn agree(descriptor: i32, features: u64) -> Result<(i32, u64), Errno> {
    let mut api = linux::uffdio_api { api: u64::from(linux::UFFD_API), features, ioctls: 0 };
    // SAFETY: the kernel reads and writes one `uffdio_api`.
    match unsafe { ioctl(descriptor, UFFDIO_API, &raw mut api as u64) } {
        Ok(_) => Ok((descriptor, api.features)),
        Err(error) => {
            // A descriptor that was refused is spent.
            close(descriptor);
            Err(error)
        }
    }
}

/// Without the capability, access to the device file is permission enough (since Linux 6.1).
fn create_from_device(flags: u32) -> Result<i32, Errno> {
    const AT_FDCWD: u64 = linux::AT_FDCWD as i64 as u64;
    const DEVICE_FLAGS: u64 = (linux::O_RDWR | linux::O_CLOEXEC) as u64;
    // SAFETY: the path is a constant that ends with zero.
    let device = unsafe { call(linux::__NR_openat, [AT_FDCWD, DEVICE.as_ptr() as u64, DEVICE_FLAGS]) }
        .map_err(|_| Errno::EPERM)?;
    let made = create_from_open_device(device as i32, flags);
    close(device as i32);
    made
}

fn create_from_open_device(device: i32, flags: u32) -> Result<i32, Errno> {
    // SAFETY: the ioctl takes flags by value and makes a descriptor.
    let made = unsafe { ioctl(device, USERFAULTFD_IOC_NEW, u64::from(linux::O_CLOEXEC | flags)) };
    made.map(|descriptor| descriptor as i32)
}

/// Closes a descriptor that was made here and has not left.
fn close(descriptor: i32) {
    // SAFETY: no other code knows the descriptor.
    let _ = unsafe { call(linux::__NR_close, [descriptor as u64]) };
}

/// # Safety
/// `argument` is what the ioctl wants: a value or a pointer to its structure.
unsafe fn ioctl(descriptor: i32, request: u32, argument: u64) -> Result<u64, Errno> {
    // SAFETY: passed on to the caller.
    unsafe { call(linux::__NR_ioctl, [descriptor as u64, u64::from(request), argument]) }
}
