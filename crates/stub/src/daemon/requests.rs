//! The stub's side of the two sockets to its daemon: requests, and the descriptors that travel with them.

use crate::kernel;
use crate::lock::Lock;
use crate::report;
use banyan_sys::raw::Errno;
use banyan_wire::layout::raised_limit;
use banyan_wire::stub::{Record, RequestKind};
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use linux_raw_sys::general as linux;

/// What the daemon told this replica at the start. Written once before any thread is started.
pub struct Configuration {
    /// The request socket.
    pub requests: AtomicI32,
    /// The command socket.
    pub commands: AtomicI32,
    /// The memory file.
    pub memory: AtomicI32,
    /// The userfaultfd.
    pub faults: AtomicI32,
    /// Descriptors from here on are the stub's and hidden from the program.
    pub descriptor_floor: AtomicU32,
    /// This node; 0 is home.
    pub node: AtomicU32,
    /// Nodes of the run.
    pub nodes: AtomicU32,
    /// Threads that a node takes before the next node's turn.
    pub threads_per_turn: AtomicU32,
}

/// The one configuration of this replica.
pub static CONFIGURATION: Configuration = Configuration {
    requests: AtomicI32::new(-1),
    commands: AtomicI32::new(-1),
    memory: AtomicI32::new(-1),
    faults: AtomicI32::new(-1),
    descriptor_floor: AtomicU32::new(0),
    node: AtomicU32::new(0),
    nodes: AtomicU32::new(1),
    threads_per_turn: AtomicU32::new(1),
};

/// Guards the request socket: one question at a time.
static REQUESTS: Lock = Lock::new();

/// Whether this is the home replica.
pub fn is_home() -> bool {
    CONFIGURATION.node.load(Ordering::Relaxed) == 0
}

/// This replica's node.
pub fn node() -> u8 {
    CONFIGURATION.node.load(Ordering::Relaxed) as u8
}

/// Asks the daemon and waits for its answer. Never returns if the daemon is gone: the service thread sees the
/// same and ends the process.
pub fn request(kind: RequestKind, values: [u64; 8]) -> Record {
    request_with_descriptor(kind, values).0
}

/// As [`request`]; also gives the descriptor that came with the answer.
pub fn request_with_descriptor(kind: RequestKind, values: [u64; 8]) -> (Record, Option<i32>) {
    let socket = CONFIGURATION.requests.load(Ordering::Relaxed);
    let question = Record::new(kind as u32, values);
    let guard = REQUESTS.lock();
    if send(socket, &question, None).is_err() {
        drop(guard);
        kernel::abandon();
    }
    let mut descriptors = [-1; 2];
    let mut answer = Record::new(0, [0; 8]);
    match receive(socket, &mut answer, &mut descriptors) {
        Ok(()) if answer.kind == kind as u32 => {}
        Ok(()) => report::fail(&["banyan: the node daemon answered another question than was asked"]),
        Err(_) => {
            drop(guard);
            kernel::abandon();
        }
    }
    (answer, (descriptors[0] >= 0).then_some(descriptors[0]))
}

