//! Replicas: starting the stub, and the sockets to it.
//!
//! The request socket waits for the stub at the number of the soft limit of open files, the lowest number
//! that the program can never get by itself. The image of the stub comes out of this binary by way of a
//! memory file.
//!
//! Lock order: `STARTING` is taken alone.

use banyan_wire::descriptors::{descriptor_floor, raised_limit};
use banyan_wire::stub::{Command, End, PACKET_MAX, Reply, Welcome};
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Resource, Rlimit};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{self, Child};
use std::time::Duration;
use zerocopy::IntoBytes;

/// The variable by which the processes of one run are recognised; daemons and replicas inherit it.
pub const RUN_VARIABLE: &str = "BANYAN_RUN_ID";
/// What the replica of a node is called in a list of processes, before the node's number.
pub const REPLICA_NAME: &str = "banyan: node ";

/// The stub's image, built by `build.rs`.
pub static STUB_IMAGE: &[u8] = include_bytes!(env!("BANYAN_STUB_IMAGE"));

/// A pair of sockets that keep messages whole.
///
/// # Errors
/// The system's.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one packet with descriptors.
///
/// # Errors
/// The system's.
pub(crate) fn send(socket: impl AsFd, packet: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(&socket, &[IoSlice::new(packet)], &mut ancillary, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// One packet as it was received, and the descriptor that came beside it.
#[derive(Debug)]
pub(crate) struct Received {
    /// One byte more than the longest packet: what is longer is no message.
    buffer: [u8; PACKET_MAX + 1],
    length: usize,
    /// The descriptor, if there was one.
    pub file: Option<OwnedFd>,
}

impl Received {
    /// The packet.
    #[must_use]
    pub(crate) fn packet(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// Receives one packet with at most one descriptor. `None` at the end of the stream.
///
/// # Errors
/// The system's.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<Received>> {
    let mut buffer = [0; PACKET_MAX + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        rustix::net::recvmsg(&socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut file = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            file = files.last();
        }
    }
    let length = received.bytes;
    Ok((length > 0).then_some(Received { buffer, length, file }))
}

/// Held while a replica is started: the number that its socket needs, and the limit, are this process's, and
/// another child would inherit the socket.
static STARTING: Mutex<()> = Mutex::new(());

/// Starts a remote replica as a child of this daemon, outside of the program's sessions and process groups.
/// `mark` is the one word of its environment. Returns it and this side of its request socket.
///
/// # Errors
/// The system's.
pub(crate) fn spawn_remote(name: &str, mark: Option<&str>) -> io::Result<(Child, OwnedFd)> {
    let (ours, theirs) = socket_pair()?;
    let image = image_file()?;
    let one_at_a_time = STARTING.lock();
    let placed = place_descriptor(&theirs)?;
    let child = process::Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()))
        .arg0(name)
        .env_clear()
        .envs(mark.and_then(|mark| mark.split_once('=')))
        .stdin(process::Stdio::null())
        .stdout(process::Stdio::null())
        .process_group(0)
        .spawn()?;
    drop(placed);
    drop(one_at_a_time);
    Ok((child, ours))
}

/// Becomes the home replica: replaces this process by the stub. Returns only on failure.
#[must_use]
pub(crate) fn exec_home(arguments: &[std::ffi::OsString], requests: &OwnedFd) -> io::Error {
    let exec = || -> io::Result<io::Error> {
        let image = image_file()?;
        let _placed = place_descriptor(requests)?;
        let (zeroth, rest) = arguments.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(process::Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()))
            .arg0(zeroth)
            .args(rest)
            .exec())
    };
    exec().unwrap_or_else(|error| error)
}

fn image_file() -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("banyan-stub", MemfdFlags::CLOEXEC)?;
    let mut rest = STUB_IMAGE;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    Ok(file)
}

/// Duplicates a descriptor to the first hidden number, inheritable. If that lies above the soft limit, the
/// limit is lifted for a moment: a descriptor above it can only be made, not kept, with its help.
fn place_descriptor(descriptor: &OwnedFd) -> io::Result<OwnedFd> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX / 2), limit.maximum.unwrap_or(u64::MAX));
    let floor = descriptor_floor(soft, hard);
    let raised = Rlimit { current: Some(raised_limit(soft, hard)), maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised)?;
    let placed = rustix::io::fcntl_dupfd_cloexec(descriptor, floor as i32)
        .and_then(|placed| rustix::io::fcntl_setfd(&placed, FdFlags::empty()).map(|()| placed));
    rustix::process::setrlimit(Resource::Nofile, limit)?;
    let placed = placed?;
    if placed.as_raw_fd() as u64 != floor {
        let text = format!("descriptor {floor} is in use; close it or change the limit of open files");
        return Err(io::Error::other(text));
    }
    Ok(placed)
}

/// A stub that does not answer a command within this time hangs: its service thread waits for nothing else.
const COMMAND_DEADLINE: Duration = Duration::from_secs(5);

/// Commands to a stub's service thread, one at a time, each answered.
#[derive(Debug)]
pub(crate) struct Commands(Mutex<OwnedFd>);

impl Commands {
    /// Over this side of a command socket.
    #[must_use]
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(Mutex::new(socket))
    }

    /// Sends a command and returns the stub's reply.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` if the replica is gone, `InvalidData` if its reply is none.
    pub(crate) fn command(&self, command: &Command, file: Option<BorrowedFd<'_>>) -> io::Result<Reply> {
        let socket = self.0.lock();
        send(&*socket, command.encode().bytes(), file.as_slice())?;
        let received = receive(&*socket)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Reply::decode(received.packet()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Keeps commands from the replica for as long as the guard lives.
    pub(super) fn hold(&self) -> MutexGuard<'_, OwnedFd> {
        self.0.lock()
    }

    /// Ends the replica with an exit status; this has no reply.
    pub(crate) fn end(&self, status: u8) {
        let socket = self.0.lock();
        let command = Command::End(End { status: u32::from(status) });
        let _ = send(&*socket, command.encode().bytes(), &[]);
    }
}

/// Greets a new stub: gives it its role, the memory file and the command socket. Returns the commands.
///
/// # Errors
/// The system's.
pub(crate) fn welcome(requests: &OwnedFd, welcome: &Welcome, memory: BorrowedFd<'_>) -> io::Result<Commands> {
    let (ours, theirs) = socket_pair()?;
    set_socket_timeout(&ours, Timeout::Recv, Some(COMMAND_DEADLINE))?;
    send(requests, welcome.as_bytes(), &[memory, theirs.as_fd()])?;
    Ok(Commands::new(ours))
}
