//! A thread goes from one node to another between two instructions of the program, with all that it is
//! (`thread::state`) in one message.
//!
//! Its OS thread at home is its deputy while it executes elsewhere, so every way leads past it: from home a
//! thread becomes its own deputy; a carrier sends the thread to the deputy, which continues it or sends it
//! on. A thread leaves because the daemon asked for it ([`ask`]), or a carrier's because it touched what only
//! the home node has.
//!
//! Not for threads that are inside of the stub or the vDSO, or in a handler that interrupted the vDSO: those
//! leave when they run the program again. The vDSO calls the kernel's, which each node has elsewhere.
//!
//! How a thread is stopped that runs the program: a carrier by SIGURG, since all calls of the program are
//! trapped there. At home most calls go straight to the kernel, and a signal would end some of those that wait
//! with EINTR. There a timer on the thread's own user time stops it: the kernel looks for such timers when a
//! tick finds the thread, and sends the signal on the thread's way back to the program
//! (`CONFIG_POSIX_CPU_TIMERS_TASK_WORK`, all of x86-64 since Linux 5.11), never into a call.

use crate::daemon::{requests, settings};
use crate::kernel;
use crate::remote::deputy;
use crate::signal::frame::{SignalInformation, UserContext};
use crate::signal::{SIGSYS, SIGURG, deferred, mask};
use crate::thread::{Role, Thread, block, exit, resume, state};
use banyan_sys::raw::Errno;
use banyan_wire::address_space::is_program_code;
use banyan_wire::deputy::{Departure, DeputyMessage, Header, SignalNotice, ThreadState};
use banyan_wire::stub::{Answer, Request, StoppedThread};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, IntoBytes};

/// The value of the timer that stops a thread: no timer of the program's has it but by its own wish.
const STOP: u64 = u64::from_be_bytes(*b"\0banyan\0");

/// From the service thread: the thread with this id at home is to leave this node, if it is here.
///
/// # Errors
/// The kernel's, if it has no timer left.
pub fn ask(id: u32) -> Result<(), Errno> {
    let is_it = |thread: &&Thread| {
        matches!(thread.role(), Role::Home | Role::Carrier) && thread.thread_id.load(Ordering::Relaxed) == id
    };
    let Some(thread) = block::all().find(is_it) else { return Ok(()) };
    thread.leave.store(1, Ordering::Release);
    if thread.role() == Role::Home {
        return stop_at_home(thread);
    }
    // One that waits in a call of its own leaves after it.
    if thread.waits.load(Ordering::Relaxed) == 0 {
        kernel::signal_thread(thread.carrier.load(Ordering::Relaxed), SIGURG);
    }
    Ok(())
}

fn stop_at_home(thread: &Thread) -> Result<(), Errno> {
    if thread.stopper.load(Ordering::Relaxed) == 0 {
        /// `CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_VIRT`: the user time of the thread whose id, negated, stands
        /// before it.
        const USER_TIME_OF_THREAD: i32 = 4 | 1;
        const SIGEV_THREAD_ID: u64 = linux::SIGEV_THREAD_ID as u64;
        let id = thread.thread_id.load(Ordering::Relaxed);
        let clock = (!(id as i32) << 3 | USER_TIME_OF_THREAD) as u64;
        // `struct sigevent`: value, signal and way in one word, thread.
        let mut event = [0_u64; 8];
        (event[0], event[1], event[2]) = (STOP, SIGEV_THREAD_ID << 32 | SIGSYS, id.into());
        let mut timer = 0_u32;
        let arguments = [clock, event.as_ptr() as u64, &raw mut timer as u64, 0, 0, 0];
        // SAFETY: event and id live across the call, which reads the one and writes the other.
        let _ = unsafe { kernel::checked(linux::__NR_timer_create, arguments)? };
        thread.stopper.store(timer + 1, Ordering::Relaxed);
    }
    set_stopper(thread, 1);
    Ok(())
}

/// Has the timer stop the thread after this much of its user time; never, if it is 0.
fn set_stopper(thread: &Thread, nanoseconds: u64) {
    let Some(timer) = thread.stopper.load(Ordering::Relaxed).checked_sub(1) else { return };
    // Interval and value.
    let time = [0, 0, 0, nanoseconds];
    // SAFETY: the time lives across the call, which only reads it.
    let _ =
        unsafe { kernel::raw(linux::__NR_timer_settime, [timer.into(), 0, time.as_ptr() as u64, 0, 0, 0]) };
}

/// The OS thread ends.
pub fn forget(thread: &Thread) {
    if let Some(timer) = thread.stopper.swap(0, Ordering::Relaxed).checked_sub(1) {
        // SAFETY: no pointers.
        let _ = unsafe { kernel::raw(linux::__NR_timer_delete, [timer.into(), 0, 0, 0, 0, 0]) };
    }
}

/// Whether a SIGSYS comes from the timer.
pub const fn is_stop(information: &SignalInformation) -> bool {
    /// `SI_TIMER`.
    const FROM_TIMER: i32 = linux::SI_TIMER;
    information.code == FROM_TIMER && information.value() == STOP
}

