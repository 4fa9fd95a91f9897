//! `execve` and `execveat` by the program itself: another program in its place, under Banyan as this one; and
//! by its children, if the run follows them.
//!
//! The process executes Banyan again, as the interpreter of a script that the daemon makes, so that its id,
//! files, limits and signals become the new program's as exec says. The daemon learns of the end of this
//! program by its socket, which exec closes; until then everything goes on, should the kernel refuse.
//!
//! Not here: what a child executes natively (`trap::dispatch`).

use crate::daemon::requests;
use crate::kernel::{self, AtExec};
use crate::memory::copy::{self, ProgramAddress};
use crate::process::descriptors;
use crate::process::links::PATH_MAX;
use crate::report::Decimal;
use crate::signal::frame::UserContext;
use crate::signal::mask;
use crate::thread::Thread;
use crate::trap::arguments::ProgramArguments;
use crate::trap::reissue;
use banyan_sys::raw::Errno;
use banyan_wire::stub::{Answer, Execute, Executes, Nothing, Request};
use banyan_wire::syscalls::DescriptorArguments;
use core::ffi::CStr;
use linux_raw_sys::general as linux;

/// `AT_EXECVE_CHECK`: nothing is executed.
const CHECK_ONLY: u64 = 0x1_0000;

/// What is to be executed: the arguments of execve(2), and where execveat(2) has the path begin.
struct Call {
    /// A directory, or with an empty path the file.
    directory: u64,
    path: u64,
    list: u64,
    environment: u64,
    /// Of execveat.
    flags: Option<u64>,
}

impl Call {
    fn new(number: u32, arguments: &[u64; 6]) -> Self {
        let [first, second, third, fourth, fifth, _] = *arguments;
        if number == linux::__NR_execve {
            let directory = linux::AT_FDCWD as u64;
            Self { directory, path: first, list: second, environment: third, flags: None }
        } else {
            Self { directory: first, path: second, list: third, environment: fourth, flags: Some(fifth) }
        }
    }
}

/// Executes the script, which tells the program's mask, for the stub's is not the one to pass on. Returns a
/// result if nothing is executed, and nothing if a child makes the call when it leaves the trap.
///
/// # Errors
/// What the kernel says, or would say of the file.
pub fn execute(
    thread: &Thread,
    by: Executes,
    number: u32,
    arguments: &ProgramArguments,
    context: &mut UserContext,
) -> Result<Option<i64>, Errno> {
    let call = Call::new(number, arguments);
    if call.flags.is_some_and(|flags| flags & CHECK_ONLY != 0) {
        // SAFETY: the program's own call. A kernel that does not know the flag refuses it.
        return Ok(Some(unsafe { kernel::raw(number, **arguments) }));
    }
    let mut path = [0; PATH_MAX];
    let length = copy::copy_string_in(ProgramAddress(call.path), &mut path)?;
    let name: u64 = copy::load(ProgramAddress(call.list))?;
    let file = match open(&call, path[0] == 0) {
        Ok(file) => file,
        // The kernel executes what cannot be read, and else says why not.
        Err(_) if by == Executes::Child => {
            return reissue::reissue(thread, number, [0; 3], context).map(|_| None);
        }
        Err(error) => return Err(error),
    };
    let mask = mask::of_program(thread, context);
    let mut passing = [-1; 3];
    let prepared = prepare(&call, by, &path[..length], name, mask, file, &mut passing);
    kernel::close(file);
    if let Ok(Some(script)) = prepared {
        kernel::set_at_exec(script, AtExec::Kept);
        let mut place = [0; 48];
        let path = link_of(script, &mut place).as_ptr() as u64;
        let arguments = [path, call.list, call.environment, 0, 0, 0];
        // SAFETY: the path lives across the call; the kernel checks what is the program's.
        let refused = unsafe { kernel::checked(linux::__NR_execve, arguments) };
        close_all(passing);
        return refused.map(|_| None);
    }
    close_all(passing);
    prepared?;
    reissue::reissue(thread, number, [0; 3], context).map(|_| None)
}

fn close_all(descriptors: [i32; 3]) {
    for descriptor in descriptors {
        kernel::close(descriptor);
    }
}

