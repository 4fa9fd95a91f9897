//! Carriers: OS threads of a remote replica that execute threads of the program. A system call goes over the
//! thread's own connection to its deputy; this thread waits on the socket itself, so there is one wake-up
//! each way.

use crate::daemon::requests;
use crate::kernel;
use crate::remote::shipping::{self, Order, Pieces};
use crate::report;
use crate::signal::frame::UserContext;
use crate::signal::{alternate_stack, disposition, mask};
use crate::thread::create::{self, Creation};
use crate::thread::{Role, Thread, exit, resume};
use crate::trap::emulate;
use banyan_sys::raw::Errno;
use banyan_wire::deputy::{DeputyMessage, Header, NOT_SERVED, PAYLOAD_MAX};
use banyan_wire::stub::{Push, Request};
use banyan_wire::syscalls::{
    Class, CreationForm, Emulation, Handling, HomeOnly, Notice, SystemCall, ThreadCall,
};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use zerocopy::IntoBytes;

/// First code of a carrier: waits for the thread to come over its connection and becomes it.
pub extern "C" fn begin(thread: &'static Thread) -> ! {
    thread.adopt();
    let mut header = Header::new(DeputyMessage::Return, 0, [0; 6]);
    let received = kernel::receive_all(thread.connection.get(), header.as_mut_bytes());
    if received.is_err() || header.check() != Some(DeputyMessage::Start) || header.length != 0 {
        // The home node gave up; it knows.
        kernel::close(thread.connection.get());
        exit::leave(thread, 0);
    }
    let [frame, fs_base, id, mask, ..] = header.arguments;
    thread.thread_id.store(id as u32, Ordering::Relaxed);
    thread.mask.store(mask, Ordering::Relaxed);
    // Frame and thread control block are what the thread touches first: fetch both before they fault.
    requests::tell(&Request::Push(Push { frame, fs_base }));
    resume::resume(thread, frame, fs_base)
}

/// A system call of the thread that runs on this carrier.
pub fn system_call(
    thread: &'static Thread,
    row: &SystemCall,
    arguments: &[u64; 6],
    context: &mut UserContext,
) -> i64 {
    match row.class {
        Class::Local => local_call(thread, row, arguments),
        Class::Deputy(
            Handling::Plain | Handling::Descriptors(_) | Handling::Link { .. } | Handling::Futex,
        )
        | Class::Emulate(Emulation::Memory(_) | Emulation::Home(_)) => forward(thread, row, arguments),
        Class::Deputy(Handling::Mask(mask)) => {
            // A deputy takes no signals, so the mask has no meaning there.
            let mut arguments = *arguments;
            arguments[mask.argument()] = 0;
            forward(thread, row, &arguments)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::SignalMask)) => signal_mask(thread, row, arguments),
        Class::Emulate(Emulation::Thread(ThreadCall::AlternateStack)) => {
            alternate_stack::change_alternate_stack(thread, arguments, context.registers.rsp)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::ArchitectureControl)) => {
            emulate::architecture_control(arguments)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::Create(form))) => {
            create(thread, form, row, arguments, context)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::End)) => end(thread, arguments[0]),
        Class::Refuse { errno, notice: Notice::Never } => -i64::from(errno),
        Class::Refuse { notice: Notice::Once, .. }
        | Class::GoHome(HomeOnly::Native | HomeOnly::NotServed)
        | Class::Emulate(Emulation::Thread(ThreadCall::Suspend(_))) => refuse(thread, row.number.into()),
    }
}

/// A call that runs here, on copies of its buffers: the kernel's own accesses would wait for pages in the
/// middle of it.
fn local_call(thread: &'static Thread, row: &SystemCall, arguments: &[u64; 6]) -> i64 {
    let mut header = Header::new(DeputyMessage::Call, row.number.into(), *arguments);
    // SAFETY: this thread's own, and the only reference to it.
    let payload = unsafe { thread.payload() };
    let pieces = shipping::pack(row, &mut header, payload);
    let local = shipping::local_arguments(&header, &pieces, payload);
    // SAFETY: the program's own call, whose buffers lie in the payload with the lengths that the call names.
    let result = unsafe { kernel::raw(row.number.into(), local) };
    match shipping::deliver(arguments, &pieces, result, payload, Order::InPlace) {
        Ok(()) => result,
        Err(error) => error.negated(),
    }
}

