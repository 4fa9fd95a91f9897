//! How a process on this machine speaks to the node: one packet over a Unix socket, and one back.
//!
//! To begin a job, the packet is a mark; beside it travel a memory file with the job's settings, the request
//! socket of the program, and the caller's standard error. The answer is empty, or the reason for a refusal.
//! What a person asks about the cluster is another mark and JSON, and so is the answer; queries are a third
//! (`queries`), services a fourth (`services`). Not for other machines.

use super::admin::{AdminAnswer, AdminRequest};
use super::queries;
use crate::job::settings::JobSettings;
use banyan_wire::services::{SERVICE, ServiceQuestion};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The packet that asks for a job. The number is the version of what travels beside it.
pub(super) const BEGIN: &[u8; 8] = b"BANYAN\x00\x01";
/// What a packet begins with in which a person asks something.
pub(super) const ADMINISTER: &[u8; 8] = b"BANYAN\x00\x02";
/// The longest question or answer of that kind: a cluster has as many members as a job nodes; the threads of
/// a job take ten bytes each.
pub(super) const PACKET_MAX: usize = 128 << 10;
/// A reason is one line.
const REASON_MAX: usize = 4096;
/// A node that answers nothing within this time hangs: each step of a start has a shorter deadline.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// What a process asks.
#[derive(Debug)]
pub(crate) enum Question {
    /// A job.
    Job(JobQuestion),
    /// Something about the cluster, or about jobs.
    Admin(AdminRequest),
    /// What live structures hold, in SQL; within the usual budget or without one.
    Query(String, bool),
    /// To serve, or a stream to a service.
    Service(ServiceQuestion),
}

/// Why the node of this machine gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No node has the socket.
    #[error("{}: no node answers there: {source}; start it with `banyan up`", path.display())]
    NoNode {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The node refuses, and says why.
    #[error("{0}")]
    Refused(String),
}

/// A job that a process asks for.
#[derive(Debug)]
pub(crate) struct JobQuestion {
    pub(crate) settings: JobSettings,
    /// The request socket of the program's stub.
    pub(crate) requests: OwnedFd,
    /// Where lines for the person go.
    pub(crate) errors: OwnedFd,
}

/// Asks the node behind `socket` to begin a job. Its refusal is the inner error.
///
/// # Errors
/// The system's; `TimedOut` if the node does not answer.
pub(crate) fn ask(
    socket: BorrowedFd<'_>,
    settings: &JobSettings,
    requests: BorrowedFd<'_>,
    errors: BorrowedFd<'_>,
) -> io::Result<Result<(), String>> {
    let mut file = File::from(rustix::fs::memfd_create("banyan-job", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(settings)?)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd(), requests, errors];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sockopt::set_socket_timeout(
        socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(ANSWER_DEADLINE),
    )?;
    rustix::net::sendmsg(socket, &[IoSlice::new(BEGIN)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut answer = vec![0; REASON_MAX];
    let received = rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut answer[..], RecvFlags::TRUNC));
    match received.map_err(io::Error::from) {
        Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok((length, _)) if answer[0] == 0 && length == 1 => Ok(Ok(())),
        Ok((length, _)) => Ok(Err(String::from_utf8_lossy(&answer[1..length]).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
        Err(error) => Err(error),
    }
}

/// What the names of the sockets of nodes begin with that are started for a run. They lie in no directory
/// (unix(7), "abstract"), so that nothing of them is left behind.
const RUN_PREFIX: &str = "@banyan-run-";

/// The name of the socket of a node that this process is, for one run.
pub(crate) fn run_socket() -> PathBuf {
    format!("{RUN_PREFIX}{}", std::process::id()).into()
}

/// The sockets of all nodes on this machine that were started for a run, of every user.
#[must_use]
pub fn run_sockets() -> Vec<PathBuf> {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let mut names: Vec<PathBuf> = sockets
        .lines()
        .filter_map(|line| line.rsplit(' ').next().filter(|name| name.starts_with(RUN_PREFIX)))
        .map(PathBuf::from)
        .collect();
    // Connections to a socket have its name, too.
    names.sort_unstable();
    names.dedup();
    names
}

/// The address of a socket: a path, or a name that begins with `@`.
pub(crate) fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    Ok(match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(path)?,
    })
}

/// A connection to the node whose socket is at `path`. Of a name without a path anybody can be the owner:
/// it must be this user, or root.
pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let address = address(path)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &address)?;
    if address.abstract_name().is_some() && !may_ask(socket.as_fd()) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(socket)
}