/// The timer has stopped the thread.
pub fn stopped(thread: &'static Thread, context: &mut UserContext) {
    if thread.role() != Role::Home || thread.leave.load(Ordering::Acquire) == 0 {
        return;
    }
    if !is_program_code(context.registers.rip) {
        return set_stopper(thread, 1);
    }
    mask::admit_copy_faults(thread, context.mask);
    leave_if_asked(thread, context);
    deferred::release(thread);
}

/// If the thread is to leave, and stands at an instruction of the program, it does: this returns only if it
/// does not.
pub fn leave_if_asked(thread: &'static Thread, context: &mut UserContext) {
    if thread.leave.load(Ordering::Relaxed) == 0
        || !is_program_code(context.registers.rip)
        || thread.in_vdso.get() != 0
    {
        return;
    }
    match thread.role() {
        Role::Home => leave_home(thread, context),
        Role::Carrier => leave(thread, Departure::Asked, context),
        Role::Deputy | Role::Service => {}
    }
}

fn leave_home(thread: &'static Thread, context: &UserContext) {
    set_stopper(thread, 0);
    thread.leave.store(0, Ordering::Relaxed);
    let mut state = state::of(thread, context);
    state.used_elsewhere += kernel::thread_cpu_nanoseconds();
    // SAFETY: this thread's own, and the only reference to it.
    state::save(state, context, unsafe { thread.payload() });
    let (id, used) = (thread.thread_id.load(Ordering::Relaxed), thread.used_elsewhere.get());
    let request = Request::Move(StoppedThread { thread: id.into(), used });
    if send_away(thread, &request) {
        thread.mask.store(state.mask, Ordering::Relaxed);
        thread.taken.clear();
        thread.set_role(Role::Deputy);
        deputy::serve(thread);
    }
}

/// Sends the thread of this carrier to its deputy, and ends.
pub fn leave(thread: &'static Thread, departure: Departure, context: &UserContext) -> ! {
    // SAFETY: this thread's own, and the only reference to it.
    let length = state::save(state::of(thread, context), context, unsafe { thread.payload() });
    let cpu = kernel::thread_cpu_nanoseconds() as i64;
    let mut header = Header::new(DeputyMessage::Leave, cpu, [departure as u64, 0, 0, 0, 0, 0]);
    header.length = length as u32;
    exit::end_carrier(thread, &header)
}

/// On a deputy: the thread has left its carrier. Returns if it goes on elsewhere, and its calls come over a
/// new connection; `None` if what came is no thread.
pub fn arrive(thread: &'static Thread, header: &Header) -> Option<()> {
    let departure = Departure::from_number(header.arguments[0])?;
    // SAFETY: this thread's own, and the only reference to it.
    let payload = unsafe { &mut thread.payload()[..header.length as usize] };
    kernel::receive_all(thread.connection.get(), payload).ok()?;
    let mut state = ThreadState::read(payload)?;
    kernel::close(thread.connection.replace(-1));
    let id = thread.thread_id.load(Ordering::Relaxed);
    thread.used_elsewhere.set(thread.used_elsewhere.get() + header.number as u64);
    let used = thread.used_elsewhere.get();
    state.used_elsewhere = used + kernel::thread_cpu_nanoseconds();
    state.write_to_prefix(payload).ok()?;
    if departure == Departure::Asked
        && send_away(thread, &Request::Move(StoppedThread { thread: id.into(), used }))
    {
        return Some(());
    }
    requests::tell(&Request::CameHome(StoppedThread { thread: id.into(), used }));
    thread.node.store(settings::node().into(), Ordering::Relaxed);
    state.used_elsewhere = used;
    state.write_to_prefix(payload).ok()?;
    thread.set_role(Role::Home);
    resume::resume(thread)
}

/// Asks the daemon where the thread goes whose state is in the buffer, and sends it there. False if it stays
/// at home. The calling OS thread is its deputy from then on.
pub fn send_away(thread: &Thread, request: &Request) -> bool {
    let (Answer::Placed(placed), Some(connection)) = requests::ask_for_descriptor(request) else {
        return false;
    };
    thread.node.store(placed.node, Ordering::Relaxed);
    thread.connection.set(connection);
    thread.notice.set(SignalNotice::None);
    let mut header = Header::new(DeputyMessage::Start, 0, [0; 6]);
    // SAFETY: this thread's own, and the only reference to it.
    let buffer = unsafe { thread.buffer() };
    let (head, payload) = buffer.split_at_mut(size_of::<Header>());
    let Ok((state, _)) = ThreadState::mut_from_prefix(payload) else { return false };
    state.thread = thread.thread_id.load(Ordering::Relaxed).into();
    header.length = (size_of::<ThreadState>() as u64 + state.extended) as u32;
    head.copy_from_slice(header.as_bytes());
    if kernel::send_all(connection, &buffer[..size_of::<Header>() + header.length as usize]).is_err() {
        // Its node is gone; the daemon ends the process and says why.
        kernel::park();
    }
    true
}
