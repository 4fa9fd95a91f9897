//! Signals on a carrier: the deputy has them, and says which handler to start; the handler runs here.

use crate::kernel;
use crate::remote::exchange::exchange;
use crate::remote::migration;
use crate::remote::shipping;
use crate::report;
use crate::signal::frame::{SignalInformation, UserContext};
use crate::signal::{SIGSEGV, SIGURG, deliver, handler, restore, wait};
use crate::thread::{Role, Thread};
use banyan_sys::raw::Errno;
use banyan_wire::deputy::{DeputyMessage, Header, SignalNotice};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use linux_raw_sys::net;
use zerocopy::{FromZeros, IntoBytes};

/// The thread continues from a frame. The deputy learns the mask, and says what waits behind it.
pub fn return_from_handler(thread: &Thread, context: &mut UserContext) {
    let Ok(blocked) = restore::restore(thread, context) else {
        return fault(thread, SIGSEGV, &handler::bad_frame(), context);
    };
    thread.mask.store(blocked, Ordering::Relaxed);
    let number = i64::from(linux::__NR_rt_sigreturn);
    let header = Header::new(DeputyMessage::Call, number, [blocked, 0, 0, 0, 0, 0]);
    let _ = exchange(thread, &header, &shipping::NONE);
    if thread.notice.get() != SignalNotice::None {
        take_signal(thread, context);
    }
}

/// Starts the handlers of the signals that the deputy has for the thread, whose context this is.
pub fn take_signal(thread: &Thread, context: &mut UserContext) {
    thread.taken.clear();
    loop {
        let header = Header::new(DeputyMessage::TakeSignal, 0, [0; 6]);
        let answer = exchange(thread, &header, &shipping::NONE);
        let mut information = SignalInformation::new_zeroed();
        // SAFETY: this thread's own, and the only reference to it.
        let payload = unsafe { &thread.payload()[..size_of::<SignalInformation>()] };
        information.as_mut_bytes().copy_from_slice(payload);
        start_handler(thread, &answer, &information, context);
        if thread.notice.get() == SignalNotice::None {
            return;
        }
    }
}

/// Starts the handler that the deputy's answer names, if it names one.
fn start_handler(
    thread: &Thread,
    answer: &Header,
    information: &SignalInformation,
    context: &mut UserContext,
) {
    let [_, handler, flags, more, blocked, restorer] = answer.arguments;
    if let Ok(signal @ 1..) = u64::try_from(answer.number) {
        let action = [handler, flags, restorer, more];
        if handler::start(thread, signal, &action, blocked, information, context).is_err() {
            bad_frame(thread, signal, context);
        }
    }
}

/// An instruction of the thread faulted, or a frame of it is bad: starts the handler, or the process dies.
pub fn fault(thread: &Thread, signal: u64, information: &SignalInformation, context: &mut UserContext) {
    let header = Header::new(DeputyMessage::Fault, 0, [signal, 1, 0, 0, 0, 0]);
    let answer = exchange(thread, &header, &shipping::NONE);
    start_handler(thread, &answer, information, context);
    if thread.notice.get() != SignalNotice::None {
        take_signal(thread, context);
    }
}

/// The frame for a handler of `signal` cannot be written: the thread gets SIGSEGV, once.
fn bad_frame(thread: &Thread, signal: u64, context: &mut UserContext) {
    if signal == SIGSEGV {
        die(thread, SIGSEGV);
    }
    fault(thread, SIGSEGV, &handler::bad_frame(), context);
}

/// Ends the process by a signal for which no handler can be started.
fn die(thread: &Thread, signal: u64) -> ! {
    let header = Header::new(DeputyMessage::Fault, 0, [signal, 0, 0, 0, 0, 0]);
    let _ = exchange(thread, &header, &shipping::NONE);
    report::fail("a deputy did not end the process by its thread's signal")
}

/// Handler of SIGURG in a replica elsewhere: the deputy has a signal for the thread of this carrier.
///
/// # Safety
/// For the kernel to call, with its own frame on this thread's stub stack.
pub unsafe extern "C" fn on_interrupt(
    _signal: u64,
    _information: *mut SignalInformation,
    context: *mut UserContext,
) {
    // SAFETY: the kernel passes its frame on this thread's own stub stack, on which this runs.
    let (context, thread) = unsafe { (&mut *context, Thread::current()) };
    match thread.role() {
        Role::Carrier if deliver::runs_program(context.registers.rip) => {
            migration::leave_soon(thread, context);
            take_signal(thread, context);
        }
        Role::Carrier => wait::end(thread, context),
        Role::Home | Role::Deputy | Role::Service | Role::Child => {}
    }
}

/// Has the kernel interrupt this carrier when urgent data comes over its connection.
///
/// # Errors
/// The kernel's.
pub fn interrupt_on_urgent_data(connection: i32) -> Result<(), Errno> {
    const F_SETOWN_EX: u64 = linux::F_SETOWN_EX as u64;
    const SOL_SOCKET: u64 = net::SOL_SOCKET as u64;
    const SO_OOBINLINE: u64 = net::SO_OOBINLINE as u64;
    let (owner, on) = ([linux::F_OWNER_TID, kernel::thread_id()], 1_u32);
    let socket = connection as u64;
    // SAFETY: owner and option live across the calls, which only read them.
    unsafe {
        let option = [socket, SOL_SOCKET, SO_OOBINLINE, &raw const on as u64, size_of_val(&on) as u64];
        let _ = kernel::checked(linux::__NR_setsockopt, option)?;
        kernel::checked(linux::__NR_fcntl, [socket, F_SETOWN_EX, owner.as_ptr() as u64]).map(drop)
    }
}

/// A carrier whose connection holds something although it has asked nothing was interrupted before it could
/// be: it is as if the signal came now.
pub fn look_for_interrupt(connection: i32) {
    const PEEK: u64 = (net::MSG_PEEK | net::MSG_DONTWAIT) as u64;
    let mut byte = 0_u8;
    let arguments = [connection as u64, &raw mut byte as u64, 1, PEEK, 0, 0];
    // SAFETY: the byte lives across the call, which writes no more than it.
    if unsafe { kernel::raw(linux::__NR_recvfrom, arguments) } == 1 {
        kernel::signal_thread(kernel::thread_id(), SIGURG);
    }
}
