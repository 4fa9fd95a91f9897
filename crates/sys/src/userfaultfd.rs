//! userfaultfd(2) for shared memory files: the ioctls that move a page between the states of a lease.
//!
//! The descriptor must be of the kind that also reports faults taken inside the kernel (`UFFD_USER_MODE_ONLY`
//! kills the process at the first signal frame on an absent page). Sources: ioctl_userfaultfd(2) and
//! Documentation/admin-guide/mm/userfaultfd.rst.
//!
//! None of these calls can harm the memory of the calling program: they act on the page tables of the process
//! that created the descriptor, on ranges that it registered. So they are safe functions over a borrowed
//! descriptor.

use crate::raw::{Errno, call};
use linux_raw_sys::general as linux;

/// A page is missing from the memory file.
pub const MODE_MISSING: u64 = 1;
/// A write to a write-protected page.
pub const MODE_WRITE_PROTECT: u64 = 2;
/// A page is in the memory file but not mapped.
pub const MODE_MINOR: u64 = 4;

const FEATURE_MISSING_SHMEM: u64 = 1 << 5;
const FEATURE_THREAD_ID: u64 = 1 << 8;
const FEATURE_MINOR_SHMEM: u64 = 1 << 10;
const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
/// What Banyan needs of the kernel.
pub const FEATURES: u64 = FEATURE_MISSING_SHMEM
    | FEATURE_THREAD_ID
    | FEATURE_MINOR_SHMEM
    | FEATURE_WP_HUGETLBFS_SHMEM
    | FEATURE_WP_UNPOPULATED;

/// The parts of [`FEATURES`] by the kernel's names.
pub const FEATURE_NAMES: [(u64, &str); 5] = [
    (FEATURE_MISSING_SHMEM, "MISSING_SHMEM"),
    (FEATURE_THREAD_ID, "THREAD_ID"),
    (FEATURE_MINOR_SHMEM, "MINOR_SHMEM"),
    (FEATURE_WP_HUGETLBFS_SHMEM, "WP_HUGETLBFS_SHMEM"),
    (FEATURE_WP_UNPOPULATED, "WP_UNPOPULATED"),
];

const UFFD_API: u64 = 0xaa;
const CONTINUE_MODE_DONTWAKE: u64 = 1;
const CONTINUE_MODE_WP: u64 = 2;
const WRITEPROTECT_MODE_WP: u64 = 1;
const COPY_MODE_WP: u64 = 2;

const fn ioctl_number(direction: u32, number: u32, size: usize) -> u32 {
    (direction << 30) | ((size as u32) << 16) | (0xaa << 8) | number
}
const IOCTL_API: u32 = ioctl_number(3, 0x3f, size_of::<Api>());
const IOCTL_REGISTER: u32 = ioctl_number(3, 0, size_of::<Register>());
const IOCTL_UNREGISTER: u32 = ioctl_number(2, 1, size_of::<Range>());
const IOCTL_WAKE: u32 = ioctl_number(2, 2, size_of::<Range>());
const IOCTL_COPY: u32 = ioctl_number(3, 3, size_of::<Copy>());
const IOCTL_WRITEPROTECT: u32 = ioctl_number(3, 6, size_of::<WriteProtect>());
const IOCTL_CONTINUE: u32 = ioctl_number(3, 7, size_of::<Continue>());
const _: () = assert!(IOCTL_API == 0xc018_aa3f && IOCTL_REGISTER == 0xc020_aa00 && IOCTL_WAKE == 0x8010_aa02);
const _: () =
    assert!(IOCTL_WRITEPROTECT == 0xc018_aa06 && IOCTL_CONTINUE == 0xc020_aa07 && IOCTL_COPY == 0xc028_aa03);
/// `USERFAULTFD_IOC_NEW` of /dev/userfaultfd.
const IOCTL_NEW: u32 = 0xaa00;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
}
#[repr(C)]
struct Register {
    range: Range,
    mode: u64,
    ioctls: u64,
}
#[repr(C)]
struct WriteProtect {
    range: Range,
    mode: u64,
}
#[repr(C)]
struct Continue {
    range: Range,
    mode: u64,
    mapped: i64,
}