/// Asks the node whose socket is at `path` about its cluster.
///
/// # Errors
/// [`AskError`].
pub fn administer(path: &Path, request: &AdminRequest) -> Result<AdminAnswer, AskError> {
    let no_node = |source| AskError::NoNode { path: path.into(), source };
    let ask = || -> io::Result<AdminAnswer> {
        let socket = connect(path)?;
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&socket, timeout, Some(ANSWER_DEADLINE))?;
        let packet = [ADMINISTER, serde_json::to_vec(request)?.as_slice()].concat();
        rustix::net::send(&socket, &packet, SendFlags::NOSIGNAL)?;
        let mut answer = vec![0; PACKET_MAX];
        let receive = || rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty());
        let (length, _) = rustix::io::retry_on_intr(receive)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let read = serde_json::from_slice(&answer[..length])?;
        if request.ends_node() && read == AdminAnswer::Done {
            // When the node's end closes the socket, its state is free.
            let receive = || rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty());
            rustix::io::retry_on_intr(receive)?;
        }
        Ok(read)
    };
    match ask().map_err(no_node)? {
        AdminAnswer::Refused(reason) => Err(AskError::Refused(reason)),
        answer => Ok(answer),
    }
}

/// The next thing that the process behind `socket` asks; `None` when it has closed it.
///
/// # Errors
/// The system's; `InvalidData` for anything that is no such question.
pub(crate) fn next(socket: BorrowedFd<'_>) -> io::Result<Option<Question>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a question for a job");
    let mut packet = vec![0; PACKET_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut slices = [IoSliceMut::new(&mut packet)];
        rustix::net::recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut files: Vec<OwnedFd> = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            files.extend(more);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let packet = &packet[..received.bytes];
    if let Some(request) = packet.strip_prefix(ADMINISTER) {
        return Ok(Some(Question::Admin(serde_json::from_slice(request)?)));
    }
    if let Some(query) = packet.strip_prefix(queries::QUERY) {
        let (sql, bounded) = queries::question(query)?;
        return Ok(Some(Question::Query(sql, bounded)));
    }
    if let Some(question) = packet.strip_prefix(&SERVICE) {
        let question = ServiceQuestion::read(question);
        return question.map(|question| Some(Question::Service(question))).map_err(io::Error::other);
    }
    let files: [OwnedFd; 3] = files.try_into().map_err(|_| invalid())?;
    if packet != BEGIN {
        return Err(invalid());
    }
    let [file, requests, errors] = files;
    let (mut file, mut bytes) = (File::from(file), Vec::new());
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let settings = serde_json::from_slice(&bytes)?;
    Ok(Some(Question::Job(JobQuestion { settings, requests, errors })))
}

/// Answers what a person asked.
///
/// # Errors
/// The system's.
pub(crate) fn answer_person(socket: BorrowedFd<'_>, answer: &AdminAnswer) -> io::Result<()> {
    rustix::net::send(socket, &serde_json::to_vec(answer)?, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Answers a question for a job: it has begun, or why not.
///
/// # Errors
/// The system's.
pub(crate) fn answer(socket: BorrowedFd<'_>, answer: &Result<(), String>) -> io::Result<()> {
    let mut packet = vec![u8::from(answer.is_err())];
    if let Err(reason) = answer {
        packet.extend(reason.bytes().take(REASON_MAX - 1));
    }
    rustix::net::send(socket, &packet, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Whether the process that has connected may begin jobs: it runs as the user of this one, or as root.
pub(crate) fn may_ask(socket: BorrowedFd<'_>) -> bool {
    let user = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid == user || peer.uid.is_root())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::replica::socket_pair;
    use crate::job::settings::Nodes;

    #[test]
    fn a_question_arrives_with_its_files_and_is_answered() {
        let (ours, theirs) = socket_pair().unwrap();
        let settings = JobSettings { nodes: Nodes::Exactly(2), ..JobSettings::example() };
        let server = std::thread::spawn(move || {
            for result in [Ok(()), Err("because".to_owned())] {
                let Some(Question::Job(question)) = next(theirs.as_fd()).unwrap() else { panic!("no job") };
                assert_eq!(question.settings.nodes, Nodes::Exactly(2));
                answer(theirs.as_fd(), &result).unwrap();
            }
            assert!(next(theirs.as_fd()).unwrap().is_none());
        });
        let (requests, errors) = (io::pipe().unwrap(), io::stderr());
        for expected in [Ok(()), Err("because".to_owned())] {
            let found = ask(ours.as_fd(), &settings, requests.1.as_fd(), errors.as_fd()).unwrap();
            assert_eq!(found, expected);
        }
        drop(ours);
        server.join().unwrap();
    }

    #[test]
    fn what_is_no_question_is_an_error() {
        let (ours, theirs) = socket_pair().unwrap();
        rustix::net::send(&ours, b"hello", SendFlags::NOSIGNAL).unwrap();
        assert!(next(theirs.as_fd()).is_err());
    }
}
