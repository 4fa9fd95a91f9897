//! Children that nobody waits for.

use std::io;
use std::mem::MaybeUninit;

/// Has the kernel take children of this process away as they end, until it executes a program
/// (`SA_NOCLDWAIT`): they cannot be waited for, and what they used does not count as used by its children
/// (getrusage(2)).
///
/// # Errors
/// The kernel's.
pub(crate) fn leave_to_kernel() -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the structure lives across both calls, the first of which fills it, and zeroes are one: the
    // default action, with no mask. No code of this process is named, so none runs in a handler.
    let done = unsafe {
        let action = action.as_mut_ptr();
        match libc::sigaction(libc::SIGCHLD, std::ptr::null(), action) {
            // The kernel does so already, and a program that is executed finds it so.
            0 if (*action).sa_sigaction == libc::SIG_IGN => return Ok(()),
            0 => {
                (*action).sa_flags |= libc::SA_NOCLDWAIT;
                libc::sigaction(libc::SIGCHLD, action, std::ptr::null_mut())
            }
            failed => failed,
        }
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
