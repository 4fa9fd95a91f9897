//! Descriptors over Unix sockets, and who is at the other end. For finding a service; not for calls.

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

const SPACE: usize = 64;

#[repr(align(8))]
struct Control([u8; SPACE]);

fn message(bytes: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: a header of zeroes is an empty one.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = bytes;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = SPACE;
    header
}

/// Sends `bytes` with one descriptor.
///
/// # Errors
/// The kernel's; `WriteZero` when not all bytes went out.
pub(crate) fn send_descriptor(socket: &UnixStream, bytes: &[u8], file: &File) -> io::Result<()> {
    let mut control = Control([0; SPACE]);
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut header = message(&mut vector, &mut control);
    // SAFETY: the control buffer is aligned and has room for one descriptor; all parts outlive the call.
    let sent = unsafe {
        header.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let part = libc::CMSG_FIRSTHDR(&raw const header);
        (*part).cmsg_level = libc::SOL_SOCKET;
        (*part).cmsg_type = libc::SCM_RIGHTS;
        (*part).cmsg_len = libc::CMSG_LEN(4) as usize;
        let number = file.as_raw_fd().to_ne_bytes();
        std::ptr::copy_nonoverlapping(number.as_ptr(), libc::CMSG_DATA(part), number.len());
        libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL)
    };
    match sent {
        ..0 => Err(io::Error::last_os_error()),
        sent if sent as usize == bytes.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Receives bytes, and a descriptor if one came with them. Returns how many bytes.
///
/// # Errors
/// The kernel's.
pub(crate) fn receive_descriptor(socket: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Option<File>)> {
    let mut control = Control([0; SPACE]);
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut header = message(&mut vector, &mut control);
    // SAFETY: the kernel fills the buffers; what it says about them is checked before it is used.
    unsafe {
        let received = libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC);
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut file = None;
        let mut part = libc::CMSG_FIRSTHDR(&raw const header);
        while !part.is_null() {
            if (*part).cmsg_level == libc::SOL_SOCKET && (*part).cmsg_type == libc::SCM_RIGHTS {
                let count = ((*part).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize) / 4;
                for index in 0..count {
                    // Owned at once, so that more than we want are closed.
                    let mut number = [0; 4];
                    let from = libc::CMSG_DATA(part).add(index * number.len());
                    std::ptr::copy_nonoverlapping(from, number.as_mut_ptr(), number.len());
                    file = Some(File::from_raw_fd(i32::from_ne_bytes(number)));
                }
            }
            part = libc::CMSG_NXTHDR(&raw const header, part);
        }
        Ok((received as usize, file))
    }
}

/// A connection to the socket of packets at a path.
///
/// # Errors
/// The kernel's.
pub(crate) fn connect_packets(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

/// The process and the user at the other end of a connected socket, as they were when it connected.
///
/// # Errors
/// The kernel's.
pub(crate) fn peer(socket: &UnixStream) -> io::Result<(u32, u32)> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok((credentials.pid as u32, credentials.uid)) } else { Err(io::Error::last_os_error()) }
}

/// The user that this process acts for.
#[must_use]
pub(crate) fn own_user() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::geteuid() }
}

/// Whether `file` is an anonymous file of exactly `length` bytes that cannot be made shorter.
#[must_use]
pub(crate) fn is_sealed_memory(file: &File, length: u64) -> bool {
    // SAFETY: asks for the seals; other files refuse.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0
        && seals & libc::F_SEAL_SHRINK != 0
        && file.metadata().is_ok_and(|metadata| metadata.len() == length)
}

/// Whether a connected socket has been closed by its peer, or has bytes that were not asked for.
#[must_use]
pub(crate) fn is_disturbed(socket: &impl AsRawFd) -> bool {
    let mut byte = 0_u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: reads at most one byte into a local.
    let result = unsafe { libc::recv(socket.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
    result >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
}
