//! What the stub of this node's replica asks, answered one question at a time.
//!
//! At home the memory calls of the whole process are decided here; a remote replica's questions about regions go to
//! home over the control lane.

use super::end::Event;
use super::questions::PEER_DEADLINE;
use super::replica;
use super::{Job, Role, START_DEADLINE};
use crate::cluster::authority::MemoryCall;
use crate::pager::PagerError;
use banyan_core::regions::Operation;
use banyan_wire::control::ControlMessage;
use banyan_wire::ids::{Access, NodeId};
use banyan_wire::stub::{Action, ActionKind, Record, Refusal, RequestKind};
use banyan_wire::syscalls;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

/// The stub's sign that there is more to map before the program starts.
const MORE: i64 = 1;

/// Serves the request socket until the replica ends.
pub(crate) fn serve(job: &Job, socket: &OwnedFd) {
    loop {
        let (question, file) = match replica::receive_record::<Record>(socket) {
            Ok(Some(received)) => received,
            Ok(None) | Err(_) => {
                job.emit(Event::ReplicaEnded);
                return;
            }
        };
        let mut answer = Record::new(question.kind, [0; 8]);
        let connection = match handle(job, &question, file, &mut answer) {
            Ok(connection) => connection,
            Err(error) => {
                job.emit(Event::Broken(error.to_string()));
                return;
            }
        };
        let files: Vec<BorrowedFd<'_>> = connection.iter().map(AsFd::as_fd).collect();
        // A failure to answer shows as the end of the stream on the next receive.
        let _ = replica::send_record(socket, &answer, &files);
    }
}

fn handle(
    job: &Job,
    question: &Record,
    file: Option<OwnedFd>,
    answer: &mut Record,
) -> Result<Option<OwnedFd>, PagerError> {
    let [a, b, c, ..] = question.values;
    match RequestKind::from_number(question.kind) {
        Some(RequestKind::Hello) => hello(job, question, file, answer),
        Some(RequestKind::Ready) => ready(job, answer),
        Some(RequestKind::Memory) => memory_call(job, question, answer)?,
        Some(RequestKind::Confirm) => job.pager.confirm(a, b)?,
        Some(RequestKind::Discard) => {
            if job.pager.is_native(a, b) {
                job.pager.memory().punch(a, b).map_err(|error| PagerError::Fatal(error.to_string()))?;
            } else {
                job.pager.discard(a, b, PEER_DEADLINE)?;
            }
        }
        Some(RequestKind::Lookup) => lookup(job, a, b as u32, answer)?,
        Some(RequestKind::Acquire) => {
            let access = if c != 0 { Access::Write } else { Access::Read };
            job.pager.acquire(&[(a, b)], access, PEER_DEADLINE)?;
        }
        Some(RequestKind::Connect) => match job.connect_deputy(a as u8, b as u32) {
            Ok(connection) => return Ok(Some(connection)),
            Err(error) => {
                job.notice(&format!("a thread stays on the home node: {error}"));
                answer.result = -1;
            }
        },
        Some(RequestKind::Push) => {
            let ranges: Vec<(u64, u64)> =
                question.values.iter().filter(|&&at| at != 0).map(|&at| (at & !4095, 4096)).collect();
            job.pager.acquire(&ranges, Access::Write, PEER_DEADLINE)?;
        }
        Some(RequestKind::Exit) => {
            job.threads_started.store(b, Ordering::Relaxed);
            if let Role::Home(home) = &job.role {
                job.finish(home);
            }
        }
        Some(RequestKind::ThreadEnd) => {
            job.pager.counters.deputy_calls.fetch_add(c, Ordering::Relaxed);
        }
        Some(RequestKind::Refused) => refused(job, a, b, c),
        None => answer.result = negated(Errno::NOSYS),
    }
    Ok(None)
}

fn hello(job: &Job, question: &Record, file: Option<OwnedFd>, answer: &mut Record) {
    job.replica_id.store(question.values[1] as u32, Ordering::Relaxed);
    match file {
        Some(file) => {
            if let Err(error) = job.pager.set_faults(file) {
                job.notice(&format!("the replica's userfaultfd: {error}"));
                answer.result = -1;
            }
        }
        None => {
            let error = std::io::Error::from_raw_os_error(-question.result as i32);
            job.notice(&format!(
                "this kernel gives no userfaultfd to user {}: {error}; allow it with `chmod 666 /dev/userfaultfd` or \
                 `sysctl vm.unprivileged_userfaultfd=1`, or run as root",
                rustix::process::getuid().as_raw(),
            ));
            answer.result = -1;
        }
    }
    job.serve_faults();
}

