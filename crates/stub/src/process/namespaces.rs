//! `unshare` and `setns`: what a thread shares with others of its process, and the parts of the system that
//! it sees. Both are the OS thread's at home, by which the calls of a thread elsewhere are made too.
//!
//! The stub's service thread is in the way of what the kernel allows to a process with one thread only. What
//! such a process has nobody to share with counts as its own already.

use crate::kernel;
use crate::thread::exit;
use crate::trap::arguments::ProgramArguments;
use crate::trap::refuse;
use linux_raw_sys::general as linux;

/// Shared by all threads of a process for good, and with the stub's.
const OF_PROCESS: u64 =
    (linux::CLONE_THREAD | linux::CLONE_SIGHAND | linux::CLONE_VM | linux::CLONE_FILES) as u64;

/// A call of a thread at home, or of one whose deputy is here.
pub fn call(number: u32, arguments: &ProgramArguments) -> i64 {
    let mut given = **arguments;
    if number == linux::__NR_unshare {
        if given[0] & u64::from(linux::CLONE_NEWUSER) != 0 {
            return refuse::not_served(number.into());
        }
        if exit::is_single() {
            given[0] &= !OF_PROCESS;
        } else if given[0] & u64::from(linux::CLONE_FILES) != 0 {
            return refuse::not_served(number.into());
        }
    } else if exit::is_single() {
        // A mount namespace is entered by a thread that shares its directories with none.
        let directories = [u64::from(linux::CLONE_FS)];
        // SAFETY: no pointers; the stub's other thread uses no path that is relative.
        let _ = unsafe { kernel::raw(linux::__NR_unshare, directories) };
    }
    // SAFETY: the program's own call, which takes nothing of the stub's away.
    unsafe { kernel::raw(number, given) }
}
