//! What the stub of this node's replica asks, answered one question at a time.
//!
//! At home the memory calls of the whole process are decided here; a remote replica's questions about regions
//! go to home over the control lane.

use super::end::Event;
use super::filter::{Place, filter};
use super::home::Home;
use super::loader::{Linked, LoadError, linked};
use super::questions::PEER_DEADLINE;
use super::replica::{self, Received};
use super::{Job, Role, START_DEADLINE, copies};
use crate::cluster::authority::MemoryCall;
use crate::pager::PagerError;
use crate::transport::ConnectError;
use banyan_core::placement::Placement;
use banyan_core::regions::{Limits, Operation};
use banyan_sys::{descriptors, userfaultfd};
use banyan_wire::address_space::page_down;
use banyan_wire::control::ControlMessage;
use banyan_wire::ids::{Access, NodeId, PAGE_BYTES};
use banyan_wire::stub::{
    ACTIONS_MAX, Action, ActionKind, Answer, Enter, Execute, Executes, Filter, Hello, Nothing, Placed,
    Purpose, Push, Range, Refusal, Refused, Request, Steps, StoppedThread, ThreadEnd, TimeElsewhere,
};
use banyan_wire::{stub, syscalls};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Instant;
use zerocopy::IntoBytes;

const DONE: Answer = Answer::Done(Nothing {});
const FAILED: Answer = Answer::Failed(Nothing {});
/// What is executed is a process of the home machine.
const NATIVE: Answer = Answer::AtHome(Nothing {});

/// Serves the request socket until the replica ends.
pub(crate) fn serve(job: &Job, socket: &OwnedFd) {
    loop {
        let Ok(Some(received)) = replica::receive(socket) else {
            job.emit(Event::ReplicaEnded);
            return;
        };
        let (answer, connection) = match handle(job, received) {
            Ok(answered) => answered,
            Err(error) => {
                job.emit(Event::Broken(error.to_string()));
                return;
            }
        };
        let file = connection.as_ref().map(AsFd::as_fd);
        // A failure to answer shows as the end of the stream on the next receive.
        let _ = replica::send(socket, answer.encode().bytes(), file.as_slice());
    }
}

