//! Records over the two sockets, and the descriptors that travel beside them.

use crate::kernel;
use crate::process::descriptors;
use banyan_sys::raw::Errno;
use linux_raw_sys::general as linux;

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
            *slot = descriptors::hide(descriptor);
        }
    }
    Ok(())
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
