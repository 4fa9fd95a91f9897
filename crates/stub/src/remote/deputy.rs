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
use crate::memory::transfer::{self, Splice};
use crate::process::listings::Listing;
use crate::process::processor_sleep::{self, End as Sleep, Time};
use crate::process::processor_time::{self, Subject};
use crate::process::{descriptors, files, links, namespaces, timers};
use crate::remote::migration;
use crate::remote::shipping::{self, Pieces};
use crate::report;
use crate::signal::action::{Action, SIG_DFL, SIG_IGN};
use crate::signal::frame::SignalInformation;
use crate::signal::wait::{self, End};
use crate::signal::{disposition, mask};
use crate::thread::create::{self, Creation, Kind};
use crate::thread::{Thread, exit};
use crate::trap::arguments::ProgramArguments;
use crate::trap::{emulate, refuse};
use banyan_sys::raw::Errno;
use banyan_wire::deputy::{DeputyMessage, Header, SignalNotice};
use banyan_wire::ids::PAGE_BYTES;
use banyan_wire::stub::{Acquire, Purpose, Request};
use banyan_wire::syscalls::{self, Argument, Class, Emulation, Handling, SystemCall, ThreadCall};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use linux_raw_sys::net;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Acquired for one call at most; the rest faults.
const ACQUIRE_MAX: u64 = 1 << 20;
/// `struct iovec` entries looked at for acquisition.
const VECTORS_MAX: u64 = 64;

/// Serves the thread until it ends.
pub fn serve(thread: &'static Thread) -> ! {
    loop {
        let socket = thread.connection.get();
        let Ok(header) = next_message(thread, socket) else { disconnected() };
        let kind = header.check();
        if kind != Some(DeputyMessage::Call) {
            wait::close(thread);
        }
        match kind {
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
            Some(DeputyMessage::Leave) => {
                if migration::arrive(thread, &header).is_none() {
                    disconnected();
                }
            }
            Some(DeputyMessage::TakeSignal) => give_signal(thread),
            Some(DeputyMessage::Fault) => fault(thread, &header),
            _ => report::fail("a thread on another node sent a malformed message to its deputy"),
        }
    }
}

/// The connection to the thread's carrier has ended. Usually its node is gone: then the daemon ends the
/// process and says why. If nothing comes of that, only the connection broke, and what was in it cannot be
/// had again.
fn disconnected() -> ! {
    let _ = mask::block_all();
    kernel::sleep_seconds(2);
    report::fail("the connection to a thread on another node broke; the program ends with it")
}

/// Waits for the carrier's next message, and meanwhile for signals: one that comes interrupts the thread.
fn next_message(thread: &Thread, socket: i32) -> Result<Header, Errno> {
    let mut header = Header::new(DeputyMessage::Return, 0, [0; 6]);
    let bytes = header.as_mut_bytes();
    let mut filled = 0;
    while filled == 0 && !thread.taken.came() {
        let (to, length) = (bytes.as_mut_ptr() as u64, bytes.len() as u64);
        let arguments = [socket as u64, to, length, net::MSG_WAITALL.into(), 0, 0];
        let blocked = thread.mask.load(Ordering::Relaxed);
        // SAFETY: the header lives across the call, which writes no more than its length.
        match unsafe { wait::call(thread, blocked, linux::__NR_recvfrom, arguments) } {
            End::Made(0) => return Err(Errno::EPIPE),
            End::Made(received) if received > 0 => filled = received as usize,
            End::Made(result) if result != Errno::EINTR.negated() => return Err(Errno::EPIPE),
            End::Made(_) | End::NotMade => {}
        }
    }
    // One that came after the last return, which said nothing of it.
    if filled == 0 && thread.notice.get() == SignalNotice::None {
        interrupt(socket)?;
    }
    kernel::receive_all(socket, &mut bytes[filled..])?;
    Ok(header)
}

/// Has the carrier's kernel interrupt the thread, which runs the program.
fn interrupt(socket: i32) -> Result<(), Errno> {
    let header = Header::new(DeputyMessage::Interrupt, 0, [0; 6]);
    let (from, length) = (core::ptr::from_ref(&header) as u64, size_of::<Header>() as u64);
    let flags = u64::from(net::MSG_OOB | net::MSG_NOSIGNAL);
    // SAFETY: the header lives across the call, which only reads it.
    match unsafe { kernel::checked(linux::__NR_sendto, [socket as u64, from, length, flags, 0, 0]) } {
        Ok(sent) if sent == length => Ok(()),
        Ok(_) => Err(Errno::EPIPE),
        Err(error) => Err(error),
    }
}

