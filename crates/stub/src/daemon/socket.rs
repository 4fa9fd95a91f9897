//! Records over the two sockets, and the descriptors that travel beside them.

use crate::kernel;
use crate::process::descriptors;
use banyan_sys::raw::Errno;
use linux_raw_sys::general as linux;
use linux_raw_sys::net;

/// Sends one packet, with a descriptor if given.
///
/// # Errors
/// The kernel's.
pub fn send(socket: i32, packet: &[u8], descriptor: Option<i32>) -> Result<(), Errno> {
    let vector = [packet.as_ptr() as u64, packet.len() as u64];
    let mut ancillary = Ancillary::new();
    let mut header = MessageHeader::new(&vector);
    if let Some(descriptor) = descriptor {
        ancillary.length = 16 + 4;
        ancillary.descriptors[0] = descriptor;
        header.control = &raw const ancillary as u64;
        header.control_length = 24;
    }
    const MSG_NOSIGNAL: u64 = net::MSG_NOSIGNAL as u64;
    loop {
        let arguments = [socket as u64, &raw const header as u64, MSG_NOSIGNAL];
        // SAFETY: the header and what it points to live across the call, which only reads them.
        match unsafe { kernel::checked(linux::__NR_sendmsg, arguments) } {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

/// A packet that was received.
pub struct Received<'a> {
    /// The packet, without what did not fit into the buffer.
    pub packet: &'a [u8],
    /// Descriptors that came beside it; hidden ones.
    pub descriptors: [Option<i32>; 2],
}

/// Receives one packet and up to two descriptors.
///
/// # Errors
/// The kernel's; `EPIPE` if the other side is gone.
pub fn receive(socket: i32, buffer: &mut [u8]) -> Result<Received<'_>, Errno> {
    let vector = [buffer.as_mut_ptr() as u64, buffer.len() as u64];
    let mut ancillary = Ancillary::new();
    let mut header = MessageHeader::new(&vector);
    header.control = &raw mut ancillary as u64;
    header.control_length = size_of::<Ancillary>() as u64;
    const MSG_CMSG_CLOEXEC: u64 = net::MSG_CMSG_CLOEXEC as u64;
    let length = loop {
        let arguments = [socket as u64, &raw mut header as u64, MSG_CMSG_CLOEXEC];
        // SAFETY: the header and what it points to live across the call, which writes no more than their
        // lengths.
        match unsafe { kernel::checked(linux::__NR_recvmsg, arguments) } {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(0) => return Err(Errno::EPIPE),
            Ok(length) => break length as usize,
        }
    };
    let mut descriptors = [None; 2];
    if header.control_length >= 20 && ancillary.level == net::SOL_SOCKET && ancillary.kind == net::SCM_RIGHTS
    {
        let count = (ancillary.length as usize).saturating_sub(16) / 4;
        for (slot, &descriptor) in descriptors.iter_mut().zip(&ancillary.descriptors[..count.min(2)]) {
            *slot = Some(descriptors::hide(descriptor));
        }
    }
    Ok(Received { packet: &buffer[..length], descriptors })
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
    level: u32,
    kind: u32,
    descriptors: [i32; 2],
}

impl Ancillary {
    const fn new() -> Self {
        Self { length: 0, level: net::SOL_SOCKET, kind: net::SCM_RIGHTS, descriptors: [-1; 2] }
    }
}