/// The answer to one packet, and the connection that goes beside it.
fn handle(job: &Job, received: Received) -> Result<(Answer, Option<OwnedFd>), PagerError> {
    let request = Request::decode(received.packet())
        .map_err(|error| PagerError::Fatal(format!("the replica asked what is no question: {error}")))?;
    if let Role::Home(home) = &job.role {
        // Nothing else happens while the process is copied.
        copies::finish(job, home);
    }
    let answer = match request {
        Request::Hello(request) => hello(job, &request, received.file),
        Request::Ready(_) => return ready(job),
        Request::Memory(request) => return memory_call(job, &request, received.file),
        Request::More(_) => return steps(job, 0),
        Request::Confirm(range) => {
            let (address, length) = checked(range)?;
            job.pager.confirm(address, length)?;
            DONE
        }
        Request::Discard(range) => {
            discard(job, checked(range)?)?;
            DONE
        }
        Request::Lookup(request) => lookup(job, request.address, request.protection as u32)?,
        Request::Acquire(request) => {
            let access = match request.purpose {
                Purpose::Read => Access::Read,
                Purpose::Write => Access::Write,
            };
            // The program's own words: the pager takes what there is of the range.
            job.pager.acquire(&[(request.address, request.length)], access, PEER_DEADLINE)?;
            DONE
        }
        Request::StartThread(request) => {
            let thread = request.thread;
            let placed = place(job, thread, |placement| Some(placement.start(thread)));
            return Ok(placed.unwrap_or_else(|error| {
                job.notice(&format!("a thread stays on the home node: {error}"));
                (AT_HOME, None)
            }));
        }
        Request::Move(request) => {
            let thread = used_before(job, &request)?;
            // If the node is lost, that is said where it is noticed.
            let placed = place(job, thread, |placement| placement.destination(thread));
            return Ok(placed.unwrap_or((AT_HOME, None)));
        }
        Request::Push(Push { stack, fs_base }) => {
            let ranges: Vec<(u64, u64)> = [stack, fs_base]
                .iter()
                .filter(|&&at| at != 0)
                .map(|&at| (page_down(at), PAGE_BYTES))
                .collect();
            job.pager.acquire(&ranges, Access::Write, PEER_DEADLINE)?;
            DONE
        }
        Request::Exit(request) => {
            job.threads_started.store(request.threads, Ordering::Relaxed);
            if let Role::Home(home) = &job.role {
                // The kernel had refused, if it was about to.
                home.executes.store(false, Ordering::Relaxed);
                job.finish(home);
            }
            DONE
        }
        Request::ThreadEnd(ThreadEnd { thread, deputy_calls }) => {
            job.pager.counters.deputy_calls.fetch_add(u64::from(deputy_calls), Ordering::Relaxed);
            if let Role::Home(home) = &job.role {
                home.placement().ended(thread);
                home.used_before.lock().remove(&thread);
            }
            DONE
        }
        Request::CameHome(request) => {
            let thread = used_before(job, &request)?;
            if let Role::Home(home) = &job.role {
                let moved = home.placement().moved(thread, NodeId::HOME);
                job.note_move(thread, NodeId::HOME, moved);
            }
            DONE
        }
        Request::ProcessorTime(request) => time_elsewhere(job, request)?,
        Request::Timer(call) => match &job.role {
            Role::Home(home) => job.timer_call(home, &call)?,
            Role::Remote(_) => FAILED,
        },
        Request::Open(request) => {
            let file = match &job.role {
                Role::Home(home) => job.open_of_process(home, &request)?,
                Role::Remote(_) => None,
            };
            return Ok(with_file(file));
        }
        Request::Execute(Execute { by }) => return Ok(execute(job, by, received.file)),
        Request::FaultDevice(_) => return Ok(with_file(fault_device(job))),
        Request::Filter(of) => return Ok(with_file(filter_file(job, &of))),
        Request::Fork(_) => return Ok(fork(job)),
        Request::Copied(request) => return copied(job, request.process),
        // What it waits for came before it.
        Request::Forked(_) => DONE,
        Request::Refused(request) => {
            refused(job, request);
            DONE
        }
    };
    Ok((answer, None))
}

fn discard(job: &Job, (address, length): (u64, u64)) -> Result<(), PagerError> {
    if !job.pager.is_native(address, length) {
        return job.pager.discard(address, length, PEER_DEADLINE);
    }
    job.pager.memory().punch(address, length).map_err(|error| PagerError::Fatal(error.to_string()))
}

fn time_elsewhere(job: &Job, TimeElsewhere { thread, node }: TimeElsewhere) -> Result<Answer, PagerError> {
    let Role::Home(home) = &job.role else { return Ok(FAILED) };
    let node = (node != 0).then(|| node_of(job, node)).transpose()?;
    Ok(Answer::Used(home.time_elsewhere(node, thread)?))
}

/// The program executes another one, and this one's end shows as that of its replica; or a child does.
fn execute(job: &Job, by: Executes, file: Option<OwnedFd>) -> (Answer, Option<OwnedFd>) {
    let Role::Home(home) = &job.role else { return (FAILED, None) };
    let again = &home.wishes.again;
    let again = match by {
        Executes::Program => match file.map_or(Err(Errno::BADF), |file| executable(job, &file)) {
            Ok(()) => again.clone(),
            Err(error) => return (refused_with(error), None),
        },
        // What is no program for a run the kernel may know: it is asked. Who executes one that changes its
        // identity becomes another user, which a run would not give.
        Executes::Child => match file.filter(|file| !changes_identity(file)).map(|file| linked(file.as_fd()))
        {
            Some(Ok(_)) if again.follows_children() => again.of_child(),
            // A child of a program with code in the low range, whose filter it keeps.
            Some(Ok(Linked::Fixed)) => again.alone(),
            _ => return (NATIVE, None),
        },
    };
    match again.script() {
        Ok(script) => {
            if by == Executes::Program {
                home.executes.store(true, Ordering::Relaxed);
            }
            (DONE, Some(script))
        }
        Err(error) => {
            job.notice(&format!("the program's call execve cannot be served: {error}"));
            (refused_with(Errno::NOEXEC), None)
        }
    }
}

/// A call fails.
fn refused_with(error: Errno) -> Answer {
    Answer::Steps(Steps::new(-i64::from(error.raw_os_error())))
}

