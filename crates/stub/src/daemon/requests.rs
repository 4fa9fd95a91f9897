//! Questions to the daemon, one at a time.

use crate::daemon::settings::SETTINGS;
use crate::daemon::socket;
use crate::kernel;
use crate::lock::Lock;
use crate::report;
use banyan_wire::stub::{Record, RequestKind};
use core::sync::atomic::Ordering;

/// Guards the request socket: one question at a time.
static REQUESTS: Lock = Lock::new();

/// Asks the daemon and waits for its answer. Never returns if the daemon is gone: the service thread sees the
/// same and ends the process.
pub fn request(kind: RequestKind, values: [u64; 8]) -> Record {
    request_with_descriptor(kind, values).0
}

/// As [`request`]; also gives the descriptor that came with the answer.
pub fn request_with_descriptor(kind: RequestKind, values: [u64; 8]) -> (Record, Option<i32>) {
    let socket = SETTINGS.requests.load(Ordering::Relaxed);
    let question = Record::new(kind as u32, values);
    let guard = REQUESTS.lock();
    if socket::send(socket, &question, None).is_err() {
        drop(guard);
        kernel::abandon();
    }
    let mut descriptors = [-1; 2];
    let mut answer = Record::new(0, [0; 8]);
    match socket::receive(socket, &mut answer, &mut descriptors) {
        Ok(()) if answer.kind == kind as u32 => {}
        Ok(()) => report::fail(&["banyan: the node daemon answered another question than was asked"]),
        Err(_) => {
            drop(guard);
            kernel::abandon();
        }
    }
    (answer, (descriptors[0] >= 0).then_some(descriptors[0]))
}