#[repr(C)]
struct Copy {
    to: u64,
    from: u64,
    length: u64,
    mode: u64,
    copied: i64,
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
const _: () = assert!(size_of::<Message>() == 32);

/// A fault that a thread waits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The page-aligned address.
    pub address: u64,
    /// The access was a write.
    pub write: bool,
    /// The page is mapped read-only (a write-protect fault).
    pub protected: bool,
    /// The page is in the memory file and only unmapped.
    pub minor: bool,
    /// Id of the thread, as the process that created the descriptor sees it.
    pub thread: u32,
}

impl Message {
    /// The page fault that the message reports; `None` for other events.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        const EVENT_PAGEFAULT: u8 = 0x12;
        (self.event == EVENT_PAGEFAULT).then_some(Fault {
            address: self.address & !4095,
            write: self.flags & 1 != 0,
            protected: self.flags & 2 != 0,
            minor: self.flags & 4 != 0,
            thread: self.thread as u32,
        })
    }
}

/// Creates a userfaultfd of the calling process, of the kind that sees kernel faults, with [`FEATURES`].
///
/// # Errors
/// `EPERM` if neither the capability, nor `/dev/userfaultfd`, nor the sysctl allows it; `EINVAL` if the kernel
/// lacks a feature.
pub fn create() -> Result<i32, Errno> {
    create_with(FEATURES).map(|(descriptor, _)| descriptor)
}

/// The features that this kernel has.
///
/// # Errors
/// As [`create`], but for `EINVAL`.
pub fn supported_features() -> Result<u64, Errno> {
    let (descriptor, features) = create_with(0)?;
    // SAFETY: closes the descriptor made above, which nobody else knows.
    let _ = unsafe { call(linux::__NR_close, [descriptor as u64, 0, 0, 0, 0, 0]) };
    Ok(features)
}

/// Returns the descriptor and all features that the kernel has.
fn create_with(features: u64) -> Result<(i32, u64), Errno> {
    const CLOEXEC: u64 = linux::O_CLOEXEC as u64;
    // SAFETY: no pointers; makes a descriptor.
    let descriptor = match unsafe { call(linux::__NR_userfaultfd, [CLOEXEC, 0, 0, 0, 0, 0]) } {
        Ok(descriptor) => descriptor,
        Err(Errno::EPERM) => create_from_device()?,
        Err(error) => return Err(error),
    };
    let mut api = Api { api: UFFD_API, features, ioctls: 0 };
    // SAFETY: the kernel reads and writes one `Api`.
    match unsafe { ioctl(descriptor as i32, IOCTL_API, &raw mut api as u64) } {
        Ok(_) => Ok((descriptor as i32, api.features)),
        Err(error) => {
            // SAFETY: closes the descriptor made above.
            let _ = unsafe { call(linux::__NR_close, [descriptor, 0, 0, 0, 0, 0]) };
            Err(error)
        }
    }
}

/// Without the capability, access to the device file is permission enough (since Linux 6.1).
fn create_from_device() -> Result<u64, Errno> {
    const AT_FDCWD: u64 = -100_i64 as u64;
    const FLAGS: u64 = (linux::O_RDWR | linux::O_CLOEXEC) as u64;
    let path = c"/dev/userfaultfd";
    // SAFETY: the path is a constant that ends with zero.
    let device = unsafe { call(linux::__NR_openat, [AT_FDCWD, path.as_ptr() as u64, FLAGS, 0, 0, 0]) }
        .map_err(|_| Errno::EPERM)?;
    // SAFETY: the ioctl takes flags by value and makes a descriptor.
    let made = unsafe { ioctl(device as i32, IOCTL_NEW, u64::from(linux::O_CLOEXEC)) };
    // SAFETY: closes the descriptor made above.
    let _ = unsafe { call(linux::__NR_close, [device, 0, 0, 0, 0, 0]) };
    made
}

/// Registers `[start, start + length)` for missing, minor and write-protect faults.
///
/// # Errors
/// The kernel's; `EINVAL` where nothing is mapped.
pub fn register(descriptor: i32, start: u64, length: u64) -> Result<(), Errno> {
    let mode = MODE_MISSING | MODE_MINOR | MODE_WRITE_PROTECT;
    let mut register = Register { range: Range { start, length }, mode, ioctls: 0 };
    // SAFETY: the kernel reads and writes one `Register`.
    unsafe { ioctl(descriptor, IOCTL_REGISTER, &raw mut register as u64) }.map(drop)
}

