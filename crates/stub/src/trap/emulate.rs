//! System calls that the stub performs itself, for threads at home and for those whose deputies are here.

use crate::kernel;
use crate::memory::{call, copy};
use crate::process::{descriptors, links};
use crate::signal::{disposition, queue};
use crate::thread::{Thread, exit};
use crate::trap::refuse;
use banyan_sys::raw::Errno;
use banyan_wire::syscalls::{self, Class};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// Calls that the stub does at home for any thread: trapped ones of home threads, and those that deputies get.
/// `arguments` are the program's.
pub fn emulate(thread: &'static Thread, call: i64, arguments: &[u64; 6]) -> i64 {
    const ARCH_SET_FS: u64 = 0x1002;
    const ARCH_GET_FS: u64 = 0x1003;
    let Ok(small) = u32::try_from(call) else { return refuse::refuse(call, Errno::ENOSYS.0) };
    if let Some(path) = links::path_argument(call) {
        return links::read_at_home(thread, call, arguments, path);
    }
    match small {
        linux::__NR_mmap
        | linux::__NR_munmap
        | linux::__NR_mprotect
        | linux::__NR_mremap
        | linux::__NR_brk
        | linux::__NR_madvise
        | linux::__NR_msync
        | linux::__NR_mlock
        | linux::__NR_munlock
        | linux::__NR_mlockall
        | linux::__NR_munlockall
        | linux::__NR_mlock2 => call::call(call, arguments, thread.node.load(Ordering::Relaxed)),
        linux::__NR_mincore => {
            let result = call::call(call, arguments, 0);
            if result == 0 { memory_residency(arguments) } else { result }
        }
        linux::__NR_exit => exit::end(thread, arguments[0]),
        linux::__NR_exit_group => exit::end_process(arguments[0]),
        linux::__NR_rt_sigaction => disposition::set_disposition(arguments),
        linux::__NR_set_tid_address => {
            thread.clear_on_exit.set(arguments[0]);
            i64::from(thread.thread_id.load(Ordering::Relaxed))
        }
        linux::__NR_set_robust_list => {
            if arguments[1] != 24 {
                return Errno::EINVAL.negated();
            }
            thread.robust_list.set(arguments[0]);
            0
        }
        linux::__NR_get_robust_list => {
            let own =
                arguments[0] == 0 || arguments[0] == u64::from(thread.thread_id.load(Ordering::Relaxed));
            let (head, size) = (thread.robust_list.get(), 24_u64);
            let stored = copy::copy_out(arguments[1], (&raw const head).cast(), 8)
                .and_then(|()| copy::copy_out(arguments[2], (&raw const size).cast(), 8));
            match (own, stored) {
                (false, _) => Errno::EPERM.negated(),
                (true, Ok(())) => 0,
                (true, Err(error)) => error.negated(),
            }
        }
        linux::__NR_arch_prctl => match arguments[0] {
            ARCH_SET_FS | ARCH_GET_FS => kernel::raw(small, *arguments),
            // The GS base is the stub's; shadow stacks and tagged addresses do not travel.
            _ => Errno::EINVAL.negated(),
        },
        linux::__NR_prctl => process_control(arguments),
        linux::__NR_close_range => descriptors::close_range(arguments),
        linux::__NR_close | linux::__NR_dup2 | linux::__NR_dup3 | linux::__NR_fcntl => {
            descriptors::guarded(small, arguments)
        }
        linux::__NR_tkill | linux::__NR_tgkill | linux::__NR_rt_tgsigqueueinfo => {
            queue::send_to_thread(small, arguments)
        }
        linux::__NR_rt_sigsuspend => refuse::refuse(call, Errno::ENOSYS.0),
        linux::__NR_rt_sigtimedwait => kernel::raw(small, *arguments),
        _ => match syscalls::find(call).map(|row| row.class) {
            Some(Class::Refuse(errno)) => refuse::refuse(call, errno),
            Some(Class::Deputy | Class::Local) => kernel::raw(small, *arguments),
            _ => refuse::refuse(call, Errno::ENOSYS.0),
        },
    }
}

/// `mincore`: all mapped memory is reported as resident; on which node is not the program's concern.
fn memory_residency(arguments: &[u64; 6]) -> i64 {
    let ones = [1_u8; 64];
    let mut left = arguments[1].div_ceil(4096);
    let mut at = arguments[2];
    while left > 0 {
        let piece = left.min(64);
        if copy::copy_out(at, ones.as_ptr(), piece as usize).is_err() {
            return Errno::EFAULT.negated();
        }
        at += piece;
        left -= piece;
    }
    0
}

fn process_control(arguments: &[u64; 6]) -> i64 {
    const SET_SECCOMP: u64 = 22;
    const SET_MM: u64 = 35;
    const SET_SYSCALL_USER_DISPATCH: u64 = 59;
    const SET_VMA: u64 = 0x5356_4d41;
    match arguments[0] {
        SET_SECCOMP | SET_MM | SET_SYSCALL_USER_DISPATCH | SET_VMA => Errno::EINVAL.negated(),
        _ => kernel::raw(linux::__NR_prctl, *arguments),
    }
}
