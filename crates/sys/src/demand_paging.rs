//! Pages that are brought in when they are touched, and taken out again, in a range whose writes are
//! tracked by [`DirtyPages`]: userfaultfd's missing faults, served by a thread of this very process.
//!
//! The thread that serves must never touch a page of the range itself: it would wait for itself. With a
//! descriptor of the user-mode kind the kernel's own accesses to a missing page fail with `EFAULT`
//! instead of waiting. Source: ioctl_userfaultfd(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};

use crate::dirty_pages::{DirtyPages, REGISTER_MODE_WP, Register, UFFDIO_REGISTER, ioctl};

const UFFDIO_COPY: u64 = 0xc028_aa03;
const UFFDIO_ZEROPAGE: u64 = 0xc020_aa04;
const UFFDIO_MOVE: u64 = 0xc028_aa05;
const UFFDIO_POISON: u64 = 0xc020_aa08;
const REGISTER_MODE_MISSING: u64 = 1 << 0;
const COPY_MODE_WP: u64 = 1 << 1;
const MOVE_MODE_ALLOW_HOLES: u64 = 1 << 1;
const EVENT_PAGEFAULT: u8 = 0x12;
const MESSAGE: usize = 32;
const PAGE: usize = 4096;
/// `EAGAIN` comes while the address space changes under the call; it goes away.
const AGAIN_MAX: usize = 10_000;

/// `struct uffdio_copy` and `struct uffdio_move`.
#[repr(C)]
struct Transfer {
    to: u64,
    from: u64,
    length: u64,
    mode: u64,
    done: i64,
}

/// `struct uffdio_zeropage` and `struct uffdio_poison`.
#[repr(C)]
struct Fill {
    start: u64,
    length: u64,
    mode: u64,
    done: i64,
}