/// Hands the recorded signal over.
fn give_signal(thread: &'static Thread) {
    let Some(waiting) = thread.taken.take() else {
        return hand_over(thread, None, 0, Some(&SignalInformation::new_zeroed()));
    };
    let signal = waiting.information.signal as u64;
    let action = disposition::take(signal);
    let handled = match action[0] {
        SIG_IGN => None,
        SIG_DFL => {
            disposition::act_by_default(signal, &waiting.information);
            None
        }
        _ => Some((signal, action)),
    };
    hand_over(thread, handled, waiting.blocked, Some(&waiting.information));
}

/// An instruction of the thread faulted. Blocked or without a handler, the signal kills.
fn fault(thread: &'static Thread, header: &Header) {
    let [signal, startable, ..] = header.arguments;
    let signal = signal.clamp(1, 31);
    let blocked = thread.mask.load(Ordering::Relaxed);
    if startable == 0 || mask::holds(blocked, signal) || !disposition::has_handler(signal) {
        disposition::die_of(signal);
    }
    hand_over(thread, Some((signal, disposition::take(signal))), blocked, None);
}

/// Tells the carrier which handler to start, if any. `blocked` is what the thread blocked when the signal
/// came.
fn hand_over(
    thread: &'static Thread,
    handled: Option<(u64, Action)>,
    blocked: u64,
    information: Option<&SignalInformation>,
) {
    let (signal, action) = handled.unwrap_or((0, [0; 4]));
    if handled.is_some() {
        thread.mask.store(mask::in_handler(blocked, signal, &action), Ordering::Relaxed);
    }
    let [handler, flags, restorer, more] = action;
    let notice = notice(thread);
    thread.notice.set(notice);
    let mut header = Header::new(
        DeputyMessage::Return,
        signal as i64,
        [notice as u64, handler, flags, more, blocked, restorer],
    );
    let payload = information.map_or(&[][..], SignalInformation::as_bytes);
    header.length = payload.len() as u32;
    let socket = thread.connection.get();
    let sent = kernel::send_all(socket, header.as_bytes()).and_then(|()| kernel::send_all(socket, payload));
    if sent.is_err() {
        disconnected();
    }
}

fn notice(thread: &Thread) -> SignalNotice {
    if thread.taken.came() { SignalNotice::SignalWaits } else { SignalNotice::None }
}

/// Executes one call and answers it. A signal that waits comes first.
fn call(thread: &'static Thread, header: &Header) {
    let row = syscalls::find(header.number);
    if !row.as_ref().is_some_and(stays_open) {
        wait::close(thread);
    }
    let mut pieces = shipping::NONE;
    let returns = header.number == i64::from(linux::__NR_rt_sigreturn);
    let made = if thread.taken.came() && !returns {
        None
    } else {
        match &row {
            Some(row) => make(thread, row, header, &mut pieces),
            None => Some(refuse::by_number(header.arguments[0] as i64)),
        }
    };
    match made {
        Some(result) => answer(thread, result, notice(thread), &pieces),
        None => answer(thread, 0, SignalNotice::CallAgain, &shipping::NONE),
    }
}

/// Whether a call is made while signals are let in all the time: it takes no lock of the stub, and the kernel
/// alone touches program memory.
fn stays_open(row: &SystemCall) -> bool {
    matches!(
        row.class,
        Class::Deputy(
            Handling::Plain | Handling::Affinity | Handling::Descriptors(_) | Handling::Open { .. }
        )
    )
}

/// Makes a call. `None` if a signal came before it was made, or if it is to be made again after the handler.
fn make(thread: &'static Thread, row: &SystemCall, header: &Header, pieces: &mut Pieces) -> Option<i64> {
    let number = u32::from(row.number);
    // SAFETY: those of the call that was trapped where the thread is.
    let arguments = unsafe { ProgramArguments::new(header.arguments) };
    Some(match row.class {
        Class::Deputy(handling) => return shipped_call(thread, row, handling, header, pieces),
        Class::Emulate(Emulation::Memory(call)) => call::call(thread, call, number, &arguments),
        Class::Emulate(Emulation::Home(call)) => emulate::home_call(thread, call, &arguments),
        Class::Emulate(Emulation::Thread(ThreadCall::SignalMask)) => set_mask(thread, header.arguments[1]),
        Class::Emulate(Emulation::Thread(ThreadCall::ReturnFromHandler)) => {
            set_mask(thread, header.arguments[0])
        }
        Class::Emulate(Emulation::Thread(ThreadCall::Create(_))) => {
            let ([flags, parent_word, child_word, ..], length) = (header.arguments, header.length as usize);
            // SAFETY: this thread's own, and the only reference to it.
            let given = unsafe { &thread.payload()[..length] };
            create::create(&Creation { kind: Kind::Thread, flags, parent_word, child_word, length }, given)
        }
        // The carrier does these itself, or names them as not served.
        Class::Local
        | Class::Emulate(Emulation::Thread(
            ThreadCall::AlternateStack | ThreadCall::ArchitectureControl | ThreadCall::End,
        ))
        | Class::Execute
        | Class::Refuse { .. } => refuse::by_number(header.number),
    })
}

