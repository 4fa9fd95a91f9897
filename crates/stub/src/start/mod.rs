//! The life of a replica from exec to the program's first instruction.

use crate::daemon::settings::{self, SETTINGS};
use crate::daemon::{requests, service, socket};
use crate::kernel::{self, AtExec, MaskChange};
use crate::memory::call;
use crate::memory::perform::{self, Context};
use crate::process::layout::{self, Words};
use crate::process::{descriptors, image, links};
use crate::remote::signals;
use crate::report;
use crate::signal::disposition::{self, Handlers};
use crate::signal::{deliver, mask};
use crate::thread::{Role, block, create, exit, resume};
use crate::time::vdso;
use crate::trap::{self, fault, filter};
use banyan_sys::raw::Errno;
use banyan_sys::userfaultfd;
use banyan_wire::address_space::LOW;
use banyan_wire::descriptors::descriptor_floor;
use banyan_wire::stub::{
    Answer, Enter, Hello, LowCode, Nothing, PACKET_MAX, Request, STUB_ABI_VERSION, Steps, Welcome,
};
use core::sync::atomic::Ordering;
use zerocopy::FromBytes;

/// Becomes a replica. The request socket waits at the first hidden number, where the launcher put it.
pub fn start(words: Option<Words>) -> ! {
    let Ok([soft, hard]) = kernel::file_limit() else {
        report::fail("the limit of open files is not known");
    };
    let floor = descriptor_floor(soft, hard) as u32;
    SETTINGS.descriptor_floor.store(floor, Ordering::Relaxed);
    SETTINGS.requests.store(floor as i32, Ordering::Relaxed);
    // It came through an exec; it is no child's.
    kernel::set_at_exec(floor as i32, AtExec::Closed);
    welcome(floor as i32);
    hello(floor as i32);
    loop {
        let (answer, file) = requests::ask_for_descriptor(&Request::Ready(Nothing {}));
        match answer {
            // SAFETY: the daemon's own answer.
            Answer::Steps(steps) => unsafe { map(&steps, file) },
            Answer::Enter(start) if settings::is_home() => {
                links::set_executable(start.executable);
                call::set_break(start.program_break);
                // While this is the only thread.
                let file = file.filter(|&file| {
                    let detached = image::detach().is_ok();
                    if !detached {
                        kernel::close(file);
                    }
                    detached
                });
                run(&start, words, file)
            }
            Answer::Done(_) if !settings::is_home() => serve(),
            // The daemon has said what is wrong.
            Answer::Failed(_) => kernel::exit_group(report::STATUS_OURS),
            _ => requests::unexpected(),
        }
    }
}

/// Maps a part of the program's memory, with what is in a file.
///
/// # Safety
/// As [`perform::perform`].
pub unsafe fn map(steps: &Steps, file: Option<i32>) {
    // SAFETY: the caller's promise.
    let performed = unsafe { perform::perform(steps, &Context { file, ..Context::MAP }) };
    if let Some(file) = file {
        kernel::close(file);
    }
    if let Err(error) = performed {
        let number = report::Decimal::new(u64::from(error.0));
        report::fail_with("the program's memory cannot be mapped: error ", &[number.text()]);
    }
}

fn welcome(socket: i32) {
    let mut buffer = [0; size_of::<Welcome>()];
    let received = socket::receive(socket, &mut buffer).ok();
    let welcome = received.and_then(|received| {
        let [Some(memory), Some(commands)] = received.descriptors else { return None };
        Some((Welcome::read_from_bytes(received.packet).ok()?, memory, commands))
    });
    let Some((welcome, memory, commands)) =
        welcome.filter(|(welcome, ..)| welcome.version == STUB_ABI_VERSION)
    else {
        report::fail("this is the runtime inside programs; start programs with `banyan run`");
    };
    SETTINGS.memory.store(memory, Ordering::Relaxed);
    SETTINGS.commands.store(commands, Ordering::Relaxed);
    SETTINGS.node.store(welcome.node, Ordering::Relaxed);
    SETTINGS.nodes.store(welcome.nodes, Ordering::Relaxed);
    SETTINGS.asks_for_children.store(welcome.follows_children, Ordering::Relaxed);
    kernel::set_name(&welcome.name);
    if welcome.node != 0 {
        // A replica ends with its daemon whatever its threads are waiting for.
        kernel::end_with_parent();
    }
}

