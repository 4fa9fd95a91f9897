//! The trap: every system call that the filters do not let pass arrives here as SIGSYS, on the stub's stack, with
//! all asynchronous signals blocked.

use crate::daemon::requests::{self, CONFIGURATION};
use crate::kernel::{self, number};
use crate::memory;
use crate::process::links;
use crate::remote::carrier;
use crate::signal;
use crate::thread::{self, Role, Thread};
use banyan_sys::raw::Errno;
use banyan_sys::signal_frame::{SignalInformation, UserContext};
use banyan_wire::stub::{Refusal, RequestKind};
use banyan_wire::syscalls::{self, Class};
use core::sync::atomic::{AtomicU64, Ordering};
use linux_raw_sys::general as linux;

pub mod fault;
pub mod filter;

/// `AUDIT_ARCH_X86_64`: calls through the 32-bit gate have another.
const ARCHITECTURE: u32 = 0xc000_003e;

/// Handler of SIGSYS.
///
/// # Safety
/// For the kernel to call, with its own frame on this thread's stub stack.
pub unsafe extern "C" fn on_trap(
    _signal: u64,
    information: *mut SignalInformation,
    context: *mut UserContext,
) {
    // SAFETY: the kernel passes its frame on this thread's own stub stack.
    let (information, context) = unsafe { (&*information, &mut *context) };
    let thread = Thread::current();
    let call = i64::from(information.system_call);
    let r = &context.registers;
    let arguments = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
    let result = if information.architecture != ARCHITECTURE {
        refuse(call, Errno::ENOSYS.0)
    } else if thread.role() == Role::Carrier {
        carrier::system_call(thread, call, &arguments, context)
    } else {
        match home_call(thread, call, &arguments, context) {
            Some(result) => result,
            // The context was changed to make the call again.
            None => return,
        }
    };
    context.registers.rax = result as u64;
}

/// A trapped call of a thread that runs at home.
fn home_call(
    thread: &'static Thread,
    call: i64,
    arguments: &[u64; 6],
    context: &mut UserContext,
) -> Option<i64> {
    let view = context.mask | thread.sigsys_blocked.get();
    if call == number(linux::__NR_rt_sigprocmask) {
        let mut mask = view;
        let result = signal::change_mask(arguments, &mut mask);
        let (kernels, sigsys) = signal::split_mask(mask);
        context.mask = kernels;
        thread.sigsys_blocked.set(sigsys);
        return Some(result);
    }
    if call == number(linux::__NR_sigaltstack) {
        return Some(signal::change_alternate_stack(thread, arguments, context.registers.rsp));
    }
    if call == number(linux::__NR_clone) || call == number(linux::__NR_clone3) {
        return Some(match thread::decode(call, arguments, context, view) {
            Ok(creation) => thread::create(&creation),
            Err(Errno::ENOSYS) => refuse(call, Errno::ENOSYS.0),
            Err(error) => error.negated(),
        });
    }
    if let Some(mask_argument) = mask_argument(call) {
        return match reissue_with_mask(call, arguments, mask_argument, context) {
            Ok(()) => None,
            Err(error) => Some(error.negated()),
        };
    }
    if call == number(linux::__NR_futex) {
        return match reissue(call, [0; 3], context) {
            Ok(_) => {
                context.registers.rsi |= kernel::FUTEX_PRIVATE;
                None
            }
            Err(error) => Some(error.negated()),
        };
    }
    Some(emulate(thread, call, arguments))
}

