//! Installs the seccomp filter that traps the program's system calls. The daemon makes it, from the table of
//! system calls.

use crate::daemon::requests;
use crate::daemon::settings::SETTINGS;
use crate::kernel;
use crate::time::vdso;
use banyan_sys::raw::Errno;
use banyan_wire::stub::{FILTER_MAX, Filter, LowCode, Request};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use linux_raw_sys::prctl::PR_SET_NO_NEW_PRIVS;
use linux_raw_sys::ptrace::{SECCOMP_FILTER_FLAG_SPEC_ALLOW, SECCOMP_SET_MODE_FILTER};

/// Installs the filter of this replica's role for the calling thread and all that it creates.
///
/// # Errors
/// The kernel's; `EIO` if the daemon has no filter.
pub fn install(low: LowCode) -> Result<(), Errno> {
    let (_, file) = requests::ask_for_descriptor(&Request::Filter(Filter {
        called_for_program: vdso::processor_clock_called(),
        descriptor_floor: SETTINGS.descriptor_floor.load(Ordering::Relaxed),
        low,
    }));
    let file = file.ok_or(Errno::EIO)?;
    // An instruction has eight bytes.
    let mut instructions = [0_u64; FILTER_MAX];
    let (to, room) = (instructions.as_mut_ptr() as u64, size_of_val(&instructions) as u64);
    // SAFETY: the instructions live across the call, which writes no more than their bytes.
    let read = unsafe { kernel::checked(linux::__NR_pread64, [file as u64, to, room, 0]) };
    kernel::close(file);
    let program = [read? / 8, to];
    let (mode, flags) = (SECCOMP_SET_MODE_FILTER.into(), SECCOMP_FILTER_FLAG_SPEC_ALLOW.into());
    let arguments = [mode, flags, program.as_ptr() as u64];
    // Unprivileged users may install filters only when they give up set-user-id programs.
    // SAFETY: the filter lives across the call, which only reads it, and lets the stub's own code pass.
    if unsafe { kernel::checked(linux::__NR_seccomp, arguments) }.is_ok() {
        return Ok(());
    }
    // SAFETY: no pointers, then as above.
    unsafe {
        let _ = kernel::checked(linux::__NR_prctl, [PR_SET_NO_NEW_PRIVS.into(), 1, 0, 0, 0])?;
        kernel::checked(linux::__NR_seccomp, arguments).map(drop)
    }
}
