//! Carriers: OS threads of a remote replica that execute threads of the program. A system call goes over the
//! thread's own connection to its deputy; this thread waits on the socket itself, so there is one wake-up
//! each way.

use crate::daemon::requests;
use crate::kernel;
use crate::process::processor_time::{self, Subject};
use crate::remote::exchange::exchange;
use crate::remote::migration;
use crate::remote::shipping::{self, Order};
use crate::remote::signals;
use crate::signal::frame::UserContext;
use crate::signal::wait::{self, End};
use crate::signal::{alternate_stack, mask};
use crate::thread::create::{self, Creation, Kind};
use crate::thread::{Thread, exit, resume};
use crate::trap::arguments::ProgramArguments;
use crate::trap::emulate;
use crate::trap::outcome::Outcome;
use crate::trap::reissue::SYSCALL_BYTES;
use banyan_sys::raw::Errno;
use banyan_wire::deputy::{DeputyMessage, Header, NOT_SERVED, SignalNotice, ThreadState};
use banyan_wire::stub::{Push, Request};
use banyan_wire::syscalls::{Class, CreationForm, Emulation, Handling, Notice, SystemCall, ThreadCall};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use zerocopy::IntoBytes;

/// First code of a carrier: waits for the thread to come over its connection and becomes it.
pub extern "C" fn begin(thread: &'static Thread) -> ! {
    let _ = mask::block_all();
    thread.adopt();
    thread.carrier.store(kernel::thread_id(), Ordering::SeqCst);
    let interruptible = signals::interrupt_on_urgent_data(thread.connection.get());
    let (Ok(()), Some(state)) = (interruptible, receive(thread)) else {
        // The home node gave up; it knows.
        kernel::close(thread.connection.get());
        exit::leave(thread, 0);
    };
    thread.thread_id.store(state.thread as u32, Ordering::Relaxed);
    thread.mask.store(state.mask, Ordering::Relaxed);
    signals::look_for_interrupt(thread.connection.get());
    // Stack and thread control block are what the thread touches first: fetch both before they fault.
    let context: UserContext = zerocopy::transmute!(state.context);
    requests::tell(&Request::Push(Push { stack: context.registers.rsp, fs_base: state.fs_base }));
    migration::look_for_wish(thread);
    resume::resume(thread)
}

/// Receives the thread into the payload.
fn receive(thread: &Thread) -> Option<ThreadState> {
    let socket = thread.connection.get();
    let mut header = Header::new(DeputyMessage::Return, 0, [0; 6]);
    kernel::receive_all(socket, header.as_mut_bytes()).ok()?;
    if header.check() != Some(DeputyMessage::Start) {
        return None;
    }
    // SAFETY: this thread's own, and the only reference to it.
    let payload = unsafe { &mut thread.payload()[..header.length as usize] };
    kernel::receive_all(socket, payload).ok()?;
    ThreadState::read(payload)
}

/// A system call of the thread that runs on this carrier.
pub fn system_call(
    thread: &'static Thread,
    row: Option<&SystemCall>,
    number: i64,
    arguments: &ProgramArguments,
    context: &mut UserContext,
) -> Outcome {
    thread.notice.set(SignalNotice::None);
    let result = match row {
        None => refuse(thread, number),
        Some(row) => match make(thread, row, arguments, context) {
            Outcome::Result(result) => result,
            Outcome::Continue => return Outcome::Continue,
        },
    };
    let notice = thread.notice.get();
    if notice == SignalNotice::None {
        return Outcome::Result(result);
    }
    context.registers.rax = result as u64;
    if notice == SignalNotice::CallAgain {
        context.registers.rip = context.registers.rip.wrapping_sub(SYSCALL_BYTES);
        context.registers.rax = number as u64;
    }
    signals::take_signal(thread, context);
    Outcome::Continue
}

fn make(
    thread: &'static Thread,
    row: &SystemCall,
    arguments: &ProgramArguments,
    context: &mut UserContext,
) -> Outcome {
    Outcome::Result(match row.class {
        Class::Local => local_call(thread, row, arguments),
        Class::Deputy(Handling::Clock | Handling::Usage) => {
            match processor_time::subject(row.number.into(), arguments) {
                Subject::Caller => processor_time::call(thread, row.number.into(), arguments),
                // No clock of a descriptor, which home has.
                Subject::Other if row.class == Class::Deputy(Handling::Clock) && arguments[0] as i32 >= 0 => {
                    local_call(thread, row, arguments)
                }
                _ => forward(thread, row, arguments),
            }
        }
        Class::Deputy(Handling::Sleep) => {
            let subject = processor_time::subject(row.number.into(), arguments);
            if subject == Subject::Other && arguments[0] as i32 >= 0 {
                local_call(thread, row, arguments)
            } else {
                forward(thread, row, arguments)
            }
        }
        Class::Deputy(Handling::Affinity) => affinity(thread, row, arguments),
        Class::Deputy(
            Handling::Plain
            | Handling::Descriptors(_)
            | Handling::Link { .. }
            | Handling::Open { .. }
            | Handling::Listing { .. }
            | Handling::Mask(_)
            | Handling::Futex
            | Handling::Futexes
            | Handling::ProcessMemory
            | Handling::Splice
            | Handling::Namespaces
            | Handling::Kill
            | Handling::Timer,
        )
        | Class::Emulate(Emulation::Memory(_) | Emulation::Home(_)) => forward(thread, row, arguments),
        Class::Emulate(Emulation::Thread(ThreadCall::ReturnFromHandler)) => {
            signals::return_from_handler(thread, context);
            return Outcome::Continue;
        }
        Class::Emulate(Emulation::Thread(ThreadCall::SignalMask)) => signal_mask(thread, row, arguments),
        Class::Emulate(Emulation::Thread(ThreadCall::AlternateStack)) => {
            alternate_stack::change(thread, arguments, context.registers.rsp)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::ArchitectureControl)) => {
            emulate::architecture_control(arguments)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::Create(form))) => {
            create(thread, form, row, arguments, context)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::End)) => end(thread, arguments[0]),
        Class::Refuse { errno, notice: Notice::Never } => -i64::from(errno),
        Class::Refuse { notice: Notice::Once, .. } => refuse(thread, row.number.into()),
        Class::Execute => {
            migration::make_at_home(thread, row.number.into(), context);
            refuse(thread, row.number.into())
        }
    })
}