/// Takes the range out of the registration and wakes its waiters: from now on its faults are native.
///
/// # Errors
/// The kernel's; `EINVAL` where nothing is mapped.
pub fn unregister(descriptor: i32, start: u64, length: u64) -> Result<(), Errno> {
    let mut range = Range { start, length };
    // SAFETY: the kernel reads one `Range`.
    unsafe { ioctl(descriptor, IOCTL_UNREGISTER, &raw mut range as u64) }.map(drop)
}

/// Wakes threads that wait on the range; they try again.
///
/// # Errors
/// The kernel's.
pub fn wake(descriptor: i32, start: u64, length: u64) -> Result<(), Errno> {
    let mut range = Range { start, length };
    // SAFETY: the kernel reads one `Range`.
    unsafe { ioctl(descriptor, IOCTL_WAKE, &raw mut range as u64) }.map(drop)
}

/// Sets (`protect`) or lifts write protection of the range; lifting wakes.
///
/// # Errors
/// The kernel's; `ENOENT` where nothing is registered, `EAGAIN` to try again.
pub fn write_protect(descriptor: i32, start: u64, length: u64, protect: bool) -> Result<(), Errno> {
    let mode = if protect { WRITEPROTECT_MODE_WP } else { 0 };
    let mut arguments = WriteProtect { range: Range { start, length }, mode };
    // SAFETY: the kernel reads one `WriteProtect`.
    unsafe { ioctl(descriptor, IOCTL_WRITEPROTECT, &raw mut arguments as u64) }.map(drop)
}

/// Maps pages that are in the memory file, writable or read-only, and wakes their waiters unless `quiet`.
///
/// # Errors
/// The kernel's error and the bytes that were mapped before it: `EEXIST` if a page is mapped already, `EFAULT`
/// if one is not in the file.
pub fn map_present(
    descriptor: i32,
    start: u64,
    length: u64,
    writable: bool,
    quiet: bool,
) -> Result<(), (Errno, u64)> {
    let mode = if writable { 0 } else { CONTINUE_MODE_WP } | if quiet { CONTINUE_MODE_DONTWAKE } else { 0 };
    let mut arguments = Continue { range: Range { start, length }, mode, mapped: 0 };
    // SAFETY: the kernel reads and writes one `Continue`.
    match unsafe { ioctl(descriptor, IOCTL_CONTINUE, &raw mut arguments as u64) } {
        Ok(_) => Ok(()),
        Err(error) => Err((error, arguments.mapped.max(0) as u64)),
    }
}

/// Puts pages that are not in the memory file yet there, maps them, writable or read-only, and wakes their waiters.
///
/// # Errors
/// The kernel's error and the bytes that were done before it: `EEXIST` if a page is in the file already, `ENOENT` if
/// the range is not mapped in the process.
pub fn copy(descriptor: i32, start: u64, bytes: &[u8], writable: bool) -> Result<(), (Errno, u64)> {
    let mode = if writable { 0 } else { COPY_MODE_WP };
    let (from, length) = (bytes.as_ptr() as u64, bytes.len() as u64);
    let mut arguments = Copy { to: start, from, length, mode, copied: 0 };
    // SAFETY: the kernel reads and writes one `Copy`, and reads the slice.
    match unsafe { ioctl(descriptor, IOCTL_COPY, &raw mut arguments as u64) } {
        Ok(_) => Ok(()),
        Err(error) => Err((error, arguments.copied.max(0) as u64)),
    }
}

/// Waits for faults and stores them in `messages`; returns how many came.
///
/// # Errors
/// The kernel's; `EINTR` to try again.
pub fn read(descriptor: i32, messages: &mut [Message]) -> Result<usize, Errno> {
    let bytes = size_of_val(messages) as u64;
    // SAFETY: the kernel writes at most that many bytes into the slice; any bytes make valid messages.
    unsafe { call(linux::__NR_read, [descriptor as u64, messages.as_mut_ptr() as u64, bytes, 0, 0, 0]) }
        .map(|read| read as usize / size_of::<Message>())
}

/// # Safety
/// `argument` is what the ioctl wants: a value or a pointer to its structure.
unsafe fn ioctl(descriptor: i32, request: u32, argument: u64) -> Result<u64, Errno> {
    // SAFETY: passed on to the caller.
    unsafe { call(linux::__NR_ioctl, [descriptor as u64, u64::from(request), argument, 0, 0, 0]) }
}
