//! System calls that the stub does itself, for threads at home and for those whose deputies are here.

use crate::kernel::{self, Segment};
use crate::memory::copy::{self, ProgramAddress};
use crate::process::descriptors;
use crate::signal::{deferred, disposition};
use crate::thread::{Role, Thread, exit};
use crate::trap::arguments::ProgramArguments;
use banyan_sys::raw::Errno;
use banyan_wire::syscalls::HomeCall;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use linux_raw_sys::prctl;

/// Bytes of `struct robust_list_head`.
const ROBUST_LIST_HEAD: u64 = size_of::<linux::robust_list_head>() as u64;

/// Does a call whose state is at home: a home thread's own, or that of the deputy `thread`'s carrier.
pub fn home_call(thread: &'static Thread, call: HomeCall, arguments: &ProgramArguments) -> i64 {
    match call {
        HomeCall::EndProcess => exit::end_process(thread, arguments[0]),
        HomeCall::SignalAction => disposition::set_disposition(thread, arguments),
        HomeCall::PendingSignals => pending_signals(thread, arguments),
        HomeCall::SetTidAddress => {
            thread.clear_on_exit.set(arguments[0]);
            i64::from(thread.thread_id.load(Ordering::Relaxed))
        }
        HomeCall::SetRobustList => set_robust_list(thread, arguments),
        HomeCall::GetRobustList => get_robust_list(thread, arguments),
        HomeCall::ProcessControl => process_control(arguments),
        HomeCall::CloseRange => descriptors::close_range(arguments),
    }
}

fn pending_signals(thread: &Thread, arguments: &[u64; 6]) -> i64 {
    let mut pending = 0_u64;
    // SAFETY: the set lives across the call, which writes no more than it.
    let result =
        unsafe { kernel::raw(linux::__NR_rt_sigpending, [&raw mut pending as u64, size_of::<u64>() as u64]) };
    if thread.role() == Role::Deputy {
        // Between calls a deputy lets in what its thread does.
        pending &= thread.mask.load(Ordering::Relaxed);
    }
    let [set, size, ..] = *arguments;
    let bytes = (pending | deferred::pending(thread)).to_ne_bytes();
    match usize::try_from(size).ok().and_then(|size| bytes.get(..size)) {
        None => Errno::EINVAL.negated(),
        Some(bytes) => match copy::copy_out(ProgramAddress(set), bytes) {
            Ok(()) => result,
            Err(error) => error.negated(),
        },
    }
}

fn set_robust_list(thread: &Thread, arguments: &[u64; 6]) -> i64 {
    if arguments[1] != ROBUST_LIST_HEAD {
        return Errno::EINVAL.negated();
    }
    thread.robust_list.set(arguments[0]);
    0
}

fn get_robust_list(thread: &Thread, arguments: &ProgramArguments) -> i64 {
    let asked = arguments[0] as u32;
    let own = asked == 0 || asked == thread.thread_id.load(Ordering::Relaxed);
    if !own {
        // The kernel knows who there is; of threads of this process it has no list.
        // SAFETY: the program's own call.
        return unsafe { kernel::raw(linux::__NR_get_robust_list, **arguments) };
    }
    let (head, size) = (thread.robust_list.get(), ROBUST_LIST_HEAD);
    let stored = copy::store(ProgramAddress(arguments[2]), &size)
        .and_then(|()| copy::store(ProgramAddress(arguments[1]), &head));
    match stored {
        Ok(()) => 0,
        Err(error) => error.negated(),
    }
}

fn process_control(arguments: &ProgramArguments) -> i64 {
    match arguments[0] as u32 {
        prctl::PR_SET_SECCOMP
        | prctl::PR_SET_MM
        | prctl::PR_SET_SYSCALL_USER_DISPATCH
        | prctl::PR_SET_VMA => Errno::EINVAL.negated(),
        // SAFETY: the program's own call, of those that do not change what the stub relies on.
        _ => unsafe { kernel::raw(linux::__NR_prctl, **arguments) },
    }
}

/// `arch_prctl`, done where the thread executes. Shadow stacks and tagged addresses do not travel.
pub fn architecture_control(arguments: &ProgramArguments) -> i64 {
    match arguments[0] {
        // SAFETY: both bases are the program's; the stub uses neither.
        kernel::ARCH_SET_FS | kernel::ARCH_SET_GS => unsafe {
            kernel::raw(linux::__NR_arch_prctl, **arguments)
        },
        kernel::ARCH_GET_FS => store_base(Segment::Fs, arguments[1]),
        kernel::ARCH_GET_GS => store_base(Segment::Gs, arguments[1]),
        _ => Errno::EINVAL.negated(),
    }
}

fn store_base(segment: Segment, to: u64) -> i64 {
    match copy::store(ProgramAddress(to), &kernel::segment_base(segment)) {
        Ok(()) => 0,
        Err(error) => error.negated(),
    }
}
