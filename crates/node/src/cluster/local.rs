//! How a process on this machine asks the node to begin a job: one packet over a Unix socket, and one back.
//!
//! The packet is a mark; beside it travel a memory file with the job's settings, the request socket of the
//! program, and the caller's standard error. The answer is empty, or the reason for a refusal. Not for other
//! machines.

use crate::job::settings::JobSettings;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The packet that asks for a job. The number is the version of what travels beside it.
const BEGIN: &[u8; 8] = b"BANYAN\x00\x01";
/// A reason is one line.
const REASON_MAX: usize = 4096;
/// A node that answers nothing within this time hangs: each step of a start has a shorter deadline.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// A job that a process asks for.
#[derive(Debug)]
pub(crate) struct Question {
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

/// The next job that the process behind `socket` asks for; `None` when it has closed it.
///
/// # Errors
/// The system's; `InvalidData` for anything that is no such question.
pub(crate) fn next(socket: BorrowedFd<'_>) -> io::Result<Option<Question>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a question for a job");
    let mut packet = [0; BEGIN.len() + 1];
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
    let files: [OwnedFd; 3] = files.try_into().map_err(|_| invalid())?;
    if packet[..received.bytes] != BEGIN[..] {
        return Err(invalid());
    }
    let [file, requests, errors] = files;
    let (mut file, mut bytes) = (File::from(file), Vec::new());
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(Some(Question { settings: serde_json::from_slice(&bytes)?, requests, errors }))
}

/// Answers a question: the job has begun, or why not.
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

    #[test]
    fn a_question_arrives_with_its_files_and_is_answered() {
        let (ours, theirs) = socket_pair().unwrap();
        let settings = JobSettings { nodes: 2, ..JobSettings::example() };
        let server = std::thread::spawn(move || {
            for result in [Ok(()), Err("because".to_owned())] {
                let question = next(theirs.as_fd()).unwrap().unwrap();
                assert_eq!(question.settings.nodes, 2);
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
