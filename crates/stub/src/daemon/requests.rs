//! Questions to the daemon, one at a time.

use crate::daemon::settings::SETTINGS;
use crate::daemon::socket;
use crate::kernel;
use crate::lock::Lock;
use crate::report;
use banyan_wire::stub::{Answer, PACKET_MAX, Request};
use core::sync::atomic::Ordering;

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
    let Ok(received) = received else { kernel::abandon() };
    match Answer::decode(received.packet) {
        Ok(answer) => (answer, received.descriptors[0]),
        Err(_) => unexpected(),
    }
}

/// The daemon's answer is none to what was asked.
pub fn unexpected() -> ! {
    report::fail(&["banyan: the node daemon's answer does not fit the question"])
}