/// Lists what to map before the program starts, a few regions an answer; then says where it starts.
fn ready(job: &Job, answer: &mut Record) {
    let home = match &job.role {
        Role::Home(home) => home,
        Role::Remote(remote) => return remote.send_home(&ControlMessage::ReplicaReady),
    };
    let regions = home.regions_to_map(banyan_wire::stub::ACTIONS_MAX / 3);
    for region in &regions {
        let length = region.end - region.start;
        let pushed = answer.push(Action::new(ActionKind::Reserve, region.start, length, 0))
            && answer.push(Action::new(ActionKind::Confirm, region.start, length, 0))
            && answer.push(Action::new(
                ActionKind::Protect,
                region.start,
                length,
                u64::from(region.protection),
            ));
        debug_assert!(pushed);
    }
    if !regions.is_empty() {
        answer.result = MORE;
        return;
    }
    match home.wait_for_nodes(START_DEADLINE) {
        Ok(()) => {
            let start = home.start();
            answer.values[0] = start.instruction;
            answer.values[1] = start.stack;
            answer.values[2] = start.executable;
        }
        Err(reason) => {
            job.notice(&reason);
            answer.result = -1;
        }
    }
}

fn memory_call(job: &Job, question: &Record, answer: &mut Record) -> Result<(), PagerError> {
    let [number, a, b, c, d, e, f, node] = question.values;
    let Some(kind) = syscalls::memory_call(number) else {
        answer.result = negated(Errno::NOSYS);
        return Ok(());
    };
    let node = NodeId::new(node as u8).unwrap_or(NodeId::HOME);
    let effect = job.authority().memory_call(MemoryCall { kind, arguments: [a, b, c, d, e, f], node })?;
    answer.result = effect.result;
    for &operation in &effect.operations {
        if let Operation::Unmap(range) = operation {
            let mut mapped = job.pager.mapped.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            mapped.remove(range.start, range.start + range.length);
        }
        if !answer.push(action(job, operation)) {
            return Err(PagerError::Fatal("a memory call with too many steps".into()));
        }
    }
    Ok(())
}

/// What the stub does for one operation of the map of regions.
fn action(job: &Job, operation: Operation) -> Action {
    let (kind, range, extra) = match operation {
        Operation::Reserve(range) => (ActionKind::Reserve, range, 0),
        Operation::Confirm(range) => (ActionKind::Confirm, range, 0),
        Operation::Protect(range, protection) => (ActionKind::Protect, range, u64::from(protection)),
        Operation::Unmap(range) => (ActionKind::Unmap, range, 0),
        // No other node has pages of it.
        Operation::Discard(range) if job.pager.is_native(range.start, range.length) => {
            (ActionKind::Punch, range, 0)
        }
        Operation::Discard(range) => (ActionKind::Discard, range, 0),
        Operation::ReadFile { to, offset } => (ActionKind::ReadFile, to, offset),
        Operation::Copy { to, from } => (ActionKind::Copy, to, from),
    };
    Action::new(kind, range.start, range.length, extra)
}

/// An error as the result of a call.
fn negated(error: Errno) -> i64 {
    -i64::from(error.raw_os_error())
}

/// A remote replica learns the region around an address: the part of it that it has not mapped yet.
fn lookup(job: &Job, address: u64, access: u32, answer: &mut Record) -> Result<(), PagerError> {
    let Some(region) = job.authority().learn(job.node, address, access)? else {
        answer.result = negated(Errno::FAULT);
        return Ok(());
    };
    let gap = {
        let mapped = job.pager.mapped.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        mapped.gap_around(address, region.start, region.end)
    };
    let rights = u64::from(region.protection);
    let pushed = match gap {
        Some((start, end)) => {
            answer.push(Action::new(ActionKind::Reserve, start, end - start, 0))
                && answer.push(Action::new(ActionKind::Confirm, start, end - start, 0))
                && answer.push(Action::new(ActionKind::Protect, start, end - start, rights))
        }
        // Mapped with rights that have grown since.
        None => {
            let mapped = job.pager.mapped.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let piece = mapped
                .within(region.start, region.end)
                .into_iter()
                .find(|&(from, to)| from <= address && address < to);
            piece.is_none_or(|(from, to)| {
                answer.push(Action::new(ActionKind::Protect, from, to - from, rights))
            })
        }
    };
    debug_assert!(pushed);
    Ok(())
}

fn refused(job: &Job, number: u64, reason: u64, errno: u64) {
    let name = i64::try_from(number).ok().and_then(syscalls::find).map_or("?", syscalls::SystemCall::name);
    let text = match Refusal::from_number(reason) {
        Some(Refusal::NotTreated) => {
            let error = std::io::Error::from_raw_os_error(errno as i32);
            format!("the program's call {name} (number {number}) is not served yet; it got: {error}")
        }
        Some(Refusal::SharedFileMapping) => {
            "a shared, writable mapping of a file is not served yet; the program got: No such device".into()
        }
        Some(Refusal::HandlerOnRemoteThread) => {
            format!(
                "signal {number} was meant for a handler on a thread that runs on another node; it was dropped"
            )
        }
        None => return,
    };
    job.notice(&text);
}
