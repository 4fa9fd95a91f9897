//! A trapped call of a thread that runs at home, by its row in the table of system calls.
//!
//! Not here: calls of threads elsewhere (`remote::carrier`, `remote::deputy`), which match the same rows.

use crate::kernel;
use crate::memory::call;
use crate::process::{descriptors, links};
use crate::signal::frame::UserContext;
use crate::signal::{alternate_stack, mask};
use crate::thread::{Thread, create, exit};
use crate::trap::{emulate, refuse, reissue};
use banyan_sys::raw::Errno;
use banyan_wire::syscalls::{Class, CreationForm, Emulation, Handling, HomeOnly, SystemCall, ThreadCall};

/// What the trap does next.
pub enum Outcome {
    /// The program gets this result.
    Result(i64),
    /// The program makes the call again: its context was changed for that.
    Again,
}

/// Does a trapped call of a thread at home, or has it made again.
///
/// # Errors
/// What the program gets for bad pointers in a call that would be made again.
pub fn home_call(
    thread: &'static Thread,
    row: &SystemCall,
    arguments: &[u64; 6],
    context: &mut UserContext,
) -> Result<Outcome, Errno> {
    let number = u32::from(row.number);
    let result = match row.class {
        // The filter lets these pass.
        // SAFETY: the program's own call.
        Class::Local | Class::Deputy(Handling::Plain) => unsafe { kernel::raw(number, *arguments) },
        Class::Deputy(Handling::Descriptors(which)) => descriptors::guarded(number, which, arguments),
        Class::Deputy(Handling::Link { path }) => {
            links::read_at_home(thread, number, arguments, usize::from(path))
        }
        Class::Deputy(Handling::Mask(mask))
        | Class::Emulate(Emulation::Thread(ThreadCall::Suspend(mask))) => {
            reissue::with_mask(number, arguments, mask, context)?;
            return Ok(Outcome::Again);
        }
        Class::Deputy(Handling::Futex) => {
            reissue::futex(number, arguments, context)?;
            return Ok(Outcome::Again);
        }
        Class::Emulate(Emulation::Memory(call)) => call::call(thread, call, number, arguments),
        Class::Emulate(Emulation::Home(call)) => emulate::home_call(thread, call, number, arguments),
        Class::Emulate(Emulation::Thread(ThreadCall::SignalMask)) => signal_mask(thread, arguments, context),
        Class::Emulate(Emulation::Thread(ThreadCall::AlternateStack)) => {
            alternate_stack::change_alternate_stack(thread, arguments, context.registers.rsp)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::ArchitectureControl)) => {
            emulate::architecture_control(arguments)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::Create(form))) => {
            create(thread, form, row, arguments, context)
        }
        Class::Emulate(Emulation::Thread(ThreadCall::End)) => exit::end(thread, arguments[0]),
        Class::GoHome(HomeOnly::Native | HomeOnly::NotServed) => refuse::not_served(i64::from(number)),
        Class::Refuse { errno, notice } => refuse::refuse(i64::from(number), errno, notice),
    };
    Ok(Outcome::Result(result))
}

/// The program's signal mask: what the kernel has, and the signal of the trap, which is never blocked.
fn view(thread: &Thread, context: &UserContext) -> u64 {
    context.mask | thread.sigsys_blocked.get()
}

fn signal_mask(thread: &Thread, arguments: &[u64; 6], context: &mut UserContext) -> i64 {
    let mut mask = view(thread, context);
    let result = mask::change_mask(arguments, &mut mask);
    let (kernels, sigsys) = mask::split_mask(mask);
    context.mask = kernels;
    thread.sigsys_blocked.set(sigsys);
    result
}

fn create(
    thread: &Thread,
    form: CreationForm,
    row: &SystemCall,
    arguments: &[u64; 6],
    context: &UserContext,
) -> i64 {
    match create::decode(form, arguments, context, view(thread, context)) {
        Ok(creation) => create::create(&creation),
        Err(Errno::ENOSYS) => refuse::not_served(row.number.into()),
        Err(error) => error.negated(),
    }
}
