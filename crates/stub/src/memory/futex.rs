//! The program's futex calls, as far as the kernel cannot make them alone.
//!
//! Where the kernel writes a futex word (`FUTEX_LOCK_PI`, `FUTEX_WAKE_OP`, ...) it does so through a fault
//! that it does not wait for; and it finds a futex that is not private through the page that the word lies
//! in. While another node has the page, or when it is taken away at that moment, such a call fails with
//! EFAULT, on which C libraries abort. So the page is brought here first, and the call is made again if it
//! was taken away in between.

use crate::daemon::settings;
use crate::kernel;
use crate::memory::copy::{self, ProgramAddress};
use crate::signal::wait::End;
use banyan_sys::raw::Errno;
use banyan_wire::syscalls::futex::OPTIONS;
use linux_raw_sys::general as linux;

/// How often one call is made at most. A page that was brought stays for a while, so that two are enough.
pub const ATTEMPTS: u32 = 1000;

/// `FUTEX2_PRIVATE` of the calls that have flags, and bytes of a `struct futex_waitv`: value, word, flags.
const FLAG_PRIVATE: u64 = 128;
const WAITER: u64 = 24;

/// What an EFAULT of a prepared call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The program's mistake.
    Final,
    /// A page was taken away after it was brought: the call is to be made again.
    Again,
}

/// Brings here what the kernel is going to look at or write.
///
/// # Errors
/// `EFAULT` if the kernel would find no memory where the call says.
pub fn prepare(number: u32, arguments: &[u64; 6]) -> Result<Fault, Errno> {
    if settings::is_alone() {
        return Ok(Fault::Final);
    }
    let [first, second, _, fourth, fifth, _] = *arguments;
    match number {
        linux::__NR_futex => operation(arguments),
        linux::__NR_futex_waitv if time(fourth).is_ok() => Ok(words(first, second)),
        linux::__NR_futex_requeue => Ok(words(first, 2)),
        linux::__NR_futex_wait if time(fifth).is_ok() => Ok(word(first, fourth)),
        linux::__NR_futex_wake => Ok(word(first, fourth)),
        // The kernel says what is wrong first.
        _ => Ok(Fault::Final),
    }
}

/// The word of a call that names its flags. The kernel only reads it.
fn word(at: u64, flags: u64) -> Fault {
    let is_shared = flags & FLAG_PRIVATE == 0 && at.is_multiple_of(4);
    if is_shared && readable(at).is_ok() { Fault::Again } else { Fault::Final }
}

/// The words of a list of `struct futex_waitv`. What is no such list the kernel refuses.
fn words(list: u64, count: u64) -> Fault {
    let mut fault = Fault::Final;
    for index in 0..count.min(linux::FUTEX_WAITV_MAX.into()) {
        let waiter = copy::load::<[u64; 3]>(ProgramAddress(list).add(index * WAITER));
        if let Ok([_, at, flags]) = waiter
            && word(at, flags) == Fault::Again
        {
            fault = Fault::Again;
        }
    }
    fault
}

/// `futex`, whose operation is an argument.
fn operation(arguments: &[u64; 6]) -> Result<Fault, Errno> {
    let operation = arguments[1] as u32;
    let shared = operation & linux::FUTEX_PRIVATE_FLAG == 0;
    let [first, _, _, timeout, second, _] = *arguments;
    // An unaligned word is refused before it is looked at.
    let is_word = |at: u64| at.is_multiple_of(4);
    let exists = |at: u64| if shared && is_word(at) { readable(at) } else { Ok(()) };
    let bring = |at: u64| if is_word(at) { copy::probe_writable(ProgramAddress(at)) } else { Ok(()) };
    let reads = if shared { Fault::Again } else { Fault::Final };
    match operation & !OPTIONS {
        linux::FUTEX_WAIT | linux::FUTEX_WAIT_BITSET => {
            time(timeout)?;
            exists(first)?;
            Ok(reads)
        }
        linux::FUTEX_WAKE | linux::FUTEX_WAKE_BITSET => {
            exists(first)?;
            Ok(reads)
        }
        linux::FUTEX_REQUEUE | linux::FUTEX_CMP_REQUEUE => {
            exists(first)?;
            exists(second)?;
            Ok(reads)
        }
        linux::FUTEX_LOCK_PI | linux::FUTEX_LOCK_PI2 => {
            time(timeout)?;
            bring(first)?;
            Ok(Fault::Again)
        }
        linux::FUTEX_UNLOCK_PI | linux::FUTEX_TRYLOCK_PI => {
            bring(first)?;
            Ok(Fault::Again)
        }
        linux::FUTEX_WAKE_OP => {
            exists(first)?;
            bring(second)?;
            Ok(Fault::Again)
        }
        linux::FUTEX_CMP_REQUEUE_PI => {
            readable(first)?;
            bring(second)?;
            Ok(Fault::Again)
        }
        linux::FUTEX_WAIT_REQUEUE_PI => {
            time(timeout)?;
            readable(first)?;
            bring(second)?;
            Ok(Fault::Again)
        }
        _ => Ok(Fault::Final),
    }
}

/// Makes a call at home by `make`, not on the program's stack. `None` if a signal comes before it.
pub fn call(number: u32, arguments: &[u64; 6], make: impl Fn([u64; 6]) -> End) -> Option<i64> {
    for _ in 0..ATTEMPTS {
        let fault = match prepare(number, arguments) {
            Ok(fault) => fault,
            Err(error) => return Some(error.negated()),
        };
        let End::Made(result) = make(*arguments) else { return None };
        if result != Errno::EFAULT.negated() || fault == Fault::Final {
            return Some(result);
        }
    }
    Some(Errno::EFAULT.negated())
}

/// Wakes one waiter on a word of the program that another process may wait on too, as the kernel does for a
/// thread that ends (kernel/fork.c, `mm_release`).
pub fn wake(word: ProgramAddress) {
    let arguments = [word.0, linux::FUTEX_WAKE.into(), 1, 0, 0, 0];
    // SAFETY: waking looks at the page of the word and at nothing in it, and the address is the program's.
    let make = |arguments| End::Made(unsafe { kernel::raw(linux::__NR_futex, arguments) });
    let _ = call(linux::__NR_futex, &arguments, make);
}

fn readable(at: u64) -> Result<(), Errno> {
    copy::load::<u32>(ProgramAddress(at)).map(drop)
}

/// A bad timeout is the program's mistake; after this the call's EFAULT is none.
fn time(at: u64) -> Result<(), Errno> {
    if at == 0 { Ok(()) } else { copy::load::<[u64; 2]>(ProgramAddress(at)).map(drop) }
}