/// Sends one plain-old-data record, with a descriptor if given.
///
/// # Errors
/// The kernel's.
pub fn send<T>(socket: i32, record: &T, descriptor: Option<i32>) -> Result<(), Errno> {
    let vector = [record as *const T as u64, size_of::<T>() as u64];
    let mut ancillary = Ancillary::new();
    let mut header = MessageHeader::new(&vector);
    if let Some(descriptor) = descriptor {
        ancillary.length = 16 + 4;
        ancillary.descriptors[0] = descriptor;
        header.control = &raw const ancillary as u64;
        header.control_length = 24;
    }
    const MSG_NOSIGNAL: u64 = 0x4000;
    loop {
        let arguments = [socket as u64, &raw const header as u64, MSG_NOSIGNAL, 0, 0, 0];
        match kernel::checked(linux::__NR_sendmsg, arguments) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives one record and up to two descriptors, which become hidden ones.
///
/// # Errors
/// The kernel's; `EPIPE` if the other side is gone, `EIO` if the packet has another size.
pub fn receive<T: zerocopy::FromBytes>(
    socket: i32,
    record: &mut T,
    descriptors: &mut [i32; 2],
) -> Result<(), Errno> {
    let vector = [record as *mut T as u64, size_of::<T>() as u64];
    let mut ancillary = Ancillary::new();
    let mut header = MessageHeader::new(&vector);
    header.control = &raw mut ancillary as u64;
    header.control_length = size_of::<Ancillary>() as u64;
    const MSG_CMSG_CLOEXEC: u64 = 0x4000_0000;
    let received = loop {
        let arguments = [socket as u64, &raw mut header as u64, MSG_CMSG_CLOEXEC, 0, 0, 0];
        match kernel::checked(linux::__NR_recvmsg, arguments) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(received) => break received,
        }
    };
    if received == 0 {
        return Err(Errno::EPIPE);
    }
    if received != size_of::<T>() as u64 {
        return Err(Errno::EIO);
    }
    if header.control_length >= 20 && ancillary.level == 1 && ancillary.kind == 1 {
        let count = (ancillary.length as usize).saturating_sub(16) / 4;
        for (slot, &descriptor) in descriptors.iter_mut().zip(&ancillary.descriptors[..count.min(2)]) {
            *slot = hide(descriptor);
        }
    }
    Ok(())
}

/// Moves a descriptor to the hidden numbers, above what the program's limit lets it get. The limit is lifted for
/// a moment: existing descriptors above it stay valid. If that is not allowed, the descriptor stays where it is.
pub fn hide(descriptor: i32) -> i32 {
    const F_DUPFD_CLOEXEC: u64 = 1030;
    let floor = u64::from(CONFIGURATION.descriptor_floor.load(Ordering::Relaxed));
    let mut limit = [0_u64; 2];
    if with_limit(None, Some(&mut limit)).is_err() {
        return descriptor;
    }
    let raised = [raised_limit(limit[0], limit[1]), limit[1]];
    if with_limit(Some(&raised), None).is_err() {
        return descriptor;
    }
    let moved = kernel::checked(linux::__NR_fcntl, [descriptor as u64, F_DUPFD_CLOEXEC, floor, 0, 0, 0]);
    let _ = with_limit(Some(&limit), None);
    match moved {
        Ok(moved) => {
            kernel::close(descriptor);
            moved as i32
        }
        Err(_) => descriptor,
    }
}

fn with_limit(new: Option<&[u64; 2]>, old: Option<&mut [u64; 2]>) -> Result<u64, Errno> {
    const RLIMIT_NOFILE: u64 = 7;
    let new = new.map_or(0, |limit| limit.as_ptr() as u64);
    let old = old.map_or(0, |limit| limit.as_mut_ptr() as u64);
    kernel::checked(linux::__NR_prlimit64, [0, RLIMIT_NOFILE, new, old, 0, 0])
}

/// `struct msghdr`.
#[repr(C)]
struct MessageHeader {
    name: u64,
    name_length: u64,
    vector: u64,
    vector_length: u64,
    control: u64,
    control_length: u64,
    flags: u64,
}

impl MessageHeader {
    fn new(vector: &[u64; 2]) -> Self {
        let vector = vector.as_ptr() as u64;
        Self { name: 0, name_length: 0, vector, vector_length: 1, control: 0, control_length: 0, flags: 0 }
    }
}

/// `struct cmsghdr` with room for two descriptors.
#[repr(C)]
struct Ancillary {
    length: u64,
    level: i32,
    kind: i32,
    descriptors: [i32; 2],
}

impl Ancillary {
    /// SOL_SOCKET, SCM_RIGHTS.
    const fn new() -> Self {
        Self { length: 0, level: 1, kind: 1, descriptors: [-1; 2] }
    }
}
