//! System calls by inline assembly, without a C library: the stub runs where libc's state belongs to the
//! program.
//!
//! Not for the daemon's ordinary work, which goes through rustix.

use core::arch::asm;
use linux_raw_sys::errno;

/// An error number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub u16);

impl Errno {
    /// Operation not permitted.
    pub const EPERM: Self = Self(errno::EPERM as u16);
    /// No such file, range or registration.
    pub const ENOENT: Self = Self(errno::ENOENT as u16);
    /// No such thread or process.
    pub const ESRCH: Self = Self(errno::ESRCH as u16);
    /// Interrupted.
    pub const EINTR: Self = Self(errno::EINTR as u16);
    /// Input or output failed.
    pub const EIO: Self = Self(errno::EIO as u16);
    /// Bad descriptor.
    pub const EBADF: Self = Self(errno::EBADF as u16);
    /// Try again.
    pub const EAGAIN: Self = Self(errno::EAGAIN as u16);
    /// Out of memory.
    pub const ENOMEM: Self = Self(errno::ENOMEM as u16);
    /// Bad address.
    pub const EFAULT: Self = Self(errno::EFAULT as u16);
    /// In use.
    pub const EBUSY: Self = Self(errno::EBUSY as u16);
    /// Already there.
    pub const EEXIST: Self = Self(errno::EEXIST as u16);
    /// This kind of thing cannot do it.
    pub const EOPNOTSUPP: Self = Self(errno::EOPNOTSUPP as u16);
    /// No such device.
    pub const ENODEV: Self = Self(errno::ENODEV as u16);
    /// Invalid argument.
    pub const EINVAL: Self = Self(errno::EINVAL as u16);
    /// Not allowed.
    pub const EACCES: Self = Self(errno::EACCES as u16);
    /// Not a program.
    pub const ENOEXEC: Self = Self(errno::ENOEXEC as u16);
    /// Too many open files.
    pub const EMFILE: Self = Self(errno::EMFILE as u16);
    /// Broken pipe.
    pub const EPIPE: Self = Self(errno::EPIPE as u16);
    /// Name too long.
    pub const ENAMETOOLONG: Self = Self(errno::ENAMETOOLONG as u16);
    /// Not implemented.
    pub const ENOSYS: Self = Self(errno::ENOSYS as u16);

    /// The value a system call returns for this error.
    #[must_use]
    pub const fn negated(self) -> i64 {
        -(self.0 as i64)
    }
}

impl core::fmt::Display for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "error {} of the kernel", self.0)
    }
}

/// The highest error number that a call can return; results below its negative are addresses.
const ERRNO_MAX: i64 = 4095;

#[cfg(feature = "std")]
impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(i32::from(errno.0))
    }
}

/// Turns a system call's return value into a result.
///
/// # Errors
/// The kernel's error number if the value is in the error range.
pub const fn check(value: i64) -> Result<u64, Errno> {
    if value < 0 && value >= -ERRNO_MAX { Err(Errno(-value as u16)) } else { Ok(value as u64) }
}

/// Makes system call `number` with `N` arguments, at most six, and returns what the kernel returned.
/// Registers of arguments that a call does not have are left alone: the kernel looks at none of them.
///
/// # Safety
/// As the call itself: it has no more arguments than these, pointers must be valid for what the kernel does
/// with them, and the call must not take away memory, descriptors or threads that the caller's Rust code
/// relies on.
#[inline]
pub unsafe fn syscall<const N: usize>(number: u32, a: [u64; N]) -> i64 {
    const { assert!(N <= 6, "a system call has six arguments at most") };
    let mut result = i64::from(number);
    /// The instruction, with these registers as arguments.
    macro_rules! with {
        ($($register:tt $argument:tt),*) => {
            // SAFETY: the kernel clobbers rcx and r11 only; everything else is the caller's promise.
            unsafe {
                asm!(
                    "syscall",
                    inlateout("rax") result,
                    $(in($register) a[$argument],)*
                    lateout("rcx") _, lateout("r11") _,
                    options(nostack),
                );
            }
        };
    }
    match N {
        0 => with!(),
        1 => with!("rdi" 0),
        2 => with!("rdi" 0, "rsi" 1),
        3 => with!("rdi" 0, "rsi" 1, "rdx" 2),
        4 => with!("rdi" 0, "rsi" 1, "rdx" 2, "r10" 3),
        5 => with!("rdi" 0, "rsi" 1, "rdx" 2, "r10" 3, "r8" 4),
        _ => with!("rdi" 0, "rsi" 1, "rdx" 2, "r10" 3, "r8" 4, "r9" 5),
    }
    result
}

/// As [`syscall`], with errors told apart.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// As [`syscall`].
#[inline]
pub unsafe fn call<const N: usize>(number: u32, a: [u64; N]) -> Result<u64, Errno> {
    // SAFETY: passed on to the caller.
    check(unsafe { syscall(number, a) })
}
