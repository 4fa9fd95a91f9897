//! Questions to the daemon, one at a time.

use crate::daemon::settings::{self, SETTINGS};
use crate::daemon::socket;
use crate::kernel;
use crate::lock::Lock;
use crate::report;
use banyan_wire::stub::{Answer, PACKET_MAX, Request};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// Guards the request socket: one question at a time.
static REQUESTS: Lock = Lock::new();

/// Asks the daemon and waits for its answer. Never returns if the daemon is gone: the service thread sees the
/// same and ends the process.
pub fn ask(request: &Request) -> Answer {
    ask_for_descriptor(request).0
}

/// Tells the daemon something and waits until it is done.
pub fn tell(request: &Request) {
    let _ = ask(request);
}

/// As [`ask`]; also gives the descriptor that came with the answer.
pub fn ask_for_descriptor(request: &Request) -> (Answer, Option<i32>) {
    exchange(request, None)
}

/// As [`ask_for_descriptor`], with a descriptor beside the question.
pub fn exchange(request: &Request, descriptor: Option<i32>) -> (Answer, Option<i32>) {
    let socket = SETTINGS.requests.load(Ordering::Relaxed);
    let guard = REQUESTS.lock();
    let mut buffer = [0; PACKET_MAX];
    let received = socket::send(socket, request.encode().bytes(), descriptor)
        .and_then(|()| socket::receive(socket, &mut buffer));
    drop(guard);
    let Ok(received) = received else {
        // The service thread says why.
        if !settings::is_copy() {
            kernel::abandon();
        }
        without_daemon()
    };
    match Answer::decode(received.packet) {
        Ok(answer) => (answer, received.descriptors[0]),
        Err(_) => unexpected(),
    }
}

/// The daemon is gone: the process ends with it.
pub fn without_daemon() -> ! {
    if settings::is_home() {
        report::fail("the home node's daemon has ended; the program ends with it");
    }
    kernel::exit_group(report::STATUS_OURS)
}

/// In a copy of the process: its questions go to this socket from now on, and nothing else of the stub's is
/// open.
pub fn begin_copy(socket: i32) {
    // Who may have held it is not here.
    REQUESTS.free();
    SETTINGS.requests.store(socket, Ordering::Relaxed);
    SETTINGS.commands.store(-1, Ordering::Relaxed);
    SETTINGS.nodes.store(1, Ordering::Relaxed);
    let (floor, own) = (SETTINGS.descriptor_floor.load(Ordering::Relaxed).into(), socket as u64);
    for (first, last) in [(floor, own - 1), (own + 1, u64::from(u32::MAX))] {
        // SAFETY: no pointers.
        let _ = unsafe { kernel::raw(linux::__NR_close_range, [first, last, 0]) };
    }
}

/// The daemon's answer is none to what was asked.
pub fn unexpected() -> ! {
    report::fail("the node daemon's answer does not fit the question")
}
