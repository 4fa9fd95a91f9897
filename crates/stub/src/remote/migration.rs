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
//! A carrier that runs the program is stopped by SIGURG, since all calls of the program are trapped there; a
//! thread at home, and one that SIGURG finds in the vDSO, by a timer (`thread::stopper`).

use crate::daemon::{requests, settings};
use crate::kernel;
use crate::remote::{deputy, exchange};
use crate::signal::frame::UserContext;
use crate::signal::{SIGURG, deferred, mask};
use crate::thread::block::{self, LEFT};
use crate::thread::{Role, Thread, exit, resume, state, stopper};
use crate::trap::reissue::SYSCALL_BYTES;
use banyan_sys::raw::Errno;
use banyan_wire::address_space::is_program_code;
use banyan_wire::deputy::{Departure, DeputyMessage, Header, SignalNotice, ThreadState};
use banyan_wire::stub::{Answer, Request, StoppedThread};
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

/// From the service thread: the thread with this id at home is to leave this node.
///
/// What is set here is looked for where a thread comes to this node, ends a wait, or becomes one that can
/// leave, each after saying so. Both sides are sequentially consistent: one of them sees the other.
///
/// # Errors
/// `ESRCH` if it is not here; the kernel's, if it has no timer left.
pub fn ask(id: u32) -> Result<(), Errno> {
    // One that has left and whose carrier has not ended is not here: the thread may be on its way back.
    let is_it = |thread: &&Thread| {
        matches!(thread.role(), Role::Home | Role::Carrier | Role::Deputy)
            && thread.thread_id.load(Ordering::Relaxed) == id
            && thread.leave.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst) != Err(LEFT)
    };
    let thread = block::all().find(is_it).ok_or(Errno::ESRCH)?;
    match thread.role() {
        Role::Home => return stopper::stop(thread, id),
        // One that waits in a call of its own leaves after it.
        Role::Carrier if thread.waits.load(Ordering::SeqCst) == 0 => interrupt(thread),
        _ => {}
    }
    Ok(())
}

/// Has a carrier look whether its thread is to leave. One that has not begun looks when it does.
fn interrupt(thread: &Thread) {
    kernel::signal_thread(thread.carrier.load(Ordering::SeqCst), SIGURG);
}

/// On a carrier that is about to run the program, and has said which one it is.
pub fn look_for_wish(thread: &Thread) {
    if thread.leave.load(Ordering::SeqCst) != 0 {
        interrupt(thread);
    }
}

/// The timer has stopped the thread.
pub fn stopped(thread: &'static Thread, context: &mut UserContext) {
    if !matches!(thread.role(), Role::Home | Role::Carrier) || thread.leave.load(Ordering::SeqCst) == 0 {
        return;
    }
    if !may_leave(thread, context) {
        return stopper::again(thread);
    }
    mask::admit_copy_faults(thread, context.mask);
    leave_if_asked(thread, context);
    deferred::release(thread);
}

/// If the thread is to leave, and stands at an instruction of the program, it does: this returns only if it
/// does not.
pub fn leave_if_asked(thread: &'static Thread, context: &mut UserContext) {
    if thread.leave.load(Ordering::SeqCst) == 0 || !may_leave(thread, context) {
        return;
    }
    match thread.role() {
        Role::Home => leave_home(thread, context),
        Role::Carrier => leave(thread, Departure::Asked, context),
        Role::Deputy | Role::Service | Role::Child => {}
    }
}

/// A carrier's thread makes a call that only a thread at home can make: it goes there and makes it again.
/// Returns if it cannot.
pub fn make_at_home(thread: &'static Thread, number: u64, context: &mut UserContext) {
    if may_leave(thread, context) {
        let call = context.registers.rip.wrapping_sub(SYSCALL_BYTES);
        (context.registers.rip, context.registers.rax) = (call, number);
        leave(thread, Departure::HomeOnly, context);
    }
}

/// Whether the thread stands at an instruction of the program, and in no handler that interrupted the vDSO.
fn may_leave(thread: &Thread, context: &UserContext) -> bool {
    is_program_code(context.registers.rip) && thread.in_vdso.get() == 0
}

fn leave_home(thread: &'static Thread, context: &UserContext) {
    stopper::never(thread);
    thread.leave.store(0, Ordering::Relaxed);
    let mut state = state::of(thread, context);
    state.used_elsewhere += kernel::thread_cpu_nanoseconds();
    // SAFETY: this thread's own, and the only reference to it.
    state::save(state, context, unsafe { thread.payload() });
    let (id, used) =
        (thread.thread_id.load(Ordering::Relaxed), thread.used_elsewhere.load(Ordering::Relaxed));
    let request = Request::Move(StoppedThread { thread: id.into(), used });
    if send_away(thread, &request) {
        thread.mask.store(state.mask, Ordering::Relaxed);
        thread.taken.clear();
        thread.set_role(Role::Deputy);
        deputy::serve(thread);
    }
}

/// On a carrier that was interrupted: its thread leaves, if it is to, now or from the vDSO's end on.
pub fn leave_soon(thread: &'static Thread, context: &mut UserContext) {
    leave_if_asked(thread, context);
    if thread.leave.load(Ordering::Relaxed) != 0 {
        // It stays if the kernel has no timer left.
        let _ = stopper::stop(thread, kernel::thread_id());
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
    // The carrier is there, and its clock can be read, until this is closed.
    let carrier = thread.connection.replace(-1);
    let used = take_over(thread, header.number as u64);
    let id = thread.thread_id.load(Ordering::Relaxed);
    state.used_elsewhere = used + kernel::thread_cpu_nanoseconds();
    state.write_to_prefix(payload).ok()?;
    if departure == Departure::Asked
        && send_away(thread, &Request::Move(StoppedThread { thread: id.into(), used }))
    {
        kernel::close(carrier);
        return Some(());
    }
    requests::tell(&Request::CameHome(StoppedThread { thread: id.into(), used }));
    kernel::close(carrier);
    state.used_elsewhere = used;
    state.write_to_prefix(payload).ok()?;
    thread.set_role(Role::Home);
    if thread.leave.load(Ordering::SeqCst) != 0 {
        // It stays if the kernel has no timer left.
        let _ = stopper::stop(thread, id);
    }
    resume::resume(thread)
}

/// The thread has left its node, where its carrier used this many nanoseconds. Returns what all of them used.
fn take_over(thread: &Thread, nanoseconds: u64) -> u64 {
    thread.departures.fetch_add(1, Ordering::AcqRel);
    thread.node.store(settings::node().into(), Ordering::Release);
    let before = thread.used_elsewhere.fetch_add(nanoseconds, Ordering::AcqRel);
    thread.departures.fetch_add(1, Ordering::AcqRel);
    before + nanoseconds
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
    let Ok((state, _)) = ThreadState::mut_from_prefix(&mut buffer[size_of::<Header>()..]) else {
        return false;
    };
    state.thread = thread.thread_id.load(Ordering::Relaxed).into();
    header.length = (size_of::<ThreadState>() as u64 + state.extended) as u32;
    if exchange::send(connection, &header, buffer).is_err() {
        // Its node is gone; the daemon ends the process and says why.
        kernel::park();
    }
    true
}
