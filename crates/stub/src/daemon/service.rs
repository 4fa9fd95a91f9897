//! The service thread of a replica: obeys its daemon, and ends the replica when the daemon is gone.

use crate::daemon::settings::{self, SETTINGS};
use crate::daemon::{requests, socket};
use crate::kernel;
use crate::memory;
use crate::process::{processor_time, timers};
use crate::remote::{carrier, migration};
use crate::report;
use crate::thread::{Role, Thread, block, create};
use banyan_sys::raw::Errno;
use banyan_wire::stub::{Command, Failed, Nothing, PACKET_MAX, Range, Reply, Started};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use linux_raw_sys::prctl::{PR_GET_DUMPABLE, PR_SET_DUMPABLE};

/// Serves commands for ever, with every signal blocked from its beginning.
pub extern "C" fn serve(thread: &'static Thread) -> ! {
    thread.adopt();
    if settings::is_home() {
        give_up_rights();
    }
    let socket = SETTINGS.commands.load(Ordering::Relaxed);
    loop {
        let mut buffer = [0; PACKET_MAX];
        let received = match socket::receive(socket, &mut buffer) {
            Ok(received) => received,
            Err(_) => requests::without_daemon(),
        };
        let reply = match Command::decode(received.packet) {
            Ok(Command::StartCarrier(command)) => start_carrier(received.descriptors[0], command.thread),
            Ok(Command::Forget(range)) => forget(range),
            Ok(Command::ProcessorTime(whose)) => Reply::Used(processor_time::used_here(whose.thread)),
            Ok(Command::Leave(command)) => match migration::ask(command.thread) {
                Ok(()) => Reply::Done(Nothing {}),
                Err(error) => failed(error),
            },
            Ok(Command::Raise(signal)) => {
                timers::raise(&signal);
                Reply::Done(Nothing {})
            }
            Ok(Command::End(command)) => kernel::exit_group(u64::from(command.status)),
            Err(_) => report::fail("a command of the node daemon is malformed"),
        };
        if socket::send(socket, reply.encode().bytes(), None).is_err() {
            requests::without_daemon();
        }
    }
}

/// Gives up what only this thread would still be allowed when the program has changed its user.
fn give_up_rights() {
    /// The user that owns nothing.
    const NOBODY: u64 = 65534;
    let no_pointers = |number, [a, b, c]: [u64; 3]| {
        // SAFETY: no pointers but one that is not followed, for there are no groups.
        unsafe { kernel::raw(number, [a, b, c]) }
    };
    let dumpable = no_pointers(linux::__NR_prctl, [PR_GET_DUMPABLE.into(), 0, 0]);
    no_pointers(linux::__NR_setgroups, [0; 3]);
    no_pointers(linux::__NR_setresgid, [NOBODY; 3]);
    no_pointers(linux::__NR_setresuid, [NOBODY; 3]);
    // The kernel takes this from the process whose rights change.
    no_pointers(linux::__NR_prctl, [PR_SET_DUMPABLE.into(), dumpable as u64, 0]);
}

fn failed(error: Errno) -> Reply {
    Reply::Failed(Failed { errno: u32::from(error.0) })
}

fn start_carrier(connection: Option<i32>, thread_id: u32) -> Reply {
    let Some(connection) = connection else { return failed(Errno::EBADF) };
    let started = block::allocate(Role::Carrier).and_then(|thread| {
        thread.connection.set(connection);
        thread.thread_id.store(thread_id, Ordering::Relaxed);
        create::spawn(thread, carrier::begin, create::SHARED, 0)
    });
    match started {
        Ok(carrier) => Reply::Started(Started { carrier }),
        Err(error) => {
            kernel::close(connection);
            failed(error)
        }
    }
}

/// Unmaps a range, after any mapping that is being learned is complete.
fn forget(range: Range) -> Reply {
    let _guard = memory::LOCK.lock();
    // SAFETY: the daemon names memory of the program only.
    match unsafe { kernel::checked(linux::__NR_munmap, [range.address, range.length]) } {
        Ok(_) => Reply::Done(Nothing {}),
        Err(error) => failed(error),
    }
}
