//! Carriers: OS threads of a remote replica that execute threads of the program. A system call goes over the
//! thread's own connection to its deputy; this thread waits on the socket itself, so there is one wake-up each way.

use crate::daemon::{requests, settings};
use crate::kernel::{self, number};
use crate::memory::copy;
use crate::remote::shipping;
use crate::report;
use crate::signal::{alternate_stack, disposition, mask};
use crate::thread::{Role, Thread, create, exit, resume};
use crate::trap::reissue;
use banyan_sys::raw::Errno;
use banyan_sys::signal_frame::UserContext;
use banyan_wire::deputy::{DeputyMessage, Header, PAYLOAD_MAX};
use banyan_wire::stub::RequestKind;
use banyan_wire::syscalls::{self, Class};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// First code of a carrier: waits for the thread to come over its connection and becomes it.
pub extern "C" fn begin(thread: &'static Thread) -> ! {
    thread.adopt();
    let mut header = Header::new(DeputyMessage::Return, 0, [0; 6]);
    let size = size_of::<Header>();
    let received = kernel::receive_all(thread.connection.get(), (&raw mut header).cast(), size);
    if received.is_err() || header.check() != Some(DeputyMessage::Start) || header.length != 0 {
        // The home node gave up; it knows.
        kernel::close(thread.connection.get());
        exit::leave(thread, 0);
    }
    let [frame, fs_base, id, mask, ..] = header.arguments;
    thread.thread_id.store(id as u32, Ordering::Relaxed);
    thread.mask.store(mask, Ordering::Relaxed);
    // Frame and thread control block are what the thread touches first: fetch both before they fault.
    let push = [frame, fs_base, 0, 0, 0, 0, 0, 0];
    let _ = requests::request(RequestKind::Push, push);
    resume::resume(thread, frame, fs_base)
}

/// A system call of the thread that runs on this carrier.
pub fn system_call(
    thread: &'static Thread,
    call: i64,
    arguments: &[u64; 6],
    context: &mut UserContext,
) -> i64 {
    const ARCH_SET_FS: u64 = 0x1002;
    const ARCH_GET_FS: u64 = 0x1003;
    if call == number(linux::__NR_rt_sigprocmask) {
        let mut mask = thread.mask.load(Ordering::Relaxed);
        let before = mask;
        let result = mask::change_mask(arguments, &mut mask);
        thread.mask.store(mask, Ordering::Relaxed);
        if mask != before {
            // The deputy must know who blocks what.
            let _ = forward(thread, &Header::new(DeputyMessage::Call, call, [2, mask, 0, 8, 0, 0]), None);
        }
        return result;
    }
    if call == number(linux::__NR_sigaltstack) {
        return alternate_stack::change_alternate_stack(thread, arguments, context.registers.rsp);
    }
    if call == number(linux::__NR_arch_prctl) {
        return match arguments[0] {
            ARCH_SET_FS => kernel::raw(linux::__NR_arch_prctl, *arguments),
            ARCH_GET_FS => {
                let base = resume::fs_base();
                match copy::copy_out(arguments[1], (&raw const base).cast(), 8) {
                    Ok(()) => 0,
                    Err(error) => error.negated(),
                }
            }
            _ => Errno::EINVAL.negated(),
        };
    }
    if call == number(linux::__NR_clone) || call == number(linux::__NR_clone3) {
        let mask = thread.mask.load(Ordering::Relaxed);
        return match create::decode(call, arguments, context, mask) {
            Ok(creation) => {
                let words = [
                    creation.flags,
                    creation.frame,
                    creation.parent_word,
                    creation.child_word,
                    creation.fs_base,
                    mask,
                ];
                forward(thread, &Header::new(DeputyMessage::Call, i64::from(linux::__NR_clone), words), None)
            }
            Err(Errno::ENOSYS) => {
                forward(thread, &Header::new(DeputyMessage::Call, -1, [call as u64; 6]), None)
            }
            Err(error) => error.negated(),
        };
    }
    if call == number(linux::__NR_exit) {
        let cpu = kernel::thread_cpu_nanoseconds();
        let values = [u64::from(settings::node()), cpu, thread.deputy_calls.get(), 0, 0, 0, 0, 0];
        let _ = requests::request(RequestKind::ThreadEnd, values);
        let header = Header::new(DeputyMessage::Exit, 0, [arguments[0], cpu, 0, 0, 0, 0]);
        let _ = kernel::send_all(thread.connection.get(), (&raw const header).cast(), size_of::<Header>());
        kernel::close(thread.connection.get());
        exit::leave(thread, 0);
    }
    let mut header = Header::new(DeputyMessage::Call, call, *arguments);
    match syscalls::find(call).map(|row| (row, row.class)) {
        Some((_, Class::Refuse(errno))) if call == number(linux::__NR_rseq) => -i64::from(errno),
        Some((row, Class::Local)) => {
            let payload = thread.payload();
            let pieces = match shipping::pack(row, &mut header, payload) {
                Ok(pieces) => pieces,
                Err(error) => return error.negated(),
            };
            let local = shipping::local_arguments(&header, &pieces, payload);
            let result = kernel::raw(call as u32, local);
            match shipping::deliver(arguments, &pieces, result, payload, false) {
                Ok(()) => result,
                Err(error) => error.negated(),
            }
        }
        Some((row, Class::Deputy)) => forward(thread, &header, Some(row)),
        Some((_, Class::Emulate)) if reissue::mask_argument(call).is_none() => forward(thread, &header, None),
        Some((row, Class::Emulate)) if call != number(linux::__NR_rt_sigsuspend) => {
            // Waits with a signal mask: a deputy takes no signals, so the mask has no meaning there.
            let index = reissue::mask_argument(call).unwrap_or(5);
            header.arguments[index] = 0;
            forward(thread, &header, Some(row))
        }
        _ => forward(thread, &Header::new(DeputyMessage::Call, -1, [call as u64; 6]), None),
    }
}

