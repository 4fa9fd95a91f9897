//! Calls that would have the kernel hold pages of the program: while they are held another node may take
//! them, and what is written then is lost, or what is read is old. Here the bytes are copied.
//!
//! Not for a process on one node: the kernel has its memory alone, and the filter lets these calls pass.

use crate::kernel;
use crate::memory::copy::{self, ProgramAddress};
use crate::thread::block;
use crate::trap::arguments::ProgramArguments;
use banyan_sys::raw::Errno;
use banyan_wire::ids::PAGE_BYTES;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// `struct iovec` entries of a call at most: `UIO_MAXIOV`.
const VECTORS_MAX: u64 = 1024;
/// Bytes of one of them.
const VECTOR: u64 = 16;
/// What a splice may be asked for.
const SPLICE_ALL: u64 =
    (linux::SPLICE_F_MOVE | linux::SPLICE_F_NONBLOCK | linux::SPLICE_F_MORE | linux::SPLICE_F_GIFT) as u64;

/// `process_vm_writev`.
pub fn write_process(number: u32, arguments: &ProgramArguments) -> i64 {
    if !is_own(arguments[0] as u32) {
        // SAFETY: the program's own call, about the memory of another process.
        return unsafe { kernel::raw(number, **arguments) };
    }
    match write_own(arguments) {
        Ok(written) => written as i64,
        Err(error) => error.negated(),
    }
}

/// Whether the number is the process's, or that of a thread of the program.
fn is_own(process: u32) -> bool {
    process == kernel::process_id()
        || block::all().any(|thread| thread.thread_id.load(Ordering::Relaxed) == process)
}

/// Copies what one list of ranges holds to the other. As far as it gets: an error is returned only if that is
/// nowhere.
fn write_own(arguments: &[u64; 6]) -> Result<u64, Errno> {
    let [_, from, from_count, to, to_count, flags] = *arguments;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (mut from, mut to) = (Ranges::new(from, from_count)?, Ranges::new(to, to_count)?);
    let mut written = 0;
    let end = loop {
        let (from_at, from_left) = match from.next() {
            Ok(Some(piece)) => piece,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let (to_at, to_left) = match to.next() {
            Ok(Some(piece)) => piece,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let length = from_left.min(to_left).min(left_of_page(from_at)).min(left_of_page(to_at));
        if let Err(error) = copy::copy_within(ProgramAddress(to_at), ProgramAddress(from_at), length as usize)
        {
            break Err(error);
        }
        written += length;
        from.advance(length);
        to.advance(length);
    };
    if written > 0 { Ok(written) } else { end.map(|()| 0) }
}

fn left_of_page(at: u64) -> u64 {
    PAGE_BYTES - at % PAGE_BYTES
}

/// A list of ranges of the program's memory, of which a part is done.
struct Ranges {
    /// The next range.
    list: u64,
    /// How many are left.
    count: u64,
    /// Where the present one goes on, and for how many bytes.
    at: u64,
    left: u64,
}

impl Ranges {
    fn new(list: u64, count: u64) -> Result<Self, Errno> {
        if count > VECTORS_MAX { Err(Errno::EINVAL) } else { Ok(Self { list, count, at: 0, left: 0 }) }
    }

    /// Where the next bytes are, and how many there are in one piece. `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, u64)>, Errno> {
        while self.left == 0 {
            if self.count == 0 {
                return Ok(None);
            }
            [self.at, self.left] = copy::load(ProgramAddress(self.list))?;
            self.list = self.list.wrapping_add(VECTOR);
            self.count -= 1;
        }
        Ok(Some((self.at, self.left)))
    }

    fn advance(&mut self, bytes: u64) {
        self.at = self.at.wrapping_add(bytes);
        self.left -= bytes;
    }
}

/// What becomes of a `vmsplice`.
pub enum Splice {
    /// It is done, with this result.
    Done(i64),
    /// This call does it, and may wait.
    Call(u32, [u64; 6]),
}

/// How a `vmsplice` is done by copies. It waits for room for its first bytes only: a call that finds some
/// writes what fits, so one that finds none is made into one that waits for a page's.
pub fn splice(arguments: &[u64; 6]) -> Splice {
    by_copies(arguments).unwrap_or_else(|error| Splice::Done(error.negated()))
}

fn by_copies(arguments: &[u64; 6]) -> Result<Splice, Errno> {
    let [descriptor, list, count, flags, ..] = *arguments;
    if flags & !SPLICE_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    let control = |command: u64| {
        // SAFETY: these commands have no pointers.
        unsafe { kernel::checked(linux::__NR_fcntl, [descriptor, command]) }
    };
    let access = control(linux::F_GETFL.into())? & u64::from(linux::O_ACCMODE);
    let Some((at, left)) = Ranges::new(list, count)?.next()? else { return Ok(Splice::Done(0)) };
    control(linux::F_GETPIPE_SZ.into()).map_err(|_| Errno::EBADF)?;
    let waits = flags & u64::from(linux::SPLICE_F_NONBLOCK) == 0;
    // Both are for the place where the file is.
    let at_once = [descriptor, list, count, u64::MAX, u64::MAX, linux::RWF_NOWAIT.into()];
    if access == u64::from(linux::O_RDONLY) {
        return Ok(if waits {
            Splice::Call(linux::__NR_readv, [descriptor, list, count, 0, 0, 0])
        } else {
            Splice::Call(linux::__NR_preadv2, at_once)
        });
    }
    // SAFETY: the program's own ranges, which the kernel only reads.
    let made = unsafe { kernel::raw(linux::__NR_pwritev2, at_once) };
    if made == Errno::EAGAIN.negated() && waits {
        return Ok(Splice::Call(linux::__NR_write, [descriptor, at, left.min(left_of_page(at)), 0, 0, 0]));
    }
    Ok(Splice::Done(made))
}
