//! The start of a replica: what it needs to serve its faults and to stop its calls, and what is mapped before
//! the program, or a copy of its process, runs.

use super::answer::{Answered, DONE, FAILED};
use crate::job::filter::{Place, filter};
use crate::job::home::Home;
use crate::job::{Job, Role, START_DEADLINE};
use crate::pager::PagerError;
use banyan_sys::userfaultfd;
use banyan_wire::control::ControlMessage;
use banyan_wire::stub::{Answer, Enter, Filter, Hello};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::Instant;
use zerocopy::IntoBytes;

pub(super) fn hello(job: &Job, request: &Hello, file: Option<OwnedFd>) -> Answer {
    job.replica_id.store(request.process, Ordering::Relaxed);
    if let Some(home) = job.home() {
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
pub(super) fn ready(job: &Job) -> Answered {
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

/// This is the daemon's end of a copy, which has its memory when there are no more steps.
pub(super) fn copied(job: &Job, home: &Home, process: u32) -> Answered {
    job.replica_id.store(process, Ordering::Relaxed);
    home.placement().first(process);
    Ok(mapping(home)?.unwrap_or((DONE, None)))
}

/// The device by which the kernel gives a userfaultfd to who may not ask for one: what this node inherited
/// for its run. A replica that has one, which it made itself, may have that right again for what it executes.
pub(super) fn fault_device(job: &Job) -> Option<OwnedFd> {
    if let Some(inherited) = &job.facts.fault_device {
        return inherited.try_clone().ok();
    }
    if job.replica_id() == 0 {
        return None;
    }
    rustix::fs::open(userfaultfd::DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// A file with the filter of this replica's system calls.
pub(super) fn filter_file(job: &Job, of: &Filter) -> Option<OwnedFd> {
    let place = match &job.role {
        Role::Home(_) if job.facts.places.is_alone() => Place::Alone,
        Role::Home(_) => Place::Home,
        Role::Remote(_) => Place::Elsewhere,
    };
    let mut file = File::from(rustix::fs::memfd_create("banyan-filter", MemfdFlags::CLOEXEC).ok()?);
    file.write_all(filter(place, of).as_bytes()).ok()?;
    Some(file.into())
}