/// Sends a call to the deputy, with its buffers if the table's row is given, and waits for the return.
fn forward(thread: &'static Thread, header: &Header, row: Option<&syscalls::SystemCall>) -> i64 {
    let (buffer, payload) = (thread.buffer(), thread.payload());
    let mut header = *header;
    let pieces = match row.map(|row| shipping::pack(row, &mut header, payload)).transpose() {
        Ok(pieces) => pieces.unwrap_or_default(),
        Err(error) => return error.negated(),
    };
    thread.deputy_calls.set(thread.deputy_calls.get() + 1);
    let socket = thread.connection.get();
    let size = size_of::<Header>();
    // SAFETY: the message buffer of this thread starts with room for a header.
    unsafe { buffer.cast::<Header>().write_unaligned(header) };
    let mut answer = header;
    let exchanged = kernel::send_all(socket, buffer, size + header.length as usize)
        .and_then(|()| kernel::receive_all(socket, (&raw mut answer).cast(), size));
    // A closed connection means that the process ends; the service thread learns it from the daemon.
    if exchanged.is_err() {
        kernel::park();
    }
    let well_formed = answer.check() == Some(DeputyMessage::Return)
        && answer.length as usize == shipping::returned_total(&pieces, answer.number)
        && answer.length as usize <= PAYLOAD_MAX;
    if !well_formed {
        report::fail(&["banyan: a deputy's answer is malformed"]);
    }
    if kernel::receive_all(socket, payload, answer.length as usize).is_err() {
        kernel::park();
    }
    match shipping::deliver(&header.arguments, &pieces, answer.number, payload, true) {
        Ok(()) => answer.number,
        Err(error) => error.negated(),
    }
}

/// The thread did what kills a program, or would call a handler that must run at home: its deputy takes over.
pub fn fatal(thread: &'static Thread, signal: u64, address: u64, instruction: u64) -> ! {
    if thread.role() == Role::Carrier {
        let header = Header::new(DeputyMessage::Fatal, 0, [signal, address, instruction, 0, 0, 0]);
        let _ = kernel::send_all(thread.connection.get(), (&raw const header).cast(), size_of::<Header>());
        kernel::park();
    }
    disposition::die_of(signal)
}
