//! Where the kernel believes the parts of the process to be, for what it says of it under /proc: the
//! auxiliary vector, and which private mapping is `[heap]`. It got the stub's from exec; here it gets the
//! program's. A mapping of the memory file keeps that name.
//!
//! Arguments and environment stay where exec put them, which no other node can take away.

use crate::kernel;
use crate::memory::copy::{self, ProgramAddress};
use crate::time::vdso;
use banyan_wire::address_space::STUB;
use banyan_wire::stub::Enter;
use linux_raw_sys::{auxvec, general as linux, prctl};

/// The name of the executed file, which the kernel puts right behind the environment.
const AT_EXECFN: u64 = auxvec::AT_EXECFN as u64;
const AT_NULL: u64 = auxvec::AT_NULL as u64;

/// Where exec put arguments and environment: the first byte of each, and the end of the latter.
#[derive(Clone, Copy)]
pub struct Words {
    arguments: u64,
    environment: u64,
    end: u64,
}

/// Finds the words that exec gave the stub.
///
/// # Safety
/// `stack` must be the stack pointer that the kernel set.
pub unsafe fn words(stack: *const u64) -> Option<Words> {
    // SAFETY: the caller's promise; both lists and the vector have ends.
    let word = |at: usize| Ok(unsafe { stack.add(at).read() });
    let end = word(vdso::auxiliary(word, AT_EXECFN)?).ok()?;
    let count = word(0).ok()? as usize;
    let [arguments, environment] = [1, count + 2].map(|at| word(at).unwrap_or(0));
    let environment = if environment == 0 { end } else { environment };
    Some(Words { arguments: if arguments == 0 { environment } else { arguments }, environment, end })
}

/// Tells the kernel, and which file is the program's. It may have no such call (`CONFIG_CHECKPOINT_RESTORE`):
/// then it goes on saying what is true of the stub. Only a privileged process may change its file.
pub fn announce(words: Words, start: &Enter, file: Option<i32>) {
    if !file.is_some_and(|file| tell(words, start, file as u32)) {
        let _ = tell(words, start, u32::MAX);
    }
}

/// Whether the kernel took it. The file may be none.
fn tell(words: Words, start: &Enter, file: u32) -> bool {
    let word = |at: usize| copy::load(ProgramAddress(start.stack).add(at as u64 * 8));
    let Some(vector) = vdso::vector(word) else { return false };
    let Some(last) = vdso::auxiliary(word, AT_NULL) else { return false };
    let map = prctl::prctl_mm_map {
        start_code: STUB.start,
        end_code: STUB.end,
        start_data: STUB.start,
        end_data: STUB.start,
        start_brk: start.program_break,
        // The break itself moves without the kernel; a mapping that has its first byte is the heap.
        brk: start.program_break + 1,
        start_stack: start.stack,
        arg_start: words.arguments,
        arg_end: words.environment,
        env_start: words.environment,
        env_end: words.end,
        auxv: (start.stack + vector as u64 * 8) as *mut u64,
        auxv_size: ((last + 1 - vector) * 8) as u32,
        exe_fd: file,
    };
    let (at, size) = (&raw const map as u64, size_of_val(&map) as u64);
    let arguments = [prctl::PR_SET_MM.into(), prctl::PR_SET_MM_MAP.into(), at, size, 0];
    // SAFETY: the map lives across the call, which only reads it and the program's vector, and changes what
    // the kernel tells of the process, not the process.
    unsafe { kernel::checked(linux::__NR_prctl, arguments) }.is_ok()
}
