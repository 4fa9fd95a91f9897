//! Pages of a heap that are brought in when they are touched, and taken out again, in ranges whose writes are
//! tracked: userfaultfd's missing faults, served by a thread of this very process.
//!
//! The thread that serves must never touch a page of the range itself: it would wait for itself. With a
//! descriptor of the kind that serves the program only, the kernel's own accesses to a missing page fail with
//! `EFAULT` instead of waiting. Source: ioctl_userfaultfd(2).

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use banyan_sys::dirty_pages::{self, DirtyPages};
use banyan_sys::raw::Errno;
use banyan_sys::userfaultfd::{Access, Kind, Message, Partial, Registration, Userfaultfd};
use rustix::event::{PollFd, PollFlags, poll};

use super::mapping::Mapping;

/// Features that a kernel may lack.
const FEATURE_POISON: u64 = linux_raw_sys::general::UFFD_FEATURE_POISON as u64;
const FEATURE_MOVE: u64 = linux_raw_sys::general::UFFD_FEATURE_MOVE as u64;
const PAGE: usize = 4096;
/// `EAGAIN` comes while the address space changes under the call; it goes away.
const AGAIN_MAX: usize = 10_000;

/// What this kernel can do with pages beyond providing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// Move them, which eviction wants, and make accesses to them fail.
    All,
    /// Neither.
    Least,
}

/// A heap's pages, as the kernel serves and tracks them.
#[derive(Debug)]
pub(crate) struct DemandPaging {
    faults: Arc<Userfaultfd>,
    written: DirtyPages,
    means: Means,
}

