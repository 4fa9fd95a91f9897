//! Faults of instructions: memory that this replica has not learned yet, bad pointers in the stub's copies,
//! and the program's own faults, which the program must see as it does natively. Also signals that were sent
//! and that only have the numbers of faults.

use crate::daemon::{requests, settings};
use crate::memory::perform::{self, Context};
use crate::memory::{self, copy};
use crate::remote::{migration, signals};
use crate::signal::frame::{SignalInformation, UserContext};
use crate::signal::{SIGSEGV, deferred, deliver, disposition, mask, taken};
use crate::thread::{Role, Thread};
use crate::trap::lost;
use banyan_wire::address_space::{is_program_code, is_program_memory};
use banyan_wire::deputy::Departure;
use banyan_wire::stub::{Answer, Lookup, Request};
use core::sync::atomic::{AtomicU64, Ordering};
use linux_raw_sys::general as linux;

/// Counts the mappings that this replica has learned.
static LEARNED: AtomicU64 = AtomicU64::new(1);

/// Handler of SIGSEGV and SIGBUS, and in remote replicas of every fault of an instruction.
///
/// # Safety
/// For the kernel to call, with its own frame on this thread's stub stack.
pub unsafe extern "C" fn on_fault(
    signal: u64,
    information: *mut SignalInformation,
    context: *mut UserContext,
) {
    // SAFETY: the kernel passes its frame on this thread's own stub stack, on which this runs.
    let (information, context, thread) = unsafe { (&*information, &mut *context, Thread::current()) };
    if information.is_sent() {
        return sent(thread, signal, information, context);
    }
    let address = information.address;
    let access = access_of(context.registers.err);
    if signal == SIGSEGV && !settings::is_home() && is_program_memory(address) {
        match learn(thread, address, access) {
            Learned::Here => return,
            Learned::AtHome if thread.role() == Role::Carrier && is_program_code(context.registers.rip) => {
                migration::leave(thread, Departure::HomeOnly, context);
            }
            Learned::AtHome | Learned::Nothing => {}
        }
    }
    if let Some(continuation) = copy::fault_continuation(context.registers.rip) {
        context.registers.rip = continuation;
        return;
    }
    if !deliver::runs_program(context.registers.rip) {
        // A defect of the stub: end with the signal rather than go on.
        disposition::die_of(signal);
    }
    match thread.role() {
        Role::Home | Role::Child if disposition::has_handler(signal) => {
            mask::admit_copy_faults(thread, context.mask);
            deliver::deliver(thread, signal, information, context);
            deferred::release(thread);
        }
        // The instruction runs again and meets the kernel's own action, as if Banyan were not there.
        Role::Home | Role::Child => disposition::reset(signal),
        Role::Carrier => {
            let mut information = *information;
            // A range whose rights were taken away is not mapped here any more.
            if signal == SIGSEGV && information.code == SEGV_MAPERR && has_region(address) {
                information.code = linux::SEGV_ACCERR as i32;
            }
            signals::fault(thread, signal, &information, context);
        }
        Role::Deputy | Role::Service => disposition::die_of(signal),
    }
}

/// A signal that somebody sent: delivered like any other if the thread runs the program and does not block
/// it, kept until then if not.
pub fn sent(
    thread: &'static Thread,
    signal: u64,
    information: &SignalInformation,
    context: &mut UserContext,
) {
    if thread.role() == Role::Deputy && thread.taken.is_open() {
        let Some(information) = deferred::passed_on(signal, information) else { return };
        return taken::record(thread, signal, &information, context);
    }
    if thread.role() != Role::Home || !deliver::runs_program(context.registers.rip) {
        return deferred::keep(thread, information, context);
    }
    mask::admit_copy_faults(thread, context.mask);
    lost::make_again(context);
    if mask::blocks(thread, context, signal) {
        // Only SIGSYS comes although it is blocked.
        deferred::pass_on(thread, information);
    } else if let Some(information) = deferred::passed_on(signal, information) {
        deliver::deliver(thread, signal, &information, context);
    }
    deferred::release(thread);
}

/// The `PROT_` bit that the access needed, from the error code of the page fault.
const fn access_of(error: u64) -> u64 {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 4;
    match error & (WRITE | FETCH) {
        0 => linux::PROT_READ as u64,
        WRITE => linux::PROT_WRITE as u64,
        _ => linux::PROT_EXEC as u64,
    }
}

/// `SEGV_MAPERR`.
const SEGV_MAPERR: i32 = linux::SEGV_MAPERR as i32;

/// Whether the program has a region at `address`, with whatever rights.
fn has_region(address: u64) -> bool {
    let question = Request::Lookup(Lookup { address, protection: 0 });
    is_program_memory(address) && matches!(requests::ask(&question), Answer::Steps(_) | Answer::AtHome(_))
}

/// What became of the question for an address.
enum Learned {
    /// The address is mapped here now.
    Here,
    /// Only the home node can have it.
    AtHome,
    /// The program has nothing there that allows what was tried.
    Nothing,
}

/// Maps the region of `address` in this replica if the program has one.
fn learn(thread: &Thread, address: u64, access: u64) -> Learned {
    let _guard = memory::LOCK.lock();
    // While this thread waited for the lock another one may have learned the same region: try again first.
    let learned = LEARNED.load(Ordering::Relaxed);
    if thread.learned.replace(learned) != learned {
        return Learned::Here;
    }
    let question = Request::Lookup(Lookup { address, protection: access });
    let steps = match requests::ask(&question) {
        Answer::Steps(steps) => steps,
        Answer::AtHome(_) => return Learned::AtHome,
        _ => return Learned::Nothing,
    };
    // SAFETY: the daemon's own answer.
    if unsafe { perform::perform(&steps, &Context::MAP) }.is_err() {
        return Learned::Nothing;
    }
    thread.learned.set(learned + 1);
    LEARNED.store(learned + 1, Ordering::Relaxed);
    Learned::Here
}