/// A call that runs here, on copies of its buffers: the kernel's own accesses would wait for pages in the
/// middle of it.
fn local_call(thread: &'static Thread, row: &SystemCall, arguments: &[u64; 6]) -> i64 {
    let mut header = Header::new(DeputyMessage::Call, row.number.into(), *arguments);
    // SAFETY: this thread's own, and the only reference to it.
    let payload = unsafe { thread.payload() };
    let pieces = shipping::pack(row, &mut header, payload);
    let local = shipping::local_arguments(&header, &pieces, payload);
    let result = if may_wait(row.number.into()) {
        thread.waits.store(1, Ordering::Relaxed);
        // SAFETY: the program's own call, whose buffers lie in the payload with the lengths that it names.
        let end = unsafe { wait::call(thread, !mask::INTERRUPTION, row.number.into(), local) };
        wait::close(thread);
        thread.waits.store(0, Ordering::SeqCst);
        match end {
            End::Made(result) => result,
            End::NotMade => {
                thread.notice.set(SignalNotice::CallAgain);
                return 0;
            }
        }
    } else {
        // SAFETY: as above.
        unsafe { kernel::raw(row.number.into(), local) }
    };
    thread.notice.set(if thread.taken.came() { SignalNotice::SignalWaits } else { SignalNotice::None });
    match shipping::deliver(arguments, &pieces, result, payload, Order::InPlace) {
        Ok(()) => result,
        Err(error) => error.negated(),
    }
}

/// Whether a signal must be let in during a local call. Each change of the mask is a system call.
const fn may_wait(number: u32) -> bool {
    matches!(number, linux::__NR_nanosleep | linux::__NR_clock_nanosleep | linux::__NR_getrandom)
}

/// The deputy answers those that ask for the thread's processors; here the thread moves to them, as far as
/// this node has them.
fn affinity(thread: &'static Thread, row: &SystemCall, arguments: &[u64; 6]) -> i64 {
    let result = forward(thread, row, arguments);
    let notice = thread.notice.get();
    let target = arguments[0] as u32;
    let own = target == 0 || target == thread.thread_id.load(Ordering::Relaxed);
    if own && result == 0 && notice != SignalNotice::CallAgain {
        let _ = local_call(thread, row, &[0, arguments[1], arguments[2], 0, 0, 0]);
        thread.notice.set(notice);
    }
    result
}

fn signal_mask(thread: &'static Thread, row: &SystemCall, arguments: &[u64; 6]) -> i64 {
    let before = thread.mask.load(Ordering::Relaxed);
    let mut mask = before;
    let result = mask::change(arguments, &mut mask);
    if mask != before {
        // The deputy must know what the thread blocks. A signal that waits comes before the change.
        let _ = forward(thread, row, &[u64::from(linux::SIG_SETMASK), mask, 0, 8, 0, 0]);
        if thread.notice.get() != SignalNotice::CallAgain {
            thread.mask.store(mask, Ordering::Relaxed);
        }
    }
    result
}

/// Makes the new thread here, where the context is, and has the deputy create it.
fn create(
    thread: &'static Thread,
    form: CreationForm,
    row: &SystemCall,
    arguments: &[u64; 6],
    context: &mut UserContext,
) -> i64 {
    let mask = thread.mask.load(Ordering::Relaxed);
    // SAFETY: this thread's own, and the only reference to it.
    match create::decode(thread, form, arguments, context, mask, unsafe { thread.payload() }) {
        Ok(Creation { kind: Kind::Child | Kind::Copy, .. }) => {
            migration::make_at_home(thread, row.number.into(), context);
            refuse(thread, row.number.into())
        }
        Ok(Creation { flags, parent_word, child_word, length, .. }) => {
            let arguments = [flags, parent_word, child_word, 0, 0, 0];
            let mut header = Header::new(DeputyMessage::Call, row.number.into(), arguments);
            header.length = length as u32;
            exchange(thread, &header, &shipping::NONE).number
        }
        Err(Errno::ENOSYS) => refuse(thread, row.number.into()),
        Err(error) => error.negated(),
    }
}

/// Ends the thread, here and at home.
fn end(thread: &'static Thread, status: u64) -> ! {
    let cpu = kernel::thread_cpu_nanoseconds();
    exit::end_carrier(thread, &Header::new(DeputyMessage::Exit, 0, [status, cpu, 0, 0, 0, 0]))
}

/// Has the deputy refuse a call, for it is the home node that mentions it.
fn refuse(thread: &'static Thread, call: i64) -> i64 {
    let header = Header::new(DeputyMessage::Call, NOT_SERVED, [call as u64; 6]);
    exchange(thread, &header, &shipping::NONE).number
}

/// Sends a call to the deputy, with the buffers that its row names, and waits for the return.
fn forward(thread: &'static Thread, row: &SystemCall, arguments: &[u64; 6]) -> i64 {
    let mut header = Header::new(DeputyMessage::Call, row.number.into(), *arguments);
    // SAFETY: this thread's own, and the only reference to it.
    let pieces = shipping::pack(row, &mut header, unsafe { thread.payload() });
    exchange(thread, &header, &pieces).number
}
