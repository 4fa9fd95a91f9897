//! The directory in which a user's heaps are: files of a memory file system, found by name.
//!
//! A heap is made complete under no name and gets its name last, so that no process sees half of one and
//! nothing is left if its maker dies. Making and removing is done with a lock on the directory itself
//! (flock(2)), which the kernel gives back when its holder dies; attaching needs no lock.
//!
//! Leases are looked after here, by whichever process makes or lists heaps: there is no daemon.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use banyan_wire::address_space::EXPLICIT_HEAPS;
use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::death::point;
use crate::error::OpenError;
use crate::layout::{FIXED_BYTES, Geometry, HEADER_BYTES, Header, WORD_UNUSED_SINCE};
use crate::participants;
use crate::sys::clock::now_ns;

/// Names a directory of heaps for all processes that inherit it.
const VARIABLE: &str = "BANYAN_HEAPS";
/// Heaps begin at multiples of this, and have at least this between them.
const ALIGNMENT: u64 = 2 << 20;
/// For how long a process waits for another that makes or removes a heap.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open directory of heaps.
#[derive(Debug)]
pub(crate) struct Directory {
    file: OwnedFd,
    pub(crate) path: PathBuf,
}

/// A heap's file, and what its header says.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) file: File,
    pub(crate) header: Header,
}

/// The lock on a directory; ends with it.
struct Locked<'a>(&'a Directory);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // It cannot fail for a descriptor that is open.
        let _unlocked = rustix::fs::flock(&self.0.file, FlockOperation::Unlock);
    }
}

/// Where heaps are if nothing else is said.
fn usual_path() -> PathBuf {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path: &OsString| !path.is_empty()) {
        return path.into();
    }
    let user = rustix::process::geteuid().as_raw();
    PathBuf::from(format!("/dev/shm/banyan-{user}"))
}

/// Whether `name` can name a heap.
pub(crate) fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_letter)
}

impl Directory {
    /// Opens the directory, and makes it if it is the usual one.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, OpenError> {
        let is_own = path.is_none() && std::env::var_os(VARIABLE).is_none();
        let path = path.map_or_else(usual_path, Path::to_owned);
        let refused = |reason: String| OpenError::Directory { path: path.clone(), reason };
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(refused(format!("cannot be made: {error}"))),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, Mode::empty());
        let file = file.map_err(|error| refused(format!("cannot be opened: {error}")))?;
        if is_own {
            // /dev/shm is everybody's: another user may have made it first, to see what is put there.
            let state = rustix::fs::fstat(&file).map_err(|error| refused(error.to_string()))?;
            if state.st_uid != rustix::process::geteuid().as_raw() || state.st_mode & 0o022 != 0 {
                let remedy = "it must be this user's and nobody else may write to it";
                return Err(refused(format!("{remedy}: remove it, or set {VARIABLE} to another directory")));
            }
        }
        Ok(Self { file, path })
    }

    fn lock(&self) -> Result<Locked<'_>, OpenError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked(self)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(OpenError::Busy(self.path.clone())),
                Err(error) => return Err(self.system("locking", "", error.into())),
            }
        }
    }

    fn system(&self, doing: &'static str, name: &str, source: io::Error) -> OpenError {
        OpenError::System { doing, path: self.path.join(name), source }
    }

    /// The heap `name`; `None` if there is none.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Found>, OpenError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(&self.file, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::ACCESS) => return Err(self.denied(name)),
            Err(error) => return Err(self.system("opening", name, error.into())),
        };
        let mut bytes = [0; HEADER_BYTES];
        let length = file.metadata().map(|state| state.len());
        let length = length.map_err(|error| self.system("reading", name, error))?;
        let read = file.read_exact_at(&mut bytes, 0);
        let header = read.ok().and_then(|()| Header::decode(&bytes, length));
        let header = header.ok_or_else(|| OpenError::NotAHeap(self.path.join(name)))?;
        Ok(Some(Found { file, header }))
    }

    fn denied(&self, name: &str) -> OpenError {
        match rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(state) => OpenError::Denied {
                name: name.to_owned(),
                owner: state.st_uid,
                mode: state.st_mode & 0o777,
                path: self.path.join(name),
            },
            Err(error) => self.system("opening", name, error.into()),
        }
    }

    /// Names of all heaps, after those were removed whose lease is over.
    pub(crate) fn names(&self) -> Result<Vec<String>, OpenError> {
        let locked = self.lock()?;
        self.remove_expired(&locked)?;
        self.all_names()
    }

    fn all_names(&self) -> Result<Vec<String>, OpenError> {
        let entries = rustix::fs::Dir::read_from(&self.file);
        let entries = entries.map_err(|error| self.system("reading", "", error.into()))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.system("reading", "", error.into()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_name(&name) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Makes a heap; `false` if there is one of this name. An address of 0 stands for one that no other heap
    /// has.
    pub(crate) fn create(
        &self,
        name: &str,
        geometry: Geometry,
        address: u64,
        mode: u32,
        mut header: Header,
    ) -> Result<bool, OpenError> {
        let locked = self.lock()?;
        self.remove_expired(&locked)?;
        let bytes = geometry.file_bytes() as u64;
        header.base = if address == 0 {
            let taken = self.taken_addresses()?;
            let random = random().map_err(|error| self.system("choosing an address for", name, error))?;
            choose(&taken, bytes, random).ok_or(OpenError::BadSize(geometry.data_bytes() as u64))?
        } else {
            address
        };
        header.unused_since_ns = now_ns();
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.file, ".", flags, Mode::from_raw_mode(mode));
        let file = File::from(file.map_err(|error| self.system("making", name, error.into()))?);
        let made = (|| {
            // The mode that was asked for, whatever this process masks.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            file.set_len(bytes)?;
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, FIXED_BYTES as u64)?;
            file.write_all_at(&header.encode(), 0)
        })();
        made.map_err(|source| OpenError::NoMemory { name: name.to_owned(), source })?;
        point("heap.unnamed");
        let unnamed = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        match rustix::fs::linkat(rustix::fs::CWD, unnamed, &self.file, name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => {
                point("heap.named");
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.system("naming", name, error.into())),
        }
    }

    /// Takes the name away; those who are attached go on. `false` if there is none.
    pub(crate) fn unlink(&self, name: &str) -> Result<bool, OpenError> {
        let _locked = self.lock()?;
        match rustix::fs::unlinkat(&self.file, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.system("removing", name, error.into())),
        }
    }

    fn taken_addresses(&self) -> Result<Vec<(u64, u64)>, OpenError> {
        let mut taken = Vec::new();
        for name in self.all_names()? {
            // What cannot be read is another user's, or no heap: attaching to it reports a clash.
            if let Ok(Some(Found { header, .. })) = self.find(&name) {
                taken.push((header.base, header.base + header.geometry.file_bytes() as u64));
            }
        }
        Ok(taken)
    }

    fn remove_expired(&self, _locked: &Locked<'_>) -> Result<(), OpenError> {
        for name in self.all_names()? {
            let Ok(Some(Found { file, header })) = self.find(&name) else { continue };
            // Nobody is attached, and a process that attaches just now waits until this is decided.
            if header.lease_ns == u64::MAX || !participants::keep_out(file.as_fd()).unwrap_or(false) {
                continue;
            }
            let now = now_ns();
            if header.unused_since_ns == 0 {
                // Its last user was killed: its time begins when that is seen.
                let place = (WORD_UNUSED_SINCE * 8) as u64;
                let written = file.write_all_at(&now.to_le_bytes(), place);
                written.map_err(|error| self.system("writing", &name, error))?;
            } else if now.saturating_sub(header.unused_since_ns) >= header.lease_ns {
                match rustix::fs::unlinkat(&self.file, name.as_str(), AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT | Errno::ACCESS | Errno::PERM) => {}
                    Err(error) => return Err(self.system("removing", &name, error.into())),
                }
            }
        }
        Ok(())
    }
}