/// The thread changed its mask: signals that this unblocked come before it goes on.
fn set_mask(thread: &Thread, mask: u64) -> i64 {
    thread.mask.store(mask, Ordering::Relaxed);
    // One that came before it is taken first.
    if !thread.taken.came() {
        wait::open(thread, mask);
    }
    0
}

fn shipped_call(
    thread: &'static Thread,
    row: &SystemCall,
    handling: Handling,
    header: &Header,
    pieces: &mut Pieces,
) -> Option<i64> {
    // SAFETY: this thread's own, and the only reference to it.
    let payload = unsafe { thread.payload() };
    let Some(unpacked) = shipping::unpack(row, header, payload) else {
        let number = report::Decimal::new(row.number.into());
        let what = "a call from another node does not fit its row in the table: ";
        report::fail_with(what, &[number.text()]);
    };
    *pieces = unpacked;
    acquire(thread, row, header);
    let mut number = u32::from(row.number);
    let mut arguments = shipping::local_arguments(header, pieces, payload);
    // SAFETY: the program's own call, whose buffers lie in the payload with the lengths that it names.
    let of_program = |arguments| unsafe { ProgramArguments::new(arguments) };
    let mut blocked = thread.mask.load(Ordering::Relaxed);
    match handling {
        Handling::Plain | Handling::Affinity => {}
        Handling::Clock | Handling::Usage => {
            let mut words = [0; processor_time::WORDS];
            let result = processor_time::make(thread, number, &arguments, &mut words);
            let written = processor_time::written(number, &arguments, result, &words);
            let at = processor_time::pointer(number);
            return Some(match pieces[at].of(payload).get_mut(..written.len()) {
                Some(to) if pieces[at].is_shipped() => {
                    to.copy_from_slice(written);
                    result
                }
                _ => processor_time::deliver(arguments[at], result, written),
            });
        }
        Handling::Sleep if processor_time::subject(number, &arguments) == Subject::Other => {}
        Handling::Sleep => {
            return sleep(thread, number, &arguments, pieces, payload);
        }
        Handling::Timer => return Some(timers::call(thread, number, &of_program(arguments))),
        Handling::Kill => {
            if let Err(error) = refuse::allows_kill(&arguments) {
                return Some(error.negated());
            }
        }
        Handling::Descriptors(which) if descriptors::are_hidden(which, &arguments) => {
            return Some(Errno::EBADF.negated());
        }
        Handling::Descriptors(_) => {}
        Handling::Mask(mask) => {
            // The kernel lets signals in by the call's mask, and by no other.
            let waiting = mask::of_call(&arguments, mask).ok().flatten();
            thread.waiting_mask.set(waiting);
            blocked = waiting.map_or(blocked, |_| !0);
        }
        Handling::Open { path } => {
            let path = usize::from(path);
            let text = pieces[path].of(payload);
            if links::below_own(text).is_some() {
                wait::close(thread);
                if let Some(result) = files::open(thread, text, arguments[path + 1] as u32) {
                    return Some(result);
                }
            }
        }
        Handling::Link { path } => {
            let path = usize::from(path);
            if pieces[path].is_shipped() && pieces[path + 1].is_shipped() {
                // SAFETY: `unpack` found the string's end, and the buffer lies behind it with the room that
                // the call names.
                return Some(unsafe { links::read_for_remote(number, &arguments, path) });
            }
        }
        Handling::Listing { name } => {
            if let Some(own) = Listing::of(arguments[0]) {
                return Some(if pieces[1].is_shipped() {
                    // SAFETY: the buffer lies in the payload with the room that the call names.
                    unsafe { own.read(number, &arguments, name) }
                } else {
                    own.read_for_program(payload, number, &arguments, name)
                });
            }
        }
        Handling::ProcessMemory => return Some(transfer::write_process(number, &of_program(arguments))),
        Handling::Namespaces => return Some(namespaces::call(number, &of_program(arguments))),
        Handling::Splice => match transfer::splice(&arguments) {
            Splice::Done(result) => return Some(result),
            Splice::Call(other, others) => (number, arguments) = (other, others),
        },
        Handling::Futex | Handling::Futexes => {
            return futex::call(number, &arguments, |arguments| {
                // SAFETY: the program's own call.
                let end = unsafe { wait::call(thread, blocked, number, arguments) };
                if matches!(end, End::Made(result) if result == Errno::EFAULT.negated()) {
                    // What the call needs may be looked at once more.
                    wait::close(thread);
                }
                end
            });
        }
    }
    // SAFETY: the program's own call, whose buffers lie in the payload with the lengths that the call names.
    let end = unsafe { wait::call(thread, blocked, number, arguments) };
    thread.waiting_mask.set(None);
    match end {
        End::Made(result) => Some(result),
        End::NotMade => None,
    }
}