/// The script by which the file goes on in place of this program; `None` if a child makes the call itself.
/// What is to pass exec is put into `passing`, also if this fails.
fn prepare(
    call: &Call,
    by: Executes,
    path: &[u8],
    name: u64,
    mask: u64,
    file: i32,
    passing: &mut [i32; 3],
) -> Result<Option<i32>, Errno> {
    let is_descriptors = call.flags.is_some() && path[0] != b'/' && call.directory as i32 != linux::AT_FDCWD;
    if is_descriptors && is_script(file) && is_closed_at_exec(call.directory as i32) {
        // Its interpreter could not open it.
        return Err(Errno::ENOENT);
    }
    let (answer, script) = requests::exchange(&Request::Execute(Execute { by }), Some(file));
    let script = match (answer, script) {
        (Answer::Done(_), Some(script)) => script,
        (Answer::AtHome(_), _) => return Ok(None),
        (Answer::Steps(steps), _) => return banyan_sys::raw::check(steps.result).map(|_| None),
        _ => requests::unexpected(),
    };
    passing[0] = script;
    // What it is called, as the kernel has it.
    if is_descriptors {
        write(script, b"/dev/fd/")?;
        write(script, Decimal::new(call.directory).text())?;
        write(script, if path[0] == 0 { b"" } else { b"/" })?;
    }
    write(script, path)?;
    let mut zeroth = [0; PATH_MAX];
    let length = copy::copy_string_in(ProgramAddress(name), &mut zeroth)?;
    write(script, &zeroth[..length])?;
    // Should the process have given up the right to have its page faults served.
    if let (Answer::Done(_), Some(device)) = requests::ask_for_descriptor(&Request::FaultDevice(Nothing {})) {
        let written = keep(script, device, &mut passing[1]);
        kernel::close(device);
        written?;
    }
    write(script, b"\0")?;
    if is_descriptors {
        keep(script, file, &mut passing[2])?;
    }
    write(script, b"\0")?;
    write(script, Decimal::new(mask).text())?;
    write(script, b"\0")?;
    Ok(Some(script))
}

/// Has a descriptor pass exec, as `kept`, and tells the script its number.
fn keep(script: i32, descriptor: i32, kept: &mut i32) -> Result<(), Errno> {
    // Not one of the first three, which mean something to every program; and it is kept at exec.
    let above = [descriptor as u64, linux::F_DUPFD.into(), 3];
    // SAFETY: no pointers.
    let number = unsafe { kernel::checked(linux::__NR_fcntl, above) }?;
    *kept = number as i32;
    write(script, Decimal::new(number).text())
}

fn write(script: i32, bytes: &[u8]) -> Result<(), Errno> {
    let arguments = [script as u64, bytes.as_ptr() as u64, bytes.len() as u64];
    // SAFETY: the bytes live across the call, which only reads them.
    unsafe { kernel::checked(linux::__NR_write, arguments) }.map(drop)
}

/// Opens what is to be executed.
fn open(call: &Call, path_is_empty: bool) -> Result<i32, Errno> {
    const KNOWN: u32 = linux::AT_EMPTY_PATH | linux::AT_SYMLINK_NOFOLLOW;
    let asked = call.flags.unwrap_or(0) as u32;
    if asked & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let &Call { directory, path, .. } = call;
    if descriptors::are_hidden(DescriptorArguments::First, &[directory, 0, 0, 0, 0, 0]) {
        return Err(Errno::EBADF);
    }
    let access = [directory, path, linux::X_OK.into(), asked.into()];
    let mut flags = u64::from(linux::O_CLOEXEC | linux::O_NONBLOCK);
    if asked & linux::AT_SYMLINK_NOFOLLOW != 0 {
        flags |= u64::from(linux::O_NOFOLLOW);
    }
    // SAFETY: the program's own path; the kernel checks it.
    let _ = unsafe { kernel::checked(linux::__NR_faccessat2, access)? };
    let mut place = [0; 48];
    let path = if !path_is_empty {
        path
    } else if directory as i32 == linux::AT_FDCWD {
        c".".as_ptr() as u64
    } else {
        // One that was opened for its path alone, too.
        link_of(directory as i32, &mut place).as_ptr() as u64
    };
    // SAFETY: as above, or a path of the stub's that lives across the call.
    unsafe { kernel::checked(linux::__NR_openat, [directory, path, flags]) }.map(|file| file as i32)
}

/// The link that leads to what a descriptor stands for.
fn link_of(descriptor: i32, place: &mut [u8; 48]) -> &CStr {
    let number = Decimal::new(descriptor as u64);
    let text = [b"/proc/self/fd/", number.text()];
    for (to, from) in place.iter_mut().zip(text.iter().flat_map(|part| part.iter())) {
        *to = *from;
    }
    CStr::from_bytes_until_nul(place).unwrap_or(c"")
}

fn is_script(file: i32) -> bool {
    let mut head = [0_u8; 2];
    let arguments = [file as u64, head.as_mut_ptr() as u64, head.len() as u64, 0];
    // SAFETY: the bytes live across the call, which writes no more than their number.
    unsafe { kernel::raw(linux::__NR_pread64, arguments) == 2 && head == *b"#!" }
}

fn is_closed_at_exec(descriptor: i32) -> bool {
    let arguments = [descriptor as u64, linux::F_GETFD.into()];
    // SAFETY: no pointers.
    let flags = unsafe { kernel::raw(linux::__NR_fcntl, arguments) };
    flags >= 0 && flags & i64::from(linux::FD_CLOEXEC) != 0
}