/// What execve(2) says of a file, as far as the program would learn it too late: when it is gone.
fn executable(job: &Job, file: &OwnedFd) -> Result<(), Errno> {
    let mut head = [0; 4];
    rustix::io::pread(file, &mut head, 0).map_err(|error| match error {
        Errno::ISDIR => Errno::ACCESS,
        other => other,
    })?;
    if head != *b"\x7fELF" && !head.starts_with(b"#!") {
        return Err(Errno::NOEXEC);
    }
    if descriptors::is_written(file.as_fd()) {
        return Err(Errno::TXTBSY);
    }
    match linked(file.as_fd()) {
        Ok(_) => Ok(()),
        // From another directory it may be there.
        Err(LoadError::MissingInterpreter { interpreter, .. }) if interpreter.is_relative() => Ok(()),
        Err(error) => {
            // The kernel may know how to run it.
            if matches!(error, LoadError::WrongArchitecture { .. } | LoadError::Unplaceable { .. }) {
                job.notice(&format!("the program's call execve cannot be served: {error}"));
            }
            Err(error.errno())
        }
    }
}

/// Whether who executes the file becomes another user or group: execve(2).
fn changes_identity(file: &OwnedFd) -> bool {
    let bits = Mode::SUID | Mode::SGID;
    rustix::fs::fstat(file).is_ok_and(|status| Mode::from_raw_mode(status.st_mode).intersects(bits))
}

/// The thread that stands still at home; what it used on nodes that it has left is noted.
fn used_before(job: &Job, &StoppedThread { thread, used }: &StoppedThread) -> Result<u32, PagerError> {
    let thread = u32::try_from(thread)
        .map_err(|_| PagerError::Fatal(format!("the replica named thread {thread}, which cannot be")))?;
    if let Role::Home(home) = &job.role {
        home.used_before.lock().insert(thread, used);
    }
    Ok(thread)
}

/// Address and length of a range that ends within the address space.
fn checked(Range { address, length }: Range) -> Result<(u64, u64), PagerError> {
    match address.checked_add(length) {
        Some(_) => Ok((address, length)),
        None => Err(PagerError::Fatal(format!("the replica named {length} bytes at {address:#x}"))),
    }
}

/// The node with this number, if the run has it.
fn node_of(job: &Job, number: u32) -> Result<NodeId, PagerError> {
    u8::try_from(number).ok().filter(|&number| number < job.nodes()).and_then(NodeId::new).ok_or_else(|| {
        PagerError::Fatal(format!("the replica named node {number}, which the run does not have"))
    })
}