impl Found {
    /// Device and number.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        let state = self.file.metadata()?;
        Ok((state.dev(), state.ino()))
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_le_bytes(bytes))
}

/// An address for `bytes` that nothing in `taken` has. Which one is chance, so that a range is not used again
/// at once that some process has still mapped, of a heap that has no name any more.
fn choose(taken: &[(u64, u64)], bytes: u64, random: u64) -> Option<u64> {
    let (first, end) = (EXPLICIT_HEAPS.start, EXPLICIT_HEAPS.end);
    let places = EXPLICIT_HEAPS.bytes().checked_sub(bytes)? / ALIGNMENT + 1;
    let begin = first + random % places * ALIGNMENT;
    // From where chance has it to the end, then from the start.
    for from in [begin, first] {
        let mut base = from;
        while base.checked_add(bytes).is_some_and(|last| last <= end) {
            let clash = taken
                .iter()
                .find(|(start, stop)| *start < base + bytes + ALIGNMENT && base < stop + ALIGNMENT);
            match clash {
                None => return Some(base),
                Some((_, stop)) => base = (stop + ALIGNMENT).next_multiple_of(ALIGNMENT),
            }
        }
    }
    None
}

/// Whether a heap of `bytes` can be at an address that its maker chose.
pub(crate) fn is_address(address: u64, bytes: u64) -> bool {
    let end = address.checked_add(bytes);
    address != 0 && address.is_multiple_of(ALIGNMENT) && end.is_some_and(|end| end < 1 << 47)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_never_meet_and_all_are_used() {
        let mut taken: Vec<(u64, u64)> = Vec::new();
        let bytes = 300 << 30;
        let mut random: u64 = 1;
        while let Some(base) = choose(&taken, bytes, random) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            assert!(EXPLICIT_HEAPS.holds(base, bytes) && base.is_multiple_of(ALIGNMENT));
            assert!(taken.iter().all(|(start, end)| *end < base || base + bytes < *start));
            taken.push((base, base + bytes));
            assert!(taken.len() < 100);
        }
        assert!(taken.len() >= 12, "27 would fit side by side, half of them however they lie");
        assert_eq!(choose(&[], EXPLICIT_HEAPS.bytes(), 7), Some(EXPLICIT_HEAPS.start));
        assert_eq!(choose(&[], EXPLICIT_HEAPS.bytes() + 1, 7), None);
    }

    #[test]
    fn names_are_names_of_files_and_nothing_more() {
        for name in ["grid", "a", "A.b-c_9"] {
            assert!(is_name(name));
        }
        for name in ["", ".lock", "a/b", "..", "a b", "ä", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
