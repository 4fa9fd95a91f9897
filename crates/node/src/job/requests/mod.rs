//! What the stub of this node's replica asks, answered one question at a time.
//!
//! What is of the whole process, its threads, its memory calls, its copies, only home's replica asks.

mod answer;
mod executing;
mod memory;
mod starting;
mod threads;

use super::end::Event;
use super::home::Home;
use super::questions::PEER_DEADLINE;
use super::replica::{self, Received};
use super::{Job, copies};
use crate::pager::PagerError;
use answer::{Answered, DONE, FAILED, with_file};
use banyan_wire::address_space::page_down;
use banyan_wire::ids::{Access, PAGE_BYTES};
use banyan_wire::stub::{Execute, Purpose, Push, Range, Refusal, Refused, Request, ThreadEnd};
use banyan_wire::syscalls;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

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

/// The answer to one packet. What only home can do fails elsewhere.
fn handle(job: &Job, received: Received) -> Answered {
    let request = Request::decode(received.packet())
        .map_err(|error| PagerError::Fatal(format!("the replica asked what is no question: {error}")))?;
    let home = job.home();
    if let Some(home) = home {
        // Nothing else happens while the process is copied.
        copies::finish(job, home);
    }
    let answer = match request {
        Request::Hello(request) => starting::hello(job, &request, received.file),
        Request::Ready(_) => return starting::ready(job),
        Request::Memory(request) => {
            return at_home(home, |home| memory::call(job, home, &request, received.file));
        }
        Request::More(_) => return at_home(home, |home| memory::steps(job, home, 0)),
        Request::Confirm(range) => {
            let (address, length) = checked(range)?;
            job.pager.confirm(address, length)?;
            DONE
        }
        Request::Discard(range) => {
            discard(job, checked(range)?)?;
            DONE
        }
        Request::Lookup(request) => memory::lookup(job, request.address, request.protection as u32)?,
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
            return at_home(home, |home| threads::start(job, home, request.thread));
        }
        Request::Move(request) => return at_home(home, |home| threads::move_on(job, home, &request)),
        Request::CameHome(request) => return at_home(home, |home| threads::came_home(job, home, &request)),
        Request::ThreadEnd(ThreadEnd { thread, deputy_calls }) => {
            job.pager.counters.deputy_calls.fetch_add(u64::from(deputy_calls), Ordering::Relaxed);
            if let Some(home) = home {
                threads::ended(home, thread);
            }
            DONE
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
            if let Some(home) = home {
                // The kernel had refused, if it was about to.
                home.executes.store(false, Ordering::Relaxed);
                job.finish(home);
            }
            DONE
        }
        Request::ProcessorTime(of) => return at_home(home, |home| threads::time_elsewhere(job, home, &of)),
        Request::Timer(call) => return at_home(home, |home| Ok((job.timer_call(home, &call)?, None))),
        Request::Open(request) => {
            return at_home(home, |home| Ok(with_file(job.open_of_process(home, &request)?)));
        }
        Request::Execute(Execute { by }) => {
            return at_home(home, |home| executing::execute(job, home, by, received.file));
        }
        Request::FaultDevice(_) => return Ok(with_file(starting::fault_device(job))),
        Request::Filter(of) => return Ok(with_file(starting::filter_file(job, &of))),
        Request::Fork(_) => return at_home(home, |home| fork(job, home)),
        Request::Copied(request) => {
            return at_home(home, |home| starting::copied(job, home, request.process));
        }
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

/// What only home can do.
fn at_home(home: Option<&Home>, answer: impl FnOnce(&Home) -> Answered) -> Answered {
    home.map_or(Ok((FAILED, None)), answer)
}

/// Address and length of a range that ends within the address space.
fn checked(Range { address, length }: Range) -> Result<(u64, u64), PagerError> {
    match address.checked_add(length) {
        Some(_) => Ok((address, length)),
        None => Err(PagerError::Fatal(format!("the replica named {length} bytes at {address:#x}"))),
    }
}

/// A copy of the process is about to be made.
fn fork(job: &Job, home: &Home) -> Answered {
    let copied = copies::fork(job, home);
    if let Err(reason) = &copied {
        job.notice(&format!("the program's process cannot be copied: {reason}"));
    }
    Ok(with_file(copied.ok()))
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
