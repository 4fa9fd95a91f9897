//! What a worker does at a fault: a page of the caller is fetched, a jump to the caller's code becomes a
//! call-back, anything else is reported to the caller and ends the process.
//!
//! The handler runs on its own stack and touches only the thread's own state.

use super::memory::Placing;
use super::{LOWEST_PAGE, THREAD, Thread, call_back, errno, view};
use crate::shared::frame::{FrameWriter, Kind};
use crate::shared::layout::{CHANNELS, Channel, PAGE, SEQUENCE_MASK, SlotHead, channel_address, store_frame};
use crate::shared::waiting::post_reply;
use crate::sys::memory::at;
use crate::sys::process::kill_self;
use std::sync::atomic::Ordering::Relaxed;

/// Tells the caller that the thread crashed, and ends the process.
pub(super) fn report_crash(thread: &Thread, signal: i32, address: u64, instruction: u64) -> ! {
    thread.leave_call();
    let mut frame = [0; 40];
    let mut writer = FrameWriter::new(&mut frame);
    let (kind, first) =
        if signal == libc::SIGSYS { (Kind::Refused, address) } else { (Kind::Crashed, signal as u64) };
    let written = writer.kind(kind).and_then(|()| writer.number(first)).and_then(|()| {
        if kind == Kind::Refused {
            return Ok(());
        }
        writer.number(address).and_then(|()| writer.number(instruction))
    });
    if written.is_ok() {
        let used = writer.used();
        let channel = thread.channel();
        store_frame(&channel.reply_frame, &frame[..used]);
        post_reply(channel, thread.sequence.get(), used);
        // Taking down our memory can take milliseconds, perhaps on the caller's processor: let it go on
        // first, to another worker. But other callers that wait for us learn of the crash by our end.
        let pause = [0_u64, if others_wait(thread) { 30_000 } else { 3_000_000 }];
        // SAFETY: the kernel reads the pause.
        let _ = unsafe { banyan_sys::raw::syscall(libc::SYS_nanosleep as u32, [pause.as_ptr() as u64, 0]) };
    }
    kill_self()
}

/// Whether a caller waits for an answer on another channel.
fn others_wait(thread: &Thread) -> bool {
    // SAFETY: the slot stays mapped for the life of the process; its head and channels are all atomics.
    let head: &SlotHead = unsafe { at(thread.slot.get()) };
    let channels = (head.wanted.load(Relaxed) as usize).min(CHANNELS);
    (0..channels).filter(|&index| index != thread.index.get()).any(|index| {
        // SAFETY: as above.
        let channel: &Channel = unsafe { at(channel_address(thread.slot.get(), index)) };
        channel.request.load(Relaxed) & SEQUENCE_MASK != channel.reply.word.load(Relaxed)
    })
}

/// Codes of `SIGSEGV` (sigaction(2)): nothing is mapped there, or not for that.
const MAPPED_ERROR: i32 = 1;
const ACCESS_ERROR: i32 = 2;
/// In the processor's error code of a fault.
const FETCHING_INSTRUCTION: i64 = 0x10;

extern "C" fn on_fault(signal: i32, information: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes both; the context is ours to change until we return.
    let (information, context) = unsafe { (&*information, &mut *context.cast::<libc::ucontext_t>()) };
    let registers = &mut context.uc_mcontext.gregs;
    let instruction = registers[libc::REG_RIP as usize] as u64;
    // SAFETY: the address field is valid for the signals that carry one, and some word for others.
    let mut address = unsafe { information.si_addr() } as u64;
    let is_fetching = registers[libc::REG_ERR as usize] & FETCHING_INSTRUCTION != 0;
    if signal == libc::SIGSEGV
        && information.si_code == ACCESS_ERROR
        && !is_fetching
        && view::contains(address)
    {
        // The page is just being compared, for its caller; it can be written again in a moment.
        // SAFETY: gives up the processor.
        let _ = unsafe { banyan_sys::raw::syscall(libc::SYS_sched_yield as u32, []) };
        return;
    }
    let is_jump = signal == libc::SIGSEGV
        && (information.si_code == MAPPED_ERROR || information.si_code == ACCESS_ERROR)
        && (is_fetching || address == instruction)
        && address / PAGE >= LOWEST_PAGE;
    let Some(thread) = THREAD.get() else {
        if is_jump {
            call_back(registers, address);
            return;
        }
        // A thread of the library's own: the process ends as it would have without us.
        // SAFETY: restores the default action and sends the signal again, to this thread.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::syscall(libc::SYS_tgkill, libc::syscall(libc::SYS_getpid), libc::gettid(), signal);
        }
        return;
    };
    if signal == libc::SIGSEGV && thread.in_call.load(Relaxed) {
        if is_jump {
            call_back(registers, address);
            return;
        }
        if information.si_code == MAPPED_ERROR && !is_fetching && address != instruction {
            let before = errno().load(Relaxed);
            thread.turn.enter();
            // A thread of the library's may have begun a call-back on this channel: look again then.
            let fetched = !thread.in_call.load(Relaxed) || thread.fetch(address, Placing::Mapped);
            thread.turn.leave();
            errno().store(before, Relaxed);
            if fetched {
                return;
            }
        }
    }
    if signal == libc::SIGSYS {
        // SAFETY: for SIGSYS the kernel puts the call's number behind two words.
        address = u64::from(unsafe { *(&raw const *information).cast::<u32>().add(6) });
    }
    report_crash(thread, signal, address, instruction)
}

/// Has a thread that jumped to code of the caller's go on where that becomes a call-back.
fn call_back(registers: &mut [libc::greg_t], target: u64) {
    registers[libc::REG_R11 as usize] = target as i64;
    registers[libc::REG_RIP as usize] = call_back::entry_address() as i64;
}

/// Installs the fault handler, for this process and its forks.
pub(crate) fn catch_faults() {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGSYS] {
        // SAFETY: the handler has the signature that SA_SIGINFO asks for and uses its own state only.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}