/// Keeps the calling thread out of the program's signal handlers.
pub fn block_signals() {
    // SAFETY: the set is filled before it is read, and lives for the call.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}

impl DirtyPages {
    /// From now on whoever touches a page of the range that is not in memory waits until it is provided.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn serve(&self, start: usize, length: usize) -> io::Result<()> {
        let mode = REGISTER_MODE_WP | REGISTER_MODE_MISSING;
        let mut register = Register { start: start as u64, length: length as u64, mode, ioctls: 0 };
        ioctl(&self.userfault, UFFDIO_REGISTER, (&raw mut register).cast()).map(drop)
    }

    /// Waits for someone to touch a missing page, and gives the page's address; `None` once `stop` is readable.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next_fault(&self, stop: BorrowedFd<'_>) -> io::Result<Option<usize>> {
        loop {
            let mut waits =
                [PollFd::new(&self.userfault, PollFlags::IN), PollFd::from_borrowed_fd(stop, PollFlags::IN)];
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

    /// The page that somebody waits for already, if any.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pending_fault(&self) -> io::Result<Option<usize>> {
        let mut message = [0_u8; MESSAGE];
        match rustix::io::read(&self.userfault, &mut message) {
            Ok(MESSAGE) if message[0] == EVENT_PAGEFAULT => {
                let mut address = [0; 8];
                address.copy_from_slice(&message[16..24]);
                Ok(Some(u64::from_le_bytes(address) as usize & !(PAGE - 1)))
            }
            Ok(_) => Ok(None),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Provides pages from `address` on, clean, and wakes who waits. A page that is there already is
    /// left as it is. Gives the pages that were installed.
    ///
    /// # Errors
    /// What the kernel says, `EEXIST` and `EAGAIN` apart.
    pub fn provide(&self, address: usize, bytes: &[u8]) -> io::Result<usize> {
        let mut installed = 0;
        self.each(bytes.len(), &mut |at| {
            let mut transfer = Transfer {
                to: (address + at) as u64,
                from: bytes[at..].as_ptr() as u64,
                length: (bytes.len() - at) as u64,
                mode: COPY_MODE_WP,
                done: 0,
            };
            let result = ioctl(&self.userfault, UFFDIO_COPY, (&raw mut transfer).cast());
            installed += transfer.done.max(0) as usize / PAGE;
            (result, transfer.done)
        })?;
        if installed * PAGE < bytes.len() {
            // Somebody may wait for a page that turned out to be there.
            self.wake(address, bytes.len())?;
        }
        Ok(installed)
    }

    /// Provides pages of zeroes. They count as written.
    ///
    /// # Errors
    /// As [`DirtyPages::provide`].
    pub fn provide_zeroes(&self, address: usize, length: usize) -> io::Result<()> {
        self.fill(UFFDIO_ZEROPAGE, address, length)
    }

    /// Makes every access to a page fail with `SIGBUS`: it has no content that may be shown. `false` if this
    /// kernel cannot.
    ///
    /// # Errors
    /// As [`DirtyPages::provide`].
    pub fn poison(&self, address: usize, length: usize) -> io::Result<bool> {
        if !self.can_poison {
            return Ok(false);
        }
        self.fill(UFFDIO_POISON, address, length)?;
        Ok(true)
    }

    /// Moves pages from one place to another, holes apart; both ranges are tracked by this very tracker. Whoever
    /// touches the old place from then on waits, so what arrived is all that was ever written there.
    /// The moved pages count as written. `false` if this kernel cannot, or a page is shared.
    ///
    /// # Safety
    /// Nobody relies on what is at `to`, nor on the content at `from` but through a fault.
    ///
    /// # Errors
    /// What the kernel says. Some pages may have moved.
    pub unsafe fn move_pages(&self, to: usize, from: usize, length: usize) -> io::Result<bool> {
        if !self.can_move {
            return Ok(false);
        }
        let moved = self.each(length, &mut |at| {
            let mut transfer = Transfer {
                to: (to + at) as u64,
                from: (from + at) as u64,
                length: (length - at) as u64,
                mode: MOVE_MODE_ALLOW_HOLES,
                done: 0,
            };
            let result = ioctl(&self.userfault, UFFDIO_MOVE, (&raw mut transfer).cast());
            (result, transfer.done)
        });
        match moved {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Wakes whoever waits on the range; they try again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wake(&self, address: usize, length: usize) -> io::Result<()> {
        const UFFDIO_WAKE: u64 = 0x8010_aa02;
        let mut range = [address as u64, length as u64];
        ioctl(&self.userfault, UFFDIO_WAKE, range.as_mut_ptr().cast()).map(drop)
    }

    fn fill(&self, request: u64, address: usize, length: usize) -> io::Result<()> {
        self.each(length, &mut |at| {
            let mut fill =
                Fill { start: (address + at) as u64, length: (length - at) as u64, mode: 0, done: 0 };
            let result = ioctl(&self.userfault, request, (&raw mut fill).cast());
            (result, fill.done)
        })?;
        self.wake(address, length)
    }

    /// Carries a call through a range: it may stop early with `EAGAIN`, and at a page that is there already.
    fn each(&self, length: usize, step: &mut dyn FnMut(usize) -> (io::Result<usize>, i64)) -> io::Result<()> {
        let (mut at, mut again) = (0, 0);
        while at < length {
            let (result, done) = step(at);
            at += done.max(0) as usize;
            match result {
                Ok(_) if done > 0 => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if done <= 0 {
                        at += PAGE;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && again < AGAIN_MAX => {
                    again += 1;
                    std::thread::yield_now();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The descriptor to poll for faults.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.userfault.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::mapping::Mapping;

    fn word(mapping: &Mapping, page: usize) -> *mut u64 {
        std::ptr::with_exposed_provenance_mut(mapping.base() + page * PAGE)
    }

    /// Pages come when touched, clean, and can be taken out and put back while somebody uses them.
    #[test]
    fn pages_come_and_go() {
        let mapping = Mapping::reserve(0x6300_0000_0000, 64 * PAGE).unwrap();
        let tracker = DirtyPages::track(&mapping).unwrap();
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
                tracker.take(mapping.base(), 32 * PAGE, found).unwrap();
                runs
            };
            let clean = || {
                let mut runs = Vec::new();
                let found = &mut |at, bytes| runs.push(pages(at, bytes));
                tracker.clean(mapping.base(), 32 * PAGE, found).unwrap();
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
            // SAFETY: nobody relies on pages 48 to 50, and the test reads pages 2 to 4 through faults only.
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

    /// A call may do a part and ask to be made again, and stops at a page that is there; none of that ends it early, and what
    /// it says again and again does.
    #[test]
    fn a_call_is_carried_through() {
        let mapping = Mapping::reserve(0x6300_1000_0000, 8 * PAGE).unwrap();
        let tracker = DirtyPages::track(&mapping).unwrap();
        let run = |answers: &[(i32, i64)]| {
            let mut answers = answers.iter();
            let mut asked = Vec::new();
            let result = tracker.each(4 * PAGE, &mut |at| {
                asked.push(at / PAGE);
                let (error, pages) = *answers.next().unwrap_or(&(0, (4 * PAGE - at) as i64 / PAGE as i64));
                let result = if error == 0 { Ok(0) } else { Err(io::Error::from_raw_os_error(error)) };
                (result, pages * PAGE as i64)
            });
            (asked, result.map_err(|error| error.raw_os_error()))
        };
        const EAGAIN: i32 = 11;
        const EEXIST: i32 = 17;
        const ENOMEM: i32 = 12;
        assert_eq!(run(&[]), (vec![0], Ok(())));
        assert_eq!(run(&[(EAGAIN, 1), (EAGAIN, 0)]), (vec![0, 1, 1], Ok(())), "goes on behind what was done");
        assert_eq!(run(&[(0, 1), (EEXIST, -17)]), (vec![0, 1, 2], Ok(())), "leaves out what is there");
        assert_eq!(run(&[(0, 3), (ENOMEM, -12)]), (vec![0, 3], Err(Some(ENOMEM))));
        let (asked, result) = run(&[(EAGAIN, 0); 2 * AGAIN_MAX]);
        assert_eq!((asked.len(), result), (AGAIN_MAX + 1, Err(Some(EAGAIN))));
    }
}
