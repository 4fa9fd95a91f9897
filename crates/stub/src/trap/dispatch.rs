//! A trapped call of a thread that runs at home, by its row in the table of system calls.
//!
//! Not here: calls of threads elsewhere (`remote::carrier`, `remote::deputy`), which match the same rows.

use crate::daemon::settings;
use crate::kernel;
use crate::memory::call;
use crate::memory::transfer::{self, Splice};
use crate::process::listings::Listing;
use crate::process::{
    descriptors, execute, files, links, namespaces, processor_sleep, processor_time, timers,
};
use crate::signal::frame::UserContext;
use crate::signal::{alternate_stack, deliver, mask, restore};
use crate::thread::create::{self, Kind};
use crate::thread::{Role, Thread, child, exit, fork};
use crate::trap::arguments::ProgramArguments;
use crate::trap::outcome::Outcome;
use crate::trap::{emulate, refuse, reissue};
use banyan_sys::raw::Errno;
use banyan_wire::stub::Executes;
use banyan_wire::syscalls::{Class, CreationForm, Emulation, Handling, SystemCall, ThreadCall};
use linux_raw_sys::general as linux;

/// Does a trapped call of a thread at home, or has it made again.
///
/// # Errors
/// What the program gets for bad pointers in a call that would be made again.
pub fn home_call(
    thread: &'static Thread,
    row: &SystemCall,
    arguments: &ProgramArguments,
    context: &mut UserContext,
) -> Result<Outcome, Errno> {
    let number = u32::from(row.number);
    let result = match row.class {
        Class::Deputy(Handling::Descriptors(which)) if descriptors::are_hidden(which, arguments) => {
            Errno::EBADF.negated()
        }
        Class::Deputy(Handling::Kill) => {
            refuse::allows_kill(arguments)?;
            // SAFETY: the program's own call.
            unsafe { kernel::raw(number, **arguments) }
        }
        // The filter lets most of these pass.
        Class::Local | Class::Deputy(Handling::Plain | Handling::Descriptors(_) | Handling::Affinity) => {
            // SAFETY: the program's own call, about no descriptor of the stub.
            unsafe { kernel::raw(number, **arguments) }
        }
        Class::Deputy(Handling::Clock | Handling::Usage) => processor_time::call(thread, number, arguments),
        Class::Deputy(Handling::Sleep) => {
            match processor_sleep::at_home(thread, number, arguments, context)? {
                Some(result) => result,
                None => return Ok(Outcome::Continue),
            }
        }
        Class::Deputy(Handling::Timer) => timers::call(thread, number, arguments),
        Class::Deputy(Handling::Link { path }) => {
            links::read_at_home(thread, number, arguments, usize::from(path))
        }
        Class::Deputy(Handling::Open { path }) => {
            match files::open_at_home(thread, arguments, usize::from(path)) {
                Some(result) => result,
                None => {
                    reissue::reissue(thread, number, [0; 3], context)?;
                    return Ok(Outcome::Continue);
                }
            }
        }
        Class::Deputy(Handling::Listing { name }) => match Listing::of(arguments[0]) {
            // SAFETY: this thread's own, and the only reference to it.
            Some(own) => own.read_for_program(unsafe { thread.payload() }, number, arguments, name),
            None => {
                reissue::reissue(thread, number, [0; 3], context)?;
                return Ok(Outcome::Continue);
            }
        },
        Class::Deputy(Handling::Mask(mask)) => {
            reissue::with_mask(thread, number, arguments, mask, context)?;
            return Ok(Outcome::Continue);
        }
        Class::Deputy(Handling::ProcessMemory) => transfer::write_process(number, arguments),
        Class::Deputy(Handling::Namespaces) => namespaces::call(number, arguments),
        Class::Deputy(Handling::Splice) => match transfer::splice(arguments) {
            Splice::Done(result) => result,
            Splice::Call(number, arguments) => {
                reissue::with_arguments(thread, number, &arguments, context)?;
                return Ok(Outcome::Continue);
            }
        },
        Class::Deputy(Handling::Futex | Handling::Futexes) => {
            reissue::futex(thread, number, arguments, context)?;
            return Ok(Outcome::Continue);
        }
        Class::Emulate(Emulation::Thread(ThreadCall::ReturnFromHandler)) => {
            match restore::restore(thread, context) {
                Ok(blocked) => mask::set_of_program(thread, context, blocked),
                Err(_) => deliver::fault(thread, 0, context),
            }
            return Ok(Outcome::Continue);
        }
        Class::Emulate(Emulation::Memory(call)) => call::call(thread, call, number, arguments),
        Class::Emulate(Emulation::Home(call)) => emulate::home_call(thread, call, arguments),
        Class::Emulate(Emulation::Thread(ThreadCall::SignalMask)) => signal_mask(thread, arguments, context),
        Class::Emulate(Emulation::Thread(ThreadCall::AlternateStack)) => {
            alternate_stack::change(thread, arguments, context.registers.rsp)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::ArchitectureControl)) => {
            emulate::architecture_control(arguments)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::Create(form))) => {
            create(thread, form, row, arguments, context)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::End)) => exit::end(thread, arguments[0]),
        Class::Execute => match executes(thread) {
            Executes::Child if number != linux::__NR_execve || !settings::asks_for_children() => {
                // By the stub's code and with the program's mask, which what is executed inherits.
                reissue::reissue(thread, number, [0; 3], context)?;
                return Ok(Outcome::Continue);
            }
            by => match execute::execute(thread, by, number, arguments, context)? {
                Some(result) => result,
                None => return Ok(Outcome::Continue),
            },
        },
        Class::Refuse { errno, notice } => refuse::refuse(i64::from(number), errno, notice),
    };
    Ok(Outcome::Result(result))
}

/// Who it is if the thread executes another program.
fn executes(thread: &Thread) -> Executes {
    let is_child = thread.role() == Role::Child || settings::is_copy();
    if is_child { Executes::Child } else { Executes::Program }
}

fn signal_mask(thread: &Thread, arguments: &[u64; 6], context: &mut UserContext) -> i64 {
    let mut blocked = mask::of_program(thread, context);
    let result = mask::change(arguments, &mut blocked);
    mask::set_of_program(thread, context, blocked);
    result
}

fn create(
    thread: &'static Thread,
    form: CreationForm,
    row: &SystemCall,
    arguments: &[u64; 6],
    context: &UserContext,
) -> i64 {
    // SAFETY: this thread's own, and the only reference to it.
    let payload = unsafe { thread.payload() };
    let mask = mask::of_program(thread, context);
    match create::decode(thread, form, arguments, context, mask, payload) {
        Ok(creation) => {
            let given = &payload[..creation.length];
            match creation.kind {
                // A child makes neither.
                _ if thread.role() == Role::Child => refuse::not_served(row.number.into()),
                Kind::Thread => create::create(&creation, given),
                Kind::Child => child::create(&creation, given),
                Kind::Copy => fork::create(thread, &creation),
            }
        }
        Err(Errno::ENOSYS) => refuse::not_served(row.number.into()),
        Err(error) => error.negated(),
    }
}