fn signal_mask(thread: &'static Thread, row: &SystemCall, arguments: &[u64; 6]) -> i64 {
    let mut mask = thread.mask.load(Ordering::Relaxed);
    let before = mask;
    let result = mask::change_mask(arguments, &mut mask);
    thread.mask.store(mask, Ordering::Relaxed);
    if mask != before {
        // The deputy must know who blocks what.
        let _ = forward(thread, row, &[u64::from(linux::SIG_SETMASK), mask, 0, 8, 0, 0]);
    }
    result
}

/// Makes the new thread's frame here, where the context is, and has the deputy create the thread.
fn create(
    thread: &'static Thread,
    form: CreationForm,
    row: &SystemCall,
    arguments: &[u64; 6],
    context: &UserContext,
) -> i64 {
    let mask = thread.mask.load(Ordering::Relaxed);
    match create::decode(form, arguments, context, mask) {
        Ok(Creation { flags, frame, fs_base, parent_word, child_word, mask }) => {
            forward(thread, row, &[flags, frame, parent_word, child_word, fs_base, mask])
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
pub fn refuse(thread: &'static Thread, call: i64) -> i64 {
    exchange(thread, &Header::new(DeputyMessage::Call, NOT_SERVED, [call as u64; 6]), &Pieces::default())
}

/// Sends a call to the deputy, with the buffers that its row names, and waits for the return.
fn forward(thread: &'static Thread, row: &SystemCall, arguments: &[u64; 6]) -> i64 {
    let mut header = Header::new(DeputyMessage::Call, row.number.into(), *arguments);
    // SAFETY: this thread's own, and the only reference to it.
    let pieces = shipping::pack(row, &mut header, unsafe { thread.payload() });
    exchange(thread, &header, &pieces)
}

/// Sends a message whose payload is in the thread's buffer, and waits for the return.
fn exchange(thread: &'static Thread, header: &Header, pieces: &Pieces) -> i64 {
    // SAFETY: this thread's own, and the only reference to it.
    let buffer = unsafe { thread.buffer() };
    thread.deputy_calls.set(thread.deputy_calls.get() + 1);
    let socket = thread.connection.get();
    let size = size_of::<Header>();
    buffer[..size].copy_from_slice(header.as_bytes());
    let mut answer = *header;
    let exchanged = kernel::send_all(socket, &buffer[..size + header.length as usize])
        .and_then(|()| kernel::receive_all(socket, answer.as_mut_bytes()));
    // A closed connection means that the process ends; the service thread learns it from the daemon.
    if exchanged.is_err() {
        kernel::park();
    }
    let well_formed = answer.check() == Some(DeputyMessage::Return)
        && answer.length as usize == shipping::returned_total(pieces, answer.number)
        && answer.length as usize <= PAYLOAD_MAX;
    if !well_formed {
        report::fail(&["banyan: a deputy's answer is malformed"]);
    }
    let payload = &mut buffer[size..size + answer.length as usize];
    if kernel::receive_all(socket, payload).is_err() {
        kernel::park();
    }
    match shipping::deliver(&header.arguments, pieces, answer.number, payload, Order::Compact) {
        Ok(()) => answer.number,
        Err(error) => error.negated(),
    }
}

/// The thread did what kills a program, or would call a handler that must run at home: its deputy takes over.
pub fn fatal(thread: &'static Thread, signal: u64, address: u64, instruction: u64) -> ! {
    if thread.role() == Role::Carrier {
        let header = Header::new(DeputyMessage::Fatal, 0, [signal, address, instruction, 0, 0, 0]);
        let _ = kernel::send_all(thread.connection.get(), header.as_bytes());
        kernel::park();
    }
    disposition::die_of(signal)
}
