//! Deputies: home threads that make the system calls of threads on other nodes.
//!
//! A deputy executes a call with the program's own pointers: memory is coherent, so the home kernel's
//! accesses fault and the pager brings the pages. Buffers that came with the call lie in the deputy's own
//! memory instead, and large ones are acquired in one request before the call, not page by page within it.

use crate::daemon::requests;
use crate::kernel;
use crate::memory::call;
use crate::memory::copy::{self, ProgramAddress};
use crate::memory::futex;
use crate::process::{descriptors, links};
use crate::remote::come_home;
use crate::remote::shipping::{self, Pieces};
use crate::report;
use crate::signal::{disposition, queue, service_thread};
use crate::thread::create::{self, Creation};
use crate::thread::{Thread, exit};
use crate::trap::{emulate, refuse};
use banyan_sys::raw::Errno;
use banyan_wire::deputy::{DeputyMessage, Header};
use banyan_wire::ids::PAGE_BYTES;
use banyan_wire::stub::{Acquire, Purpose, Request};
use banyan_wire::syscalls::{self, Argument, Class, Emulation, Handling, HomeOnly, SystemCall, ThreadCall};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use zerocopy::IntoBytes;

/// Acquired for one call at most; the rest faults.
const ACQUIRE_MAX: u64 = 1 << 20;
/// `struct iovec` entries looked at for acquisition.
const VECTORS_MAX: u64 = 64;

/// Serves the thread until it ends.
pub fn serve(thread: &'static Thread) -> ! {
    let socket = thread.connection.get();
    loop {
        let mut header = Header::new(DeputyMessage::Return, 0, [0; 6]);
        if kernel::receive_all(socket, header.as_mut_bytes()).is_err() {
            disconnected();
        }
        match header.check() {
            Some(DeputyMessage::Call) => {
                // SAFETY: this thread's own, and the only reference to it.
                let payload = unsafe { &mut thread.payload()[..header.length as usize] };
                if kernel::receive_all(socket, payload).is_err() {
                    disconnected();
                }
                thread.deputy_calls.set(thread.deputy_calls.get() + 1);
                call(thread, &header);
            }
            Some(DeputyMessage::Exit) => exit::end(thread, header.arguments[0]),
            Some(DeputyMessage::ComeHome) => come_home::arrive(thread, &header),
            Some(DeputyMessage::Fatal) => disposition::die_of(header.arguments[0].clamp(1, 31)),
            _ => report::fail(&["banyan: a thread on another node sent a malformed message to its deputy"]),
        }
    }
}

/// The connection to the thread's carrier has ended. Usually its node is gone: then the daemon ends the
/// process and says why. If nothing comes of that, only the connection broke, and what was in it cannot be
/// had again.
fn disconnected() -> ! {
    kernel::sleep_seconds(2);
    report::fail(&["banyan: the connection to a thread on another node broke; the program ends with it"])
}

/// Executes one call and answers it.
fn call(thread: &'static Thread, header: &Header) {
    let mut pieces = Pieces::default();
    let result = match syscalls::find(header.number) {
        Some(row) => make(thread, row, header, &mut pieces),
        None => refuse::by_number(header.arguments[0] as i64),
    };
    if result == Errno::EPIPE.negated() {
        queue::settle_broken_pipe(thread.mask.load(Ordering::Relaxed));
    }
    answer(thread, result, &pieces);
}

fn make(thread: &'static Thread, row: &SystemCall, header: &Header, pieces: &mut Pieces) -> i64 {
    let number = u32::from(row.number);
    match row.class {
        Class::Deputy(handling) => shipped_call(thread, row, handling, header, pieces),
        Class::Emulate(Emulation::Memory(call)) => call::call(thread, call, number, &header.arguments),
        Class::Emulate(Emulation::Home(call)) => emulate::home_call(thread, call, number, &header.arguments),
        Class::Emulate(Emulation::Thread(ThreadCall::SignalMask)) => {
            thread.mask.store(header.arguments[1], Ordering::Relaxed);
            service_thread::remote_masks_changed();
            0
        }
        Class::Emulate(Emulation::Thread(ThreadCall::Create(_))) => {
            let [flags, frame, parent_word, child_word, fs_base, mask] = header.arguments;
            create::create(&Creation { flags, frame, fs_base, parent_word, child_word, mask })
        }
        // The carrier does these itself, or names them as not served.
        Class::Local
        | Class::Emulate(Emulation::Thread(
            ThreadCall::AlternateStack
            | ThreadCall::Suspend(_)
            | ThreadCall::ArchitectureControl
            | ThreadCall::End,
        ))
        | Class::GoHome(HomeOnly::Native | HomeOnly::NotServed)
        | Class::Refuse { .. } => refuse::by_number(header.number),
    }
}

