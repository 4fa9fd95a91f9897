//! The service thread of a replica: obeys its daemon, and ends the replica when the daemon is gone.

use crate::daemon::settings::{self, SETTINGS};
use crate::daemon::socket;
use crate::kernel;
use crate::memory;
use crate::remote::carrier;
use crate::report;
use crate::signal::service_thread;
use crate::thread::{Role, Thread, block, create};
use banyan_sys::raw::Errno;
use banyan_wire::stub::{CommandKind, Record};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// Serves commands for ever.
pub extern "C" fn serve(thread: &'static Thread) -> ! {
    thread.adopt();
    if settings::is_home() {
        service_thread::adopt_service_thread();
    }
    let socket = SETTINGS.commands.load(Ordering::Relaxed);
    loop {
        let mut command = Record::new(0, [0; 8]);
        let mut descriptors = [-1; 2];
        match socket::receive(socket, &mut command, &mut descriptors) {
            Ok(()) => {}
            Err(Errno::EIO) => report::fail(&["banyan: a command of the node daemon has the wrong size"]),
            Err(_) if settings::is_home() => {
                report::fail(&["banyan: the home node's daemon has ended; the program ends with it"])
            }
            Err(_) => kernel::exit_group(report::STATUS_OURS),
        }
        command.result = match CommandKind::from_number(command.kind) {
            Some(CommandKind::StartCarrier) => start_carrier(descriptors[0], command.values[0]),
            Some(CommandKind::Forget) => forget(command.values[0], command.values[1]),
            Some(CommandKind::End) => kernel::exit_group(command.values[0]),
            None => Errno::EINVAL.negated(),
        };
        if socket::send(socket, &command, None).is_err() {
            kernel::exit_group(report::STATUS_OURS);
        }
    }
}

fn start_carrier(connection: i32, thread_id: u64) -> i64 {
    if connection < 0 {
        return Errno::EBADF.negated();
    }
    let started = block::allocate(Role::Carrier).and_then(|thread| {
        thread.connection.set(connection);
        thread.thread_id.store(thread_id as u32, Ordering::Relaxed);
        create::spawn(thread, carrier::begin, 0)
    });
    match started {
        Ok(id) => i64::from(id),
        Err(error) => {
            kernel::close(connection);
            error.negated()
        }
    }
}

/// Unmaps a range, after any mapping that is being learned is complete.
fn forget(address: u64, length: u64) -> i64 {
    let _guard = memory::LOCK.lock();
    kernel::raw(linux::__NR_munmap, [address, length, 0, 0, 0, 0])
}
