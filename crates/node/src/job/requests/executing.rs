//! execve(2): whether the program, or a child of it, may execute a file under Banyan, and how it begins.
//!
//! Not here: how the new program is loaded (`crate::job::loader`), and how a run begins anew
//! (`crate::job::again`).

use super::answer::{Answered, DONE};
use crate::job::Job;
use crate::job::home::Home;
use crate::job::loader::{Linked, LoadError, linked};
use crate::sys::descriptors;
use banyan_wire::stub::{Answer, Executes, Nothing, Steps};
use rustix::fs::Mode;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

/// What is executed is a process of the home machine.
const NATIVE: Answer = Answer::AtHome(Nothing {});

/// The program executes another one, and this one's end shows as that of its replica; or a child does.
pub(super) fn execute(job: &Job, home: &Home, by: Executes, file: Option<OwnedFd>) -> Answered {
    let again = &home.wishes.again;
    let again = match by {
        Executes::Program => match file.map_or(Err(Errno::BADF), |file| executable(job, &file)) {
            Ok(()) => again.clone(),
            Err(error) => return Ok((refused_with(error), None)),
        },
        // What is no program for a run the kernel may know: it is asked. Who executes one that changes its
        // identity becomes another user, which a run would not give.
        Executes::Child => match file.filter(|file| !changes_identity(file)).map(|file| linked(file.as_fd()))
        {
            Some(Ok(_)) if again.follows_children() => again.of_child(),
            // A child of a program with code in the low range, whose filter it keeps.
            Some(Ok(Linked::Fixed)) => again.alone(),
            _ => return Ok((NATIVE, None)),
        },
    };
    match again.script() {
        Ok(script) => {
            if by == Executes::Program {
                home.executes.store(true, Ordering::Relaxed);
            }
            Ok((DONE, Some(script)))
        }
        Err(error) => {
            job.notice(&format!("the program's call execve cannot be served: {error}"));
            Ok((refused_with(Errno::NOEXEC), None))
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