/// The device by which the kernel gives a userfaultfd to who may not ask for one: what this node inherited
/// for its run. A replica that has one, which it made itself, may have that right again for what it executes.
fn fault_device(job: &Job) -> Option<OwnedFd> {
    if let Some(inherited) = &job.facts.fault_device {
        return inherited.try_clone().ok();
    }
    if job.replica_id() == 0 {
        return None;
    }
    rustix::fs::open(userfaultfd::DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Done, and this file beside it; or failed if there is none.
fn with_file(file: Option<OwnedFd>) -> (Answer, Option<OwnedFd>) {
    (if file.is_some() { DONE } else { FAILED }, file)
}

/// A file with the filter of this replica's system calls.
fn filter_file(job: &Job, of: &Filter) -> Option<OwnedFd> {
    let place = match &job.role {
        Role::Home(_) if job.facts.places.is_alone() => Place::Alone,
        Role::Home(_) => Place::Home,
        Role::Remote(_) => Place::Elsewhere,
    };
    let mut file = File::from(rustix::fs::memfd_create("banyan-filter", MemfdFlags::CLOEXEC).ok()?);
    file.write_all(filter(place, of).as_bytes()).ok()?;
    Some(file.into())
}

fn hello(job: &Job, request: &Hello, file: Option<OwnedFd>) -> Answer {
    job.replica_id.store(request.process, Ordering::Relaxed);
    if let Role::Home(home) = &job.role {
        home.placement().first(request.process);
    }
    let answer = match file {
        Some(file) => match job.pager.set_faults(file) {
            Ok(()) => DONE,
            Err(error) => {
                job.notice(&format!("the replica's userfaultfd: {error}"));
                FAILED
            }
        },
        None => {
            let error = std::io::Error::from_raw_os_error(request.error as i32);
            job.notice(&format!(
                "this kernel gives no userfaultfd to user {}: {error}; allow it with `chmod 666 /dev/userfaultfd` or \
                 `sysctl vm.unprivileged_userfaultfd=1`, or run as root",
                rustix::process::getuid().as_raw(),
            ));
            FAILED
        }
    };
    job.serve_faults();
    answer
}

/// Lists what to map before the program starts, a few regions an answer; then says where it starts.
fn ready(job: &Job) -> Result<(Answer, Option<OwnedFd>), PagerError> {
    let home = match &job.role {
        Role::Home(home) => home,
        Role::Remote(remote) => {
            remote.send_home(&ControlMessage::ReplicaReady);
            return Ok((DONE, None));
        }
    };
    if let Some(mapping) = mapping(home)? {
        return Ok(mapping);
    }
    Ok(match home.wait_for_nodes(home.presence.nodes(), Instant::now() + START_DEADLINE) {
        Ok(()) => {
            let start = home.start();
            let enter = Answer::Enter(Enter {
                instruction: start.instruction,
                stack: start.stack,
                executable: start.executable,
                program_break: start.program_break,
            });
            (enter, home.images().open_program().ok())
        }
        Err(reason) => {
            job.notice(&reason);
            (FAILED, None)
        }
    })
}

/// The next steps before the program runs, if there are any.
fn mapping(home: &Home) -> Result<Option<(Answer, Option<OwnedFd>)>, PagerError> {
    let next = home.mapping().next().map_err(|error| PagerError::Fatal(error.to_string()))?;
    Ok(next.map(|(steps, memory)| (Answer::Steps(steps), memory)))
}

/// A copy of the process is about to be made.
fn fork(job: &Job) -> (Answer, Option<OwnedFd>) {
    let Role::Home(home) = &job.role else { return (FAILED, None) };
    match copies::fork(job, home) {
        Ok(socket) => (DONE, Some(socket)),
        Err(reason) => {
            job.notice(&format!("the program's process cannot be copied: {reason}"));
            (FAILED, None)
        }
    }
}

/// This is the daemon's end of a copy, which has its memory when there are no more steps.
fn copied(job: &Job, process: u32) -> Result<(Answer, Option<OwnedFd>), PagerError> {
    let Role::Home(home) = &job.role else { return Ok((FAILED, None)) };
    job.replica_id.store(process, Ordering::Relaxed);
    home.placement().first(process);
    Ok(mapping(home)?.unwrap_or((DONE, None)))
}

/// One step more. Each list is bounded so that it fits.
fn push(steps: &mut Steps, action: Action) -> Result<(), PagerError> {
    if steps.push(action) { Ok(()) } else { Err(PagerError::Fatal("an answer with too many steps".into())) }
}

/// Lists the steps that map a range, in the order in which no thread can touch a page before the daemon has
/// registered what other nodes hold.
fn map(steps: &mut Steps, start: u64, length: u64, rights: u64) -> Result<(), PagerError> {
    push(steps, Action::new(ActionKind::Reserve, start, length, 0))?;
    push(steps, Action::new(ActionKind::Confirm, start, length, 0))?;
    push(steps, Action::new(ActionKind::Protect, start, length, rights))
}

const AT_HOME: Answer = Answer::Placed(Placed { node: NodeId::HOME.get() as u32 });

/// Chooses the node of a thread that stands still at home, and connects the thread's deputy to it. Without a
/// connection it stays at home.
fn place(
    job: &Job,
    thread: u32,
    choose: impl FnOnce(&mut Placement) -> Option<NodeId>,
) -> Result<(Answer, Option<OwnedFd>), ConnectError> {
    let Role::Home(home) = &job.role else { return Ok((FAILED, None)) };
    let chosen = choose(&mut home.placement());
    let Some(node) = chosen.filter(|&node| node != NodeId::HOME) else { return Ok((AT_HOME, None)) };
    let connected = job.connect_deputy(node, thread);
    let node_now = if connected.is_ok() { node } else { NodeId::HOME };
    let moved = home.placement().moved(thread, node_now);
    job.note_move(thread, node_now, moved);
    Ok((Answer::Placed(Placed { node: u32::from(node.get()) }), Some(connected?)))
}

fn memory_call(
    job: &Job,
    call: &stub::MemoryCall,
    file: Option<OwnedFd>,
) -> Result<(Answer, Option<OwnedFd>), PagerError> {
    let node = node_of(job, call.node)?;
    let Some(kind) = syscalls::memory_call(call.number.into()) else {
        return Ok((Answer::Steps(Steps::new(-i64::from(Errno::NOSYS.raw_os_error()))), None));
    };
    let limits = Limits { address_space: call.address_space, data: call.data, locked: call.locked };
    let arguments = call.arguments;
    let call = MemoryCall { kind, arguments, node, limits, source: call.source, file };
    let effect = job.authority().memory_call(call)?;
    if let Role::Home(home) = &job.role {
        *home.steps_left() = effect.operations.into();
    }
    steps(job, effect.result)
}

/// The next steps of the memory call under way, as many as fit into an answer and need one file, which comes
/// beside them.
fn steps(job: &Job, result: i64) -> Result<(Answer, Option<OwnedFd>), PagerError> {
    let mut steps = Steps::new(result);
    let Role::Home(home) = &job.role else { return Ok((Answer::Steps(steps), None)) };
    let mut left = home.steps_left();
    let mut needed = None;
    while let Some(&operation) = left.front() {
        let file = operation.file();
        let another = file.is_some() && needed.is_some() && file != needed;
        if another || (steps.actions().len() + 1 == ACTIONS_MAX && left.len() > 1) {
            push(&mut steps, Action::new(ActionKind::More, 0, 0, 0))?;
            break;
        }
        left.pop_front();
        needed = needed.or(file);
        if let Operation::Unmap(range) = operation {
            let mut mapped = job.pager.mapped.write();
            mapped.remove(range.start, range.start + range.length);
        }
        push(&mut steps, action(job, operation))?;
    }
    let file = needed.map(|number| home.open_file(number)).transpose();
    Ok((Answer::Steps(steps), file.map_err(|error| PagerError::Fatal(error.to_string()))?))
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
        Operation::ReadFile { to, offset, .. } => (ActionKind::ReadFile, to, offset),
        Operation::MapFile { at, offset, .. } => (ActionKind::MapFile, at, offset),
        Operation::Copy { to, from } => (ActionKind::Copy, to, from),
        Operation::Call(range) => (ActionKind::Call, range, 0),
        Operation::Move { from, to } => (ActionKind::Move, to, from),
    };
    Action::new(kind, range.start, range.length, extra)
}

/// A remote replica learns the region around an address: the part of it that it has not mapped yet.
fn lookup(job: &Job, address: u64, access: u32) -> Result<Answer, PagerError> {
    let Some(region) = job.authority().learn(job.node, address, access)? else {
        return Ok(FAILED);
    };
    if region.protection & access != access {
        return Ok(Answer::AtHome(Nothing {}));
    }
    let rights = u64::from(region.protection);
    let mut steps = Steps::new(0);
    let mapped = job.pager.mapped.read();
    match mapped.gap_around(address, region.start, region.end) {
        Some((start, end)) => map(&mut steps, start, end - start, rights)?,
        // Mapped with rights that have grown since.
        None => {
            let pieces = mapped.within(region.start, region.end);
            let piece = pieces.into_iter().find(|&(from, to)| from <= address && address < to);
            if let Some((from, to)) = piece {
                push(&mut steps, Action::new(ActionKind::Protect, from, to - from, rights))?;
            }
        }
    }
    Ok(Answer::Steps(steps))
}

fn refused(job: &Job, Refused { number, reason, errno }: Refused) {
    let text = match reason {
        Refusal::NotTreated => {
            let row = i64::try_from(number).ok().and_then(syscalls::find);
            let name = row.map_or("?", syscalls::SystemCall::name);
            let error = std::io::Error::from_raw_os_error(errno as i32);
            format!("the program's call {name} (number {number}) is not served yet; it got: {error}")
        }
        Refusal::KillAfterRefusedFork => {
            "kill(-1, ...) after a refused fork would signal every process; the program got: Operation not permitted"
                .into()
        }
    };
    job.notice(&text);
}
