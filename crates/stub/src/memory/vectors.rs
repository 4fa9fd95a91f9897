//! `process_vm_readv` and `process_vm_writev` of a process on itself. The kernel would pin the pages, and
//! what it wrote to one that is taken away meanwhile would be lost; so the stub copies.

use crate::kernel;
use crate::memory::copy::{self, ProgramAddress};
use crate::process::processor_time;
use banyan_sys::raw::Errno;
use banyan_wire::ids::PAGE_BYTES;
use linux_raw_sys::general as linux;

/// `UIO_MAXIOV`: vectors that one call may name.
const VECTORS_MAX: u64 = 1024;
/// Bytes of `struct iovec`.
const VECTOR_BYTES: u64 = 16;
/// `MAX_RW_COUNT`: bytes that one call copies.
const BYTES_MAX: u64 = (i32::MAX as u64) & !(PAGE_BYTES - 1);

/// Makes the call. On another process the kernel does.
pub fn call(number: u32, arguments: &[u64; 6]) -> i64 {
    let [process, local, local_count, remote, remote_count, flags] = *arguments;
    let process = process as u32;
    if process != kernel::process_id() && processor_time::with_id(process).is_none() {
        // SAFETY: the program's own call, which touches memory of this process as any other does.
        return unsafe { kernel::raw(number, *arguments) };
    }
    let ends = Ends {
        local: Vectors { next: local, left: local_count, at: 0, length: 0 },
        remote: Vectors { next: remote, left: remote_count, at: 0, length: 0 },
    };
    let copied = match (flags, check(local, local_count), check(remote, remote_count)) {
        (0, Ok(()), Ok(())) => ends.copy(number == linux::__NR_process_vm_readv),
        (0, Err(error), _) | (0, _, Err(error)) => Err(error),
        _ => Err(Errno::EINVAL),
    };
    copied.map_or_else(Errno::negated, |bytes| bytes as i64)
}

/// What the kernel refuses before it copies anything.
fn check(vectors: u64, count: u64) -> Result<(), Errno> {
    if count > VECTORS_MAX {
        return Err(Errno::EINVAL);
    }
    for number in 0..count {
        let [_, length] = copy::load::<[u64; 2]>(ProgramAddress(vectors).add(number * VECTOR_BYTES))?;
        if length > i64::MAX as u64 {
            return Err(Errno::EINVAL);
        }
    }
    Ok(())
}

/// Vectors, and how far they are done.
struct Vectors {
    next: u64,
    left: u64,
    at: u64,
    length: u64,
}

impl Vectors {
    /// Goes on to bytes that are not done yet, if there are any.
    fn advance(&mut self) -> Result<bool, Errno> {
        while self.length == 0 {
            let Some(left) = self.left.checked_sub(1) else { return Ok(false) };
            [self.at, self.length] = copy::load::<[u64; 2]>(ProgramAddress(self.next))?;
            (self.left, self.next) = (left, self.next + VECTOR_BYTES);
        }
        Ok(true)
    }

    /// How many bytes there are up to the end of a page.
    fn piece(&self) -> u64 {
        self.length.min(PAGE_BYTES - self.at % PAGE_BYTES)
    }

    fn done(&mut self, bytes: u64) {
        self.at = self.at.wrapping_add(bytes);
        self.length -= bytes;
    }
}

struct Ends {
    local: Vectors,
    remote: Vectors,
}

impl Ends {
    /// Copies what there is. How many bytes came over before memory of the program ended.
    fn copy(mut self, reads: bool) -> Result<u64, Errno> {
        let mut total = 0;
        while total < BYTES_MAX && self.local.advance()? && self.remote.advance()? {
            let piece = self.local.piece().min(self.remote.piece()).min(BYTES_MAX - total);
            let (local, remote) = (ProgramAddress(self.local.at), ProgramAddress(self.remote.at));
            let (to, from) = if reads { (local, remote) } else { (remote, local) };
            if let Err(error) = copy::copy_within(to, from, piece as usize) {
                return if total == 0 { Err(error) } else { Ok(total) };
            }
            self.local.done(piece);
            self.remote.done(piece);
            total += piece;
        }
        Ok(total)
    }
}
