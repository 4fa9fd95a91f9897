//! A carrier's messages to its deputy, each with its return.

use crate::kernel;
use crate::remote::shipping::{self, Order, Pieces};
use crate::report;
use crate::signal::frame::SignalInformation;
use crate::thread::Thread;
use banyan_sys::raw::Errno;
use banyan_wire::deputy::{DeputyMessage, Header, SignalNotice};
use core::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// Sends a message whose payload is in a thread's buffer, behind the room for its header.
///
/// # Errors
/// The kernel's.
#[inline(never)]
pub fn send(connection: i32, header: &Header, buffer: &mut [u8]) -> Result<(), Errno> {
    buffer[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    kernel::send_all(connection, &buffer[..size_of::<Header>() + header.length as usize])
}

/// Sends a message whose payload is in the thread's buffer, and waits for the return, whose payload is there
/// afterwards. A return that cannot be delivered becomes an error number.
pub fn exchange(thread: &Thread, header: &Header, pieces: &Pieces) -> Header {
    // SAFETY: this thread's own, and the only reference to it.
    let buffer = unsafe { thread.buffer() };
    thread.deputy_calls.set(thread.deputy_calls.get() + 1);
    let socket = thread.connection.get();
    let size = size_of::<Header>();
    let mut answer = *header;
    let mut exchanged = send(socket, header, buffer);
    // The interruption for a signal may have crossed the message: the return speaks of the signal too.
    while exchanged.is_ok() {
        exchanged = kernel::receive_all(socket, answer.as_mut_bytes());
        if answer.check() != Some(DeputyMessage::Interrupt) {
            break;
        }
    }
    // A closed connection means that the process ends; the service thread learns it from the daemon.
    if exchanged.is_err() {
        kernel::park();
    }
    let notice = SignalNotice::from_number(answer.arguments[0]);
    let expected = match (notice, header.check()) {
        (Some(SignalNotice::CallAgain), _) => 0,
        (_, Some(DeputyMessage::TakeSignal)) => size_of::<SignalInformation>(),
        _ => shipping::returned_total(pieces, answer.number),
    };
    let well_formed = answer.check() == Some(DeputyMessage::Return) && answer.length as usize == expected;
    let (true, Some(notice)) = (well_formed, notice) else {
        report::fail("a deputy's answer is malformed");
    };
    let payload = &mut buffer[size..size + expected];
    if kernel::receive_all(socket, payload).is_err() {
        kernel::park();
    }
    if header.kind == DeputyMessage::Call as u32 {
        thread.used_elsewhere.store(answer.arguments[1], Ordering::Relaxed);
    }
    thread.notice.set(notice);
    if notice != SignalNotice::CallAgain
        && let Err(error) =
            shipping::deliver(&header.arguments, pieces, answer.number, payload, Order::Compact)
    {
        answer.number = error.negated();
    }
    answer
}