fn shipped_call(
    thread: &'static Thread,
    row: &SystemCall,
    handling: Handling,
    header: &Header,
    pieces: &mut Pieces,
) -> i64 {
    // SAFETY: this thread's own, and the only reference to it.
    let payload = unsafe { thread.payload() };
    let Some(unpacked) = shipping::unpack(row, header, payload) else {
        let number = report::Decimal::new(row.number.into());
        report::fail(&[
            "banyan: a call from another node does not fit its row in the table: ",
            number.text(),
        ]);
    };
    *pieces = unpacked;
    acquire(row, header);
    let number = u32::from(row.number);
    let arguments = shipping::local_arguments(header, pieces, payload);
    match handling {
        // The carrier took the mask away.
        // SAFETY: the program's own call, whose buffers lie in the payload with the lengths that the call
        // names.
        Handling::Plain | Handling::Mask(_) => unsafe { kernel::raw(number, arguments) },
        Handling::Descriptors(which) => descriptors::guarded(number, which, &arguments),
        Handling::Link { path } => {
            let path = usize::from(path);
            if !pieces[path].used || !pieces[path + 1].used {
                // SAFETY: as above.
                return unsafe { kernel::raw(number, arguments) };
            }
            // SAFETY: `unpack` found the string's end, and the buffer lies behind it with the room that the
            // call names.
            unsafe { links::read_for_remote(number, &arguments, path) }
        }
        Handling::Futex => futex::call_for_remote(number, &arguments),
    }
}

/// Brings large buffers here in batches before the kernel would fault them in one page at a time.
fn acquire(row: &SystemCall, header: &Header) {
    for (index, argument) in row.arguments.iter().enumerate() {
        let pointer = header.arguments[index];
        if header.shipped & (1 << index) != 0 || pointer == 0 {
            continue;
        }
        match *argument {
            Argument::In(of) => acquire_range(pointer, header.arguments[of as usize], Purpose::Read),
            Argument::Out(of) => acquire_range(pointer, header.arguments[of as usize], Purpose::Write),
            Argument::VectorIn(of) => acquire_vectors(pointer, header.arguments[of as usize], Purpose::Read),
            Argument::VectorOut(of) => {
                acquire_vectors(pointer, header.arguments[of as usize], Purpose::Write);
            }
            _ => {}
        }
    }
}

fn acquire_vectors(vectors: u64, count: u64, purpose: Purpose) {
    for index in 0..count.min(VECTORS_MAX) {
        let at = ProgramAddress(vectors).add(index * 16);
        let (Ok(base), Ok(length)) = (copy::load(at), copy::load(at.add(8))) else {
            return;
        };
        acquire_range(base, length, purpose);
    }
}

fn acquire_range(address: u64, length: u64, purpose: Purpose) {
    let length = length.min(ACQUIRE_MAX);
    if length > PAGE_BYTES {
        requests::tell(&Request::Acquire(Acquire { address, length, purpose }));
    }
}

/// Sends the result and the outward buffers with one call.
fn answer(thread: &'static Thread, result: i64, pieces: &Pieces) {
    let mut header = Header::new(DeputyMessage::Return, result, [0; 6]);
    header.length = shipping::returned_total(pieces, result) as u32;
    let socket = thread.connection.get();
    // SAFETY: this thread's own, and the only reference to it.
    let sent = send(socket, &header, pieces, unsafe { thread.payload() }, result);
    if sent.is_err() {
        disconnected();
    }
}

/// Sends the header and, of the payload, what goes back.
fn send(socket: i32, header: &Header, pieces: &Pieces, payload: &[u8], result: i64) -> Result<(), Errno> {
    if header.length == 0 {
        return kernel::send_all(socket, header.as_bytes());
    }
    let mut vectors = [[0_u64; 2]; 7];
    vectors[0] = [core::ptr::from_ref(header) as u64, size_of::<Header>() as u64];
    let mut count = 1;
    for piece in pieces {
        let bytes = &payload[piece.offset..piece.offset + piece.returned(result)];
        if !bytes.is_empty() {
            vectors[count] = [bytes.as_ptr() as u64, bytes.len() as u64];
            count += 1;
        }
    }
    let mut first = 0;
    while first < count {
        let arguments = [socket as u64, vectors[first..].as_ptr() as u64, (count - first) as u64, 0, 0, 0];
        // SAFETY: header and payload live across the call, which only reads them.
        let mut sent = match unsafe { kernel::checked(linux::__NR_writev, arguments) } {
            Ok(sent) => sent,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error),
        };
        while first < count && sent >= vectors[first][1] {
            sent -= vectors[first][1];
            first += 1;
        }
        if first < count {
            vectors[first][0] += sent;
            vectors[first][1] -= sent;
        }
    }
    Ok(())
}