/// Keeps the calling thread out of the program's signal handlers.
pub(crate) fn block_signals() {
    // SAFETY: the set is filled before it is read, and lives for the call.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}

impl DemandPaging {
    /// Tracks the writes to a mapping, whose pages come by themselves until they are [served](Self::serve).
    /// All of them count as written until they are first taken.
    ///
    /// # Errors
    /// `Unsupported` or `PermissionDenied` where the kernel lacks the means or withholds them: use another
    /// tracker.
    pub(crate) fn track(mapping: &Mapping) -> io::Result<Self> {
        // A kernel refuses a feature that it does not know.
        let (faults, means) = match create(dirty_pages::FEATURES | FEATURE_MOVE | FEATURE_POISON) {
            Ok(faults) => (faults, Means::All),
            Err(Errno::EINVAL) => (create(dirty_pages::FEATURES)?, Means::Least),
            Err(error) => return Err(error.into()),
        };
        let paging = Self::over(faults, means)?;
        paging.written.add(mapping.base(), mapping.length())?;
        Ok(paging)
    }

    fn over(faults: Userfaultfd, means: Means) -> io::Result<Self> {
        let faults = Arc::new(faults);
        Ok(Self { written: DirtyPages::over(Arc::clone(&faults))?, faults, means })
    }

    /// Which pages were written, and which are there.
    pub(crate) fn written(&self) -> &DirtyPages {
        &self.written
    }

    /// From now on a thread that touches a page of the range that is not in memory waits until it is
    /// provided.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn serve(&self, start: usize, length: usize) -> io::Result<()> {
        Ok(self.faults.register(start as u64, length as u64, Registration::WritesAndMissing)?)
    }

    /// Waits until a thread touches a missing page, and gives the page's address; `None` once `stop` is
    /// readable.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn next_fault(&self, stop: BorrowedFd<'_>) -> io::Result<Option<usize>> {
        loop {
            let mut waits =
                [PollFd::new(&*self.faults, PollFlags::IN), PollFd::from_borrowed_fd(stop, PollFlags::IN)];
            match poll(&mut waits, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            if let Some(address) = self.pending_fault()? {
                return Ok(Some(address));
            }
            if !waits[1].revents().is_empty() {
                return Ok(None);
            }
        }
    }

    /// The page that a thread waits for already, if any.
    fn pending_fault(&self) -> io::Result<Option<usize>> {
        let mut message = [Message::default()];
        match self.faults.read(&mut message) {
            Ok(1) => Ok(message[0].fault().map(|fault| fault.address as usize)),
            Ok(_) | Err(Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Provides pages from `address` on, clean, and wakes the threads that wait for them. A page that is
    /// there already is left as it is. Gives the pages that were installed.
    ///
    /// # Errors
    /// What the kernel says, `EEXIST` and `EAGAIN` apart.
    pub(crate) fn provide(&self, address: usize, bytes: &[u8]) -> io::Result<usize> {
        let mut installed = 0;
        carry_through(bytes.len(), &mut |at| {
            let result = self.faults.copy((address + at) as u64, &bytes[at..], Access::Read);
            let done = result.map_or_else(|partial| partial.done, |()| (bytes.len() - at) as u64);
            installed += done as usize / PAGE;
            result.map(|()| done)
        })?;
        if installed * PAGE < bytes.len() {
            // A thread may wait for a page that turned out to be there.
            self.wake(address, bytes.len())?;
        }
        Ok(installed)
    }

    /// Provides pages of zeroes. They count as written.
    ///
    /// # Errors
    /// As [`Self::provide`].
    pub(crate) fn provide_zeroes(&self, address: usize, length: usize) -> io::Result<()> {
        carry_through(length, &mut |at| {
            let left = (length - at) as u64;
            self.faults.fill_with_zeroes((address + at) as u64, left).map(|()| left)
        })?;
        self.wake(address, length)
    }

    /// Makes every access to a page fail with `SIGBUS`: it has no content that may be shown. `false` if this
    /// kernel cannot.
    ///
    /// # Errors
    /// As [`Self::provide`].
    pub(crate) fn poison(&self, address: usize, length: usize) -> io::Result<bool> {
        if self.means == Means::Least {
            return Ok(false);
        }
        carry_through(length, &mut |at| {
            let left = (length - at) as u64;
            self.faults.poison((address + at) as u64, left).map(|()| left)
        })?;
        self.wake(address, length)?;
        Ok(true)
    }

    /// Moves pages from one place to another, holes apart; both ranges are tracked here. A thread that
    /// touches the old place from then on waits, so what arrived is all that was ever written there.
    /// The moved pages count as written. `false` if this kernel cannot, or a page is shared.
    ///
    /// # Safety
    /// No code relies on what is at `to`, nor on the content at `from` but through a fault.
    ///
    /// # Errors
    /// What the kernel says. Some pages may have moved.
    pub(crate) unsafe fn move_pages(&self, to: usize, from: usize, length: usize) -> io::Result<bool> {
        if self.means == Means::Least {
            return Ok(false);
        }
        let moved = carry_through(length, &mut |at| {
            let left = (length - at) as u64;
            // SAFETY: as the caller promises.
            unsafe { self.faults.move_pages((to + at) as u64, (from + at) as u64, left) }.map(|()| left)
        });
        match moved {
            Ok(()) => Ok(true),
            Err(Errno::EBUSY) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Wakes the threads that wait on the range; they try again.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn wake(&self, address: usize, length: usize) -> io::Result<()> {
        Ok(self.faults.wake(address as u64, length as u64)?)
    }
}

/// A userfaultfd for the pages of a heap.
fn create(features: u64) -> Result<Userfaultfd, Errno> {
    // SAFETY: heaps and the pager's staging places are registered with it. They are reached by way of the
    // arena, which holds nothing that lies in a page while the page is not there.
    let create = |kind| unsafe { Userfaultfd::create(kind, features) };
    // Unprivileged processes may have the kind that leaves the kernel's own accesses alone.
    match create(Kind::ProgramAndKernel) {
        Err(Errno::EPERM) => create(Kind::ProgramOnly),
        other => other,
    }
}

/// Carries a call through a range: it may stop early with `EAGAIN`, and at a page that is there already.
/// `step` gives the bytes that were done.
fn carry_through(length: usize, step: &mut dyn FnMut(usize) -> Result<u64, Partial>) -> Result<(), Errno> {
    let (mut at, mut again) = (0, 0);
    while at < length {
        match step(at) {
            Ok(0) => return Ok(()),
            Ok(done) => at += done as usize,
            Err(Partial { error: Errno::EEXIST, done }) => at += (done as usize).max(PAGE),
            Err(Partial { error: Errno::EAGAIN, done }) if again < AGAIN_MAX => {
                at += done as usize;
                again += 1;
                std::thread::yield_now();
            }
            Err(Partial { error, .. }) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod traps;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use std::os::fd::AsFd;

    use super::*;

    fn word(mapping: &Mapping, page: usize) -> *mut u64 {
        std::ptr::with_exposed_provenance_mut(mapping.base() + page * PAGE)
    }

    /// Pages come when touched, clean, and can be taken out and put back while they are in use.
    #[test]
    fn pages_come_and_go() {
        let mapping = Mapping::reserve(0x6300_0000_0000, 64 * PAGE).unwrap();
        let tracker = DemandPaging::track(&mapping).unwrap();
        tracker.serve(mapping.base(), 32 * PAGE).unwrap();
        let (stop, ended) = rustix::pipe::pipe().unwrap();
        let served = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while let Some(address) = tracker.next_fault(stop.as_fd()).unwrap() {
                    let page = (address - mapping.base()) / PAGE;
                    served.store(true, Ordering::Relaxed);
                    if page == 7 {
                        tracker.provide_zeroes(address, PAGE).unwrap();
                    } else {
                        let mut bytes = [0_u8; 2 * PAGE];
                        bytes[..8].copy_from_slice(&(page as u64 + 100).to_le_bytes());
                        bytes[PAGE..PAGE + 8].copy_from_slice(&(page as u64 + 101).to_le_bytes());
                        tracker.provide(address, &bytes).unwrap();
                    }
                }
            });
            // SAFETY: the words lie in the mapping, which is readable and writable once served.
            let read = |page| unsafe { word(&mapping, page).read_volatile() };
            assert_eq!([read(3), read(4), read(7), read(2)], [103, 104, 0, 102]);
            // Beyond what is served, memory comes by itself.
            assert_eq!(read(40), 0);
            let pages = |at: usize, bytes: usize| ((at - mapping.base()) / PAGE, bytes / PAGE);
            let taken = || {
                let mut runs = Vec::new();
                let found = &mut |at, bytes| runs.push(pages(at, bytes));
                tracker.written().take(mapping.base(), 32 * PAGE, found).unwrap();
                runs
            };
            let clean = || {
                let mut runs = Vec::new();
                let found = &mut |at, bytes| runs.push(pages(at, bytes));
                tracker.written().clean(mapping.base(), 32 * PAGE, found).unwrap();
                runs
            };
            assert_eq!(taken(), [(7, 1)], "a zero page counts as written, the others do not");
            assert_eq!(clean(), [(2, 3), (7, 1)]);
            // SAFETY: as above.
            unsafe { word(&mapping, 4).write_volatile(9) };
            assert_eq!(clean(), [(2, 2), (7, 1)]);
            assert_eq!(taken(), [(4, 1)]);
            // Out, looked at, and in again.
            let out = 48;
            // SAFETY: nothing relies on pages 48 to 50, and the test reads pages 2 to 4 through faults only.
            let moved = unsafe {
                tracker.move_pages(mapping.base() + out * PAGE, mapping.base() + 2 * PAGE, 3 * PAGE).unwrap()
            };
            if moved {
                assert_eq!([read(out), read(out + 2)], [102, 9]);
                assert_eq!([read(3), read(4)], [103, 104], "the pages came anew");
            }
            drop(ended);
        });
        assert!(served.load(Ordering::Relaxed));
    }

    /// A call may do a part and ask to be made again, and stops at a page that is there; none of that ends it
    /// early, and what it says again and again does.
    #[test]
    fn a_call_is_carried_through() {
        let run = |answers: &[(u16, i64)]| {
            let mut answers = answers.iter();
            let mut asked = Vec::new();
            let result = carry_through(4 * PAGE, &mut |at| {
                asked.push(at / PAGE);
                let (error, pages) = *answers.next().unwrap_or(&(0, (4 * PAGE - at) as i64 / PAGE as i64));
                let done = (pages * PAGE as i64).max(0) as u64;
                if error == 0 { Ok(done) } else { Err(Partial { error: Errno(error), done }) }
            });
            (asked, result.map_err(|error| error.0))
        };
        const EAGAIN: u16 = Errno::EAGAIN.0;
        const EEXIST: u16 = Errno::EEXIST.0;
        const ENOMEM: u16 = Errno::ENOMEM.0;
        assert_eq!(run(&[]), (vec![0], Ok(())));
        assert_eq!(run(&[(EAGAIN, 1), (EAGAIN, 0)]), (vec![0, 1, 1], Ok(())), "goes on behind what was done");
        assert_eq!(run(&[(0, 1), (EEXIST, -17)]), (vec![0, 1, 2], Ok(())), "leaves out what is there");
        assert_eq!(run(&[(0, 3), (ENOMEM, -12)]), (vec![0, 3], Err(ENOMEM)));
        let (asked, result) = run(&[(EAGAIN, 0); 2 * AGAIN_MAX]);
        assert_eq!((asked.len(), result), (AGAIN_MAX + 1, Err(EAGAIN)));
    }
}
