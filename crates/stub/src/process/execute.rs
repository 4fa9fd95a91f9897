//! `execve` by the program itself: another program in its place, under Banyan as this one; and by its
//! children, if the run follows them.
//!
//! The process executes Banyan again, as the interpreter of a script that the daemon makes, so that its id,
//! files, limits and signals become the new program's as exec says. The daemon learns of the end of this
//! program by its socket, which exec closes; until then everything goes on, should the kernel refuse.
//!
//! Not here: what a child executes natively (`trap::dispatch`).

use crate::daemon::requests;
use crate::kernel::{self, AtExec};
use crate::memory::copy::{self, ProgramAddress};
use crate::process::links::PATH_MAX;
use crate::report::Decimal;
use crate::signal::frame::UserContext;
use crate::thread::Thread;
use crate::trap::reissue;
use banyan_sys::raw::Errno;
use banyan_wire::stub::{Answer, Execute, Executes, Nothing, Request};
use linux_raw_sys::general as linux;
use zerocopy::IntoBytes;

/// Has the thread execute the script when it leaves the trap, by the stub's code and with the program's mask.
///
/// # Errors
/// What the kernel would say of the file; `ENOEXEC` if it is no program.
pub fn execute(
    thread: &Thread,
    by: Executes,
    arguments: &[u64; 6],
    context: &mut UserContext,
) -> Result<(), Errno> {
    let [path, list, ..] = *arguments;
    let name: u64 = copy::load(ProgramAddress(list))?;
    let file = match open(path) {
        Ok(file) => file,
        // The kernel executes what cannot be read, and else says why not.
        Err(_) if by == Executes::Child => return natively(thread, context),
        Err(error) => return Err(error),
    };
    let (answer, script) = requests::exchange(&Request::Execute(Execute { by }), Some(file));
    kernel::close(file);
    match answer {
        Answer::Done(_) => {}
        Answer::AtHome(_) => return natively(thread, context),
        _ => return Err(Errno::ENOEXEC),
    }
    let script = script.ok_or(Errno::EACCES)?;
    for text in [path, name] {
        let mut bytes = [0; PATH_MAX];
        let length = copy::copy_string_in(ProgramAddress(text), &mut bytes)?;
        // SAFETY: the bytes live across the call, which only reads them.
        let _ = unsafe {
            kernel::checked(
                linux::__NR_write,
                [script as u64, bytes.as_ptr() as u64, length as u64, 0, 0, 0],
            )?
        };
    }
    // Should the process have given up the right to have its page faults served.
    if let (Answer::Done(_), Some(device)) = requests::ask_for_descriptor(&Request::FaultDevice(Nothing {})) {
        // Not one of the first three, which mean something to every program; and it is kept at exec.
        let above = [device as u64, linux::F_DUPFD.into(), 3, 0, 0, 0];
        // SAFETY: no pointers.
        let kept = unsafe { kernel::checked(linux::__NR_fcntl, above) };
        kernel::close(device);
        let number = Decimal::new(kept?);
        let digits = number.text();
        let to_script = [script as u64, digits.as_ptr() as u64, digits.len() as u64, 0, 0, 0];
        // SAFETY: the digits live across the call, which only reads them.
        let _ = unsafe { kernel::checked(linux::__NR_write, to_script)? };
    }
    kernel::set_at_exec(script, AtExec::Kept);
    let mut words = [*b"/proc/se", *b"lf/fd/\0\0", [0; 8]].map(u64::from_le_bytes);
    let number = Decimal::new(script as u64);
    for (to, from) in words.as_mut_bytes()[14..].iter_mut().zip(number.text().as_bytes()) {
        *to = *from;
    }
    let at = reissue::reissue(thread, linux::__NR_execve, words, context)?;
    context.registers.rdi = at;
    Ok(())
}

/// Opens what is to be executed.
fn open(path: u64) -> Result<i32, Errno> {
    // SAFETY: the program's own path; the kernel checks it.
    unsafe {
        let _ = kernel::checked(linux::__NR_access, [path, linux::X_OK.into(), 0, 0, 0, 0])?;
        let flags = u64::from(linux::O_CLOEXEC | linux::O_NONBLOCK);
        kernel::checked(linux::__NR_open, [path, flags, 0, 0, 0, 0]).map(|file| file as i32)
    }
}

/// Has a child make the call itself.
fn natively(thread: &Thread, context: &mut UserContext) -> Result<(), Errno> {
    reissue::reissue(thread, linux::__NR_execve, [0; 3], context).map(drop)
}
