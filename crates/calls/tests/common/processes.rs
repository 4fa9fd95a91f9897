//! Signals to processes of the tests, and whether a process has ended.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

fn pid(process: u32) -> Pid {
    Pid::from_raw(process as i32).unwrap()
}

/// Sends `signal`; to a process that has ended, nothing.
pub fn send(process: u32, signal: Signal) {
    let _ = kill_process(pid(process), signal);
}

/// Whether `process` has ended, collected by its parent or not.
pub fn has_ended(process: u32) -> bool {
    match pidfd_open(pid(process), PidfdFlags::empty()) {
        Ok(descriptor) => {
            let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
            poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1)
        }
        Err(error) => error == Errno::SRCH,
    }
}
