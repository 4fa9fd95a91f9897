//! How a thread and the process end: what the kernel would do to program memory while a thread exits is done
//! here, because the kernel drops such writes silently when the page is not present.

use crate::daemon::requests;
use crate::daemon::settings;
use crate::kernel::{self, MaskChange};
use crate::memory::copy::{self, ProgramAddress};
use crate::memory::futex;
use crate::remote::exchange;
use crate::signal::{deferred, taken};
use crate::thread::block::LEFT;
use crate::thread::{Role, Thread, stopper};
use banyan_wire::deputy::Header;
use banyan_wire::stub::{Exit, Request, ThreadEnd};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use linux_raw_sys::general as linux;

/// Threads that the program has started so far, its first one not counted.
pub(super) static STARTED: AtomicU64 = AtomicU64::new(0);
/// Threads of the program that have not ended (at home).
pub(super) static LIVE: AtomicU64 = AtomicU64::new(0);

/// Counts the first thread of the program, or of a copy of its process.
pub fn count_first() {
    LIVE.store(1, Ordering::Relaxed);
    STARTED.store(0, Ordering::Relaxed);
}

/// Whether the program has one thread.
pub fn is_single() -> bool {
    LIVE.load(Ordering::Relaxed) == 1
}

/// Ends the calling home thread or deputy: everything the kernel would do to program memory while a thread
/// exits is done here, because it drops such writes silently when the page is not present.
pub fn end(thread: &'static Thread, status: u64) -> ! {
    if thread.role() == Role::Child {
        end_process(thread, status);
    }
    walk_robust_list(thread.robust_list.get(), thread.thread_id.load(Ordering::Relaxed));
    if !settings::is_alone() {
        let id = thread.thread_id.load(Ordering::Relaxed);
        requests::tell(&Request::ThreadEnd(ThreadEnd { thread: id, deputy_calls: 0 }));
    }
    if LIVE.fetch_sub(1, Ordering::AcqRel) == 1 {
        end_process(thread, status);
    }
    let word = thread.clear_on_exit.get();
    if word != 0 && copy::store_u32(ProgramAddress(word), 0).is_ok() {
        futex::wake(ProgramAddress(word));
    }
    deferred::leave_to_others(thread);
    if thread.role() == Role::Deputy {
        taken::give_back(thread);
        kernel::close(thread.connection.get());
        thread.set_role(Role::Home);
    }
    leave(thread, status)
}

/// Ends the calling carrier, with a last message to its deputy, whose payload is in the thread's buffer.
pub fn end_carrier(thread: &'static Thread, last: &Header) -> ! {
    let socket = thread.connection.get();
    // SAFETY: this thread's own, and the only reference to it.
    let buffer = unsafe { thread.buffer() };
    thread.leave.store(LEFT, Ordering::SeqCst);
    let sent = exchange::send(socket, last, buffer);
    let id = thread.thread_id.load(Ordering::Relaxed);
    let deputy_calls = thread.deputy_calls.get() as u32;
    requests::tell(&Request::ThreadEnd(ThreadEnd { thread: id, deputy_calls }));
    // What the deputy still sent must not make the kernel reset the connection, and take the message back.
    while sent.is_ok() && kernel::receive_all(socket, buffer).is_ok() {}
    kernel::close(socket);
    leave(thread, 0)
}

/// Ends the process of a thread with an exit status: the program's after the daemon has ended the other
/// replicas and counted.
pub fn end_process(thread: &Thread, status: u64) -> ! {
    if thread.role() == Role::Child || settings::is_copy() {
        kernel::exit_group(status);
    }
    let threads = STARTED.load(Ordering::Relaxed) + 1;
    requests::tell(&Request::Exit(Exit { status, threads }));
    kernel::exit_group(status)
}

/// Gives the block back and ends the OS thread. The stack is not touched after the block is free.
pub fn leave(thread: &'static Thread, status: u64) -> ! {
    stopper::forget(thread);
    // Also the faults of copies.
    kernel::set_mask(MaskChange::Set, !0);
    // SAFETY: after the store another thread may use this block, stack included; the two instructions after
    // it use registers only, all signals are blocked, and the thread is gone after them.
    unsafe {
        asm!(
            "mov dword ptr [{used}], 0",
            "syscall",
            "ud2",
            used = in(reg) thread.used.as_ptr(),
            in("rax") u64::from(linux::__NR_exit),
            in("rdi") status,
            options(noreturn, nostack),
        )
    }
}

/// Does what the kernel does with the robust list of a thread that ends (kernel/futex/core.c,
/// `exit_robust_list`): marks each lock that it still owns as owner-died and wakes one waiter.
fn walk_robust_list(head: u64, thread_id: u32) {
    /// The kernel's `ROBUST_LIST_LIMIT`: the list may be a circle that misses the head.
    const LIMIT: usize = 2048;
    if head == 0 {
        return;
    }
    let (Ok(mut entry), Ok(offset), Ok(pending)) = (
        copy::load::<u64>(ProgramAddress(head)),
        copy::load::<u64>(ProgramAddress(head + 8)),
        copy::load::<u64>(ProgramAddress(head + 16)),
    ) else {
        return;
    };
    let release = |entry: u64| {
        let word = (entry & !1).wrapping_add(offset);
        let Ok(mut value) = copy::load::<u32>(ProgramAddress(word)) else { return };
        while value & linux::FUTEX_TID_MASK == thread_id {
            match copy::exchange_u32(
                ProgramAddress(word),
                value,
                (value & linux::FUTEX_WAITERS) | linux::FUTEX_OWNER_DIED,
            ) {
                Ok(old) if old == value => {
                    if value & linux::FUTEX_WAITERS != 0 {
                        futex::wake(ProgramAddress(word));
                    }
                    return;
                }
                Ok(old) => value = old,
                Err(_) => return,
            }
        }
    };
    for _ in 0..LIMIT {
        if entry & !1 == head {
            break;
        }
        let next = copy::load::<u64>(ProgramAddress(entry & !1));
        if entry & !1 != pending & !1 {
            release(entry);
        }
        match next {
            Ok(next) => entry = next,
            Err(_) => break,
        }
    }
    if pending & !1 != 0 {
        release(pending);
    }
}