/// Gives the daemon this address space's userfaultfd. A hidden duplicate stays here: should the daemon die,
/// threads that wait for a page hang until the service thread ends them, and never continue on a page of
/// zeroes.
fn hello(socket: i32) {
    let created = userfaultfd::create().or_else(|error| create_by_daemon(socket).ok_or(error));
    let descriptor = created.ok().map(descriptors::hide);
    SETTINGS.faults.store(descriptor.unwrap_or(-1), Ordering::Relaxed);
    let hello = Request::Hello(Hello {
        version: STUB_ABI_VERSION,
        process: kernel::process_id(),
        error: created.err().map_or(0, |error| u32::from(error.0)),
    });
    let mut buffer = [0; PACKET_MAX];
    let answered = socket::send(socket, hello.encode().bytes(), descriptor)
        .and_then(|()| socket::receive(socket, &mut buffer));
    match answered.map(|received| Answer::decode(received.packet)) {
        Ok(Ok(Answer::Done(_))) => {}
        // The daemon has said what is wrong.
        _ => kernel::exit_group(report::STATUS_OURS),
    }
}

/// A userfaultfd of a process that may not make one, as one that gave up that right: its daemon may have what
/// it had before.
fn create_by_daemon(socket: i32) -> Option<i32> {
    let mut buffer = [0; PACKET_MAX];
    let request = Request::FaultDevice(Nothing {});
    let received = socket::send(socket, request.encode().bytes(), None)
        .and_then(|()| socket::receive(socket, &mut buffer))
        .ok()?;
    let device = received.descriptors[0]?;
    let created = userfaultfd::create_by(device).ok();
    kernel::close(device);
    created
}

/// The home replica: the first thread becomes the program's.
fn run(start: &Enter, words: Option<Words>, file: Option<i32>) -> ! {
    // The service thread begins with it: it touches no program memory, and what is sent to the process must
    // not come there, however late it runs.
    let mask = kernel::set_mask(MaskChange::Set, !0);
    let started = block::allocate(Role::Service)
        .and_then(|service| {
            let id = create::spawn(service, service::serve, create::SHARED, 0)?;
            service.thread_id.store(id, Ordering::Relaxed);
            install_handlers()
        })
        .and_then(|()| block::allocate(Role::Home));
    let Ok(first) = started else { report::fail("the first thread cannot be started") };
    first.adopt();
    first.thread_id.store(kernel::thread_id(), Ordering::Relaxed);
    exit::count_first();
    let low = if LOW.holds(start.program_break, 0) { LowCode::OfProgram } else { LowCode::OfOthers };
    if low == LowCode::OfProgram {
        // What is executed keeps the filter: code in the low range must have a stub again.
        SETTINGS.asks_for_children.store(1, Ordering::Relaxed);
    }
    if filter::install(low).is_err() {
        report::fail("the filter of system calls cannot be installed");
    }
    let (kernels, sigsys) = mask::split(mask);
    first.sigsys_blocked.store(sigsys, Ordering::Relaxed);
    kernel::set_mask(MaskChange::Set, kernels);
    if vdso::announce(start.stack).is_err() {
        report::fail("the program's first stack is not in its memory");
    }
    if let Some(words) = words {
        layout::announce(words, start, file);
    }
    if let Some(file) = file {
        kernel::close(file);
    }
    // SAFETY: the daemon's loader wrote the program and its first stack there.
    unsafe { resume::enter(start.instruction, start.stack) }
}

/// A remote replica: the first thread obeys commands; carriers inherit the filter from it.
fn serve() -> ! {
    kernel::set_mask(MaskChange::Set, !0);
    let ready = install_handlers()
        .and_then(|()| filter::install(LowCode::OfProgram))
        .and_then(|()| block::allocate(Role::Service));
    match ready {
        Ok(thread) => service::serve(thread),
        Err(_) => report::fail("a replica cannot install its handlers or its filter"),
    }
}

fn install_handlers() -> Result<(), Errno> {
    let handlers = Handlers {
        trap: trap::on_trap,
        fault: fault::on_fault,
        signal: deliver::on_signal,
        interrupt: signals::on_interrupt,
    };
    // SAFETY: they leave the interrupted thread with what the program asked for, or end the process.
    unsafe { disposition::start(&handlers) }
}