/// Calls that the stub does at home for any thread: trapped ones of home threads, and those that deputies get.
/// `arguments` are the program's.
pub fn emulate(thread: &'static Thread, call: i64, arguments: &[u64; 6]) -> i64 {
    const ARCH_SET_FS: u64 = 0x1002;
    const ARCH_GET_FS: u64 = 0x1003;
    let Ok(small) = u32::try_from(call) else { return refuse(call, Errno::ENOSYS.0) };
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
        | linux::__NR_mlock2 => memory::call(call, arguments, thread.node.load(Ordering::Relaxed)),
        linux::__NR_mincore => {
            let result = memory::call(call, arguments, 0);
            if result == 0 { memory_residency(arguments) } else { result }
        }
        linux::__NR_exit => thread::end(thread, arguments[0]),
        linux::__NR_exit_group => thread::end_process(arguments[0]),
        linux::__NR_rt_sigaction => signal::set_disposition(arguments),
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
            let stored = memory::copy_out(arguments[1], (&raw const head).cast(), 8)
                .and_then(|()| memory::copy_out(arguments[2], (&raw const size).cast(), 8));
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
        linux::__NR_close_range => close_range(arguments),
        linux::__NR_close | linux::__NR_dup2 | linux::__NR_dup3 | linux::__NR_fcntl => {
            guarded(small, arguments)
        }
        linux::__NR_tkill | linux::__NR_tgkill | linux::__NR_rt_tgsigqueueinfo => {
            signal::send_to_thread(small, arguments)
        }
        linux::__NR_rt_sigsuspend => refuse(call, Errno::ENOSYS.0),
        linux::__NR_rt_sigtimedwait => kernel::raw(small, *arguments),
        _ => match syscalls::find(call).map(|row| row.class) {
            Some(Class::Refuse(errno)) => refuse(call, errno),
            Some(Class::Deputy | Class::Local) => kernel::raw(small, *arguments),
            _ => refuse(call, Errno::ENOSYS.0),
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
        if memory::copy_out(at, ones.as_ptr(), piece as usize).is_err() {
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

fn floor() -> u64 {
    u64::from(CONFIGURATION.descriptor_floor.load(Ordering::Relaxed))
}

/// `close_range` without the descriptors that the stub hides.
fn close_range(arguments: &[u64; 6]) -> i64 {
    let mut arguments = *arguments;
    if arguments[0] > arguments[1] {
        return Errno::EINVAL.negated();
    }
    if arguments[0] >= floor() {
        return 0;
    }
    arguments[1] = arguments[1].min(floor() - 1);
    kernel::raw(linux::__NR_close_range, arguments)
}

/// Calls that could take a hidden descriptor away: to the program it is not open.
fn guarded(call: u32, arguments: &[u64; 6]) -> i64 {
    let hidden = |argument: u64| u64::from(argument as u32) >= floor() && is_ours(argument as i32);
    let second = matches!(call, linux::__NR_dup2 | linux::__NR_dup3);
    if hidden(arguments[0]) || (second && hidden(arguments[1])) {
        return Errno::EBADF.negated();
    }
    kernel::raw(call, *arguments)
}

/// Whether a descriptor is one that the stub uses.
fn is_ours(descriptor: i32) -> bool {
    let own =
        [&CONFIGURATION.requests, &CONFIGURATION.commands, &CONFIGURATION.memory, &CONFIGURATION.faults];
    own.iter().any(|own| own.load(Ordering::Relaxed) == descriptor)
        || thread::all().any(|thread| thread.connection.get() == descriptor)
}

/// Which argument of a call points to a signal mask.
pub fn mask_argument(call: i64) -> Option<usize> {
    Some(match u32::try_from(call).ok()? {
        linux::__NR_rt_sigsuspend => 0,
        linux::__NR_ppoll => 3,
        linux::__NR_epoll_pwait | linux::__NR_epoll_pwait2 => 4,
        linux::__NR_pselect6 => 5,
        _ => return None,
    })
}

/// Has a call made again from the program's own stack, so that a handler which interrupts it gets a frame like any
/// other. The words below the red zone are those that `banyan_reissue` pops: return address, five registers that
/// the call must not change, then three words for its arguments to point to. Returns the address of the latter.
fn reissue(call: i64, more: [u64; 3], context: &mut UserContext) -> Result<u64, Errno> {
    const RED_ZONE: u64 = 128;
    let registers = &mut context.registers;
    let stack = registers.rsp.wrapping_sub(RED_ZONE + 80);
    let [a, b, c] = more;
    let r = &*registers;
    let words = [r.rip, r.rdi, r.rsi, r.r8, r.r9, r.r10, a, b, c, 0];
    memory::copy_out(stack, words.as_ptr().cast(), 80)?;
    registers.rsp = stack;
    registers.rip = signal::reissue_address();
    registers.rax = call as u64;
    Ok(stack + 48)
}

/// Makes a call that carries a signal mask again with SIGSYS taken out of the mask. For `pselect6` the argument is a
/// pair that points to the mask.
fn reissue_with_mask(
    call: i64,
    arguments: &[u64; 6],
    index: usize,
    context: &mut UserContext,
) -> Result<(), Errno> {
    let pair = call == number(linux::__NR_pselect6);
    let mut pointer = arguments[index];
    let mut size = 8;
    if pair && pointer != 0 {
        size = memory::load_u64(pointer + 8)?;
        pointer = memory::load_u64(pointer)?;
    }
    let mask = if pointer == 0 { 0 } else { signal::split_mask(memory::load_u64(pointer)?).0 };
    // Only the first word's address is needed to fill the second, and it does not depend on what they hold.
    let at = reissue(call, [mask, 0, size], context)?;
    let mask_at = if pointer == 0 { 0 } else { at };
    memory::copy_out(at + 8, (&raw const mask_at).cast(), 8)?;
    let registers = &mut context.registers;
    if arguments[index] != 0 {
        let replaced = if pair { at + 8 } else { mask_at };
        match index {
            0 => registers.rdi = replaced,
            3 => registers.r10 = replaced,
            4 => registers.r8 = replaced,
            _ => registers.r9 = replaced,
        }
    }
    Ok(())
}

/// Refuses a call; the daemon says so once per number. Returns the negated errno.
pub fn refuse(call: i64, errno: u16) -> i64 {
    /// Numbers said already.
    static SAID: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
    // Every program with a current C library asks for these and has a way without.
    let expected = [i64::from(linux::__NR_rseq)].contains(&call);
    let slot = usize::try_from(call).unwrap_or(usize::MAX);
    let first = match SAID.get(slot / 64) {
        Some(word) => word.fetch_or(1 << (slot % 64), Ordering::Relaxed) & (1 << (slot % 64)) == 0,
        None => false,
    };
    if first && !expected {
        let values = [call as u64, Refusal::NotTreated as u64, u64::from(errno), 0, 0, 0, 0, 0];
        let _ = requests::request(RequestKind::Refused, values);
    }
    -i64::from(errno)
}
