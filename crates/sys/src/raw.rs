//! System calls by inline assembly, without a C library: the stub runs where libc's state belongs to the program.
//!
//! Not for the daemon's ordinary work, which goes through rustix.

use core::arch::asm;

/// An error number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub u16);

impl Errno {
    /// Operation not permitted.
    pub const EPERM: Self = Self(1);
    /// No such thread.
    pub const ESRCH: Self = Self(3);
    /// Interrupted.
    pub const EINTR: Self = Self(4);
    /// Input or output failed.
    pub const EIO: Self = Self(5);
    /// Bad descriptor.
    pub const EBADF: Self = Self(9);
    /// Try again.
    pub const EAGAIN: Self = Self(11);
    /// Out of memory.
    pub const ENOMEM: Self = Self(12);
    /// Bad address.
    pub const EFAULT: Self = Self(14);
    /// Already there.
    pub const EEXIST: Self = Self(17);
    /// No such device.
    pub const ENODEV: Self = Self(19);
    /// Invalid argument.
    pub const EINVAL: Self = Self(22);
    /// Broken pipe.
    pub const EPIPE: Self = Self(32);
    /// Not implemented.
    pub const ENOSYS: Self = Self(38);

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

/// Turns a system call's return value into a result.
///
/// # Errors
/// The kernel's error number if the value is in the error range.
pub const fn check(value: i64) -> Result<u64, Errno> {
    if value < 0 && value >= -4095 { Err(Errno(-value as u16)) } else { Ok(value as u64) }
}

/// Makes system call `number` and returns what the kernel returned.
///
/// # Safety
/// As the call itself: pointers must be valid for what the kernel does with them, and the call must not take
/// away memory, descriptors or threads that the caller's Rust code relies on.
#[inline]
pub unsafe fn syscall(number: u32, a: [u64; 6]) -> i64 {
    let result: i64;
    // SAFETY: the kernel clobbers rcx and r11 only; everything else is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") i64::from(number) => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
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
pub unsafe fn call(number: u32, a: [u64; 6]) -> Result<u64, Errno> {
    // SAFETY: passed on to the caller.
    check(unsafe { syscall(number, a) })
}