/// Sleeps by processor time. `None` if a signal came before.
fn sleep(
    thread: &Thread,
    number: u32,
    arguments: &[u64; 6],
    pieces: &Pieces,
    payload: &mut [u8],
) -> Option<i64> {
    let [_, _, request, left, ..] = *pieces;
    let requested = || match Time::read_from_bytes(request.of(payload)) {
        Ok(time) => Ok(time),
        Err(_) => copy::load(ProgramAddress(arguments[2])),
    };
    let blocked = thread.mask.load(Ordering::Relaxed);
    let end = processor_sleep::for_remote(thread, number, arguments, blocked, requested);
    let told = match end {
        Ok(Sleep::Over) => return Some(0),
        Ok(Sleep::NotBegun) => return None,
        Ok(Sleep::Interrupted(told)) => told,
        Err(error) => return Some(error.negated()),
    };
    let stored = match told {
        None => Ok(()),
        Some(time) if left.is_shipped() => {
            left.of(payload).copy_from_slice(time.as_bytes());
            Ok(())
        }
        Some(time) => copy::store(ProgramAddress(arguments[3]), &time),
    };
    Some(stored.err().unwrap_or(Errno::EINTR).negated())
}

/// Brings large buffers here in batches before the kernel would fault them in one page at a time.
fn acquire(thread: &Thread, row: &SystemCall, header: &Header) {
    for (index, argument) in row.arguments().iter().enumerate() {
        let pointer = header.arguments[index];
        if header.shipped & (1 << index) != 0 || pointer == 0 {
            continue;
        }
        let length = |of| syscalls::argument(&header.arguments, of);
        match *argument {
            Argument::In(of) => acquire_range(thread, pointer, length(of), Purpose::Read),
            Argument::Out(of) => acquire_range(thread, pointer, length(of), Purpose::Write),
            Argument::VectorIn(of) => acquire_vectors(thread, pointer, length(of), Purpose::Read),
            Argument::VectorOut(of) => acquire_vectors(thread, pointer, length(of), Purpose::Write),
            _ => {}
        }
    }
}

fn acquire_vectors(thread: &Thread, vectors: u64, count: u64, purpose: Purpose) {
    wait::close(thread);
    for index in 0..count.min(VECTORS_MAX) {
        let at = ProgramAddress(vectors).add(index * 16);
        let (Ok(base), Ok(length)) = (copy::load(at), copy::load(at.add(8))) else {
            return;
        };
        acquire_range(thread, base, length, purpose);
    }
}

fn acquire_range(thread: &Thread, address: u64, length: u64, purpose: Purpose) {
    let length = length.min(ACQUIRE_MAX);
    if length > PAGE_BYTES {
        wait::close(thread);
        requests::tell(&Request::Acquire(Acquire { address, length, purpose }));
    }
}

/// Sends the result and the outward buffers with one call.
fn answer(thread: &'static Thread, result: i64, notice: SignalNotice, pieces: &Pieces) {
    thread.notice.set(notice);
    let cpu = kernel::thread_cpu_nanoseconds() + thread.used_elsewhere.load(Ordering::Relaxed);
    let mut header = Header::new(DeputyMessage::Return, result, [notice as u64, cpu, 0, 0, 0, 0]);
    header.length = shipping::returned_total(pieces, result) as u32;
    let socket = thread.connection.get();
    // SAFETY: this thread's own, and the only reference to it.
    let sent = send(socket, &header, pieces, unsafe { thread.payload() }, result);
    if sent.is_err() {
        disconnected();
    }
}

/// Sends the header and, of the payload, what goes back.
fn send(socket: i32, header: &Header, pieces: &Pieces, payload: &mut [u8], result: i64) -> Result<(), Errno> {
    if header.length == 0 {
        return kernel::send_all(socket, header.as_bytes());
    }
    let mut vectors = [[0_u64; 2]; 7];
    vectors[0] = [core::ptr::from_ref(header) as u64, size_of::<Header>() as u64];
    let mut count = 1;
    for piece in pieces {
        let bytes = &piece.of(payload)[..piece.returned(result)];
        if !bytes.is_empty() {
            vectors[count] = [bytes.as_ptr() as u64, bytes.len() as u64];
            count += 1;
        }
    }
    let mut first = 0;
    while first < count {
        let arguments = [socket as u64, vectors[first..].as_ptr() as u64, (count - first) as u64];
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
